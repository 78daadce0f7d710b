package v4

import "time"

// AuditRecord says who did what, from where, and how it ended: /audit_logs.
type AuditRecord struct {
	// ID grows with time; records of other accounts lie between.
	ID   string    `json:"id"`
	When time.Time `json:"when"`
	// Actor is the id of an API token, a service token's client id, or a tunnel's id.
	Actor string `json:"actor"`
	// ActorName is the name that the API token had.
	ActorName string `json:"actor_name,omitempty"`
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
	// UserAgent is the program that sent a request to the API, in its own words.
	UserAgent string `json:"user_agent,omitempty"`
	// Changes are what a request to the API has changed.
	Changes []AuditChange `json:"changes,omitempty"`
}

// AuditChange is one resource before and after.
type AuditChange struct {
	// Kind is such as tunnel, service token, application, policy or database.
	Kind string `json:"kind"`
	ID   string `json:"id"`
	// Before and After are the resource as the API shows it, and so without secrets; absent where there was or is none. Of what
	// is very large only the fields that differ are kept.
	Before any `json:"before,omitempty"`
	After  any `json:"after,omitempty"`
}
