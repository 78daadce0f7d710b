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

// What ends the part of an inner client's work that is done on the goroutine of the client
// that asked.
var (
	errHandOver = errors.New("another goroutine goes on")
	errAnswered = errors.New("the answer is all there")
)

// lead runs the query of a group into a flight on the client's goroutine, as long as that
// has nothing else to do: until the answer is there, which for most is all that ever
// happens. Then the runner is kept for the client's next flight, if it can be. Where a part
// of the answer is there, or the client is to wait no longer, another goroutine goes on, and
// so it does with what is to be done behind the answer.
func (c *client) lead(a *asked, f *cache.Flight) {
	r := c.runner
	c.runner = nil
	if max(len(a.body), len(a.text))+len(a.bind) > maxLed {
		r.start(c, a, f, nil)
		return
	}
	in := r.prepare(c, a, f, nil)
	in.led, r.side.later = true, true
	c.leads(in)
	err := in.steps()
	c.leads(nil)
	if errors.Is(err, errHandOver) {
		if r.side.later = r.side.later && r.side.finished; r.side.later {
			c.unstored = f
		}
		c.s.work.Go(func() {
			in.goOn()
			r.leave()
		})
		return
	}
	in.end()
	if r.leave(); r.side.later {
		c.unstored, c.recycles = f, true
	}
	r.side.flight = nil
	if r.rested() {
		c.runner = r
	}
}

// store stores the result that the client has led a flight for, when its driver has the
// answer: that takes as long as some of what the driver waits for. Others who ask for the same meanwhile get it of the flight.
func (c *client) store() {
	f, recycles := c.unstored, c.recycles
	if f == nil {
		return
	}
	c.unstored, c.recycles = nil, false
	if c.db.store(f); recycles {
		f.Recycle()
	}
}

// rested reports whether a runner can run another query: nothing went wrong with its last
// one, and its client was told nothing that is still in force. Nobody else knows of that
// by now but the watch.
func (r *runner) rested() bool {
	in := r.client
	in.leaseMu.Lock()
	defer in.leaseMu.Unlock()
	return r.side.ended() == nil && in.origin == nil && !in.pumping && !in.interrupted && in.canceled.Load() == 0 &&
		!in.forced.Load() && !in.silent.Load() && in.expelled.Load() == 0 && !in.s.stopping.Load()
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

// handsOver says how an inner client is to leave the goroutine that it is led on, nil where it
// is not to. It hands over where it was interrupted, or would only wait there while what has
// come could be passed on, or the answer is all there and it still has an origin connection.
func (c *client) handsOver() error {
	if !c.inner {
		return nil
	}
	c.leaseMu.Lock()
	defer c.leaseMu.Unlock()
	side, ok := c.conn.Conn.(*flightConn)
	switch {
	case !c.led || !ok:
	case c.interrupted, side.begun && !side.done, side.done && c.origin != nil:
		return errHandOver
	case side.done:
		return errAnswered
	}
	return nil
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
