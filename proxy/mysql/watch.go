package mysql

import (
	"context"
	"time"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// watchTick is how often the watch looks at the clients that wait for an origin:
// one ticker stands for a timer a query. A client that vanished is noticed within
// two ticks.
const watchTick = 250 * time.Millisecond

// restTicks is how many ticks a client's goroutine waits at least, and twice that at
// most, before another waits in its place: long beside the pause between two queries of
// a driver at work, and often enough to be done with a burst of clients when it is over.
const restTicks = 8

// deafAfter is how long a cancelled statement may go on before its origin
// connection is cut.
const deafAfter = 5 * time.Second

// watch looks after clients that wait until done is closed: those whose driver
// is gone are cancelled, and so are statements that take too long.
func (s *Server) watch(done <-chan struct{}) {
	t := time.NewTicker(watchTick)
	defer t.Stop()
	for tick := uint32(0); ; tick++ {
		select {
		case <-done:
			return
		case now := <-t.C:
			for _, c := range s.all() {
				c.look(now)
				if (c.id+tick)%restTicks == 0 { // not all at once
					c.conn.Rouse()
				}
			}
		}
	}
}

func (c *client) look(now time.Time) {
	if at := c.expelled.Load(); at != 0 {
		c.drainTick(now.Sub(time.Unix(0, at)) > deafAfter)
	}
	since := c.since.Load()
	if since == 0 {
		c.lookSilent(now)
		return
	}
	ran := now.Sub(time.Unix(0, since))
	if ran < watchTick {
		return
	}
	if at := c.canceled.Load(); at != 0 {
		if now.Sub(time.Unix(0, at)) > deafAfter {
			c.cut()
		}
		return
	}
	db, _ := c.account()
	limit := db.cfg.Load().QueryTimeout
	if late := limit > 0 && ran > limit; !late && !c.conn.Gone() {
		return
	}
	at := now.UnixNano()
	c.canceled.Store(at)
	if c.since.Load() == since && c.cancelWait() {
		return
	}
	if o := c.busyOrigin(since); o != nil {
		c.s.work.Go(func() { o.cancel(context.Background()) }) // bounded by cancelTimeout
		return
	}
	c.canceled.CompareAndSwap(at, 0) // it is over: what the client asks next is to take its own time
}

// account is whose client it is, which COM_CHANGE_USER changes. It is for goroutines
// that do not serve the client.
func (c *client) account() (*Database, string) {
	c.leaseMu.Lock()
	defer c.leaseMu.Unlock()
	return c.db, c.user
}

// cancelWait ends the client's wait for an origin connection, and reports whether it
// waited for one.
func (c *client) cancelWait() bool {
	c.leaseMu.Lock()
	p, w := c.pool, c.waiter
	c.leaseMu.Unlock()
	return p != nil && p.Cancel(w)
}

// errSilent has MySQL's own code and words.
var errSilent = mywire.Errorf(mywire.CodeClientInteraction, "The client was disconnected by the server because of inactivity. "+
	"See wait_timeout and interactive_timeout for configuring this behavior.")

// lookSilent ends a client that is silent in a transaction for too long.
func (c *client) lookSilent(now time.Time) {
	if c.tooSilent(now) {
		c.silent.Store(true)
		c.wake()
	}
}

// wake makes a client that waits for its driver look around.
func (c *client) wake() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) }

func (c *client) tooSilent(now time.Time) bool {
	db, _ := c.account()
	limit, at := db.cfg.Load().IdleTransactionTimeout, c.paused.Load()
	return limit > 0 && at != 0 && now.Sub(time.Unix(0, at)) > limit
}

// cut ends a client whose origin does not answer, nor obey, or whose driver does
// not read.
func (c *client) cut() {
	c.leaseMu.Lock()
	defer c.leaseMu.Unlock()
	if c.origin == nil || c.since.Load() == 0 {
		return
	}
	if c.origin.cut { // a tick ago: nobody has heard of it, so its driver is waited for
		c.wake()
	}
	c.origin.cut = true
	_ = c.origin.SetDeadline(time.Unix(1, 0))
	_ = c.conn.SetWriteDeadline(time.Unix(1, 0))
}

// drain ends every client: the idle at once, those in a transaction when it
// ends, and all of them after the grace period.
func (s *Server) drain() {
	s.stopping.Store(true)
	gone := make(chan struct{})
	go func() { defer close(gone); s.work.Wait() }()
	t := time.NewTicker(watchTick)
	defer t.Stop()
	deadline := time.Now().Add(s.Grace)
	for _, c := range s.all() {
		c.drainTick(false)
	}
	for {
		select {
		case <-gone:
			return
		case now := <-t.C:
			for _, c := range s.all() {
				c.drainTick(now.After(deadline))
			}
		}
	}
}

// drainTick says goodbye to a client that became idle, or to any after the deadline.
func (c *client) drainTick(force bool) {
	c.leaseMu.Lock()
	defer c.leaseMu.Unlock()
	if c.origin == nil && c.since.Load() == 0 && (c.unwelcome() || force) {
		c.wake()
	}
	if !force {
		return
	}
	if !c.forced.Swap(true) && c.origin != nil && c.since.Load() != 0 {
		c.cancelOrigin() // what runs would go on for nobody
	}
	_ = c.conn.SetDeadline(time.Unix(1, 0))
	if c.origin != nil {
		c.origin.cut = true
		_ = c.origin.SetDeadline(time.Unix(1, 0))
	} else {
		c.pool.Cancel(c.waiter)
	}
}

var errStopping = mywire.Errorf(mywire.CodeServerShutdown, "Server shutdown in progress")

// Expel ends the clients of a database whose user stays does not name: the idle
// at once, the others when their transaction ends, within five seconds.
func (s *Server) Expel(d *Database, stays func(user string) bool) {
	now := time.Now().UnixNano()
	for _, c := range s.all() {
		if db, user := c.account(); db == d && !stays(user) {
			c.expelled.CompareAndSwap(0, now)
		}
	}
}
