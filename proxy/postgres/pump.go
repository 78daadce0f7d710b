package postgres

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

// pump passes replies on until the origin owes none or takes CopyData. wrote is
// how writing the requests went: where it failed, the origin may still have said
// why. The lock is not held.
func (c *client) pump(wrote error) error {
	for {
		c.mu.Lock()
		if wrote != nil {
			c.left.session |= query.Spoilt
		}
		if err := c.takeReplies(); err != nil {
			c.mu.Unlock()
			return c.originLost(err)
		}
		done := c.quiet() || c.copying
		if done && !c.letGo() && !c.copying { // before the driver reads: the next client need not wait for it
			c.rest()
		}
		c.mu.Unlock()
		if err := c.writeReplies(); err != nil || done {
			if c.farewell && err == nil {
				return c.originLost(errOriginGone)
			}
			if err == nil {
				err = c.handsOver()
			}
			return err
		}
		if wrote != nil {
			_ = c.origin.SetReadDeadline(time.Now().Add(time.Second))
		} else if err := c.handsOver(); err != nil {
			return err
		}
		if err := c.origin.Fill(); err != nil {
			if wrote == nil && isTimeout(err) {
				if err := c.handsOver(); err != nil {
					return err
				}
			}
			return c.originLost(err)
		}
	}
}

// writeReplies writes what there is for the driver. A driver that is gone is no
// reason to stop reading: the origin connection is still to be brought to rest.
func (c *client) writeReplies() error {
	if c.dead.Load() {
		if c.replies.src != nil {
			c.replies.src.Discard(c.replies.off)
			c.replies.from, c.replies.off = 0, 0
		}
		c.replies.drop()
		return nil
	}
	if err := c.replies.flush(c.conn); err != nil {
		c.dead.Store(true)
		return fmt.Errorf("write to driver: %w", err)
	}
	return nil
}

// runPump is the pump beside the serving goroutine. It ends when it is told to
// and nothing is owed, when the origin connection is settled before that, or
// when a side is lost.
func (c *client) runPump(ended chan<- struct{}) {
	defer close(ended)
	for {
		c.mu.Lock()
		o := c.origin
		err := c.takeReplies()
		done := false
		switch quiet := c.quiet(); {
		case err != nil:
		case c.leaving:
			done = true // the origin connection has a deadline: it is not for anybody else yet
		case c.closing:
			done = quiet || c.copying // the origin waits for the driver
		case c.letGo(), c.ledger.n == 0 && c.settled():
			c.pumping, done = false, true
		case quiet && !c.copying:
			c.rest()
		}
		// Written under the lock: the serving goroutine may answer too.
		if err == nil {
			err = c.writeReplies()
		} else {
			err = c.originLostLocked(err)
		}
		if err != nil {
			c.stop(err)
		}
		c.mu.Unlock()
		if done || err != nil {
			return
		}
		if err := o.Fill(); err != nil {
			c.mu.Lock()
			if interrupted := isTimeout(err) && (c.leaving || c.closing && (c.quiet() || c.copying)); !interrupted {
				c.stop(c.originLostLocked(err))
			}
			c.mu.Unlock()
			return
		}
	}
}

// stop ends the client from the pump: the serving goroutine, which may wait for
// the driver, finds out by the deadline.
func (c *client) stop(err error) {
	c.ended = err
	_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	if c.origin != nil { // or may be writing to the origin
		_ = c.origin.SetWriteDeadline(time.Unix(1, 0))
	}
}

// joinPump waits until the pump has passed everything on that is owed.
func (c *client) joinPump() error {
	c.mu.Lock()
	c.closing = true
	c.settle()                                       // what the origin will not be heard about
	if (c.quiet() || c.copying) && c.origin != nil { // the pump waits for nothing
		_ = c.origin.SetReadDeadline(time.Unix(1, 0))
	}
	c.mu.Unlock()
	<-c.pumped
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pumping, c.closing = false, false
	if c.ended != nil {
		return c.ended
	}
	if c.origin == nil {
		return nil
	}
	if err := c.origin.SetReadDeadline(time.Time{}); err != nil {
		return c.originLostLocked(err)
	}
	if !c.letGo() && !c.copying {
		c.rest()
	}
	return c.writeReplies()
}

// originLost ends the client because its origin connection is of no use any
// more, and says so to the driver unless the origin did.
func (c *client) originLost(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.originLostLocked(err)
}

func (c *client) originLostLocked(err error) error {
	c.left.session |= query.Spoilt
	if !c.dead.Load() && c.giving.left == 0 { // never inside a message
		c.replies.hold()
		var pe *pgwire.Error
		switch {
		case errors.As(err, &pe):
			c.replies.put(pe.Append(nil))
		case c.forced.Load():
			c.replies.put(errStopping.Append(nil))
		case !c.farewell:
			c.replies.put(pgwire.Fatalf(pgwire.CodeConnectionFailure, "origin connection was lost").Append(nil))
		}
		_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
		_ = c.replies.flush(c.conn)
	}
	c.dead.Store(true)
	return fmt.Errorf("%w: %w", errOriginGone, err)
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// abandon brings the origin connection of a client that is gone to rest: what
// runs is cancelled, what is owed is read, and the pool gets the connection back
// to roll back and reset. Where the client left half a message it is discarded.
func (c *client) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pumping {
		c.leaving = true
		if c.origin != nil {
			_ = c.origin.SetReadDeadline(time.Unix(1, 0))
		}
		c.mu.Unlock()
		<-c.pumped
		c.mu.Lock()
		c.pumping = false
	}
	if c.origin == nil {
		return
	}
	if !c.parted {
		c.db.counts.clientsGone.Add(1)
	}
	half := c.taking.left > 0 || c.copying || c.requests.pending() > 0
	if c.left.session&query.Spoilt == 0 && c.calmDown(half) != nil {
		half = true
	}
	if half {
		c.left.session |= query.Spoilt
		// Unless calmDown has asked already. What may not be cancelled comes to its
		// end, and the origin finds then that there is nobody to answer.
		if c.origin.cancels.Over() == nil && !c.ledger.begins() {
			c.cancelOrigin()
		}
	}
	c.detach()
}

// errUnsynced makes a group fail whose client is gone. Nobody reads it.
var errUnsynced = pgwire.Errorf(pgwire.CodeConnectionFailure, "client is gone")

// calmDown reads what is owed, for as long as cleanTimeout, cancelling what runs as
// soon as no BEGIN can be hit, and ends an unfinished group, of which nothing remains.
// half says that a message is unfinished: then what is before it is all that comes to
// an end, and that is an error. The lock is held.
func (c *client) calmDown(half bool) error {
	o := c.origin
	if err := o.SetDeadline(time.Now().Add(cleanTimeout)); err != nil {
		return err
	}
	if c.unsynced && !half {
		if !c.skipping { // Sync alone would commit what the group has done so far
			c.provoke(errUnsynced)
		}
		c.requests.put(pgwire.AppendMessage(nil, pgwire.MsgSync))
		c.ledger.push(entry{kind: pgwire.MsgSync})
		if err := c.requests.flush(o); err != nil {
			return err
		}
	}
	canceled := false
	for {
		last := c.copying || !c.ledger.begins()
		if last && c.ledger.owed > 0 && !canceled {
			canceled = true
			c.cancelOrigin()
		}
		if last && half {
			return errOriginGone
		}
		if err := c.takeReplies(); err != nil {
			return err
		}
		if err := c.writeReplies(); err != nil {
			return err
		}
		if c.ledger.n == 0 && c.giving.left == 0 {
			return o.SetDeadline(time.Time{})
		}
		if c.copying {
			return errOriginGone
		}
		if err := o.Fill(); err != nil {
			return err
		}
	}
}
