package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func TestServiceTokensRotate(t *testing.T) {
	w := newWorld(t)
	made := must[v4.ServiceToken](w, "POST", "/access/service_tokens", `{"name": "app", "duration": "24h"}`)
	path := "/access/service_tokens/" + made.ID
	if made.ClientSecretVersion != 1 || made.PreviousClientSecretExpiresAt != nil {
		t.Errorf("made %+v", made)
	}
	grace := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	body := `{"previous_client_secret_expires_at": "` + grace.Format(time.RFC3339) + `"}`
	rotated := must[v4.ServiceToken](w, "POST", path+"/rotate", body)
	if rotated.ClientSecret == "" || rotated.ClientSecret == made.ClientSecret || rotated.ClientID != made.ClientID || rotated.ClientSecretVersion != 2 ||
		rotated.PreviousClientSecretExpiresAt == nil || !rotated.PreviousClientSecretExpiresAt.Equal(grace) {
		t.Errorf("rotated %+v", rotated)
	}
	w.refused("POST", path+"/rotate", body, 409, codeTwoSecrets, "two secrets are live already: wait until the previous one expires, or rotate without a grace")
	ended := must[v4.ServiceToken](w, "POST", path+"/rotate", "")
	if ended.ClientSecretVersion != 3 || ended.PreviousClientSecretExpiresAt != nil || ended.ClientSecret == rotated.ClientSecret {
		t.Errorf("rotated without a grace: %+v", ended)
	}
	// As Terraform does it.
	byVersion := must[v4.ServiceToken](w, "PUT", path, `{"name": "app", "client_secret_version": 4, "previous_client_secret_expires_at": "`+grace.Format(time.RFC3339)+`"}`)
	if byVersion.ClientSecret == "" || byVersion.ClientSecretVersion != 4 || byVersion.PreviousClientSecretExpiresAt == nil {
		t.Errorf("rotated by version: %+v", byVersion)
	}
	if same := must[v4.ServiceToken](w, "PUT", path, `{"client_secret_version": 4}`); same.ClientSecret != "" || same.ClientSecretVersion != 4 {
		t.Errorf("the version of before: %+v", same)
	}
	for _, version := range []int{3, 6, -1} {
		w.refused("PUT", path, fmt.Sprintf(`{"client_secret_version": %d}`, version), 400, codeInvalid, "client_secret_version: must be 4, or 5 to rotate the secret")
	}
	refreshed := must[v4.ServiceToken](w, "POST", path+"/refresh", "")
	if !refreshed.ExpiresAt.After(*made.ExpiresAt) || refreshed.ClientSecret != "" {
		t.Errorf("refreshed %+v of %+v", refreshed, made)
	}
	longer := must[v4.ServiceToken](w, "PUT", path, `{"duration": "48h"}`)
	if longer.Duration != "48h0m0s" || longer.ExpiresAt.Sub(*refreshed.ExpiresAt) < 23*time.Hour {
		t.Errorf("longer %+v", longer)
	}
	if forever := must[v4.ServiceToken](w, "PUT", path, `{"duration": "forever"}`); forever.ExpiresAt != nil || forever.Duration != "forever" {
		t.Errorf("forever %+v", forever)
	}
	w.refused("PUT", path, `{"duration": "-1h"}`, 400, codeInvalid, `duration: must be a duration such as 8760h, or "forever"`)
	w.refused("POST", "/access/service_tokens/none/rotate", "", 404, codeNotFound, "no such service token")
	w.refused("POST", "/access/service_tokens/none/refresh", "", 404, codeNotFound, "no such service token")
	// A disabled token has one secret, and none in its grace, when it is enabled again.
	must[v4.ServiceToken](w, "PUT", path, `{"enabled": false}`)
	if again := must[v4.ServiceToken](w, "PUT", path, `{"enabled": true}`); again.PreviousClientSecretExpiresAt != nil {
		t.Errorf("enabled again: %+v", again)
	}
}

func TestReusablePolicies(t *testing.T) {
	w := newWorld(t)
	const everyone = `"include": [{"everyone": {}}]`
	made := must[v4.Policy](w, "POST", "/access/policies", `{"name": "all", "decision": "bypass", `+everyone+`, "session_duration": "24h"}`)
	if !made.Reusable || made.AppCount == nil || *made.AppCount != 0 || made.CreatedAt == nil || made.Precedence != 0 {
		t.Errorf("made %+v", made)
	}
	path := "/access/policies/" + made.ID
	app := must[v4.Application](w, "POST", "/access/apps", `{"name": "a", "domain": "a.example", "policies": ["`+made.ID+`", {"name": "own", "decision": "block", `+everyone+`}]}`)
	if len(app.Policies) != 2 || app.Policies[0].ID != made.ID || !app.Policies[0].Reusable || app.Policies[0].Name != "all" || app.Policies[0].Precedence != 1 || app.Policies[1].Reusable {
		t.Errorf("linked %+v", app)
	}
	own := app.Policies[1]
	other := must[v4.Application](w, "POST", "/access/apps", `{"name": "b", "domain": "", "destinations": [{"type": "public", "uri": "b.example"}], "self_hosted_domains": ["b.example"],
		"policies": [{"name": "last", "decision": "block", "precedence": 9, `+everyone+`}, {"id": "`+made.ID+`", "precedence": 3}]}`)
	if other.Domain != "b.example" || len(other.Policies) != 2 || other.Policies[0].ID != made.ID {
		t.Errorf("by precedence %+v", other)
	}
	if got := must[v4.Policy](w, "GET", path, ""); *got.AppCount != 2 {
		t.Errorf("part of %d applications, want 2", *got.AppCount)
	}
	w.refused("DELETE", path, "", 409, codeInUse, "policy all is part of 2 applications: in use")
	changed := must[v4.Policy](w, "PUT", path, `{"name": "none", "decision": "block", `+everyone+`}`)
	if changed.Name != "none" || *changed.AppCount != 2 {
		t.Errorf("changed %+v", changed)
	}
	if got := must[v4.Policy](w, "GET", "/access/apps/"+app.ID+"/policies/"+made.ID, ""); got.Decision != "block" {
		t.Errorf("the application still has %+v", got)
	}
	appPolicy := "/access/apps/" + app.ID + "/policies/"
	w.refused("PUT", appPolicy+made.ID, `{"name": "x", "decision": "bypass", `+everyone+`}`, 400, codeInvalid,
		"id: is that of a reusable policy, which other applications may share: change it at /access/policies/"+made.ID)
	if moved := must[v4.Policy](w, "PUT", appPolicy+made.ID, `{"precedence": 2}`); moved.Precedence != 2 || moved.Name != "none" {
		t.Errorf("moved %+v", moved)
	}
	shared := must[v4.Policy](w, "PUT", appPolicy+own.ID+"/make_reusable", "")
	if shared.ID != own.ID || !shared.Reusable || *shared.AppCount != 1 {
		t.Errorf("shared %+v", shared)
	}
	w.refused("PUT", appPolicy+own.ID+"/make_reusable", "", 409, codeExists, "reusable policy: exists already")
	w.refused("PUT", appPolicy+"none/make_reusable", "", 404, codeNotFound, "no such policy")
	if linked := must[v4.Policy](w, "POST", "/access/apps/"+other.ID+"/policies", `{"id": "`+own.ID+`", "precedence": 1}`); linked.ID != own.ID || linked.Precedence != 1 {
		t.Errorf("linked %+v", linked)
	}
	w.refused("POST", "/access/apps/"+other.ID+"/policies", `{"id": "`+own.ID+`"}`, 409, codeExists, "policy of this application: exists already")
	if got := must[[]v4.Policy](w, "GET", "/access/policies?name=own", ""); len(got) != 1 || *got[0].AppCount != 2 {
		t.Errorf("by name: %+v", got)
	}
	// What is given back as it was read stays as it is.
	kept := must[v4.Application](w, "PUT", "/access/apps/"+other.ID, `{"name": "b", "domain": "b.example", "policies": [
		{"id": "`+own.ID+`", "name": "changed by mistake", "decision": "bypass", `+everyone+`}, {"id": "`+other.Policies[1].ID+`"}]}`)
	if len(kept.Policies) != 2 || kept.Policies[0].Name != "own" || kept.Policies[0].Decision != "block" || kept.Policies[1].Name != "last" {
		t.Errorf("kept %+v", kept)
	}
	must[map[string]string](w, "DELETE", "/access/apps/"+app.ID, "")
	if got := must[v4.Policy](w, "GET", path, ""); *got.AppCount != 0 {
		t.Errorf("part of %d applications, want none", *got.AppCount)
	}
	must[map[string]string](w, "DELETE", path, "")
	w.refused("GET", path, "", 404, codeNotFound, "no such policy")
	must[map[string]string](w, "DELETE", "/access/apps/"+other.ID+"/policies/"+own.ID, "")
	must[map[string]string](w, "DELETE", "/access/policies/"+own.ID, "")
}

func TestRefusedApplications(t *testing.T) {
	w := newWorld(t)
	const guards = "must be the domain: an application guards one hostname, with a leading *. every name below"
	tests := []struct {
		name, body string
		messages   []string
	}{
		{"a link to nothing", `"domain": "a.example", "policies": ["11111111-1111-1111-1111-111111111111"]`,
			[]string{`policies[0].id: is that of no reusable policy: "11111111-1111-1111-1111-111111111111"`}},
		{"a link twice", `"domain": "a.example", "policies": ["x", "x"]`, []string{"policies[1].id: is that of another policy of this application"}},
		{"two destinations", `"domain": "a.example", "destinations": [{"uri": "a.example"}, {"uri": "b.example"}]`, []string{"destinations[1].uri: " + guards}},
		{"a private destination", `"domain": "a.example", "destinations": [{"type": "private", "uri": "a.example"}]`, []string{`destinations[0].type: must be "public"`}},
		{"two domains", `"self_hosted_domains": ["a.example", "b.example"]`, []string{"self_hosted_domains[1]: " + guards}},
		{"conditions that nobody checks", `"domain": "a.example", "policies": [{"name": "p", "decision": "allow", "include": [{"everyone": {}}], "approval_required": true, "isolation_required": true}]`,
			[]string{"policies[0].approval_required: must be false: service tokens cannot do this", "policies[0].isolation_required: must be false: service tokens cannot do this"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inner := *w
			inner.t = t
			inner.refused("POST", "/access/apps", `{"name": "a", `+tt.body+`}`, 400, codeInvalid, tt.messages...)
		})
	}
	w.refused("POST", "/access/policies", `{"name": "", "decision": "perhaps", "include": []}`, 400, codeInvalid, "name: is required",
		`decision: must be allow, block, bypass or non_identity, not "perhaps"`, "include: needs at least one rule: a policy without one matches nothing")
	w.refused("PUT", "/access/policies/none", `{"name": "a"}`, 404, codeNotFound, "no such policy")
	w.refused("DELETE", "/access/policies/none", "", 404, codeNotFound, "no such policy")
	w.refused("POST", "/access/policies", `{"name": "p", "decision": "allow", "include": [{"everyone": {}}], "purpose_justification_required": true}`, 400, codeInvalid,
		"purpose_justification_required: must be false: service tokens cannot do this")
}

func TestAccessIsExplained(t *testing.T) {
	w := newWorld(t)
	token := must[v4.ServiceToken](w, "POST", "/access/service_tokens", `{"name": "app"}`)
	tunnel := must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name": "vpc-1"}`)
	must[v4.TunnelConfiguration](w, "PUT", "/cfd_tunnel/"+tunnel.ID+"/configurations", `{"config": {"ingress": [{"hostname": "db.example", "service": "tcp://10.0.0.5:5432"}]}}`)
	app := must[v4.Application](w, "POST", "/access/apps", `{"name": "db", "domain": "db.example", "policies": [
		{"name": "office", "decision": "bypass", "include": [{"ip": {"ip": "10.0.0.0/8"}}]},
		{"name": "app", "decision": "non_identity", "include": [{"service_token": {"token_id": "`+token.ID+`"}}]}]}`)
	test := func(body string) v4.AccessTestResult {
		return must[v4.AccessTestResult](w, "POST", "/access/test", body)
	}

	got := test(`{"hostname": "DB.example.", "client_id": "` + token.ClientID + `"}`)
	if got.Outcome != "allowed" || got.PolicyID != app.Policies[1].ID || got.Rule != "service_token "+token.ID || !got.SecretAssumed ||
		got.ServiceTokenName != "app" || got.ApplicationName != "db" || got.TunnelName != "vpc-1" || got.Service != "tcp://10.0.0.5:5432" || got.Connectors != 0 {
		t.Errorf("got %+v", got)
	}
	if len(got.Steps) != 2 || got.Steps[0].Why != "no include rule matches" || got.Steps[0].Matched || !got.Steps[1].Matched {
		t.Errorf("steps %+v", got.Steps)
	}
	if got := test(`{"hostname": "db.example", "client_id": "` + token.ClientID + `", "client_secret": "` + token.ClientSecret + `"}`); got.Outcome != "allowed" || got.SecretAssumed {
		t.Errorf("with the secret: %+v", got)
	}
	if got := test(`{"hostname": "db.example", "client_id": "` + token.ClientID + `", "client_secret": "wrong"}`); got.Outcome != "unauthenticated" || got.Reason != "wrong client secret" {
		t.Errorf("with a wrong secret: %+v", got)
	}
	if got := test(`{"hostname": "db.example", "ip": "10.1.2.3"}`); got.Outcome != "allowed" || got.PolicyID != app.Policies[0].ID || got.SecretAssumed {
		t.Errorf("from the office: %+v", got)
	}
	if got := test(`{"hostname": "other.example", "client_id": "` + token.ClientID + `"}`); got.Outcome != "denied" || got.Reason != "no application for hostname" || got.TunnelID != "" || got.Steps == nil {
		t.Errorf("elsewhere: %+v", got)
	}
	w.refused("POST", "/access/test", `{"hostname": "", "client_secret": "x", "ip": "10.0.0.0/8"}`, 400, codeInvalid, "hostname: is required",
		"client_id: is required with a client secret", "ip: must be an IP address")
	w.refused("POST", "/access/test", `{"hostname": "*.internal.example"}`, 400, codeInvalid, "hostname: must be one name, without a wildcard")

	// Another account learns nothing of this one's.
	stranger, _ := w.account("other")
	foreign, err := w.control.CreateTunnel(t.Context(), stranger, "other")
	if err != nil {
		t.Fatal(err)
	}
	if got := must[[]v4.Tunnel](w, "GET", "/cfd_tunnel?uuid="+foreign.ID, ""); len(got) != 0 {
		t.Errorf("another account's tunnel: %+v", got)
	}
}

func TestAuditHasWhatChanged(t *testing.T) {
	w := newWorld(t)
	token := must[v4.ServiceToken](w, "POST", "/access/service_tokens", `{"name": "app"}`)
	rotated := must[v4.ServiceToken](w, "POST", "/access/service_tokens/"+token.ID+"/rotate", "")
	tunnel := must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name": "vpc-1"}`)
	must[v4.Tunnel](w, "PATCH", "/cfd_tunnel/"+tunnel.ID, `{"name": "vpc-2"}`)
	must[v4.TunnelConfiguration](w, "PUT", "/cfd_tunnel/"+tunnel.ID+"/configurations", `{"config": {"ingress": [{"hostname": "db.example", "service": "tcp://h:1"}]}}`)
	must[v4.Tunnel](w, "DELETE", "/cfd_tunnel/"+tunnel.ID, "")
	w.refused("DELETE", "/cfd_tunnel/"+tunnel.ID, "", 404, codeNotFound, "no such tunnel")

	got := w.request("GET", "/audit_logs", "")
	for _, secret := range []string{token.ClientSecret, rotated.ClientSecret, w.token, "hash", "ciphertext"} {
		if strings.Contains(got.body, secret) {
			t.Errorf("the log has a secret, or %q", secret)
		}
	}
	// Records are on disk before the answer: there is nothing to wait for.
	records := must[[]v4.AuditRecord](w, "GET", "/audit_logs", "")
	field := func(record int, side string, name string) any {
		t.Helper()
		if len(records[record].Changes) != 1 {
			t.Fatalf("record %d has the changes %+v", record, records[record].Changes)
		}
		change := records[record].Changes[0]
		value := change.Before
		if side == "after" {
			value = change.After
		}
		object, _ := value.(map[string]any)
		return object[name]
	}
	if len(records) != 7 {
		t.Fatalf("%d records, want 7: %+v", len(records), records)
	}
	if r := records[0]; r.Outcome != "error" || len(r.Changes) != 0 || r.Reason != "no such tunnel" {
		t.Errorf("an attempt: %+v", r)
	}
	for _, tt := range []struct {
		record int
		side   string
		name   string
		want   any
	}{
		{1, "before", "name", "vpc-2"}, {1, "after", "name", nil},
		{2, "before", "config_version", 1.0}, {2, "after", "config_version", 2.0},
		{3, "before", "name", "vpc-1"}, {3, "after", "name", "vpc-2"},
		{4, "before", "name", nil}, {4, "after", "name", "vpc-1"},
		{5, "before", "client_secret_version", 1.0}, {5, "after", "client_secret_version", 2.0},
		{6, "after", "name", "app"}, {6, "after", "client_secret", nil},
	} {
		if got := field(tt.record, tt.side, tt.name); got != tt.want {
			t.Errorf("record %d (%s), %s %s: got %v, want %v", tt.record, records[tt.record].Action, tt.side, tt.name, got, tt.want)
		}
	}
	if r := records[1]; r.ActorName != "first" || r.Remote == "" || r.ID == "" || r.Changes[0].Kind != "tunnel" || r.Changes[0].ID != tunnel.ID {
		t.Errorf("record %+v", r)
	}
}

func TestAuditPages(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		must[v4.Tunnel](w, "POST", "/cfd_tunnel", fmt.Sprintf(`{"name": "vpc-%d"}`, i))
	}
	must[v4.ServiceToken](w, "POST", "/access/service_tokens", `{"name": "app"}`)
	var targets []string
	cursor, newest := "", ""
	for pages := 1; ; pages++ {
		got := w.request("GET", "/audit_logs?per_page=2&action=tunnel.*"+cursor, "")
		records := must[[]v4.AuditRecord](w, "GET", "/audit_logs?per_page=2&action=tunnel.*"+cursor, "")
		for _, r := range records {
			if newest == "" {
				newest = r.ID
			}
			targets = append(targets, r.Changes[0].After.(map[string]any)["name"].(string))
		}
		if got.ResultInfo.Cursor == "" {
			if pages != 3 {
				t.Errorf("%d pages, want 3", pages)
			}
			break
		}
		cursor = "&cursor=" + got.ResultInfo.Cursor
	}
	if want := "vpc-4 vpc-3 vpc-2 vpc-1 vpc-0"; strings.Join(targets, " ") != want {
		t.Errorf("got %q, want %s", targets, want)
	}
	if got := must[[]v4.AuditRecord](w, "GET", "/audit_logs?per_page=2&page=2&action=tunnel.*", ""); len(got) != 2 || got[0].ID == newest {
		t.Errorf("the second page: %+v", got)
	}
	if got := must[[]v4.AuditRecord](w, "GET", "/audit_logs?after="+newest, ""); len(got) != 1 || got[0].Action != "service_token.create" {
		t.Errorf("after the newest of them: %+v", got)
	}
	for path, message := range map[string]string{
		"/audit_logs?cursor=x":              "cursor: must be the id of a record, or what result_info.cursor said",
		"/audit_logs?after=0":               "after: must be the id of a record, or what result_info.cursor said",
		"/audit_logs?page=11&per_page=100":  "page: reaches no deeper than 1000 records; read on with cursor, which result_info has",
		"/audit_logs?before=2006-01-02":     "before: must be a time such as 2006-01-02T15:04:05Z",
		"/audit_logs?per_page=0&since=2006": "per_page: must be a whole number from 1 to 2147483647",
	} {
		w.refused("GET", path, "", http.StatusBadRequest, codeQuery, message)
	}
}
