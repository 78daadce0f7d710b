package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// account makes an account and returns its ID and the world seen through its first token.
func (w *world) account(name string) (string, *world) {
	w.t.Helper()
	made := must[v4.AccountCreated](w, "POST", "/client/v4/installation/accounts", `{"name":"`+name+`"}`)
	other := *w
	other.token = made.Token
	return made.ID, &other
}

func TestAPITokens(t *testing.T) {
	w := newWorld(t)
	made := must[v4.APIToken](w, "POST", "/tokens", `{"name":"ci","scope":"edit","expires_on":"2100-01-01T00:00:00Z"}`)
	if !strings.HasPrefix(made.Value, control.APITokenPrefix) || made.Scope != "edit" || made.Status != "active" || made.ExpiresOn == nil || made.LastUsedOn != nil {
		t.Errorf("made %+v", made)
	}
	if got := must[v4.APIToken](w, "GET", "/tokens/"+made.ID, ""); got.Value != "" || got.Name != "ci" {
		t.Errorf("got %+v: the value is shown once", got)
	}
	if all := must[[]v4.APIToken](w, "GET", "/tokens", ""); len(all) != 2 || all[0].Name != "first" || all[0].Scope != "admin" {
		t.Errorf("listed %+v", all)
	}
	ci := *w
	ci.token = made.Value
	status := must[v4.TokenStatus](&ci, "GET", "/client/v4/user/tokens/verify", "")
	if status.ID != made.ID || status.Scope != "edit" || status.ExpiresOn == nil {
		t.Errorf("verify says %+v", status)
	}
	ci.refused("POST", "/tokens", `{"name":"more","scope":"admin"}`, 403, codeForbidden, "the API token has the scope edit, and this needs admin")

	w.refused("POST", "/tokens", `{"scope":"root","expires_on":"2001-01-01T00:00:00Z"}`, 400, codeInvalid,
		"name: is required", `scope: must be read, edit or admin, not "root"`, "expires_on: is in the past")
	w.refused("POST", "/tokens", `{"name":"x","scope":"read","expires_on":"tomorrow"}`, 400, codeMalformed, "the request body does not have the shape of this resource")
	first := must[[]v4.APIToken](w, "GET", "/tokens?name=first", "")[0]
	w.refused("DELETE", "/tokens/"+first.ID, "", 400, codeInvalid, "this is the account's last admin token: make another before you delete it")

	must[v4.Deleted](w, "DELETE", "/tokens/"+made.ID, "")
	if got := ci.request("GET", "/cfd_tunnel", ""); got.status != 401 {
		t.Errorf("with a deleted token: %d %s", got.status, got.body)
	}
	w.refused("GET", "/tokens/"+made.ID, "", 404, codeNotFound, "no such API token")
}

func TestAccountsOfAnInstallation(t *testing.T) {
	w := newWorld(t)
	w.refused("POST", "/client/v4/installation/accounts", `{"name":""}`, 400, codeInvalid, "name: is required")
	id, other := w.account("team")
	if all := must[[]v4.Account](w, "GET", "/client/v4/installation/accounts", ""); len(all) != 2 || all[1].ID != id || all[1].Name != "team" {
		t.Errorf("listed %+v", all)
	}
	if own := must[[]v4.Account](other, "GET", "/client/v4/accounts", ""); len(own) != 1 || own[0].ID != id {
		t.Errorf("the new account's token sees %+v", own)
	}
	other.refused("GET", "/client/v4/installation/accounts", "", 403, codeForbidden, "this is for admin tokens of the default account")
	must[v4.Tunnel](other, "POST", "/client/v4/accounts/"+id+"/cfd_tunnel", `{"name":"vpc"}`)
	w.refused("DELETE", "/client/v4/installation/accounts/"+id, "", 400, codeInvalid, "the account still has 1 tunnels: delete them first")
	w.refused("DELETE", "/client/v4/installation/accounts/"+control.DefaultAccountID, "", 400, codeInvalid, "the default account cannot be deleted")
	w.refused("DELETE", "/client/v4/installation/accounts/nobody", "", 404, codeNotFound, "no such account")
	tunnels := must[[]v4.Tunnel](other, "GET", "/client/v4/accounts/"+id+"/cfd_tunnel", "")
	must[v4.Tunnel](other, "DELETE", "/client/v4/accounts/"+id+"/cfd_tunnel/"+tunnels[0].ID, "")
	must[v4.Deleted](w, "DELETE", "/client/v4/installation/accounts/"+id, "")
	if got := other.request("GET", "/client/v4/accounts", ""); got.status != 401 {
		t.Errorf("a token of a deleted account: %d %s", got.status, got.body)
	}
}

// TestAccountsAreIsolated gives one account one of everything and calls every operation from another: with the first account in the
// path all are refused, and with the second all answer that there is nothing.
func TestAccountsAreIsolated(t *testing.T) {
	w := newWorld(t)
	id, other := w.account("other")
	tunnel := must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name":"vpc"}`)
	database := must[v4.Database](w, "POST", "/hyperdrive/configs",
		`{"name":"app","origin":{"tunnel_id":"vpc","service":"tcp://10.0.0.5:5432","user":"u","database":"d","password":"p"}}`)
	app := must[v4.Application](w, "GET", "/access/apps/"+database.Tunnel.ApplicationID, "")
	// The ids by the part of the path that is before them.
	ids := map[string]string{
		"cfd_tunnel": tunnel.ID, "service_tokens": database.Tunnel.ServiceTokenID, "apps": app.ID, "policies": app.Policies[0].ID,
		"configs": database.ID, "credentials": database.Credential.ID, "tokens": must[[]v4.APIToken](w, "GET", "/tokens", "")[0].ID,
	}
	before, _, err := w.control.AuditRecords(context.Background(), control.AuditFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range w.api.operations {
		if op.open != nil || !strings.Contains(op.path, "{account}") {
			continue
		}
		path := func(account string) string {
			parts := strings.Split(strings.Replace(op.path, "{account}", account, 1), "/")
			for i, part := range parts {
				if strings.HasPrefix(part, "{") {
					if found, ok := ids[parts[i-1]]; ok {
						parts[i] = found
					}
				}
			}
			return strings.Join(parts, "/")
		}
		if got := other.request(op.method, path(control.DefaultAccountID), "{}"); got.status != http.StatusForbidden {
			t.Errorf("%s %s with another account's token: %d %s", op.method, op.path, got.status, got.body)
		}
		got := other.request(op.method, path(id), "{}")
		switch {
		case strings.Count(op.path, "{") > 1:
			if got.status != http.StatusNotFound {
				t.Errorf("%s %s with another account's ids: %d %s", op.method, op.path, got.status, got.body)
			}
		case op.list && !strings.HasSuffix(op.path, "/tokens") && !strings.HasSuffix(op.path, "/audit_logs"):
			if got.status != http.StatusOK || string(got.Result) != "[]" {
				t.Errorf("%s %s shows another account: %d %s", op.method, op.path, got.status, got.body)
			}
		}
	}
	for _, body := range []string{
		`{"name":"x","origin":{"tunnel_id":"vpc","service":"tcp://10.0.0.5:5432","user":"u","database":"d","password":"p"}}`,
		`{"name":"x","origin":{"tunnel_id":"` + tunnel.ID + `","service":"tcp://10.0.0.5:5432","user":"u","database":"d","password":"p"}}`,
	} {
		other.refused("POST", "/client/v4/accounts/"+id+"/hyperdrive/configs", body, 400, codeInvalid, "origin.tunnel_id: no tunnel has this id or name")
	}
	// Whoever asks for the audit log of an account sees what happened in it, and nothing else.
	after := must[[]v4.AuditRecord](other, "GET", "/client/v4/accounts/"+id+"/audit_logs?per_page=100", "")
	for _, record := range before {
		for _, seen := range after {
			if seen.Actor == record.Actor {
				t.Errorf("another account's record is shown: %+v", seen)
			}
		}
	}
}

func TestResetToken(t *testing.T) {
	w := newWorld(t)
	kept := must[v4.APIToken](w, "POST", "/tokens", `{"name":"ci","scope":"read"}`)
	_, secret, err := w.control.ResetToken(t.Context(), control.DefaultAccountID)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.request("GET", "/tokens", ""); got.status != 401 {
		t.Errorf("the first token after a reset: %d %s", got.status, got.body)
	}
	w.token = secret.Reveal()
	var names []string
	for _, token := range must[[]v4.APIToken](w, "GET", "/tokens", "") {
		names = append(names, token.Name+" "+token.Scope)
	}
	if got, _ := json.Marshal(names); string(got) != `["ci read","first admin"]` {
		t.Errorf("tokens after a reset: %s, want %s and a new first one", got, kept.Name)
	}
	if _, _, err := w.control.ResetToken(t.Context(), "nobody"); err == nil {
		t.Error("a token of an account that is not there")
	}
	if _, _, err := w.control.CreateAPIToken(t.Context(), control.DefaultAccountID, "x", "", time.Time{}); err == nil {
		t.Error("a token without a scope")
	}
}
