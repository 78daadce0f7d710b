package postgres

import (
	"sync/atomic"
	"time"

	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/query"
)

// results is what a database keeps of results of queries: its part of the cache,
// and what its statements and its catalog are known to be.
type results struct {
	space      *cache.Space
	statements *query.Classifier
	on         atomic.Bool  // caching is not disabled
	known      atomic.Bool  // the catalog was found as it is known, not long ago
	doubts     atomic.Int64 // how often known was taken back
	used       atomic.Int64 // Unix nanoseconds: when a statement was last looked at
	poke       chan struct{}
	counts     [query.Statuses]atomic.Uint64
	now        func() time.Time
}

func newResults(c *cache.Cache, p cache.Policy) *results {
	r := &results{space: c.Space(p), statements: query.NewClassifier(), poke: make(chan struct{}, 1), now: c.Now}
	if r.on.Store(p.MaxAge > 0); p.MaxAge > 0 {
		r.wake() // the catalog is wanted soon
	}
	return r
}

func (r *results) count(s query.Status) { r.counts[s].Add(1) }

// wake makes the catalog be looked at, soon.
func (r *results) wake() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// ready reports whether verdicts can be trusted, and sees to it that they soon can.
func (r *results) ready() bool {
	r.used.Store(r.now().UnixNano())
	if r.known.Load() {
		return true
	}
	r.wake()
	return false
}

// doubt says that the catalog may have changed: nothing is cached until it was
// looked at again.
func (r *results) doubt() {
	r.doubts.Add(1)
	r.known.Store(false)
	r.wake()
}

// settle says that the catalog is known as of the given doubts.
func (r *results) settle(doubts int64) {
	r.known.Store(true)
	if r.doubts.Load() != doubts { // one came in between
		r.known.Store(false)
		r.wake()
	}
}

// SetCaching changes how results are cached from now on. Results of before live as
// long as they were to, unless caching is disabled, which is a MaxAge of 0.
func (d *Database) SetCaching(p cache.Policy) {
	if d.results == nil {
		return
	}
	if d.results.space.Policy() == p {
		return
	}
	d.results.space.SetPolicy(p)
	if p.MaxAge <= 0 || !d.results.on.Load() {
		d.PurgeCache()
	}
	d.results.on.Store(p.MaxAge > 0)
}

// PurgeCache forgets all results of the database.
func (d *Database) PurgeCache() {
	if d.results != nil {
		d.results.space.Renew()
	}
}

// CacheCounts are how many queries had each status since the database was made.
func (d *Database) CacheCounts() (n [query.Statuses]uint64) {
	if d.results != nil {
		for i := range n {
			n[i] = d.results.counts[i].Load()
		}
	}
	return n
}
