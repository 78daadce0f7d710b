package access

import "time"

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

// PolicyDecision is what a policy does with a request that it matches.
type PolicyDecision string

// The decisions of a policy. Bypass and NonIdentity policies are evaluated
// before Allow and Block policies, whatever their place in the list.
const (
	Allow       PolicyDecision = "allow"
	Block       PolicyDecision = "block"
	Bypass      PolicyDecision = "bypass"
	NonIdentity PolicyDecision = "non_identity"
)

// Policy matches a request when at least one Include rule, every Require rule
// and no Exclude rule match. Without an Include rule it matches nothing.
type Policy struct {
	ID       string         `json:"id"` // UUID
	Name     string         `json:"name"`
	Decision PolicyDecision `json:"decision"`
	Include  []Rule         `json:"include"`
	Require  []Rule         `json:"require,omitempty"`
	Exclude  []Rule         `json:"exclude,omitempty"`
}
