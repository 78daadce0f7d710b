package pool

import (
	"context"
	"errors"
	"sync"
	"time"
	"weak"
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
	Full func(error) bool // whether a dial failed because the origin has no room for more; nil: never
	// Passing is whether a dial failed on its way to the origin, which another
	// may take soon; nil: never. The waiting are not told of such failures before
	// dials have failed for two seconds.
	Passing func(error) bool

	// Max is the most connections, dials in flight included; 20 if zero. It is
	// soft: connections from before a Renew that are still lent do not count,
	// so that clients of a lost origin keep nobody from the new one. All
	// together are never more than twice Max.
	Max int
	// MaxPinned is the most lent connections that are pinned; Max if zero. They
	// do not count for Max.
	MaxPinned   int
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
	def(&c.MaxPinned, c.Max)
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
	idle    []*entry[C] // oldest first; lent from the end
	live    map[C]*entry[C]
	old     int // of live: of an older generation
	line    line[C]
	dialing int
	pinned  int    // of live
	gen     uint64 // connections of an older generation are not lent again

	failures int       // dials failed in a row
	failed   error     // the last of them
	retryAt  time.Time // no dial before it
	hopeful  time.Time // the waiting are not told before it

	room      int       // connections that the origin had room for
	roomUntil time.Time // when that is forgotten

	closers sync.WaitGroup // Closes that Run waits for; added to while not closed
	stats   Stats
	waits   Histogram
	holds   Histogram
}

// An entry is what the pool knows of a connection.
type entry[C Conn] struct {
	c       C
	gen     uint64
	expires time.Time
	since   time.Time  // idle, or lent, since
	holder  *tenant[C] // whose client it is lent to; nil while idle
}

// New makes a pool. Run must be running for it to dial.
func New[C Conn](cfg Config[C]) *Pool[C] {
	cfg.defaults()
	p := &Pool[C]{cfg: cfg, wake: make(chan struct{}, 1), live: make(map[C]*entry[C])}
	p.line.tenants = make(map[string]weak.Pointer[tenant[C]])
	return p
}

// Configure changes everything but Dial, Full and Passing. Connections beyond a lower
// maximum are closed when they are next idle.
func (p *Pool[C]) Configure(cfg Config[C]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	cfg.Dial, cfg.Full, cfg.Passing = p.cfg.Dial, p.cfg.Full, p.cfg.Passing
	cfg.defaults()
	p.cfg = cfg
	p.poke()
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
		c, ok := p.popIdle(w)
		if !ok {
			break // with the lock held
		}
		p.mu.Unlock()
		if c.Quiet() {
			return c, nil
		}
		p.discard(c, Lost)
	}
	if p.down() {
		err := p.failed
		p.mu.Unlock()
		return zero, err
	}
	if p.line.n >= p.cfg.MaxWaiters {
		p.mu.Unlock()
		return zero, ErrFull
	}
	p.stats.Waits++
	w.since = time.Now()
	p.line.push(w)
	p.mu.Unlock()
	p.poke()
	r := <-w.ready
	return r.c, r.err
}

// popIdle lends the newest idle connection that may still be lent to w; older
// ones that may not are retired. The lock is held.
func (p *Pool[C]) popIdle(w *Waiter[C]) (C, bool) {
	now := time.Now()
	for len(p.idle) > 0 {
		e := p.idle[len(p.idle)-1]
		p.idle[len(p.idle)-1] = nil
		p.idle = p.idle[:len(p.idle)-1]
		if why := p.stale(e, now); why != fresh {
			p.retire(e, why)
			continue
		}
		p.lend(e, w.tenant, now)
		return e.c, true
	}
	var zero C
	return zero, false
}

// lend notes that e is t's from now on. The lock is held.
func (p *Pool[C]) lend(e *entry[C], t *tenant[C], now time.Time) {
	e.holder, e.since = t, now
	t.held++
}

// handOver lends e to the client whose turn it is, if anybody waits. The lock
// is held.
func (p *Pool[C]) handOver(e *entry[C], now time.Time) bool {
	w := p.line.pop()
	if w == nil {
		return false
	}
	p.lend(e, w.tenant, now)
	p.waits.Observe(now.Sub(w.since))
	w.ready <- result[C]{c: e.c}
	return true
}

// rest puts e on the idle stack. The lock is held.
func (p *Pool[C]) rest(e *entry[C], now time.Time) {
	e.since = now
	e.c.Rest()
	p.idle = append(p.idle, e)
}

// returned notes that e is nobody's any more. The lock is held.
func (p *Pool[C]) returned(e *entry[C], now time.Time) {
	if e.holder != nil {
		e.holder.held--
		e.holder = nil
		p.holds.Observe(now.Sub(e.since))
	}
}

// stale says why e must not be lent again, or that it may. The lock is held.
func (p *Pool[C]) stale(e *entry[C], now time.Time) Reason {
	switch {
	case e.gen != p.gen:
		return Renewed
	case !now.Before(e.expires):
		return Aged
	case len(p.live)-p.old > p.cfg.Max+p.pinned:
		return Surplus
	case leaving(e.c):
		return Leaving
	}
	return fresh
}

// leaving reports whether the way that c takes is about to end, where c knows.
func leaving(c any) bool {
	l, ok := c.(interface{ Leaving() bool })
	return ok && l.Leaving()
}

// retire forgets e and closes it beside the lock, which is held. Run, which has
// not come to its end, waits for the Close.
func (p *Pool[C]) retire(e *entry[C], why Reason) {
	p.forget(e, why)
	p.closers.Go(func() { e.c.Close() })
}

// forget takes e off the books. With it may go the last connection that the
// waiting could have had from an origin that is down. The lock is held.
func (p *Pool[C]) forget(e *entry[C], why Reason) {
	delete(p.live, e.c)
	if e.gen != p.gen {
		p.old--
	}
	p.stats.Retired[why]++
	if p.down() {
		p.failWaiters()
	}
}

// down reports whether there is nothing to wait for: no connection is open that
// will be lent again, the next dial is a while off since the last has failed, and
// not only just now. The lock is held.
func (p *Pool[C]) down() bool {
	now := time.Now()
	return p.failed != nil && len(p.live) == p.old && now.Before(p.retryAt) && !now.Before(p.hopeful)
}

// failWaiters tells the waiting what the origin said. The lock is held.
func (p *Pool[C]) failWaiters() {
	for w := p.line.pop(); w != nil; w = p.line.pop() {
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
	now := time.Now()
	p.returned(e, now)
	if p.closed {
		p.forget(e, Ended)
		return true
	}
	if why := p.stale(e, now); why != fresh {
		p.retire(e, why)
		p.poke()
		return false
	}
	if !p.handOver(e, now) {
		p.rest(e, now)
	}
	return false
}

// Discard closes a connection that must not be lent again.
func (p *Pool[C]) Discard(c C) { p.discard(c, Discarded) }

func (p *Pool[C]) discard(c C, why Reason) {
	p.mu.Lock()
	if e, ok := p.live[c]; ok {
		p.returned(e, time.Now())
		p.forget(e, why)
		defer p.poke()
	}
	p.mu.Unlock()
	c.Close()
}

// Pin says that one of the lent connections stays lent for long. Another may be
// dialled in its place, so that those who wait do not wait for it. It reports false
// where MaxPinned are pinned already. An Unpin is owed, before the Put or Discard.
func (p *Pool[C]) Pin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pinned >= p.cfg.MaxPinned {
		return false
	}
	p.pinned++
	p.poke()
	return true
}

// Unpin takes a Pin back.
func (p *Pool[C]) Unpin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pinned--
}

// Renew makes every connection of now one that is not lent again: idle ones are
// closed, lent ones when they come back. For changed credentials or origins.
func (p *Pool[C]) Renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gen++
	p.old = len(p.live)
	p.failed, p.failures, p.retryAt, p.hopeful, p.roomUntil = nil, 0, time.Time{}, time.Time{}, time.Time{}
	for _, e := range p.idle {
		p.retire(e, Renewed)
	}
	p.idle = nil
	p.stats.Renewals++
	p.poke()
}

// poke tells Run to look whether something is to be dialled.
func (p *Pool[C]) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
