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

// patience is how long dials may fail on their way before the waiting are told: a
// tunnel has found another relay, or its connector has, by then.
const patience = 2 * time.Second

// noRoom is how long the maximum stays lowered after the origin had no room for
// another connection: long beside a dial, short beside the wait of an operator
// who has made room. Each time is drawn evenly from half to all of it.
const noRoom = 30 * time.Second

// Run dials, times waits out and lets connections age, until ctx ends. Then it
// fails the waiting, closes the idle connections and returns when its dials
// have; lent connections are closed by the Put or Discard that returns them.
func (p *Pool[C]) Run(ctx context.Context) {
	var dials sync.WaitGroup
	t := time.NewTicker(tick)
	defer t.Stop()
	for ctx.Err() == nil {
		p.expire(time.Now())
		for range p.wanted(time.Now()) {
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

// wanted says how many dials to start, and counts them.
func (p *Pool[C]) wanted(now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Before(p.retryAt) {
		return 0
	}
	total := len(p.live) - p.old + p.dialing
	demand := p.line.n - p.dialing
	n, why := max(demand, p.cfg.MinIdle-total), Demand
	if demand <= 0 {
		why = Warm
	}
	n = min(n, p.limit(now)+p.pinned-total, 2*p.cfg.Max+p.pinned-len(p.live)-p.dialing, p.cfg.DialLimit-p.dialing)
	if p.failures > 0 { // one probe at a time until the origin is back
		n, why = min(n, 1-p.dialing), Probe
	}
	n = max(n, 0)
	p.dialing += n
	p.stats.Dials[why] += uint64(n)
	return n
}

// limit is the most connections at the moment. The lock is held.
func (p *Pool[C]) limit(now time.Time) int {
	if now.Before(p.roomUntil) {
		return min(p.room, p.cfg.Max)
	}
	return p.cfg.Max
}

func (p *Pool[C]) dial(ctx context.Context) {
	p.mu.Lock()
	gen, timeout := p.gen, p.cfg.DialTimeout
	p.mu.Unlock()
	dctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := p.cfg.Dial(dctx)
	if p.dialed(c, err, gen) {
		c.Close()
	}
}

// dialed takes in what a dial came to, and reports whether the connection is to
// be closed because the pool has ended or has no use for it any more.
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
	case p.closed, old:
		return true
	}
	p.failures, p.failed, p.retryAt, p.hopeful = 0, nil, time.Time{}, time.Time{}
	life := p.cfg.MaxLifetime
	now := time.Now()
	e := &entry[C]{c: c, gen: gen, expires: now.Add(life - life/5 + rand.N(2*life/5))}
	p.live[c] = e
	if !p.handOver(e, now) {
		p.rest(e, now)
	}
	return false
}

// dialFailed backs off; with no connection left to wait for, and no hope of one
// soon, it tells the waiting what the origin said. The lock is held.
func (p *Pool[C]) dialFailed(err error) {
	p.stats.DialErrors++
	p.failures++
	p.failed = err
	d := min(maxBackoff, minBackoff<<min(p.failures-1, 10))
	now := time.Now()
	p.retryAt = now.Add(d/2 + rand.N(d/2))
	switch passing := p.cfg.Passing != nil && p.cfg.Passing(err); {
	case !passing:
		p.hopeful = time.Time{}
	case p.failures == 1:
		p.hopeful = now.Add(patience)
	}
	if p.cfg.Full != nil && p.cfg.Full(err) {
		p.room = max(len(p.live)-p.old, 1)
		p.roomUntil = now.Add(noRoom/2 + rand.N(noRoom/2))
	}
	if len(p.live) == p.old && !now.Before(p.hopeful) {
		p.failWaiters()
	}
}

// expire fails the waits that took too long and closes what idled or lived too
// long, MinIdle of the idle ones excepted while they are young enough.
func (p *Pool[C]) expire(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timeOut(now)
	keep := p.idle[:0]
	for _, e := range p.idle { // oldest first
		why := p.stale(e, now)
		if why == fresh && now.Sub(e.since) >= p.cfg.IdleTimeout && len(p.live) > p.cfg.MinIdle {
			why = Idle
		}
		if why != fresh {
			p.retire(e, why)
			continue
		}
		keep = append(keep, e)
	}
	clear(p.idle[len(keep):])
	p.idle = keep
}

// timeOut fails the waits that took too long. The lock is held.
func (p *Pool[C]) timeOut(now time.Time) {
	for i := len(p.line.waiting) - 1; i >= 0; i-- { // one that has nobody left goes
		t := p.line.waiting[i]
		for w := t.head; w != nil && now.Sub(w.since) >= p.cfg.WaitTimeout; w = t.head {
			p.line.remove(w)
			p.stats.Timeouts++
			w.ready <- result[C]{err: ErrTimeout}
		}
	}
}

func (p *Pool[C]) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := p.line.pop(); w != nil; w = p.line.pop() {
		w.ready <- result[C]{err: ErrClosed}
	}
	for _, e := range p.idle {
		p.retire(e, Ended)
	}
	p.idle, p.closed = nil, true
}
