package access

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"
)

// directory is a Directory of maps.
type directory struct {
	tokens   map[string]*ServiceToken
	apps     map[string]*Application
	policies map[string]*ReusablePolicy
}

func (d directory) Policy(id string) (*ReusablePolicy, bool) { p, ok := d.policies[id]; return p, ok }

func (d directory) ServiceToken(id string) (*ServiceToken, bool) { t, ok := d.tokens[id]; return t, ok }

func (d directory) Application(h string) (*Application, bool) { a, ok := d.apps[h]; return a, ok }

const (
	idA     = "0123456789abcdef0123456789abcdef.access"
	idB     = "fedcba9876543210fedcba9876543210.access"
	idOther = "00000000000000000000000000000abc.access"
	host    = "db.internal.example"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func token(id, clientID, account, secret string) *ServiceToken {
	return &ServiceToken{
		ID: id, AccountID: account, Name: id, ClientID: clientID,
		Secrets: []Secret{{Hash: HashSecret(secret)}},
	}
}

func newDirectory(policies ...Policy) directory {
	return directory{
		tokens: map[string]*ServiceToken{
			idA:     token("tok-a", idA, "acc", "secret-a"),
			idB:     token("tok-b", idB, "acc", "secret-b"),
			idOther: token("tok-o", idOther, "other", "secret-o"),
		},
		apps: map[string]*Application{
			host: {ID: "app", AccountID: "acc", Name: "app", Hostname: host, Policies: policies},
		},
	}
}

func rules(t *testing.T, text string) []Rule {
	t.Helper()
	var r []Rule
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("rules %s: %v", text, err)
	}
	return r
}

func TestTunnel29PolicyOrder(t *testing.T) {
	everyone := []Rule{{Selector: SelectEveryone}}
	nobody := []Rule{{Selector: SelectServiceToken, Value: "tok-x"}}
	policy := func(id string, d PolicyDecision, include []Rule) Policy {
		return Policy{ID: id, Name: id, Decision: d, Include: include}
	}
	tests := []struct {
		name     string
		policies []Policy
		outcome  Outcome
		policyID string
		reason   Reason
	}{
		{"no policy denies", nil, Denied, "", ReasonNoPolicy},
		{"nothing matched denies", []Policy{policy("1", Allow, nobody)}, Denied, "", ReasonNoPolicy},
		{"empty include matches nothing", []Policy{policy("1", Allow, nil), policy("2", Bypass, nil)}, Denied, "", ReasonNoPolicy},
		{"empty include of a block blocks nothing", []Policy{policy("1", Block, nil), policy("2", Allow, everyone)}, Allowed, "2", ReasonPolicy},
		{"first of allow and block wins: block", []Policy{policy("1", Block, everyone), policy("2", Allow, everyone)}, Denied, "1", ReasonPolicy},
		{"first of allow and block wins: allow", []Policy{policy("1", Allow, everyone), policy("2", Block, everyone)}, Allowed, "1", ReasonPolicy},
		{"bypass below a block goes first", []Policy{policy("1", Block, everyone), policy("2", Bypass, everyone)}, Allowed, "2", ReasonPolicy},
		{"non_identity below a block goes first", []Policy{policy("1", Block, everyone), policy("2", NonIdentity, everyone)}, Allowed, "2", ReasonPolicy},
		{"bypass and non_identity top down", []Policy{policy("1", NonIdentity, everyone), policy("2", Bypass, everyone)}, Allowed, "1", ReasonPolicy},
		{"an early policy that does not match is passed", []Policy{policy("1", Bypass, nobody), policy("2", Block, everyone)}, Denied, "2", ReasonPolicy},
		{"a decision that is not known never matches", []Policy{policy("1", "isolate", everyone)}, Denied, "", ReasonNoPolicy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Decide(newDirectory(tt.policies...), Request{Hostname: host, ClientID: idA, ClientSecret: "secret-a", Time: now})
			if got.Outcome != tt.outcome || got.PolicyID != tt.policyID || got.Reason != tt.reason {
				t.Errorf("got %v policy %q reason %q, want %v policy %q reason %q",
					got.Outcome, got.PolicyID, got.Reason, tt.outcome, tt.policyID, tt.reason)
			}
			if got.TokenID != "tok-a" || got.ClientID != idA || got.ApplicationID != "app" {
				t.Errorf("got token %q client %q application %q", got.TokenID, got.ClientID, got.ApplicationID)
			}
		})
	}
}

func TestTunnel29IncludeRequireExclude(t *testing.T) {
	const (
		a        = `{"service_token":{"token_id":"tok-a"}}`
		b        = `{"service_token":{"token_id":"tok-b"}}`
		any      = `{"any_valid_service_token":{}}`
		all      = `{"everyone":{}}`
		ten      = `{"ip":{"ip":"10.0.0.0/8"}}`
		one      = `{"ip":{"ip":"10.1.2.3"}}`
		six      = `{"ip":{"ip":"2001:db8::/32"}}`
		cert     = `{"certificate":{}}`
		name     = `{"common_name":{"common_name":"edge-1"}}`
		geo      = `{"geo":{"country_code":"DE"}}`
		badRange = `{"ip":{"ip":"10.0.0.0/99"}}`
	)
	v4, v6 := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("2001:db8::1")
	tests := []struct {
		name                      string
		include, require, exclude string
		req                       Request
		want                      bool
	}{
		{"include is OR: first", a + "," + b, "", "", Request{}, true},
		{"include is OR: second", b + "," + a, "", "", Request{}, true},
		{"include of another token", b, "", "", Request{}, false},
		{"any valid token", any, "", "", Request{}, true},
		{"everyone", all, "", "", Request{}, true},
		{"require is AND: both", a, ten + "," + any, "", Request{Remote: v4}, true},
		{"require is AND: one missing", a, ten + "," + b, "", Request{Remote: v4}, false},
		{"require alone does not admit", "", a, "", Request{}, false},
		{"exclude is NOT", all, "", a, Request{}, false},
		{"exclude of somebody else", all, "", b, Request{}, true},
		{"exclude beats require and include", a, a, ten, Request{Remote: v4}, false},
		{"ip in range", ten, "", "", Request{Remote: v4}, true},
		{"ip alone", one, "", "", Request{Remote: v4}, true},
		{"ip outside", ten, "", "", Request{Remote: netip.MustParseAddr("11.0.0.1")}, false},
		{"ip mapped into six", ten, "", "", Request{Remote: netip.MustParseAddr("::ffff:10.1.2.3")}, true},
		{"ip six", six, "", "", Request{Remote: v6}, true},
		{"ip with zone", `{"ip":{"ip":"fe80::/10"}}`, "", "", Request{Remote: netip.MustParseAddr("fe80::1%eth0")}, true},
		{"ip not known", ten, "", "", Request{}, false},
		{"range that does not parse", badRange, "", "", Request{Remote: v4}, false},
		{"certificate", cert, "", "", Request{Certificate: true}, true},
		{"no certificate", cert, "", "", Request{}, false},
		{"common name", name, "", "", Request{Certificate: true, CommonName: "edge-1"}, true},
		{"other common name", name, "", "", Request{Certificate: true, CommonName: "edge-2"}, false},
		{"common name not verified", name, "", "", Request{CommonName: "edge-1"}, false},
		{"unknown selector never matches", geo, "", "", Request{}, false},
		{"unknown selector beside a known one", geo + "," + a, "", "", Request{}, true},
		{"unknown requirement is never met", a, geo, "", Request{}, false},
		{"unknown exclusion admits nobody", a, "", geo, Request{}, false},
		{"rule without its value", `{"service_token":{}}`, "", "", Request{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := Policy{
				ID: "p", Name: "p", Decision: NonIdentity,
				Include: rules(t, "["+tt.include+"]"), Require: rules(t, "["+tt.require+"]"), Exclude: rules(t, "["+tt.exclude+"]"),
			}
			req := tt.req
			req.Hostname, req.ClientID, req.ClientSecret, req.Time = host, idA, "secret-a", now
			got := Decide(newDirectory(p), req)
			if (got.Outcome == Allowed) != tt.want {
				t.Errorf("got %v (%s), want allowed %v", got.Outcome, got.Reason, tt.want)
			}
		})
	}
	t.Run("unknown exclusion does not open a block", func(t *testing.T) {
		p := Policy{ID: "p", Name: "p", Decision: Block, Include: rules(t, "["+all+"]"), Exclude: rules(t, "["+geo+"]")}
		q := Policy{ID: "q", Name: "q", Decision: Allow, Include: rules(t, "["+all+"]")}
		got := Decide(newDirectory(p, q), Request{Hostname: host, ClientID: idA, ClientSecret: "secret-a", Time: now})
		if got.Outcome != Denied || got.PolicyID != "p" {
			t.Errorf("got %+v, want denied by p", got)
		}
	})
}

func TestTunnel28Authentication(t *testing.T) {
	everyone := Policy{ID: "e", Name: "e", Decision: NonIdentity, Include: []Rule{{Selector: SelectEveryone}}}
	anyToken := Policy{ID: "a", Name: "a", Decision: NonIdentity, Include: []Rule{{Selector: SelectAnyServiceToken}}}
	bypass := Policy{ID: "b", Name: "b", Decision: Bypass, Include: []Rule{{Selector: SelectEveryone}}}
	allowIP := Policy{ID: "i", Name: "i", Decision: Allow, Include: []Rule{{Selector: SelectIP, Value: "10.0.0.0/8"}}}
	remote := netip.MustParseAddr("10.9.9.9")
	tests := []struct {
		name       string
		policies   []Policy
		change     func(*ServiceToken)
		id, secret string
		outcome    Outcome
		reason     Reason
	}{
		{"right", []Policy{anyToken}, nil, idA, "secret-a", Allowed, ReasonPolicy},
		{"unknown id", []Policy{anyToken}, nil, "nobody.access", "secret-a", Unauthenticated, ReasonUnknownToken},
		{"wrong secret", []Policy{anyToken}, nil, idA, "secret-b", Unauthenticated, ReasonWrongSecret},
		{"no secret", []Policy{anyToken}, nil, idA, "", Unauthenticated, ReasonWrongSecret},
		{"secret without id", []Policy{anyToken}, nil, "", "secret-a", Unauthenticated, ReasonUnknownToken},
		{"nothing", []Policy{anyToken}, nil, "", "", Unauthenticated, ReasonNoCredentials},
		{"disabled", []Policy{anyToken}, (*ServiceToken).Disable, idA, "secret-a", Unauthenticated, ReasonDisabled},
		{"expired", []Policy{anyToken}, func(s *ServiceToken) { s.ExpiresAt = now }, idA, "secret-a", Unauthenticated, ReasonExpired},
		{"expires in a moment", []Policy{anyToken}, func(s *ServiceToken) { s.ExpiresAt = now.Add(1) }, idA, "secret-a", Allowed, ReasonPolicy},
		{"secret past its grace", []Policy{anyToken}, func(s *ServiceToken) { s.Secrets[0].ExpiresAt = now }, idA, "secret-a", Unauthenticated, ReasonSecretExpired},
		{"token of another account", []Policy{anyToken}, nil, idOther, "secret-o", Denied, ReasonOtherAccount},
		{"token of another account, everyone admitted", []Policy{everyone, bypass, allowIP}, nil, idOther, "secret-o", Denied, ReasonOtherAccount},
		{"bad token of another account, everyone admitted", []Policy{bypass}, nil, idOther, "x", Unauthenticated, ReasonWrongSecret},
		{"bad credentials get nothing from everyone", []Policy{everyone, allowIP}, nil, idA, "x", Unauthenticated, ReasonWrongSecret},
		{"bad credentials are not told of a block", []Policy{{ID: "x", Name: "x", Decision: Block, Include: everyone.Include}}, nil, idA, "x", Unauthenticated, ReasonWrongSecret},
		{"bypass admits without a token", []Policy{bypass}, nil, "", "", Allowed, ReasonPolicy},
		{"bypass admits with a bad one", []Policy{bypass}, nil, idA, "x", Allowed, ReasonPolicy},
		{"allow by address without a token", []Policy{allowIP}, nil, "", "", Allowed, ReasonPolicy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := newDirectory(tt.policies...)
			if tt.change != nil {
				tt.change(dir.tokens[idA])
			}
			got := Decide(dir, Request{Hostname: host, ClientID: tt.id, ClientSecret: tt.secret, Remote: remote, Time: now})
			if got.Outcome != tt.outcome || got.Reason != tt.reason {
				t.Errorf("got %v, %q; want %v, %q", got.Outcome, got.Reason, tt.outcome, tt.reason)
			}
		})
	}
	t.Run("no application", func(t *testing.T) {
		dir := newDirectory(anyToken)
		got := Decide(dir, Request{Hostname: "else.example", ClientID: idA, ClientSecret: "secret-a", Time: now})
		if got.Outcome != Denied || got.Reason != ReasonNoApplication {
			t.Errorf("valid token: got %+v", got)
		}
		got = Decide(dir, Request{Hostname: "else.example", ClientID: idA, ClientSecret: "x", Time: now})
		if got.Outcome != Unauthenticated || got.Reason != ReasonWrongSecret {
			t.Errorf("wrong secret: got %+v", got)
		}
	})
}

func TestTunnel30Rotation(t *testing.T) {
	tok, first, err := NewServiceToken("app", 0, now)
	if err != nil {
		t.Fatal(err)
	}
	valid := func(secret string, at time.Time) bool { return tok.check(HashSecret(secret), at) == "" }
	second, err := tok.Rotate(now, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	end := now.Add(time.Hour)
	if !valid(first, now) || !valid(second, now) || !valid(first, end.Add(-time.Nanosecond)) {
		t.Error("both secrets must be valid within the grace")
	}
	if valid(first, end) || !valid(second, end) {
		t.Error("the old secret must end the moment its grace does, and the new one not")
	}
	if _, err := tok.Rotate(now.Add(time.Minute), now.Add(2*time.Hour)); err != ErrTwoSecrets {
		t.Errorf("third live secret: got %v, want ErrTwoSecrets", err)
	}
	if len(tok.Secrets) != MaxSecrets {
		t.Errorf("got %d secrets, want %d", len(tok.Secrets), MaxSecrets)
	}
	third, err := tok.Rotate(end, end.Add(time.Hour))
	if err != nil {
		t.Fatalf("rotation after the grace: %v", err)
	}
	if valid(first, end) || !valid(second, end) || !valid(third, end) {
		t.Error("after the second rotation the second and third secret are valid")
	}
	fourth, err := tok.Rotate(end, time.Time{})
	if err != nil || valid(second, end) || valid(third, end) || !valid(fourth, end) {
		t.Errorf("rotation without grace must end all others (err %v)", err)
	}
	if _, err := tok.Rotate(end, end.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	tok.Disable()
	for _, s := range []string{fourth, third} {
		if valid(s, end) {
			t.Error("a disabled token must admit nothing")
		}
	}
	tok.Disabled = false
	if valid(fourth, end) {
		t.Error("disabling ends the previous secret for good")
	}
}

func BenchmarkDecide(b *testing.B) {
	p := Policy{ID: "p", Name: "p", Decision: NonIdentity}
	for range MaxRules - 1 {
		p.Include = append(p.Include, Rule{Selector: SelectIP, Value: "192.0.2.0/24"})
	}
	p.Include = append(p.Include, Rule{Selector: SelectServiceToken, Value: "tok-a"})
	dir := newDirectory(p)
	req := Request{Hostname: host, ClientID: idA, ClientSecret: "secret-a", Remote: netip.MustParseAddr("10.0.0.1"), Time: now}
	b.ReportAllocs()
	for b.Loop() {
		if Decide(dir, req).Outcome != Allowed {
			b.Fatal("not allowed")
		}
	}
}
