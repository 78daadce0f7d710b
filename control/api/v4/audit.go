package v4

import "time"

// AuditRecord says who did what, from where, and how it ended: /audit_logs.
type AuditRecord struct {
	When time.Time `json:"when"`
	// Actor is the id of an API token, a service token's client id, or a tunnel's id.
	Actor string `json:"actor"`
	// Action is such as tunnel.create or access.decide.
	Action string `json:"action"`
	// Target is the id or name of what was acted on.
	Target string `json:"target"`
	// Outcome is ok, error, allowed, denied or unauthenticated.
	Outcome  string `json:"outcome"`
	Reason   string `json:"reason,omitempty"`
	PolicyID string `json:"policy_id,omitempty"`
	// Remote is the address, with the port, that it came from.
	Remote string `json:"remote,omitempty"`
}
