package api

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// answeredOperations are those that a test of this package had an answer of the declared type from.
var answeredOperations sync.Map

// TestMain fails a whole run of the package in which some operation never answered: only an answer that was given shows that the
// handler and its declaration agree.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	partial := false
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		partial = partial || flag.Lookup(name).Value.String() != ""
	}
	if code == 0 && !partial {
		for _, op := range New(Config{}).operations {
			if _, ok := answeredOperations.Load(op.method + " " + op.path); !ok && op.open == nil {
				fmt.Printf("FAIL: no test of this package had an answer from %s %s: write one that calls it with success, so that the types in routes.go are checked\n", op.method, op.path)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// spec is the served document.
func spec(t *testing.T) map[string]any {
	t.Helper()
	recorder := httptest.NewRecorder()
	newWorld(t).api.ServeHTTP(recorder, httptest.NewRequest("GET", "/openapi.json", nil))
	var document map[string]any
	if err := json.Unmarshal(recorder.Body.Bytes(), &document); err != nil || recorder.Code != 200 {
		t.Fatalf("GET /openapi.json: %d, %v", recorder.Code, err)
	}
	return document
}

// TestOpenAPIHasEveryRoute: every operation of the mux is in the document, described, with a name of its own, and says what it
// takes, answers and needs.
func TestOpenAPIHasEveryRoute(t *testing.T) {
	document := spec(t)
	paths := document["paths"].(map[string]any)
	ids := map[string]bool{}
	for _, op := range New(Config{}).operations {
		path, _ := paths[op.path].(map[string]any)
		described, _ := path[strings.ToLower(op.method)].(map[string]any)
		if described == nil {
			t.Errorf("%s %s is not in the document", op.method, op.path)
			continue
		}
		if described["summary"] == "" {
			t.Errorf("%s %s has no summary: give it a row in API.md", op.method, op.path)
		}
		id := described["operationId"].(string)
		if ids[id] || strings.Contains(id, "func") {
			t.Errorf("%s %s: the operationId %q is another's too, or no method's name: register a method of API", op.method, op.path, id)
		}
		ids[id] = true
		// Making a policy reusable is a PUT without a body in Cloudflare's API.
		hasBody := described["requestBody"] != nil
		if write := slices.Contains([]string{"PUT", "PATCH"}, op.method); write && !hasBody && !strings.HasSuffix(op.path, "/make_reusable") {
			t.Errorf("%s %s has no body: its route in routes.go must say .takes(v4.SomeType{})", op.method, op.path)
		}
		for _, name := range op.query {
			if parameters[name] == "" {
				t.Errorf("%s %s: the query parameter %s has no words: add them to parameters in openapi.go", op.method, op.path, name)
			}
		}
	}
}

// TestOpenAPIRefersToWhatThereIs: every reference resolves, every component is described and is referred to.
func TestOpenAPIRefersToWhatThereIs(t *testing.T) {
	document := spec(t)
	components := document["components"].(map[string]any)
	used := map[string]bool{}
	var walk func(any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			if reference, ok := node["$ref"].(string); ok {
				used[reference] = true
			}
			for _, child := range node {
				walk(child)
			}
		case []any:
			for _, child := range node {
				walk(child)
			}
		}
	}
	walk(document)
	there := map[string]bool{}
	for kind, all := range components {
		for name, component := range all.(map[string]any) {
			if kind == "securitySchemes" {
				continue
			}
			there["#/components/"+kind+"/"+name] = true
			if words, _ := component.(map[string]any)["description"].(string); words == "" {
				t.Errorf("%s %s has no description: give its type in v4 a comment", kind, name)
			}
		}
	}
	if len(used) < 15 {
		t.Errorf("only %d references: %v", len(used), used)
	}
	for reference := range used {
		if !there[reference] {
			t.Errorf("%s is referred to and not there", reference)
		}
	}
	for reference := range there {
		if !used[reference] {
			t.Errorf("%s is there and not referred to", reference)
		}
	}
}

// TestDepartures: a handler that reads, answers or lists another type than its route declares is told on, with the mend.
func TestDepartures(t *testing.T) {
	w := newWorld(t)
	var heard []string
	w.api.departs = func(_ *operation, err error) { heard = append(heard, err.Error()) }
	for i, op := range w.api.operations {
		switch op.method + " " + strings.TrimPrefix(op.path, "/client/v4/accounts/{account}") {
		case "POST /cfd_tunnel", "GET /cfd_tunnel":
			w.api.operations[i].request, w.api.operations[i].result = nil, nil
		}
	}
	w.request("POST", "/cfd_tunnel", `{"name":"vpc"}`)
	w.request("GET", "/cfd_tunnel", "")
	want := []string{
		"the handler reads a v4.TunnelCreate; its route in routes.go must say .takes(v4.TunnelCreate{})",
		"the handler answers v4.Tunnel; its route in routes.go must say .gives(v4.Tunnel{})",
		"the handler lists v4.Tunnel; its route in routes.go must say .lists(v4.Tunnel{})",
	}
	if !slices.Equal(heard, want) {
		t.Errorf("got %q\nwant %q", heard, want)
	}
}

// TestUndeclaredParametersDoNotArrive: a handler sees the query parameters of its declaration alone, so that none is undocumented.
func TestUndeclaredParametersDoNotArrive(t *testing.T) {
	w := newWorld(t)
	must[any](w, "POST", "/cfd_tunnel", `{"name":"vpc"}`)
	for _, op := range w.api.operations {
		if op.method == "GET" && strings.HasSuffix(op.path, "/cfd_tunnel") {
			op.query = []string{"page"}
		}
	}
	if got := must[[]any](w, "GET", "/cfd_tunnel?name=other", ""); len(got) != 1 {
		t.Errorf("an undeclared name selected: got %v", got)
	}
}
