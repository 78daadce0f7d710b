package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/control"
)

// with returns the same world seen through another token.
func (w *world) with(scope control.Scope) *world {
	w.t.Helper()
	_, secret, err := w.control.CreateAPIToken(w.t.Context(), control.DefaultAccountID, string(scope), scope, time.Time{})
	if err != nil {
		w.t.Fatal(err)
	}
	other := *w
	other.token = secret.Reveal()
	return &other
}

// TestScopes calls every operation with a token of every scope: those that its scope does not reach are refused before anything else
// is looked at, and the others are not refused for their scope.
func TestScopes(t *testing.T) {
	w := newWorld(t)
	worlds := map[control.Scope]*world{}
	for _, scope := range []control.Scope{control.ScopeRead, control.ScopeEdit, control.ScopeAdmin} {
		worlds[scope] = w.with(scope)
	}
	for _, op := range w.api.operations {
		if op.open != nil {
			continue
		}
		if op.method != "GET" && op.scope == control.ScopeRead {
			t.Errorf("%s %s changes something, and a token that may only read may call it: its route must name an action", op.method, op.path)
		}
		path := strings.NewReplacer("{account}", control.DefaultAccountID, "{", "", "}", "").Replace(op.path)
		for scope, w := range worlds {
			want := fmt.Sprintf("the API token has the scope %s, and this needs %s", scope, op.scope)
			got := w.request(op.method, path, "")
			refused := got.status == 403 && len(got.Errors) == 1 && got.Errors[0].Message == want
			if refused == scope.Includes(op.scope) {
				t.Errorf("%s %s, which needs %s, with a token of %s: %d %s", op.method, path, op.scope, scope, got.status, got.body)
			}
		}
	}
}

func TestPagesOfOtherOriginsAreRefused(t *testing.T) {
	w := newWorld(t)
	const message = "a page of another origin may not send this request"
	for _, header := range [][2]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}} {
		got := w.request("POST", "/cfd_tunnel", `{"name":"vpc"}`, header[0], header[1])
		if got.status != 403 || got.Errors[0].Code != codeCrossOrigin || got.Errors[0].Message != message {
			t.Errorf("%s: got %d %s", header, got.status, got.body)
		}
		if got := w.request("GET", "/cfd_tunnel", "", header[0], header[1]); got.status != 200 {
			t.Errorf("%s: a GET got %d %s", header, got.status, got.body)
		}
	}
	if got := w.request("POST", "/cfd_tunnel", `{"name":"vpc"}`, "Sec-Fetch-Site", "same-origin"); got.status != 200 {
		t.Errorf("a page of the same origin: got %d %s", got.status, got.body)
	}
}
