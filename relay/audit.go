package relay

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control"
)

// Records about peers that could not be authenticated. Anybody can cause them, as fast as TLS handshakes go; unbounded they would
// push everything else out of the audit log and its queue.
const (
	// strangerEvery lets them fill the half of the log, 4 GiB or some 10 million records, in the 31 days that it keeps.
	strangerEvery = 500 * time.Millisecond
	// strangerBurst is for a fleet whose credential was just revoked.
	strangerBurst = 1000
)

func newStrangerBudget() *rate.Limiter {
	return rate.NewLimiter(rate.Every(strangerEvery), strangerBurst)
}

// record writes one record to the audit log. Those about strangers, and about connectors that are refused, which come again at once if
// they like, have a budget, beyond which they are only counted.
func (r *Relay) record(a control.AuditRecord) {
	loud := a.Outcome == access.Unauthenticated.String() || a.Action == connectorSession && a.Outcome == access.Denied.String()
	if loud && !r.strangers.AllowN(a.Time, 1) {
		r.metrics.unrecorded.Inc()
		return
	}
	r.state.Audit(a)
}

// audit records a decision, and notes that the token was used. An unknown client ID is not written down: it may be a secret that
// somebody put in the wrong place.
func (r *Relay) audit(snap snapshot, a *ask, d access.Decision, action string) {
	var account string
	if app, ok := snap.ApplicationByID(d.ApplicationID); ok {
		account = app.AccountID
	} else if token, ok := snap.ServiceToken(d.ClientID); ok {
		account = token.AccountID
	}
	now := time.Now()
	r.record(control.AuditRecord{
		Time: now, Account: account, Actor: d.ClientID, Action: action, Target: printable(a.hostname),
		Outcome: d.Outcome.String(), Reason: string(d.Reason), Policy: d.PolicyID, Remote: a.remote.String(),
	})
	r.metrics.decisions.WithLabelValues(d.Outcome.String()).Inc()
	if d.TokenID != "" && d.Outcome != access.Unauthenticated {
		r.state.Seen(d.TokenID, now)
	}
}
