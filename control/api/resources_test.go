package api

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func TestTunnels(t *testing.T) {
	w := newWorld(t)
	made := must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name": "vpc-1", "config_src": "cloudflare", "warp": "ignored"}`)
	if made.Name != "vpc-1" || made.TunType != "cfd_tunnel" || made.CreatedAt.IsZero() || made.DeletedAt != nil {
		t.Errorf("made %+v", made)
	}
	path := "/cfd_tunnel/" + made.ID
	if got := must[v4.Tunnel](w, "GET", path, ""); !reflect.DeepEqual(got, made) {
		t.Errorf("got %+v, want %+v", got, made)
	}
	if got := must[[]v4.Tunnel](w, "GET", "/cfd_tunnel?name=vpc-1", ""); len(got) != 1 || !reflect.DeepEqual(got[0], made) {
		t.Errorf("by name: %+v", got)
	}
	if got := must[[]v4.Tunnel](w, "GET", "/cfd_tunnel?name=vpc-2", ""); len(got) != 0 {
		t.Errorf("by another name: %+v", got)
	}
	if got := must[[]v4.Tunnel](w, "GET", "/cfd_tunnel?is_deleted=true", ""); len(got) != 0 {
		t.Errorf("deleted: %+v", got)
	}
	token := must[string](w, "GET", path+"/token", "")
	if id, secret, _ := strings.Cut(token, ":"); id != made.ID || len(secret) < 32 {
		t.Errorf("token of %d characters", len(token))
	}
	w.refused("POST", "/cfd_tunnel", `{"name": "vpc-1"}`, 409, codeExists, "tunnel vpc-1: exists already")
	w.refused("POST", "/cfd_tunnel", `{"name": ""}`, 400, codeInvalid, "name: is required")
	w.refused("POST", "/cfd_tunnel", `{"name": "a", "config_src": "local"}`, 400, codeInvalid, `config_src: must be "cloudflare": ingress is configured here, not beside the connector`)
	w.refused("GET", "/cfd_tunnel/none", "", 404, codeNotFound, "no such tunnel")
	w.refused("DELETE", "/cfd_tunnel/none", "", 404, codeNotFound, "no such tunnel")
	if got := must[v4.Tunnel](w, "DELETE", path, ""); got.ID != made.ID {
		t.Errorf("deleted %+v", got)
	}
	w.refused("GET", path+"/token", "", 404, codeNotFound, "no such tunnel")
}

func TestConfigurations(t *testing.T) {
	w := newWorld(t)
	tunnel := must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name": "vpc-1"}`)
	path := "/cfd_tunnel/" + tunnel.ID + "/configurations"
	empty := must[v4.TunnelConfiguration](w, "GET", path, "")
	if len(empty.Config.Ingress) != 1 || empty.Config.Ingress[0].Service != catchAll {
		t.Errorf("a new tunnel has %+v", empty)
	}
	// As Cloudflare's clients send it: as text/plain, with a catch-all rule, and with fields that we do not have.
	got := w.request("PUT", path, `{"config": {"ingress": [
		{"hostname": "db.internal.example", "service": "tcp://10.0.0.5:5432", "originRequest": {"connectTimeout": 5, "noTLSVerify": true,
			"proxyProtocol": "v2", "access": {"required": true, "teamName": "t", "audTag": ["8f0c2f3a-6d1c-4f4e-9a53-0e4a3c1b2d5e"]}}},
		{"service": "http_status:404"}], "warp-routing": {"enabled": false}}}`, "Content-Type", "text/plain;charset=UTF-8")
	if got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	configured := must[v4.TunnelConfiguration](w, "GET", path, "")
	if configured.Version != empty.Version+1 || len(configured.Config.Ingress) != 2 || configured.Config.Ingress[0].Service != "tcp://10.0.0.5:5432" {
		t.Errorf("configured %+v", configured)
	}
	if o := configured.Config.Ingress[0].OriginRequest; o == nil || o.ConnectTimeout != 5 || o.ProxyProtocol != "v2" || o.TCPKeepAlive != 0 ||
		o.Access == nil || !o.Access.Required || len(o.Access.AudTag) != 1 {
		t.Errorf("configured %+v", o)
	}
	w.refused("PUT", path, `{"config": {"ingress": [{"hostname": "a.example", "service": "tcp://h:1", "originRequest": {"connectTimeout": 61,
		"tcpKeepAlive": -1, "proxyProtocol": "v1", "access": {"required": true, "audTag": ["x"]}}}]}}`, 400, codeInvalid,
		"ingress[0].originRequest.connectTimeout: must be 1 to 60 seconds, or 0 for the connector's own",
		"ingress[0].originRequest.tcpKeepAlive: must be 1 to 7200 seconds, or 0 for the connector's own",
		"ingress[0].originRequest.proxyProtocol: must be v2, or empty for none",
		"ingress[0].originRequest.access.audTag: must name applications by their ids, which are UUIDs")
	w.refused("PUT", path, `{"config": {"ingress": [{"hostname": "a.example", "service": "tcp://h:1", "originRequest": {"access": {"required": true}}}]}}`,
		400, codeInvalid, "ingress[0].originRequest.access.audTag: is required: the ids of the applications that may admit a stream")
	w.refused("PUT", path, fmt.Sprintf(`{"config": {"ingress": []}, "version": %d}`, empty.Version), 409, codeConflict,
		fmt.Sprintf("the configuration has version %d, not %d; read it again and retry", configured.Version, empty.Version))
	w.refused("PUT", path, `{}`, 400, codeInvalid, "config: is required")
	w.refused("PUT", path, `{"config": {"ingress": [{"hostname": "a.example", "service": "http://h"}, {"hostname": "a b", "service": "tcp://h:0"}]}}`,
		400, codeInvalid, "ingress[0].service: must be tcp://host:port or unix:/path", "ingress[1].service: must have a port between 1 and 65535",
		"ingress[1].hostname: must consist of labels of 1 to 63 letters, digits, hyphens and underscores, in ASCII form")
	other := must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name": "vpc-2"}`)
	w.refused("PUT", "/cfd_tunnel/"+other.ID+"/configurations", `{"config": {"ingress": [{"hostname": "db.internal.example", "service": "tcp://h:1"}]}}`,
		409, codeExists, "ingress[0]: hostname db.internal.example: exists already")
	if now := must[v4.TunnelConfiguration](w, "GET", path, ""); now.Version != configured.Version {
		t.Errorf("refused changes made version %d of %d", now.Version, configured.Version)
	}
}

func TestServiceTokens(t *testing.T) {
	w := newWorld(t)
	made := must[v4.ServiceToken](w, "POST", "/access/service_tokens", `{"name": "app", "duration": "forever"}`)
	if !strings.HasSuffix(made.ClientID, ".access") || !strings.HasPrefix(made.ClientSecret, "slst_") || made.Duration != "forever" || made.ExpiresAt != nil || !made.Enabled {
		t.Errorf("made %+v", made)
	}
	path := "/access/service_tokens/" + made.ID
	shown := w.request("GET", path, "")
	if shown.status != 200 || strings.Contains(shown.body, made.ClientSecret) || strings.Contains(shown.body, `"client_secret":`) {
		t.Error("the secret is shown again")
	}
	year := must[v4.ServiceToken](w, "POST", "/access/service_tokens", `{"name": "year"}`)
	if year.Duration != "8760h0m0s" || year.ExpiresAt == nil || year.ExpiresAt.Sub(year.CreatedAt).Hours() != 8760 {
		t.Errorf("by default: %+v", year)
	}
	disabled := must[v4.ServiceToken](w, "PUT", path, `{"enabled": false}`)
	if disabled.Enabled || disabled.Name != "app" {
		t.Errorf("disabled %+v", disabled)
	}
	if got := must[v4.ServiceToken](w, "PUT", path, `{"enabled": true, "name": "renamed"}`); !got.Enabled || got.Name != "renamed" {
		t.Errorf("enabled %+v", got)
	}
	for _, duration := range []string{"yesterday", "-1h", "0s", "1d"} {
		w.refused("POST", "/access/service_tokens", `{"name": "a", "duration": "`+duration+`"}`, 400, codeInvalid,
			`duration: must be a duration such as 8760h, or "forever"`)
	}
	w.refused("POST", "/access/service_tokens", `{}`, 400, codeInvalid, "name: is required")
	must[v4.ServiceToken](w, "DELETE", path, "")
	w.refused("PUT", path, `{"enabled": true}`, 404, codeNotFound, "no such service token")
	if got := must[[]v4.ServiceToken](w, "GET", "/access/service_tokens", ""); len(got) != 1 || got[0].ID != year.ID {
		t.Errorf("left: %+v", got)
	}
}

func TestApplicationsAndPolicies(t *testing.T) {
	w := newWorld(t)
	token := must[v4.ServiceToken](w, "POST", "/access/service_tokens", `{"name": "app"}`)
	admit := `{"name": "admit", "decision": "non_identity", "include": [{"service_token": {"token_id": "` + token.ID + `"}}]}`
	made := must[v4.Application](w, "POST", "/access/apps", `{"name": "db", "domain": "db.internal.example", "type": "self_hosted", "session_duration": "0s", "policies": [`+admit+`]}`)
	if made.Domain != "db.internal.example" || made.Type != "self_hosted" || len(made.Policies) != 1 || made.Policies[0].Precedence != 1 || made.Policies[0].ID == "" {
		t.Errorf("made %+v", made)
	}
	path := "/access/apps/" + made.ID
	block := must[v4.Policy](w, "POST", path+"/policies", `{"name": "block", "decision": "block", "include": [{"everyone": {}}], "precedence": 1}`)
	if block.Precedence != 1 || block.Decision != "block" || block.Require == nil {
		t.Errorf("made %+v", block)
	}
	policies := must[[]v4.Policy](w, "GET", path+"/policies", "")
	if len(policies) != 2 || policies[0].ID != block.ID || policies[1].ID != made.Policies[0].ID || policies[1].Precedence != 2 {
		t.Errorf("policies %+v", policies)
	}
	moved := must[v4.Policy](w, "PUT", path+"/policies/"+block.ID, `{"name": "block", "decision": "block", "include": [{"ip": {"ip": "10.0.0.0/8"}}], "precedence": 2}`)
	if moved.Precedence != 2 || moved.Include[0].Value != "10.0.0.0/8" || moved.ID != block.ID {
		t.Errorf("moved %+v", moved)
	}
	if got := must[v4.Policy](w, "GET", path+"/policies/"+block.ID, ""); got.Precedence != 2 {
		t.Errorf("got %+v", got)
	}
	renamed := must[v4.Application](w, "PUT", path, `{"name": "renamed", "domain": "db.internal.example"}`)
	if renamed.Name != "renamed" || len(renamed.Policies) != 2 {
		t.Errorf("renamed %+v", renamed)
	}
	w.refused("PUT", path, `{"name": "a", "domain": "db.internal.example", "policies": [{"id": "none", "name": "a", "decision": "block", "include": [{"everyone": {}}]}]}`,
		400, codeInvalid, "policies[0].id: is that of no policy of this application; leave it out for a new one")
	w.refused("POST", "/access/apps", `{"name": "db", "domain": "db.internal.example"}`, 409, codeExists, "application for hostname db.internal.example: exists already")
	w.refused("POST", "/access/apps", `{"name": "", "domain": "a b"}`, 400, codeInvalid, "name: is required",
		"domain: must consist of labels of 1 to 63 letters, digits, hyphens and underscores, in ASCII form")
	w.refused("POST", "/access/apps", `{"name": "db", "domain": "a.example", "type": "ssh"}`, 400, codeInvalid, `type: must be "self_hosted"`)
	w.refused("POST", path+"/policies", `{"name": "a", "decision": "block", "include": [{"everyone": {}}], "precedence": -1}`, 400, codeInvalid,
		"precedence: must be 1 or more, or absent for the last place")
	w.refused("POST", path+"/policies", `{"name": "a", "decision": "perhaps", "include": [{"geo": {"country_code": "XX"}}, {"ip": {"ip": "10.0.0.0/99"}}]}`,
		400, codeInvalid, `decision: must be allow, block, bypass or non_identity, not "perhaps"`, `include[0]: has the unknown selector "geo"`,
		`include[1]: is not an IP address or a range in CIDR form: "10.0.0.0/99"`)
	w.refused("DELETE", path+"/policies/none", "", 404, codeNotFound, "no such policy")
	must[map[string]string](w, "DELETE", path+"/policies/"+block.ID, "")
	w.refused("GET", path+"/policies/"+block.ID, "", 404, codeNotFound, "no such policy")
	must[map[string]string](w, "DELETE", path, "")
	w.refused("GET", path+"/policies", "", 404, codeNotFound, "no such application")
	if got := must[[]v4.Application](w, "GET", "/access/apps?domain=db.internal.example", ""); len(got) != 0 {
		t.Errorf("left: %+v", got)
	}
}

func TestPagination(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		must[v4.Tunnel](w, "POST", "/cfd_tunnel", fmt.Sprintf(`{"name": "vpc-%d"}`, i))
	}
	got := w.request("GET", "/cfd_tunnel?per_page=2&page=2", "")
	want := v4.ResultInfo{Page: 2, PerPage: 2, Count: 2, TotalCount: 5, TotalPages: 3}
	if got.ResultInfo == nil || *got.ResultInfo != want || !strings.Contains(got.body, "vpc-2") || !strings.Contains(got.body, "vpc-3") {
		t.Errorf("got %s, want %+v", got.body, want)
	}
	w.refused("GET", "/cfd_tunnel?page=0", "", 400, codeQuery, "page: must be a whole number from 1 to 1048576")
}

func TestAudit(t *testing.T) {
	w := newWorld(t)
	tunnel := must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name": "vpc-1"}`)
	w.request("POST", "/cfd_tunnel", `{"name": "vpc-1"}`)
	w.request("GET", "/cfd_tunnel", "", "Authorization", "Bearer wrong")
	must[string](w, "GET", "/cfd_tunnel/"+tunnel.ID+"/token", "")
	records := eventually(t, func() ([]v4.AuditRecord, bool) {
		records := must[[]v4.AuditRecord](w, "GET", "/audit_logs", "")
		return records, len(records) >= 4
	})
	// Newest first, but for the attempt with a wrong token, which is written in the background. Nobody knows who made it.
	slices.SortFunc(records, func(a, b v4.AuditRecord) int { return b.When.Compare(a.When) })
	want := []struct{ action, outcome, target string }{
		{"tunnel.token", "ok", tunnel.ID}, {"api.authenticate", "unauthenticated", "GET"}, {"tunnel.create", "error", "vpc-1"}, {"tunnel.create", "ok", tunnel.ID},
	}
	for i, want := range want {
		got := records[i]
		if got.Action != want.action || got.Outcome != want.outcome || got.Target != want.target || (got.Actor == "") != (want.outcome == "unauthenticated") || got.Remote == "" || got.When.IsZero() {
			t.Errorf("record %d is %+v, want %+v", i, got, want)
		}
	}
	if got := must[[]v4.AuditRecord](w, "GET", "/audit_logs?outcome=error&action=tunnel.create", ""); len(got) != 1 || got[0].Reason == "" {
		t.Errorf("filtered: %+v", got)
	}
	w.refused("GET", "/audit_logs?outcome=failed", "", 400, codeQuery, "outcome: must be ok, error, allowed, denied or unauthenticated")
	w.refused("GET", "/audit_logs?since=yesterday", "", 400, codeQuery, "since: must be a time such as 2006-01-02T15:04:05Z")
}

// What a request names is repeated in the log, but not a megabyte of it: the store would not take the record.
func TestAuditRecordsAreBounded(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("ä", 200_000)
	got := w.request("POST", "/access/apps", `{"name":"x","domain":"`+long+`"}`)
	if got.status != http.StatusBadRequest {
		t.Fatalf("got %d", got.status)
	}
	got = w.request("POST", "/access/apps", `{"name":"x","domain":"a.b","policies":[{"name":"p","include":[{"`+long+`":{}}]}]}`)
	if got.status != http.StatusBadRequest {
		t.Fatalf("got %d", got.status)
	}
	records := eventually(t, func() ([]v4.AuditRecord, bool) {
		records := must[[]v4.AuditRecord](w, "GET", "/audit_logs?action=application.create", "")
		return records, len(records) >= 2
	})
	for _, r := range records {
		if len(r.Target) > textMax+3 || len(r.Reason) > textMax+3 || !utf8.ValidString(r.Target+r.Reason) {
			t.Errorf("target of %d bytes, reason of %d, want at most %d of valid text", len(r.Target), len(r.Reason), textMax)
		}
	}
}

func TestRulesOfAnotherShapeAreExplained(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct{ rule, message string }{
		{`{"ip":"10.0.0.0/8"}`, `selector "ip": a rule is an object with one selector, such as {"everyone":{}}`},
		{`{"everyone":{"except":"x"}}`, `a rule is an object with one selector, such as {"everyone":{}}: selector everyone has no field "except"`},
		{`"everyone"`, `a rule is an object with one selector, such as {"everyone":{}}`},
	} {
		w.refused("POST", "/access/apps", `{"name":"x","domain":"a.b","policies":[{"name":"p","decision":"allow","include":[`+tt.rule+`]}]}`,
			http.StatusBadRequest, codeMalformed, tt.message)
	}
}

func TestBodyBounds(t *testing.T) {
	w := newWorld(t)
	got := w.request("POST", "/cfd_tunnel", `{"name": "`+strings.Repeat("a", bodyMax)+`"}`)
	if got.status != http.StatusRequestEntityTooLarge || got.Errors[0].Code != codeTooLarge {
		t.Errorf("got %d %s", got.status, got.body)
	}
	w.refused("POST", "/cfd_tunnel", "", 400, codeMalformed, "the request body is empty; it must be a JSON object")
}
