package postgres

import (
	"errors"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/cache"
)

// maxLed is the longest question in bytes that is asked on its client's own goroutine:
// it is written before the answer is read, and must not wait for that.
const maxLed = pgwire.BufferSize / 2

// errHandOver ends the part of an inner client's work that is done on the goroutine of
// the client that asked.
var errHandOver = errors.New("another goroutine goes on")

// lead runs the query of a group into a flight on the goroutine of c, as long as that has
// nothing else to do: until the answer is there, which for most is all that ever happens.
// Where a part of the answer is there, or c is to wait no longer, another goroutine goes
// on, and so it does with what is to be done behind the answer.
func (r *runner) lead(c *client, a *asked, f *cache.Flight) {
	if max(len(a.body), len(a.text))+len(a.bind) > maxLed {
		r.start(c, a, f, nil)
		return
	}
	in, side := r.prepare(c, a, f, nil)
	in.led = true
	c.leads(in)
	err := in.steps()
	c.leads(nil)
	if errors.Is(err, errHandOver) {
		c.s.work.Go(func() {
			in.goOn()
			side.leave(in)
		})
		return
	}
	in.end()
	side.leave(in)
}

// leads notes the inner client that runs on c's goroutine, nil for none any more.
func (c *client) leads(in *client) {
	c.leaseMu.Lock()
	c.leading = in
	left := c.flightLeft
	c.leaseMu.Unlock()
	if in != nil && left {
		in.interrupt()
	}
}

// interrupt makes an inner client leave the goroutine that it is led on. In line for an
// origin connection it gives up: those who wait for its result ask by themselves.
func (c *client) interrupt() {
	c.leaseMu.Lock()
	defer c.leaseMu.Unlock()
	switch {
	case !c.led:
		return
	case c.origin == nil:
		c.db.pool.Cancel(c.waiter)
	default:
		_ = c.origin.SetReadDeadline(time.Unix(1, 0))
	}
	c.interrupted = true
}

// handsOver reports whether an inner client is to leave the goroutine that it is led on:
// it was interrupted, or it would only wait there while what has come could be passed on,
// or the answer is all there and it still has an origin connection.
func (c *client) handsOver() bool {
	if !c.inner {
		return false
	}
	c.leaseMu.Lock()
	defer c.leaseMu.Unlock()
	if !c.led {
		return false
	}
	side, ok := c.conn.Conn.(*flightConn)
	return c.interrupted || ok && (side.begun && !side.done || side.done && c.origin != nil)
}

// goOn is the rest of serve for an inner client that was handed over.
func (c *client) goOn() {
	c.leaseMu.Lock()
	c.calm(c.origin)
	c.led = false
	c.leaseMu.Unlock()
	c.mu.Lock()
	quiet := c.quiet()
	c.mu.Unlock()
	var err error
	if !quiet {
		err = c.pump(nil)
	}
	if c.hear(err) == nil {
		_ = c.steps()
	}
	c.end()
}

// calm undoes what interrupt did to an origin connection, nil for none. leaseMu is held.
func (c *client) calm(o *origin) {
	if c.interrupted && o != nil && !o.cut {
		_ = o.SetReadDeadline(time.Time{})
	}
	c.interrupted = false
}
