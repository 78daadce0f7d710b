package bufconn

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicedb/sluice/protocol/stream/socket"

	"golang.org/x/sys/unix"
)

// ErrRest is returned by Await when nothing has come for a while: its caller is to
// go on in a new goroutine.
var ErrRest = errors.New("nothing to read for a while")

// The paces of a reader.
const (
	moving  = iota // it has read since Rouse was called last
	still          // it has not
	roused         // it has a deadline that has passed, which is to be lifted
	resting        // it has read nothing since it was roused
)

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// A rest is what lets the reader of a Conn rest. Who has served a query has grown
// its goroutine's stack to 8 KiB or more, which keeps that size while it waits: what
// is in use of it then is too much for the runtime to halve it (shrinkstack of
// runtime/stack.go). A new goroutine begins with 2 KiB, which are enough to wait in.
type rest struct {
	pace     atomic.Int32
	asked    bool // readable was called
	mu       sync.Mutex
	deadline time.Time // of reading, as the Conn's users have it
}

// Rouse is to be called every few seconds for a Conn whose reader may rest: an Await
// that has waited since the call before it returns ErrRest. It does not block.
func (c *Conn) Rouse() {
	r := &c.rest
	switch r.pace.Load() {
	case moving:
		r.pace.CompareAndSwap(moving, still)
	case still:
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.deadline.IsZero() && r.pace.CompareAndSwap(still, roused) {
			_ = c.Conn.SetReadDeadline(past) // it fails on what is closed, and needs no rousing
		}
	}
}

// Await is Fill where a message may begin. It returns ErrRest when the reader may
// rest: the next Await then waits in no more than the stack that a new goroutine has.
func (c *Conn) Await() error {
	if c.rest.pace.Load() == resting && c.socket != nil {
		c.rest.asked = false
		_ = c.socket.Read(c.readable) // what is wrong the read that follows knows better
	}
	err := c.fill()
	if err != nil && c.lifts(err) {
		return ErrRest
	}
	c.moves()
	return err
}

// moves notes that something was read, or that another deadline has passed: what the
// reader does then grows its stack.
func (c *Conn) moves() {
	switch pace := c.rest.pace.Load(); pace {
	case still, resting:
		c.rest.pace.CompareAndSwap(pace, moving) // or it was roused just now
	}
}

// lifts reports whether err is due to Rouse, and lets the reader wait again.
func (c *Conn) lifts(err error) bool {
	r := &c.rest
	if r.pace.Load() != roused || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.pace.CompareAndSwap(roused, resting) {
		return false // another deadline has been set since
	}
	return c.Conn.SetReadDeadline(time.Time{}) == nil
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.rest.mu.Lock()
	defer c.rest.mu.Unlock()
	c.rest.set(t)
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	c.rest.mu.Lock()
	defer c.rest.mu.Unlock()
	c.rest.set(t)
	return c.Conn.SetDeadline(t)
}

// set notes a deadline, which takes the place of the one that has roused the reader.
// The lock is held.
func (r *rest) set(t time.Time) {
	r.deadline = t
	r.pace.CompareAndSwap(roused, still)
}

// readable reports whether the socket is to be waited for no longer.
func (c *Conn) readable(fd uintptr) bool {
	if c.rest.asked {
		return true
	}
	c.rest.asked = true // the poller's word is enough the second time
	got, err := socket.Poll(fd, unix.POLLIN)
	return got != 0 || err != nil
}
