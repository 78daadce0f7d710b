package results

import (
	"sync/atomic"
	"time"

	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/pool"
	"github.com/sluicedb/sluice/proxy/query"
)

// Config says what a database keeps of results.
type Config struct {
	// Cache is where results are kept, as Policy says. With Nothing none are, and
	// Tell is told of what is written all the same.
	Cache   *cache.Cache
	Policy  cache.Policy
	Nothing bool
	// Tell tells other proxies of a write. It must not block. Nil: there are none.
	Tell func(w cache.Write, ddl, inDoubt bool)
	// Unknown judges statements while the catalog is not known.
	Unknown query.Source
	// Missed are the reasons, in words, why a statement that may be cached was not
	// looked up: see Miss. The one of MissedCatalog is that the catalog is not known.
	Missed        []string
	MissedCatalog int
}

// Results are one database's.
type Results struct {
	Space      *cache.Space
	Statements *query.Classifier
	Stored     atomic.Uint64  // bytes of results that were stored
	Took       pool.Histogram // by misses

	cfg    Config
	on     atomic.Bool  // caching is not disabled
	doubts atomic.Int64 // how often the catalog may have become another than is known
	known  atomic.Int64 // as of which of these doubts it is known, not long ago
	used   atomic.Bool  // a statement was looked at since Keep has looked
	poke   chan struct{}
	counts [query.Statuses]atomic.Uint64 // but for hits
	missed []atomic.Uint64
	hits   [tallies]tally
	ages   pool.Histogram // of what hits returned
}

// tallies is how many parts hits are counted in, so that not all clients write to one
// line of a CPU's cache; as many as the CPUs of an ordinary machine.
const tallies = 8

// A tally counts hits, alone in its line of 64 bytes.
type tally struct {
	hits, bytes atomic.Uint64
	_           [48]byte
}

// New makes a database's.
func New(cfg Config) *Results {
	r := &Results{cfg: cfg, Space: cfg.Cache.Space(cfg.Policy), Statements: query.NewClassifier(cfg.Unknown), poke: make(chan struct{}, 1),
		missed: make([]atomic.Uint64, len(cfg.Missed))}
	r.doubts.Store(1)
	if r.on.Store(cfg.Policy.MaxAge > 0); cfg.Policy.MaxAge > 0 {
		r.wake() // the catalog is wanted soon
	}
	return r
}

// Now is the time that results live by.
func (r *Results) Now() time.Time { return r.cfg.Cache.Now() }

// Answers reports whether statements may be answered by results. Nil answers none.
func (r *Results) Answers() bool { return r != nil && r.on.Load() && !r.cfg.Nothing }

// Watches reports whether what statements change matters to anybody.
func (r *Results) Watches() bool { return r != nil && r.on.Load() }

// Hit counts an answer from the cache to a client.
func (r *Results) Hit(client uint64, size uint32, age time.Duration) {
	t := &r.hits[client%tallies]
	t.hits.Add(1)
	t.bytes.Add(uint64(size))
	r.ages.Observe(age)
}

// Count counts what the cache made of a statement, but for hits. What is written only
// is not counted where nothing is kept.
func (r *Results) Count(s query.Status) {
	if !r.cfg.Nothing {
		r.counts[s].Add(1)
	}
}

// Miss counts a statement that may be cached and was not looked up, by its reason's
// number in Config.Missed.
func (r *Results) Miss(why int) {
	if !r.cfg.Nothing {
		r.missed[why].Add(1)
	}
}

// wake makes the catalog be looked at, soon.
func (r *Results) wake() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// Ready reports whether verdicts can be trusted, and sees to it that they soon can.
func (r *Results) Ready() bool {
	if !r.used.Load() {
		r.used.Store(true)
	}
	if r.isKnown() {
		return true
	}
	r.wake()
	return false
}

func (r *Results) isKnown() bool { return r.known.Load() == r.doubts.Load() }

// Doubt says that the catalog may have changed: nothing is cached until it was
// looked at again.
func (r *Results) Doubt() {
	r.doubts.Add(1)
	r.wake()
}

// settle says that the catalog is known as of the given doubts.
func (r *Results) settle(doubts int64) {
	if r.known.Store(doubts); !r.isKnown() { // one came in between
		r.wake()
	}
}

// SetPolicy changes how results are cached from now on. Results of before live as
// long as they were to, unless caching is disabled, which is a MaxAge of 0.
func (r *Results) SetPolicy(p cache.Policy) {
	if r == nil || r.Space.Policy() == p {
		return
	}
	r.Space.SetPolicy(p)
	if p.MaxAge <= 0 || !r.on.Load() {
		r.Purge()
	}
	if !r.on.Swap(p.MaxAge > 0) && p.MaxAge > 0 {
		// Other proxies may have begun before: what has ended here since was not watched.
		r.tell(cache.Write{All: true}, true, false)
	}
}

// Purge forgets all results of the database.
func (r *Results) Purge() {
	if r != nil {
		r.Space.Renew()
	}
}
