package access

import (
	"fmt"
	"time"
)

// MaxPolicies is how many policies one application may have, and MaxRules how
// many rules one list of a policy: a decision reads all of them on every open,
// and a thousand rules cost about 90 µs (BenchmarkDecide).
const (
	MaxPolicies = 100
	MaxRules    = 1000
)

// maxName is the longest display name, in bytes: what fits a table and a log
// line; Cloudflare's forms stop near it.
const maxName = 255

// Application protects one hostname with policies in order of precedence.
type Application struct {
	ID        string `json:"id"`         // UUID
	AccountID string `json:"account_id"` // tokens of other accounts never match
	Name      string `json:"name"`
	// Hostname is lower case, without a port; a leading "*." covers every
	// name below it.
	Hostname  string    `json:"domain"`
	Policies  []Policy  `json:"policies"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Validate reports every fault at once, as a *ValidationError.
func (a *Application) Validate() error {
	var f Faults
	ValidateName(&f, "name", a.Name)
	if fault := HostnameFault(a.Hostname); fault != "" {
		f.Addf("domain", "%s", fault)
	}
	if len(a.Policies) > MaxPolicies {
		f.Addf("policies", "are more than %d", MaxPolicies)
	}
	seen := map[string]bool{}
	for i := range a.Policies {
		p := &a.Policies[i]
		at := f.In(fmt.Sprintf("policies[%d]", i))
		if !p.Reusable {
			p.validate(at)
		}
		if p.ID != "" && seen[p.ID] {
			at.Addf("id", "is that of another policy of this application")
		}
		seen[p.ID] = true
	}
	return f.Err()
}

// PolicyDecision is what a policy does with a request that it matches.
type PolicyDecision string

// The decisions of a policy. Bypass and NonIdentity policies are evaluated
// before Allow and Block policies, whatever their place in the list.
const (
	Allow       PolicyDecision = "allow"
	Block       PolicyDecision = "block"
	Deny        PolicyDecision = "deny" // Block, in the words of Cloudflare's API
	Bypass      PolicyDecision = "bypass"
	NonIdentity PolicyDecision = "non_identity"
)

// blocks reports whether who matches is refused.
func (d PolicyDecision) blocks() bool { return d == Block || d == Deny }

// Policy matches a request when at least one Include rule, every Require rule
// and no Exclude rule match. Without an Include rule it matches nothing.
type Policy struct {
	ID       string         `json:"id"` // UUID
	Name     string         `json:"name"`
	Decision PolicyDecision `json:"decision"`
	Include  []Rule         `json:"include"`
	Require  []Rule         `json:"require,omitempty"`
	Exclude  []Rule         `json:"exclude,omitempty"`
	// Reusable is set in an Application where the policy is not its own: ID is
	// that of a ReusablePolicy, which says the rest.
	Reusable bool `json:"reusable,omitempty"`
}

// ReusablePolicy is a policy that several applications of one account share.
type ReusablePolicy struct {
	Policy
	AccountID    string    `json:"account_id"`
	Applications []string  `json:"applications,omitempty"` // IDs of those that it is part of
	CreatedAt    time.Time `json:"created_at"`
	UpdatedAt    time.Time `json:"updated_at"`
}

// Validate reports every fault at once, as a *ValidationError.
func (p *Policy) Validate() error {
	var f Faults
	p.validate(&f)
	return f.Err()
}

func (p *Policy) validate(f *Faults) {
	ValidateName(f, "name", p.Name)
	switch p.Decision {
	case Allow, Block, Deny, Bypass, NonIdentity:
	case "":
		f.Addf("decision", "is required: allow, block, bypass or non_identity")
	default:
		f.Addf("decision", "must be allow, block, bypass or non_identity, not %q", string(p.Decision))
	}
	if len(p.Include) == 0 {
		f.Addf("include", "needs at least one rule: a policy without one matches nothing")
	}
	for _, list := range []struct {
		name  string
		rules []Rule
	}{{"include", p.Include}, {"require", p.Require}, {"exclude", p.Exclude}} {
		if len(list.rules) > MaxRules {
			f.Addf(list.name, "has more than %d rules", MaxRules)
			continue
		}
		for i, r := range list.rules {
			r.validate(f, fmt.Sprintf("%s[%d]", list.name, i))
		}
	}
}

// verdict is what came of one policy, and the rule that settled it.
type verdict struct {
	cause cause
	rule  Rule
}

// cause is why a policy matched or did not.
type cause int

const (
	causeNone    cause = iota // no Include rule matched
	causeInclude              // this Include rule matched, and so does the policy
	causeRequire              // this Require rule did not match
	causeExclude              // this Exclude rule matched
	causePassed               // not evaluated: only a Bypass policy admits bad credentials
	causeMissing              // a reusable policy that is not there
)

func (v verdict) matched() bool { return v.cause == causeInclude || v.cause == causeMissing }

// evaluate decides whether the policy matches. A rule that this version cannot
// evaluate, because a newer one wrote it, narrows whom a policy admits and widens
// whom a Block policy keeps out.
func (p *Policy) evaluate(req *Request, token *ServiceToken) verdict {
	block := p.Decision.blocks()
	for _, r := range p.Exclude {
		if r.matches(req, token) || (!block && !r.usable()) {
			return verdict{cause: causeExclude, rule: r}
		}
	}
	for _, r := range p.Require {
		if !r.matches(req, token) && !(block && !r.usable()) {
			return verdict{cause: causeRequire, rule: r}
		}
	}
	for _, r := range p.Include {
		if r.matches(req, token) || (block && !r.usable()) {
			return verdict{cause: causeInclude, rule: r}
		}
	}
	return verdict{}
}

// ValidateName adds a fault unless name is one line of printable text of 1 to 255
// bytes.
func ValidateName(f *Faults, field, name string) {
	switch {
	case name == "":
		f.Addf(field, "is required")
	case len(name) > maxName:
		f.Addf(field, "is longer than %d bytes", maxName)
	case !printable(name):
		f.Addf(field, "must be printable text on one line")
	}
}
