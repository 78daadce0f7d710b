package pool

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// tick is how often Run looks for waits that timed out and connections that
// aged. One ticker a pool stands for a timer a wait.
const tick = 100 * time.Millisecond

// Failed dials are repeated after 50 ms, 100 ms, ... 1.5 s, each wait drawn
// evenly from half to all of it, so that pools do not dial in step. With a tick
// and a login on top, clients are served within 2 s of an origin's return
// (TestPooling68Recovery).
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 1500 * time.Millisecond
)

// Run dials, times waits out and lets connections age, until ctx ends. Then it
// fails the waiting, closes the idle connections and returns when its dials
// have; lent connections are closed by the Put or Discard that returns them.
func (p *Pool[C]) Run(ctx context.Context) {
	var dials sync.WaitGroup
	t := time.NewTicker(tick)
	defer t.Stop()
	for ctx.Err() == nil {
		p.expire(time.Now())
		for n := p.wanted(time.Now()); n > 0; n-- {
			dials.Go(func() { p.dial(ctx) })
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-t.C:
		}
	}
	p.end()
	dials.Wait()
	p.closers.Wait()
}

// wanted says how many dials to start, and counts them as in flight.
func (p *Pool[C]) wanted(now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Before(p.retryAt) {
		return 0
	}
	total := len(p.live) + p.dialing
	n := max(p.waiters.n-p.dialing, p.cfg.MinIdle-total)
	n = min(n, p.cfg.Max-total, p.cfg.DialLimit-p.dialing)
	if p.failures > 0 { // one probe at a time until the origin is back
		n = min(n, 1-p.dialing)
	}
	n = max(n, 0)
	p.dialing += n
	return n
}

func (p *Pool[C]) dial(ctx context.Context) {
	p.mu.Lock()
	gen := p.gen
	p.stats.Dials++
	p.mu.Unlock()
	dctx, cancel := context.WithTimeout(ctx, p.cfg.DialTimeout)
	defer cancel()
	c, err := p.cfg.Dial(dctx)
	if p.dialed(c, err, gen) {
		c.Close()
	}
}

// dialed takes in what a dial came to, and reports whether the connection is to
// be closed because the pool has ended.
func (p *Pool[C]) dialed(c C, err error, gen uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialing--
	defer p.poke()
	switch old := gen != p.gen; { // what an origin of the past says counts for nothing
	case err != nil && old:
		return false
	case err != nil:
		p.dialFailed(err)
		return false
	case p.closed:
		return true
	case old:
		p.retire(c)
		return false
	}
	p.failures, p.failed, p.retryAt = 0, nil, time.Time{}
	life := p.cfg.MaxLifetime
	now := time.Now()
	e := entry[C]{c: c, gen: gen, since: now, expires: now.Add(life - life/5 + rand.N(2*life/5))}
	p.live[c] = &e
	if w := p.waiters.pop(); w != nil {
		w.ready <- result[C]{c: c}
		return false
	}
	c.Rest()
	p.idle = append(p.idle, e)
	return false
}

// dialFailed backs off; with no connection left to wait for, it tells the
// waiting what the origin said. The lock is held.
func (p *Pool[C]) dialFailed(err error) {
	p.stats.DialErrors++
	p.failures++
	p.failed = err
	d := min(maxBackoff, minBackoff<<min(p.failures-1, 10))
	p.retryAt = time.Now().Add(d/2 + rand.N(d/2))
	if len(p.live) == 0 {
		p.failWaiters()
	}
}

// expire fails the waits that took too long and closes what idled or lived too
// long, MinIdle of the idle ones excepted while they are young enough.
func (p *Pool[C]) expire(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := p.waiters.head; w != nil && now.Sub(w.since) >= p.cfg.WaitTimeout; w = p.waiters.head {
		p.waiters.remove(w)
		p.stats.Timeouts++
		w.ready <- result[C]{err: ErrTimeout}
	}
	keep := p.idle[:0]
	for _, e := range p.idle { // oldest first
		old := now.Sub(e.since) >= p.cfg.IdleTimeout && len(p.live) > p.cfg.MinIdle
		if old || !p.fresh(e, now) {
			p.retire(e.c)
			continue
		}
		keep = append(keep, e)
	}
	clear(p.idle[len(keep):])
	p.idle = keep
}

func (p *Pool[C]) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := p.waiters.pop(); w != nil; w = p.waiters.pop() {
		w.ready <- result[C]{err: ErrClosed}
	}
	for _, e := range p.idle {
		p.retire(e.c)
	}
	p.idle, p.closed = nil, true
}
