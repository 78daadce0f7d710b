package stream

import (
	"errors"
	"os"
	"time"
)

// What has moved bytes has grown its goroutine's stack to 4 or 8 KiB: writing to a session may take TLS. A stack is halved when less
// than a quarter of it is in use, of which the runtime counts 800 bytes for itself (shrinkstack of runtime/stack.go), so that one of 4 KiB
// stays as it is; a new goroutine begins with 2 KiB. Therefore a direction that rests goes on in a new one.

// restAfter is from one look at whether a pipe's directions have moved to the next. One that has not is restarted, which costs two wakes:
// far less often than what rests for seconds could be noticed by.
const restAfter = 10 * time.Second

// The paces of a direction.
const (
	fresh  = iota // it has moved nothing in its goroutine
	moved         // it has, since the last look
	still         // it has, and not since the last look
	roused        // its source has a deadline that has passed, to be lifted by a new goroutine, or will have in a moment
)

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// moves notes that the direction is about to move something.
func (d *direction) moves() {
	switch d.pace.Load() {
	case fresh:
		d.pace.Store(moved)
		d.pipe.lookLater()
	case still:
		d.pace.CompareAndSwap(still, moved) // or it was roused just now
	}
}

// lookLater has somebody look after restAfter, unless that is so.
func (p *pipe) lookLater() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.again()
}

// again is lookLater with mu held.
func (p *pipe) again() {
	switch {
	case p.left.Load() == 0:
	case p.look == nil:
		p.look = time.AfterFunc(restAfter, p.rest)
	default:
		p.look.Reset(restAfter)
	}
}

// rest restarts the directions that have not moved since the last look. When both rest nobody looks, and no timer is kept.
func (p *pipe) rest() {
	ab, ba := p.ab.rest(), p.ba.rest()
	p.mu.Lock()
	defer p.mu.Unlock()
	if ab || ba || p.ab.woke() || p.ba.woke() {
		p.again()
	} else {
		p.look = nil
	}
}

// woke reports whether a direction that was to rest has moved meanwhile: lookLater may have been called before rest had the lock.
func (d *direction) woke() bool { return !d.fixed && d.pace.Load() == moved }

// rest looks at a direction, and reports whether it is to be looked at again.
func (d *direction) rest() bool {
	switch d.pace.Load() {
	case moved:
		return !d.fixed && d.pace.CompareAndSwap(moved, still)
	case still:
		if d.pace.CompareAndSwap(still, roused) {
			// It fails on a conn that has ended, which needs no rousing.
			_ = d.src.SetReadDeadline(past)
			if d.writing.Load() {
				d.watchSource()
			}
			return false
		}
		return true // it has moved just now
	}
	return false
}

// A teller is a Conn that tells of its peer's reset though nobody reads. A stream of a tunnel is one.
type teller interface {
	// WhenReset calls f, in a goroutine of its own, with why nothing more can be read. stop lets it be.
	WhenReset(f func(error)) (stop func() bool)
}

// watchSource has the pipe end when the source is reset, though the direction is stuck in a write: it would learn of it when that is
// over, which may be never. Few are, so that not every stream pays for it.
func (d *direction) watchSource() {
	t, ok := d.src.(teller)
	if !ok {
		return
	}
	d.pipe.mu.Lock()
	defer d.pipe.mu.Unlock()
	if d.unwatch == nil && d.pipe.left.Load() > 0 {
		d.unwatch = t.WhenReset(func(err error) { d.fail(d.from, "read", err) })
	}
}

// wasRoused reports whether err is due to rest.
func (d *direction) wasRoused(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && d.pace.Load() == roused
}

// restarts goes on in a new goroutine if err is due to rest.
func (d *direction) restarts(err error) bool {
	if !d.wasRoused(err) {
		return false
	}
	// It fails on a conn that has ended, of which the next call tells.
	_ = d.src.SetReadDeadline(time.Time{})
	d.pace.Store(fresh)
	go d.run()
	return true
}
