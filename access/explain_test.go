package access

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

var (
	everyone = []Rule{{Selector: SelectEveryone}}
	tokenA   = []Rule{{Selector: SelectServiceToken, Value: "tok-a"}}
)

func shared(id, account string, decision PolicyDecision, include []Rule) *ReusablePolicy {
	return &ReusablePolicy{Policy: Policy{ID: id, Name: id, Decision: decision, Include: include}, AccountID: account}
}

func TestReusablePolicies(t *testing.T) {
	link := Policy{ID: "shared", Reusable: true}
	tests := []struct {
		name     string
		shared   *ReusablePolicy
		policies []Policy
		want     Outcome
		reason   Reason
		policy   string
	}{
		{"admits", shared("shared", "acc", NonIdentity, tokenA), []Policy{link}, Allowed, ReasonPolicy, "shared"},
		{"blocks", shared("shared", "acc", Block, everyone), []Policy{link}, Denied, ReasonPolicy, "shared"},
		{"denies", shared("shared", "acc", Deny, everyone), []Policy{link}, Denied, ReasonPolicy, "shared"},
		{"does not match", shared("shared", "acc", NonIdentity, []Rule{{Selector: SelectServiceToken, Value: "tok-b"}}), []Policy{link}, Denied, ReasonNoPolicy, ""},
		{"keeps its place among the application's own", shared("shared", "acc", Block, everyone),
			[]Policy{link, {ID: "own", Decision: NonIdentity, Include: tokenA}}, Allowed, ReasonPolicy, "own"},
		{"missing", nil, []Policy{link}, Denied, ReasonPolicyMissing, "shared"},
		{"missing, below one that admits earlier", nil, []Policy{link, {ID: "own", Decision: NonIdentity, Include: tokenA}}, Allowed, ReasonPolicy, "own"},
		{"missing, before one that allows", nil, []Policy{link, {ID: "own", Decision: Allow, Include: everyone}}, Denied, ReasonPolicyMissing, "shared"},
		{"of another account", shared("shared", "other", NonIdentity, tokenA), []Policy{link}, Denied, ReasonPolicyMissing, "shared"},
		{"what a link says of itself counts for nothing", shared("shared", "acc", Block, everyone),
			[]Policy{{ID: "shared", Reusable: true, Decision: Bypass, Include: everyone}}, Denied, ReasonPolicy, "shared"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := newDirectory(tt.policies...)
			dir.policies = map[string]*ReusablePolicy{}
			if tt.shared != nil {
				dir.policies["shared"] = tt.shared
			}
			d := Decide(dir, Request{Hostname: host, ClientID: idA, ClientSecret: "secret-a", Time: now})
			if d.Outcome != tt.want || d.Reason != tt.reason || d.PolicyID != tt.policy {
				t.Errorf("got %+v, want %v because of %q by %q", d, tt.want, tt.reason, tt.policy)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	policies := []Policy{
		{ID: "p-allow", Name: "allow", Decision: Allow, Include: everyone},
		{ID: "p-net", Name: "net", Decision: NonIdentity, Include: []Rule{{Selector: SelectAnyServiceToken}}, Require: []Rule{{Selector: SelectIP, Value: "10.0.0.0/8"}}},
		{ID: "p-not", Name: "not", Decision: NonIdentity, Include: everyone, Exclude: tokenA},
		{ID: "p-other", Name: "other", Decision: NonIdentity, Include: []Rule{{Selector: SelectServiceToken, Value: "tok-b"}}},
		{ID: "p-own", Name: "own", Decision: NonIdentity, Include: tokenA},
		{ID: "p-never", Name: "never", Decision: NonIdentity, Include: everyone},
	}
	request := Request{Hostname: host, ClientID: idA, Remote: netip.MustParseAddr("192.0.2.1"), Time: now}
	steps := func(e Explanation) []string {
		var texts []string
		for _, s := range e.Steps {
			texts = append(texts, s.Name+": "+s.Why)
		}
		return texts
	}
	t.Run("each policy up to the first that matches", func(t *testing.T) {
		e := Explain(newDirectory(policies...), request, true)
		want := []string{
			"net: require rule does not match: ip 10.0.0.0/8",
			"not: exclude rule matches: service_token tok-a",
			"other: no include rule matches",
			"own: include rule matches: service_token tok-a",
		}
		if got := steps(e); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if e.Decision.Outcome != Allowed || e.Decision.PolicyID != "p-own" || e.Application == nil || !e.Steps[3].Matched || e.Steps[0].Matched {
			t.Errorf("got %+v", e)
		}
	})
	t.Run("bad credentials", func(t *testing.T) {
		e := Explain(newDirectory(policies[4]), request, false)
		if e.Decision.Outcome != Unauthenticated || e.Decision.Reason != ReasonWrongSecret {
			t.Errorf("got %+v", e.Decision)
		}
		want := []string{"own: not evaluated: the credentials are not valid, and only a bypass policy admits without"}
		if got := steps(e); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	tests := []struct {
		name   string
		change func(*ServiceToken)
		client string
		want   Reason
	}{
		{"assumed secret of an unknown token", nil, "x", ReasonUnknownToken},
		{"assumed secret of a disabled token", func(t *ServiceToken) { t.Disabled = true }, idA, ReasonDisabled},
		{"assumed secret of an expired token", func(t *ServiceToken) { t.ExpiresAt = now }, idA, ReasonExpired},
		{"no credentials", nil, "", ReasonNoCredentials},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := newDirectory(policies[4])
			if tt.change != nil {
				tt.change(dir.tokens[idA])
			}
			req := request
			req.ClientID = tt.client
			if e := Explain(dir, req, true); e.Decision.Outcome != Unauthenticated || e.Decision.Reason != tt.want {
				t.Errorf("got %+v, want %q", e.Decision, tt.want)
			}
		})
	}
	t.Run("no application", func(t *testing.T) {
		req := request
		req.Hostname = "other.example"
		if e := Explain(newDirectory(), req, true); e.Application != nil || e.Decision.Reason != ReasonNoApplication {
			t.Errorf("got %+v", e)
		}
	})
}

// TestExplainDecidesAsDecide: with the secret at hand both come to the same.
func TestExplainDecidesAsDecide(t *testing.T) {
	decisions := []PolicyDecision{Allow, Block, Deny, Bypass, NonIdentity}
	includes := [][]Rule{everyone, tokenA, {{Selector: SelectServiceToken, Value: "tok-b"}}}
	n := 0
	for _, first := range decisions {
		for _, second := range decisions {
			for _, a := range includes {
				for _, b := range includes {
					for _, secret := range []string{"secret-a", "wrong", ""} {
						dir := newDirectory(Policy{ID: "1", Decision: first, Include: a}, Policy{ID: "2", Decision: second, Include: b})
						req := Request{Hostname: host, ClientID: idA, ClientSecret: secret, Time: now.Add(time.Hour)}
						if got, want := Explain(dir, req, false).Decision, Decide(dir, req); got != want {
							t.Errorf("%s %v, %s %v, secret %q: got %+v, want %+v", first, a, second, b, secret, got, want)
						}
						n++
					}
				}
			}
		}
	}
	t.Logf("%d requests", n)
}
