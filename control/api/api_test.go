package api

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// world is an API on a control with an embedded store of its own.
type world struct {
	t       *testing.T
	control *control.Control
	api     *API
	token   string
	log     *bytes.Buffer // read when no request is in flight
	dir     string        // of the store
	stop    func()        // ends the store, once
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldLogging(t, slog.New(slog.DiscardHandler))
}

// newWorldLogging has a log of the store, and of nothing else.
func newWorldLogging(t *testing.T, storeLog *slog.Logger) *world {
	t.Helper()
	w := &world{t: t, log: &bytes.Buffer{}, dir: t.TempDir()}
	logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelError}))
	ctx, cancel := context.WithCancel(context.Background())
	c, err := control.Open(ctx, control.Config{DataDir: w.dir, Logger: storeLog})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	eventually(t, func() (error, bool) { err := c.Ready(); return err, err == nil })
	first, ok := c.FirstToken()
	if !ok {
		t.Fatal("the first start made no API token")
	}
	w.control, w.token = c, first.Reveal()
	w.api = New(Config{
		Control: c,
		TunnelToken: func(t *control.Tunnel, secret control.Secret) (string, error) {
			return t.ID + ":" + secret.Reveal(), nil
		},
		ProxyAddr: "proxy.example:6432", Logger: logger,
	})
	w.api.departs = func(op *operation, err error) { t.Errorf("%s %s: %v", op.method, op.path, err) }
	w.api.answered = func(op *operation) { answeredOperations.Store(op.method+" "+op.path, true) }
	return w
}

type answer struct {
	status int
	header http.Header
	body   string
	v4.Envelope[json.RawMessage]
}

// messages are the errors as "code message".
func (a answer) messages() []string {
	var texts []string
	for _, m := range a.Errors {
		texts = append(texts, m.Message)
	}
	slices.Sort(texts)
	return texts
}

// request sends one request; path is below the default account unless it begins with /client.
func (w *world) request(method, path, body string, header ...string) answer {
	w.t.Helper()
	if !strings.HasPrefix(path, "/client") && !strings.HasPrefix(path, "!") {
		path = "/client/v4/accounts/" + control.DefaultAccountID + path
	}
	r := httptest.NewRequest(method, strings.TrimPrefix(path, "!"), strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+w.token)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	recorder := httptest.NewRecorder()
	w.api.ServeHTTP(recorder, r)
	got := answer{status: recorder.Code, header: recorder.Header(), body: recorder.Body.String()}
	if strings.HasPrefix(recorder.Header().Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(recorder.Body.Bytes(), &got.Envelope); err != nil {
			w.t.Fatalf("%s %s: %v: %s", method, path, err, got.body)
		}
		if got.Errors == nil || got.Messages == nil {
			w.t.Errorf("%s %s: errors or messages is null: %s", method, path, got.body)
		}
		if got.Success != (got.status < 300) {
			w.t.Errorf("%s %s: success is %v with status %d", method, path, got.Success, got.status)
		}
	}
	return got
}

// must sends a request that succeeds and decodes its result.
func must[T any](w *world, method, path, body string) T {
	w.t.Helper()
	got := w.request(method, path, body)
	var result T
	if got.status != http.StatusOK {
		w.t.Fatalf("%s %s: %d %s\n%s", method, path, got.status, got.body, w.log)
	}
	if err := json.Unmarshal(got.Result, &result); err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return result
}

// refused sends a request and checks status, code and the exact messages.
func (w *world) refused(method, path, body string, status, code int, messages ...string) {
	w.t.Helper()
	got := w.request(method, path, body)
	slices.Sort(messages)
	if got.status != status || len(got.Errors) == 0 || got.Errors[0].Code != code || !slices.Equal(got.messages(), messages) {
		w.t.Errorf("%s %s %s\n got %d %s\nwant %d with code %d: %q", method, path, body, got.status, got.body, status, code, messages)
	}
}

func TestAuthentication(t *testing.T) {
	w := newWorld(t)
	expired, expiredSecret, err := w.control.CreateAPIToken(t.Context(), control.DefaultAccountID, "expired", control.ScopeEdit, time.Now().Add(-time.Hour))
	if err == nil && expired == nil {
		t.Fatal("no token and no error")
	}
	tests := []struct{ name, header, message string }{
		{"none", "", "no API token: send it as Authorization: Bearer"},
		{"wrong scheme", "Basic " + w.token, "no API token: send it as Authorization: Bearer"},
		{"wrong token", "Bearer slat_wrong", "the API token is not valid"},
		{"cut off", "Bearer " + w.token[:len(w.token)-1], "the API token is not valid"},
		{"with more", "Bearer " + w.token + "x", "the API token is not valid"},
		{"too long to be one", "Bearer " + strings.Repeat("a", bearerMax+1), "no API token: send it as Authorization: Bearer"},
	}
	if err == nil {
		tests = append(tests, struct{ name, header, message string }{"expired", "Bearer " + expiredSecret.Reveal(), "the API token is not valid"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := w.request("GET", "/cfd_tunnel", "", "Authorization", tt.header)
			if got.status != 401 || got.Errors[0].Code != codeAuthentication || got.Errors[0].Message != tt.message {
				t.Errorf("got %d %s, want 401 with code %d: %s", got.status, got.body, codeAuthentication, tt.message)
			}
			if got.header.Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
		})
	}
	for range failureBurst {
		w.request("GET", "/cfd_tunnel", "", "Authorization", "Bearer wrong")
	}
	got := w.request("GET", "/cfd_tunnel", "", "Authorization", "Bearer wrong")
	if got.status != 429 || got.Errors[0].Code != codeThrottled || got.header.Get("Retry-After") == "" {
		t.Errorf("after %d failures: got %d %s, want 429 with Retry-After", failureBurst, got.status, got.body)
	}
	if got := w.request("GET", "/client/v4/user/tokens/verify", ""); got.status != 200 {
		t.Errorf("a valid token is held up by others' failures: %d %s", got.status, got.body)
	}
	w.refused("GET", "/client/v4/accounts/ffffffffffffffffffffffffffffffff/cfd_tunnel", "", 403, codeForbidden, "the API token is not for this account")
}

func TestTwoAuthorizationHeadersAreNone(t *testing.T) {
	good := "Bearer slat_x"
	for _, values := range [][]string{{good, good}, {good, "Bearer other"}, {"Basic x", good}, {good, ""}} {
		if got := bearerToken(http.Header{"Authorization": values}); got != "" {
			t.Errorf("%q: got a token", values)
		}
	}
	if got := bearerToken(http.Header{"Authorization": {good}}); got != "slat_x" {
		t.Errorf("one header: got %q", got)
	}
}

func TestOpenRoutes(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"!/ca.pem", "!/client/v4/ca"} {
		if got := w.request("GET", path, "", "Authorization", ""); got.status != 200 || got.body != string(w.control.CA()) {
			t.Errorf("GET %s: %d %s", path, got.status, got.body)
		}
	}
	if got := w.request("GET", "!/healthz", "", "Authorization", ""); got.status != 200 || got.body != "ok\n" {
		t.Errorf("GET /healthz: %d %s", got.status, got.body)
	}
}

func TestUnknownRoutes(t *testing.T) {
	w := newWorld(t)
	w.refused("GET", "/workers", "", 404, codeNoRoute, "no such path; the routes are in the API's documentation")
	w.refused("GET", "!/", "", 404, codeNoRoute, "no such path; the routes are in the API's documentation")
	w.refused("PATCH", "/cfd_tunnel", "", 405, codeMethod, "this path has no PATCH; it has GET, HEAD, POST")
	if got := w.request("GET", "/workers", "", "Authorization", ""); got.status != 401 {
		t.Errorf("an unknown path without a token: %d, want 401", got.status)
	}
}

func TestAccounts(t *testing.T) {
	w := newWorld(t)
	accounts := must[[]v4.Account](w, "GET", "/client/v4/accounts", "")
	if len(accounts) != 1 || accounts[0].ID != control.DefaultAccountID || accounts[0].Name == "" {
		t.Errorf("got %+v", accounts)
	}
	if got := must[v4.Account](w, "GET", "", ""); got != accounts[0] {
		t.Errorf("got %+v, want %+v", got, accounts[0])
	}
	if got := must[v4.TokenStatus](w, "GET", "/client/v4/user/tokens/verify", ""); got.Status != "active" || got.ID == "" {
		t.Errorf("got %+v", got)
	}
}
