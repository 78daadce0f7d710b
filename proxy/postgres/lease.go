package postgres

import (
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

// attached reports whether the client has an origin connection.
func (c *client) attached() bool {
	c.leaseMu.Lock()
	defer c.leaseMu.Unlock()
	return c.origin != nil
}

// settled reports whether the origin connection owes nothing and is owed
// nothing, so that it may be tidied and go to another client. The lock is held.
func (c *client) settled() bool {
	return c.ledger.n == 0 && c.status == pgwire.TxIdle && !c.unsynced && !c.copying && !c.writing &&
		c.taking.left == 0 && c.giving.left == 0 && c.requests.pending() == 0
}

// attach leases an origin connection and brings it into the client's state. The
// lock is held.
func (c *client) attach() *pgwire.Error {
	c.since.Store(time.Now().UnixNano())
	if c.replies.pending() > 0 { // answers to what came before need not wait
		_ = c.writeReplies()
	}
	o, err := c.db.pool.Get(c.waiter)
	for err == nil && o.hasty && o.state != c.session.state.id && o.plain() != nil {
		// Another client's timeout has hit what takes it away. It must not hit this one.
		c.db.pool.Discard(o)
		o, err = c.db.pool.Get(c.waiter)
	}
	if err != nil {
		c.rest()
		return poolError(err)
	}
	c.leaseMu.Lock()
	c.origin = o
	c.leaseMu.Unlock()
	c.writes.unseen = !c.watching() && !c.inner
	if side, ok := c.conn.Conn.(*flightConn); ok {
		side.zone = o.zone
	}
	c.replies.gather()
	c.replies.src = o.Conn
	if o.state != c.session.state.id {
		if pe := c.applyState(); pe != nil {
			return pe
		}
	}
	c.ownSequences()
	return nil
}

// detach gives the origin connection back. What of its replies is not written
// yet is kept. The lock is held.
func (c *client) detach() {
	c.replies.hold()
	o := c.origin
	c.leaseMu.Lock()
	c.origin = nil
	cut := o.cut
	c.calm(o)
	c.leaseMu.Unlock()
	c.replies.src = nil
	c.settleWrites(cut || c.ledger.n > 0 || c.unsynced || c.left.session&query.Spoilt != 0)
	left := c.left
	left.status = c.status
	if left.session != query.Clean || c.session.open() {
		if left.session |= query.Dirty | c.session.pins | c.session.asked.reasons; c.dead.Load() {
			left.session |= query.Prepares // for all that is known
		}
		c.forgetLeft()
	} else if c.db.cfg.Load().AlwaysReset {
		left.session = query.Dirty
	}
	if c.session.temps { // gone by now, or not: what was prepared meanwhile may be of their columns
		left.session |= query.Dirty | query.Temps
		c.session.temps = false
	}
	c.left, c.status, c.bound = leftovers{}, pgwire.TxIdle, bound{}
	c.groups, c.spare, c.worked, c.opening = 0, 0, false, false
	c.ledger.shrink()
	c.rest()
	if cut || len(o.Bytes()) > 0 { // deadlines, or messages that nobody waits for
		left.session |= query.Spoilt
	}
	c.s.giveBack(o, left)
}

// begin notes when what the origin is asked for now began. A cancel of what ran before must not hit it. The lock is held.
func (c *client) begin() {
	if c.began != 0 {
		return
	}
	if c.late && c.origin != nil {
		if on := c.origin.cancels.Over(); on != nil {
			<-on // bounded by cancelTimeout
		}
	}
	c.late = false
	c.began = time.Now().UnixNano()
	c.paused.Store(0)
	if c.since.CompareAndSwap(0, c.began) {
		c.canceled.Store(0) // the watch may have come late with one
	}
}

// beginNext notes that what ran is done, and that the next of a pipeline has begun
// where more is owed.
func (c *client) beginNext() {
	if c.began == 0 || c.ledger.n == 0 {
		return
	}
	now := time.Now().UnixNano()
	c.db.counts.took.Observe(time.Duration(now - c.began))
	c.began = now
	c.canceled.Store(0)
	c.since.Store(now)
}

// rest notes that nothing runs. The lock is held.
func (c *client) rest() {
	c.since.Store(0)
	c.late = c.canceled.Swap(0) != 0 || c.late
	now := int64(0)
	if c.began != 0 {
		now = time.Now().UnixNano()
		c.db.counts.took.Observe(time.Duration(now - c.began))
		c.began = 0
	}
	if c.origin == nil || c.status == pgwire.TxIdle && !c.unsynced && !c.copying { // it may keep the connection then
		now = 0
	}
	c.paused.Store(now)
}
