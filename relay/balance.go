package relay

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// latencyHalfLife is how fast an open's latency is forgotten: one that was slow gets another chance within half a minute.
	latencyHalfLife = 10 * time.Second
	// latencyWeight is the share of a new sample: the last five or so opens count.
	latencyWeight = 0.2
	// latencySlack is how much slower than another a session may be before it counts: below it, differences are noise, and
	// following noise would spread streams unevenly (docs/behaviours.md, Tunnel25: max/mean at most 1.3).
	latencySlack = 5 * time.Millisecond
)

// load is what balancing knows of one connector session. Its methods may be called concurrently.
type load struct {
	mu      sync.Mutex
	streams int       // live, and opens under way
	latency float64   // seconds, smoothed
	sampled time.Time // when latency was last right
}

func (l *load) begin() {
	l.mu.Lock()
	l.streams++
	l.mu.Unlock()
}

func (l *load) end() {
	l.mu.Lock()
	l.streams--
	l.mu.Unlock()
}

// observe takes the latency of an open: the answer's, or the wait that was given up.
func (l *load) observe(d time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.decayed(now)
	sample := d.Seconds()
	switch {
	case old == 0:
		l.latency = sample
	default:
		l.latency = old + latencyWeight*(sample-old)
	}
	l.sampled = now
}

// decayed returns the smoothed latency, halved for each half-life without a sample.
func (l *load) decayed(now time.Time) float64 {
	if l.latency == 0 {
		return 0
	}
	return l.latency * math.Exp2(-now.Sub(l.sampled).Seconds()/latencyHalfLife.Seconds())
}

func (l *load) read(now time.Time) (streams int, latency float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.streams, l.decayed(now)
}

// pick returns the better of two sessions chosen at random, by the power of two choices: the one with fewer streams, where a
// session that is slower than the other counts its streams as many times. It returns nil without candidates.
func pick(candidates []*backend, now time.Time) *backend {
	switch len(candidates) {
	case 0:
		return nil
	case 1:
		return candidates[0]
	}
	i := rand.IntN(len(candidates))
	j := rand.IntN(len(candidates) - 1)
	if j >= i {
		j++
	}
	a, b := candidates[i], candidates[j] // in random order, so a tie is decided by chance
	aStreams, aLatency := a.load.read(now)
	bStreams, bLatency := b.load.read(now)
	if cost(bStreams, bLatency, aLatency) < cost(aStreams, aLatency, bLatency) {
		return b
	}
	return a
}

// cost is what one more stream on a session costs, next to another session's latency.
func cost(streams int, latency, other float64) float64 {
	factor := 1.0
	if slack := other + latencySlack.Seconds(); latency > slack {
		factor = latency / slack
	}
	return float64(streams+1) * factor
}
