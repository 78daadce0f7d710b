package access

import (
	"net/netip"
	"testing"
)

func TestIPRuleCountsMappedAddressesAsIPv4(t *testing.T) {
	tests := []struct {
		rule   string
		remote string
		valid  bool
		want   bool
	}{
		{"::ffff:10.0.0.0/104", "10.1.2.3", true, true},
		{"::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true, true},
		{"::ffff:10.0.0.0/104", "11.1.2.3", true, false},
		{"::ffff:0:0/96", "192.0.2.1", true, true},
		{"::ffff:0:0/96", "2001:db8::1", true, false},
		{"::ffff:0:0/95", "192.0.2.1", false, false},
		{"::ffff:192.0.2.1", "192.0.2.1", true, true},
		{"2001:db8::/32", "2001:db8::1", true, true},
		{"10.0.0.0/33", "10.0.0.1", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.rule+" "+tt.remote, func(t *testing.T) {
			rule := Rule{Selector: SelectIP, Value: tt.rule}
			var f Faults
			rule.validate(&f, "include[0]")
			if got := f.Err() == nil; got != tt.valid {
				t.Errorf("valid = %t (%v), want %t", got, f.Err(), tt.valid)
			}
			if got := rule.matches(&Request{Remote: netip.MustParseAddr(tt.remote)}, nil); got != tt.want {
				t.Errorf("matches = %t, want %t", got, tt.want)
			}
		})
	}
}

// What a newer version wrote must not let anybody in whom it keeps out.
func TestRulesThatCannotBeEvaluatedNeverWiden(t *testing.T) {
	everyone := Rule{Selector: SelectEveryone}
	for name, unknown := range map[string]Rule{
		"selector": {Selector: "geo"}, "address": {Selector: SelectIP, Value: "10.0.0.0/99"}, "value": {Selector: SelectServiceToken},
	} {
		for _, tt := range []struct {
			place  string
			policy Policy
		}{
			{"include", Policy{Include: []Rule{unknown}}},
			{"require", Policy{Include: []Rule{everyone}, Require: []Rule{unknown}}},
			{"exclude", Policy{Include: []Rule{everyone}, Exclude: []Rule{unknown}}},
		} {
			for _, decision := range []PolicyDecision{Allow, NonIdentity, Bypass, Block} {
				p := tt.policy
				p.Decision = decision
				want := decision == Block
				if got := p.evaluate(&Request{Remote: netip.MustParseAddr("10.0.0.1")}, nil).matched(); got != want {
					t.Errorf("unknown %s in %s of %s: matches = %t, want %t", name, tt.place, decision, got, want)
				}
			}
		}
	}
}
