package postgres

import (
	"slices"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/query"
)

// inDoubt is for how long the tables that a lost origin connection was writing to
// count as being written to: it may commit what it was asked to after the proxy has
// lost sight of it. As long as the origin is given to notice a cancel request, twice.
const inDoubt = 2 * deafAfter

// writes is what a client has asked the origin to change and that is not known to
// be committed yet.
type writes struct {
	now   cache.Write
	ddl   bool
	bound bool // a statement came before in the same group
	// unseen: the lease began while nobody looked at what statements change.
	unseen bool
}

// watching reports whether what statements change matters to anybody.
func (c *client) watching() bool { return c.db.results != nil && c.db.results.on.Load() && !c.inner }

// noteWrite looks at a statement that is about to be sent to the origin, for what it
// may change and why it was not answered from the cache.
func (c *client) noteWrite(text []byte) {
	if !c.watching() {
		return
	}
	r := c.db.results
	v := r.statements.Judge(text)
	c.change(v.Effect)
	switch {
	case v.Status != query.StatusMiss:
		r.count(v.Status)
	case c.status != pgwire.TxIdle || c.writes.bound || c.ledger.ready > 0:
		r.count(query.StatusTransaction)
	default:
		r.count(query.StatusUncacheable)
	}
	c.writes.bound = true
}

// noteUnknown notes that something was asked for that nobody can look at.
func (c *client) noteUnknown() {
	if c.watching() {
		c.change(query.Effect{All: true})
		c.db.results.count(query.StatusNotAQuery)
	}
}

// change notes that tables are about to be written to.
func (c *client) change(e query.Effect) {
	if e.None() {
		return
	}
	w := &c.writes
	var begun cache.Write
	if e.All && !w.now.All {
		begun.All, w.now.All = true, true
	}
	for _, id := range e.Tables {
		if !slices.Contains(w.now.Tables, id) {
			begun.Tables = append(begun.Tables, id)
			w.now.Tables = append(w.now.Tables, id)
		}
	}
	if e.DDL && !w.ddl {
		w.ddl = true
	}
	c.db.results.space.Begin(begun)
}

// committed notes that the origin says that no transaction is open: what was
// written may be seen by all.
func (c *client) committed() {
	w := &c.writes
	if w.now.All || len(w.now.Tables) > 0 {
		if c.ledger.ready > 0 || c.unsynced || c.copying { // more of a pipeline is under way, and may write too
			c.db.results.space.Bump(w.now)
		} else {
			c.endWrites()
		}
	}
}

// endWrites ends what the client was writing.
func (c *client) endWrites() {
	w := c.writes
	c.writes = writes{unseen: w.unseen, bound: w.bound}
	r := c.db.results
	if r == nil || !w.now.All && len(w.now.Tables) == 0 {
		return
	}
	if w.ddl {
		r.doubt()
	}
	r.space.End(w.now)
}

// settleWrites ends what a client was writing when it gives its origin connection
// back. One that was lost may commit yet.
func (c *client) settleWrites(lost bool) {
	w := c.writes
	if c.db.results == nil {
		return
	}
	if w.unseen && c.db.results.on.Load() {
		c.db.results.space.Bump(cache.Write{All: true})
	}
	if !lost || !w.now.All && len(w.now.Tables) == 0 {
		c.endWrites()
		c.writes = writes{}
		return
	}
	c.writes = writes{}
	r := c.db.results
	r.space.Bump(w.now)
	time.AfterFunc(inDoubt, func() {
		if w.ddl {
			r.doubt()
		}
		r.space.End(w.now)
	})
}
