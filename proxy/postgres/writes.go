package postgres

import (
	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
	"github.com/sluicedb/sluice/proxy/results"
)

// writes is what a client has asked the origin to change and that is not known to
// be committed yet.
type writes struct {
	results.Writes
	bound bool // a statement came before in the same group
	// unseen: the lease began while nobody looked at what statements change.
	unseen bool
}

// watching reports whether what statements change matters to anybody.
func (c *client) watching() bool { return c.db.results.Watches() && !c.inner }

// noteWrite looks at a statement that is about to be sent to the origin, for what it
// may change and why it was not answered from the cache.
func (c *client) noteWrite(text []byte) {
	if !c.watching() {
		return
	}
	r := c.db.results
	v := c.writes.Look(r, c.verdict, text)
	switch {
	case v.Status != query.StatusMiss:
		r.Count(v.Status)
		v.Use().Refuse(v.Reason)
	case c.status != pgwire.TxIdle || c.writes.bound || c.ledger.ready > 0:
		r.Count(query.StatusTransaction)
		r.Miss(missedTransaction)
	default:
		r.Count(query.StatusUncacheable)
		r.Miss(c.missed)
	}
	c.writes.bound = true
}

// noteUnknown notes that something was asked for that nobody can look at.
func (c *client) noteUnknown() {
	if c.watching() {
		c.writes.Change(c.db.results, query.Effect{All: true, DDL: true})
		c.db.results.Count(query.StatusNotAQuery)
	}
}

// committed notes that the origin says that no transaction is open. More of a
// pipeline may be under way, and may write too.
func (c *client) committed() {
	if c.db.results != nil {
		c.writes.Committed(c.db.results, c.ledger.ready > 0 || c.unsynced || c.copying)
	}
}

// settleWrites ends what a client was writing when it gives its origin connection
// back. One that was lost may commit yet.
func (c *client) settleWrites(lost bool) {
	r := c.db.results
	if r == nil {
		return
	}
	if c.writes.unseen && r.Watches() {
		r.Missed()
	}
	if lost {
		c.writes.Lost(r)
	} else {
		c.writes.End(r)
	}
	c.writes = writes{}
}
