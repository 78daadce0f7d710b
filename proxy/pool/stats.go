package pool

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A Reason says why a connection was closed.
type Reason int

// The reasons. Retired of Stats is indexed by them.
const (
	Idle      Reason = iota // nobody needed it for the idle timeout
	Aged                    // it reached its lifetime
	Renewed                 // it was opened before a Renew
	Surplus                 // it was more than the maximum, which was lowered
	Leaving                 // the way to the origin is about to end: another is made elsewhere
	Lost                    // the origin had ended it, or said something that nobody had asked
	Discarded               // its client left it in a state that it cannot be lent in
	Ended                   // the pool has ended
	Reasons                 // how many there are
)

// fresh is the Reason of a connection that may be lent again.
const fresh Reason = -1

var reasons = [Reasons]string{"idle", "age", "renewed", "surplus", "leaving", "lost", "discarded", "ended"}

// String is the reason in one word, for labels of metrics.
func (r Reason) String() string { return reasons[r] }

// An Occasion says what a dial was for.
type Occasion int

// The occasions. Dials of Stats is indexed by them.
const (
	Demand    Occasion = iota // a client waits
	Warm                      // fewer than the minimum are open
	Probe                     // the last dial has failed
	Occasions                 // how many there are
)

var occasions = [Occasions]string{"demand", "warm", "probe"}

// String is the occasion in one word, for labels of metrics.
func (o Occasion) String() string { return occasions[o] }

// Stats are counts of a pool at a moment, and since it was made.
type Stats struct {
	Live, Idle, Dialing, Waiting int
	Pinned                       int           // of Live
	Max                          int           // connections allowed at the moment: less than configured while the origin has no room
	OldestWait                   time.Duration // of the client that has waited longest
	OldestLease                  time.Duration // of the connection that has been lent for longest
	Failure                      error         // of the last dial, nil when that went well

	Gets, Waits, Timeouts uint64
	Dials                 [Occasions]uint64
	DialErrors            uint64
	Retired               [Reasons]uint64
	Renewals              uint64
}

// Stats reads the counters.
func (p *Pool[C]) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	s := p.stats
	s.Live, s.Idle, s.Dialing, s.Waiting = len(p.live), len(p.idle), p.dialing, p.line.n
	s.Pinned = p.pinned
	s.Max, s.Failure = p.limit(now), p.failed
	for _, t := range p.line.waiting {
		s.OldestWait = max(s.OldestWait, now.Sub(t.head.since))
	}
	for _, e := range p.live {
		if e.holder != nil {
			s.OldestLease = max(s.OldestLease, now.Sub(e.since))
		}
	}
	return s
}

// Add adds the counts of another pool, for two that are to be looked at as one.
func (s *Stats) Add(o Stats) {
	s.Live, s.Idle, s.Dialing, s.Waiting, s.Pinned = s.Live+o.Live, s.Idle+o.Idle, s.Dialing+o.Dialing, s.Waiting+o.Waiting, s.Pinned+o.Pinned
	s.Max = max(s.Max, o.Max)
	s.OldestWait, s.OldestLease = max(s.OldestWait, o.OldestWait), max(s.OldestLease, o.OldestLease)
	if s.Failure == nil {
		s.Failure = o.Failure
	}
	s.Gets, s.Waits, s.Timeouts = s.Gets+o.Gets, s.Waits+o.Waits, s.Timeouts+o.Timeouts
	for i := range s.Dials {
		s.Dials[i] += o.Dials[i]
	}
	for i := range s.Retired {
		s.Retired[i] += o.Retired[i]
	}
	s.DialErrors, s.Renewals = s.DialErrors+o.DialErrors, s.Renewals+o.Renewals
}

// Waits are how long clients waited in line until they were lent a connection.
func (p *Pool[C]) Waits() *Histogram { return &p.waits }

// Holds are how long clients had a connection.
func (p *Pool[C]) Holds() *Histogram { return &p.holds }

// Buckets is how many bounds a Histogram has: the i-th is 2^i times
// FirstBucket, which makes the last 67 s, longer than the default query limit.
const Buckets = 21

// firstShift makes a bound of 2^16 ns the first: less than any statement takes
// through a network.
const firstShift = 16

// FirstBucket is the first bound of a Histogram.
const FirstBucket time.Duration = 1 << firstShift

// A Histogram counts durations. Its methods may be called concurrently.
type Histogram struct {
	counts [Buckets + 1]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

// Observe counts one.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	h.counts[min(bits.Len64(uint64(d)>>firstShift), Buckets)].Add(1)
	h.sum.Add(int64(d))
}

// Read returns how many durations there were in all, their sum, and how many
// were below each bound.
func (h *Histogram) Read() (count uint64, sum time.Duration, below [Buckets]uint64) {
	for i := range h.counts {
		count += h.counts[i].Load()
		if i < Buckets {
			below[i] = count
		}
	}
	return count, time.Duration(h.sum.Load()), below
}

// Quantile returns the bound below which the fraction q of the durations are; 0
// if there were none.
func (h *Histogram) Quantile(q float64) time.Duration {
	count, _, below := h.Read()
	if count == 0 {
		return 0
	}
	for i, n := range below {
		if float64(n) >= q*float64(count) {
			return FirstBucket << i
		}
	}
	return FirstBucket << Buckets
}

// Merged is one histogram of what several have counted until now.
func Merged(of ...*Histogram) *Histogram {
	all := new(Histogram)
	for _, h := range of {
		for i := range h.counts {
			all.counts[i].Add(h.counts[i].Load())
		}
		all.sum.Add(h.sum.Load())
	}
	return all
}
