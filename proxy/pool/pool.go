package pool

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Conn is a pooled origin connection.
type Conn interface {
	comparable
	// Rest is called when the connection goes on the idle stack.
	Rest()
	// Quiet reports whether the connection can be lent again. It is asked
	// before a connection leaves the idle stack and must not block on the network.
	Quiet() bool
	// Close ends the connection. It is called once, and must not block for long.
	Close() error
}

// The errors of Get. A Get that fails because the origin cannot be reached
// returns the error of the last dial.
var (
	ErrTimeout  = errors.New("timed out waiting for a connection")
	ErrCanceled = errors.New("canceled while waiting for a connection")
	ErrClosed   = errors.New("pool is closed")
	ErrFull     = errors.New("too many clients are waiting for a connection")
)

// Config says how a pool behaves. Only Dial is required.
type Config[C Conn] struct {
	Dial func(context.Context) (C, error)

	Max         int           // most connections, dials in flight included; 20 if zero
	MinIdle     int           // connections kept open while the pool is in use
	DialLimit   int           // dials in flight; 2 if zero, so that a burst does not become a storm
	MaxWaiters  int           // clients in line before Get fails at once; 10,000 if zero
	WaitTimeout time.Duration // longest wait in line; 15 s if zero, Hyperdrive's connect limit
	DialTimeout time.Duration // one dial, login included; 15 s if zero, likewise
	IdleTimeout time.Duration // an idle connection is closed after it; 10 min if zero, as Hyperdrive does
	MaxLifetime time.Duration // a connection is not lent again after it, give or take a fifth; 1 h if zero
}

func (c *Config[C]) defaults() {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	defd := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Max, 20)
	def(&c.DialLimit, 2)
	def(&c.MaxWaiters, 10000)
	defd(&c.WaitTimeout, 15*time.Second)
	defd(&c.DialTimeout, 15*time.Second)
	defd(&c.IdleTimeout, 10*time.Minute)
	defd(&c.MaxLifetime, time.Hour)
	c.MinIdle = min(c.MinIdle, c.Max)
}

// A Pool lends connections. All methods may be called concurrently.
type Pool[C Conn] struct {
	cfg  Config[C]
	wake chan struct{} // for Run: there may be something to dial

	mu      sync.Mutex
	closed  bool
	idle    []entry[C] // oldest first; lent from the end
	live    map[C]*entry[C]
	waiters list[C]
	dialing int
	gen     uint64 // connections of an older generation are not lent again

	failures int       // dials failed in a row
	failed   error     // the last of them
	retryAt  time.Time // no dial before it

	closers sync.WaitGroup // Closes that Run waits for; added to while not closed
	stats   Stats
}

// An entry is what the pool knows of a connection.
type entry[C Conn] struct {
	c       C
	gen     uint64
	expires time.Time
	since   time.Time // idle since
}

// Stats are counts of a pool at a moment, and since it was made.
type Stats struct {
	Live, Idle, Dialing, Waiting int
	OldestWait                   time.Duration

	Gets, Waits, Timeouts uint64
	Dials, DialErrors     uint64
	Retired               uint64 // closed because of age, generation or loss
}

// New makes a pool. Run must be running for it to dial.
func New[C Conn](cfg Config[C]) *Pool[C] {
	cfg.defaults()
	return &Pool[C]{cfg: cfg, wake: make(chan struct{}, 1), live: make(map[C]*entry[C])}
}

// Get lends a connection: an idle one at once, else in the order of asking. It
// blocks until there is one, the wait timed out, w was canceled or the origin
// proved to be unreachable. The caller owes a Put or a Discard.
func (p *Pool[C]) Get(w *Waiter[C]) (C, error) {
	var zero C
	for tries := uint64(0); ; tries++ {
		p.mu.Lock()
		if tries == 0 {
			p.stats.Gets++
		}
		if p.closed {
			p.mu.Unlock()
			return zero, ErrClosed
		}
		c, ok := p.popIdle()
		if !ok {
			break // with the lock held
		}
		p.mu.Unlock()
		if c.Quiet() {
			return c, nil
		}
		p.Discard(c)
	}
	if p.down() {
		err := p.failed
		p.mu.Unlock()
		return zero, err
	}
	if p.waiters.n >= p.cfg.MaxWaiters {
		p.mu.Unlock()
		return zero, ErrFull
	}
	p.stats.Waits++
	w.since = time.Now()
	p.waiters.push(w)
	p.mu.Unlock()
	p.poke()
	r := <-w.ready
	return r.c, r.err
}

// popIdle takes the newest idle connection that may still be lent; older ones
// that may not are retired. The lock is held.
func (p *Pool[C]) popIdle() (C, bool) {
	now := time.Now()
	for len(p.idle) > 0 {
		e := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if p.fresh(e, now) {
			return e.c, true
		}
		p.retire(e.c)
	}
	var zero C
	return zero, false
}

func (p *Pool[C]) fresh(e entry[C], now time.Time) bool {
	return e.gen == p.gen && now.Before(e.expires)
}

// retire forgets c and closes it beside the lock, which is held. Run, which has
// not come to its end, waits for the Close.
func (p *Pool[C]) retire(c C) {
	p.forget(c)
	p.closers.Go(func() { c.Close() })
}

// forget takes c off the books. With it may go the last connection that the
// waiting could have had from an origin that is down. The lock is held.
func (p *Pool[C]) forget(c C) {
	delete(p.live, c)
	p.stats.Retired++
	if p.down() {
		p.failWaiters()
	}
}

// down reports whether there is nothing to wait for: no connection is open, and
// the next dial is a while off since the last has failed. The lock is held.
func (p *Pool[C]) down() bool {
	return p.failed != nil && len(p.live) == 0 && time.Now().Before(p.retryAt)
}

// failWaiters tells the waiting what the origin said. The lock is held.
func (p *Pool[C]) failWaiters() {
	for w := p.waiters.pop(); w != nil; w = p.waiters.pop() {
		w.ready <- result[C]{err: p.failed}
	}
}

// Put returns a connection that is ready for the next client: to the head of
// the line, or to the idle stack. After the pool's end it closes it.
func (p *Pool[C]) Put(c C) {
	if p.put(c) {
		c.Close()
	}
}

// put reports whether c is left to be closed because the pool has ended.
func (p *Pool[C]) put(c C) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.live[c]
	if !ok {
		return false // not of this pool
	}
	if p.closed {
		p.forget(c)
		return true
	}
	now := time.Now()
	if !p.fresh(*e, now) {
		p.retire(c)
		p.poke()
		return false
	}
	if w := p.waiters.pop(); w != nil {
		w.ready <- result[C]{c: c}
		return false
	}
	e.since = now
	c.Rest()
	p.idle = append(p.idle, *e)
	return false
}

// Discard closes a connection that must not be lent again.
func (p *Pool[C]) Discard(c C) {
	p.mu.Lock()
	if _, ok := p.live[c]; ok {
		p.forget(c)
		defer p.poke()
	}
	p.mu.Unlock()
	c.Close()
}

// Renew makes every connection of now one that is not lent again: idle ones are
// closed, lent ones when they come back. For changed credentials or origins.
func (p *Pool[C]) Renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gen++
	p.failed, p.failures, p.retryAt = nil, 0, time.Time{}
	for _, e := range p.idle {
		p.retire(e.c)
	}
	p.idle = nil
	p.poke()
}

// Stats reads the counters.
func (p *Pool[C]) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Live, s.Idle, s.Dialing, s.Waiting = len(p.live), len(p.idle), p.dialing, p.waiters.n
	if w := p.waiters.head; w != nil {
		s.OldestWait = time.Since(w.since)
	}
	return s
}

// poke tells Run to look whether something is to be dialled.
func (p *Pool[C]) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
