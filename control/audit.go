package control

import "time"

// AuditRecord says who did what to what, from where, and how it ended. It
// never holds a secret.
type AuditRecord struct {
	Time     time.Time `json:"time"`
	Account  string    `json:"account_id,omitempty"`
	Actor    string    `json:"actor"`            // API token ID, client ID, tunnel ID
	Action   string    `json:"action"`           // access.decide, tunnel.create, ...
	Target   string    `json:"target"`           // hostname, ID
	Outcome  string    `json:"outcome"`          // allowed, denied, unauthenticated, ok, error
	Reason   string    `json:"reason,omitempty"` // a sentence
	Policy   string    `json:"policy_id,omitempty"`
	Remote   string    `json:"remote,omitempty"` // address
	Sequence uint64    `json:"-"`                // filled by AuditRecords
}

// AuditFilter selects records; zero fields select everything.
type AuditFilter struct {
	Account, Actor, Action, Target, Outcome string
	Since, Before                           time.Time
	Limit                                   int // 0: 100; at most 1000
}
