package control

import "github.com/sluicedb/sluice/access"

// Pooling says how a database's origin connections are kept and lent, and how
// long statements may take. What is zero has the proxy's default. Times are in
// seconds.
type Pooling struct {
	MinConnections int `json:"min_connections,omitempty"` // kept open while the database is in use
	ConnectTimeout int `json:"connect_timeout,omitempty"` // of one dial of the origin, login included
	WaitTimeout    int `json:"wait_timeout,omitempty"`    // of a client in line for a connection
	IdleTimeout    int `json:"idle_timeout,omitempty"`    // of a connection that nobody needs
	MaxLifetime    int `json:"max_lifetime,omitempty"`    // of a connection, give or take a fifth
	// QueryTimeout is of one statement, then it is cancelled; Unlimited: none.
	QueryTimeout int `json:"query_timeout,omitempty"`
	// IdleTransactionTimeout is of a client that is silent in a transaction, then it is disconnected.
	IdleTransactionTimeout int `json:"idle_transaction_timeout,omitempty"`
	// ForwardApplicationName shows the drivers' application_name at the origin in place of Sluice's.
	ForwardApplicationName bool `json:"forward_application_name,omitempty"`
	// SessionState says what becomes of what clients change in their sessions; "" is SessionReplay.
	SessionState string `json:"session_state,omitempty"`
}

// Values of Pooling.SessionState.
const (
	SessionReplay = "replay" // it is the client's own on every origin connection
	SessionReset  = "reset"  // it ends with the transaction, as Hyperdrive has it
	SessionPin    = "pin"    // as SessionReplay; who may have changed it unseen keeps the origin connection
)

// Unlimited is a Pooling.QueryTimeout without an end.
const Unlimited = -1

// maxPoolingSeconds is the longest time of a Pooling: a week, which catches a
// slip of the finger.
const maxPoolingSeconds = 7 * 24 * 3600

func (p *Pooling) validate(f *access.Faults, limit int) {
	if p.MinConnections < 0 || p.MinConnections > limit {
		f.Addf("min_connections", "must be between 0 and origin_connection_limit, which is %d", limit)
	}
	for _, t := range []struct {
		field   string
		seconds int
	}{
		{"connect_timeout", p.ConnectTimeout}, {"wait_timeout", p.WaitTimeout}, {"idle_timeout", p.IdleTimeout},
		{"max_lifetime", p.MaxLifetime}, {"idle_transaction_timeout", p.IdleTransactionTimeout},
	} {
		if t.seconds < 0 || t.seconds > maxPoolingSeconds {
			f.Addf(t.field, "must be between 0 and %d seconds; 0 is the default", maxPoolingSeconds)
		}
	}
	switch p.SessionState {
	case "", SessionReplay, SessionReset, SessionPin:
	default:
		f.Addf("session_state", "must be %s, %s or %s, not %q", SessionReplay, SessionReset, SessionPin, clip(p.SessionState))
	}
	if p.QueryTimeout < Unlimited || p.QueryTimeout > maxPoolingSeconds {
		f.Addf("query_timeout", "must be between 0 and %d seconds, 0 for the default, or %d for no limit", maxPoolingSeconds, Unlimited)
	}
}
