package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicedb/sluice/control"
)

// operation is one route with all that is known of it: the mux, the check of a token's scope, and /openapi.json are made from it.
type operation struct {
	method, path string
	handle       handler
	open         http.HandlerFunc // instead of handle: for anybody, without a token
	mediaType    string           // of what open answers
	// noun is what errors call a resource.
	noun string
	// action names the audit record of a request that changes something, and is empty for one that only reads.
	action string
	scope  control.Scope
	// installation says that the whole installation is concerned: for admin tokens of the default account alone.
	installation bool
	request      reflect.Type // of the body; nil when there is none
	result       reflect.Type // of the result, or of one item of a list; nil for null
	list         bool
	query        []string      // the query parameters that the handler may read
	timeout      time.Duration // of the handler, where it is longer than storeTimeout
}

// call is one authenticated request.
type call struct {
	http.ResponseWriter
	*http.Request
	account  string
	token    *control.APIToken
	snapshot *control.Snapshot
	// target is what the audit record names: the handler sets it as soon as it knows.
	target string

	api *API
	op  *operation
}

// download is a result that is sent as it is, without the envelope.
type download []byte

// downloadType is the media type of a download.
const downloadType = "application/octet-stream"

// downloadTimeout bounds the sending of a download: 100 MB to a slow client.
const downloadTimeout = 10 * time.Minute

// handler answers a call with a result, or a listing, or an error that asFailure knows.
type handler func(ctx context.Context, c *call) (any, error)

// route registers a handler below /client/v4. Without further word it takes no body, answers null, and needs the scope read, or edit
// when it has an action.
func (a *API) route(pattern, noun, action string, handle handler) *operation {
	method, path, _ := strings.Cut(pattern, " ")
	op := &operation{method: method, path: "/client/v4" + path, handle: handle, noun: noun, action: action, scope: control.ScopeRead}
	if action != "" {
		op.scope = control.ScopeEdit
	}
	a.operations = append(a.operations, op)
	a.mux.HandleFunc(op.method+" "+op.path, func(w http.ResponseWriter, r *http.Request) { a.serve(op, w, r) })
	return op
}

// public registers a handler that needs no token.
func (a *API) public(pattern, mediaType string, handle http.HandlerFunc) {
	method, path, _ := strings.Cut(pattern, " ")
	a.operations = append(a.operations, &operation{method: method, path: path, open: handle, mediaType: mediaType})
	a.mux.HandleFunc(pattern, handle)
}

// takes declares the type of the body, by a value of it. The handler reads it with call.decode.
func (op *operation) takes(body any) *operation {
	op.request = reflect.TypeOf(body)
	return op
}

// gives declares the type of the result, by a value of it.
func (op *operation) gives(result any) *operation {
	op.result = reflect.TypeOf(result)
	return op
}

// lists declares that the result is a page of items, made by paginate, and which query parameters select them.
func (op *operation) lists(item any, query ...string) *operation {
	op.list = true
	op.query = append([]string{"page", "per_page"}, query...)
	return op.gives(item)
}

// needs declares another scope than the usual one.
func (op *operation) needs(scope control.Scope) *operation {
	op.scope = scope
	return op
}

// concernsInstallation declares that only admin tokens of the default account may ask.
func (op *operation) concernsInstallation() *operation {
	op.scope, op.installation = control.ScopeAdmin, true
	return op
}

// asks declares the query parameters of an operation that lists nothing.
func (op *operation) asks(query ...string) *operation {
	op.query = append(op.query, query...)
	return op
}

// tests declares that the handler may make a test connection, for which it has time besides that of the store.
func (op *operation) tests() *operation {
	op.timeout = control.TestWait + storeTimeout
	return op
}

// serve answers one request of an operation.
func (a *API) serve(op *operation, w http.ResponseWriter, r *http.Request) {
	token, ok := a.authenticate(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), max(op.timeout, storeTimeout))
	defer cancel()
	c := &call{ResponseWriter: w, Request: op.bare(r), account: token.AccountID, token: token, snapshot: a.control.Snapshot(), api: a, op: op}
	var result any
	err := op.admits(token, r.PathValue("account"))
	ctx, trail := control.WithTrail(ctx)
	if err == nil {
		result, err = op.handle(ctx, c)
	}
	var failed *failure
	if err != nil {
		var expected bool
		if failed, expected = asFailure(err, op.noun); !expected {
			a.logger.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		}
	}
	if op.action != "" {
		a.audit(c, op.action, failed, trail.Changes())
	}
	if failed != nil {
		a.writeFailure(w, failed)
		return
	}
	a.check(op, result)
	if file, ok := result.(download); ok {
		// It is large, and the time is the one that answers from memory have; a server that cannot change it keeps that.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(downloadTimeout))
		w.Header().Set("Content-Type", downloadType)
		w.Header().Set("Content-Length", strconv.Itoa(len(file)))
		_, _ = w.Write(file)
		return
	}
	a.writeResult(w, result)
}

// bare is the request without the query parameters that the operation does not declare.
func (op *operation) bare(r *http.Request) *http.Request {
	if r.URL.RawQuery == "" {
		return r
	}
	query := url.Values{}
	for name, values := range r.URL.Query() {
		if slices.Contains(op.query, name) {
			query[name] = values
		}
	}
	clone := *r
	address := *r.URL
	address.RawQuery = query.Encode()
	clone.URL = &address
	return &clone
}

// admits refuses a token that is for another account, or whose scope does not reach so far.
func (op *operation) admits(token *control.APIToken, account string) error {
	switch {
	case account != "" && account != token.AccountID:
		return fail(http.StatusForbidden, codeForbidden, "the API token is not for this account")
	case !token.Scope.Includes(op.scope):
		return fail(http.StatusForbidden, codeForbidden, fmt.Sprintf("the API token has the scope %s, and this needs %s", token.Scope, op.scope))
	case op.installation && token.AccountID != control.DefaultAccountID:
		return fail(http.StatusForbidden, codeForbidden, "this is for admin tokens of the default account")
	}
	return nil
}

// decode reads the body into what the operation takes.
func (c *call) decode(into any) error {
	if got := reflect.TypeOf(into).Elem(); got != c.op.request {
		c.api.departs(c.op, fmt.Errorf("the handler reads a %v; its route in routes.go must say .takes(%v{})", got, got))
	}
	return decodeBody(c.ResponseWriter, c.Request, into)
}

// check compares an answer with what the operation declares.
func (a *API) check(op *operation, result any) {
	got := reflect.TypeOf(result)
	list, isList := result.(listing)
	if isList {
		got = reflect.TypeOf(list.items).Elem()
	}
	switch {
	case got == op.result && isList == op.list:
		if a.answered != nil {
			a.answered(op)
		}
	case isList:
		a.departs(op, fmt.Errorf("the handler lists %v; its route in routes.go must say .lists(%v{})", got, got))
	default:
		a.departs(op, fmt.Errorf("the handler answers %v; its route in routes.go must say .gives(%v{})", got, got))
	}
}
