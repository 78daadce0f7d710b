package cache

import (
	"hash/maphash"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/maypok86/otter/v2"
)

const (
	// DefaultMaxResult is the largest result that is stored, in bytes
	// (Hyperdrive's "Limits": 50 MB).
	DefaultMaxResult = 50 << 20
	// largeResult is the size in bytes from which results have a budget of their
	// own, a largeShare-th of the whole: one of 50 MB would otherwise put out
	// thousands of small ones, as the store's policy does not look at sizes.
	largeResult = 1 << 20
	largeShare  = 4
	// secondSight is the size in bytes from which a result is stored only when its
	// key is asked for again within its life.
	secondSight = 64 << 10
	// overhead is what an entry costs beyond key and result, in bytes: the store's
	// node, the entry and its stamp, measured by TestEntryOverhead.
	overhead = 200
	// maxSeen bounds the keys that secondSight remembers.
	maxSeen = 8192
	// jitter is the most by which a result's life is shortened, as a part of it,
	// so that results that were made together do not end together.
	jitter = 0.1
)

// Config bounds a cache. All sizes are in bytes.
type Config struct {
	MaxBytes     int64            // of what is stored, keys and overhead included
	MaxResult    int64            // of one result; 0 means DefaultMaxResult
	MaxRecording int64            // of all results that are being received; 0: a quarter of MaxBytes
	Now          func() time.Time // of tests; nil means time.Now
	NoJitter     bool             // of tests: results live exactly as long as they may
}

// A Cache is one process's. Its methods may be called concurrently.
type Cache struct {
	cfg          Config
	small, large *otter.Cache[string, *Entry]
	recording    atomic.Int64 // bytes of flights
	pinned       atomic.Int64 // bytes of large entries that are being written to clients
	spaces       atomic.Uint64
	forgotten    atomic.Uint64 // how often everything was
	suspended    atomic.Bool
	began        time.Time
	steady       func(time.Time) int64 // nanoseconds from began on, whatever the clock is set to

	big atomic.Int64 // entries of large: most keys need not be looked up there

	seed maphash.Seed
	mu   sync.Mutex
	seen map[uint64]int64 // large keys asked for once, until when they count
}

// New makes a cache.
func New(cfg Config) *Cache {
	if cfg.MaxResult == 0 {
		cfg.MaxResult = DefaultMaxResult
	}
	if cfg.MaxRecording == 0 {
		cfg.MaxRecording = cfg.MaxBytes / 4
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	large := cfg.MaxBytes / largeShare
	c := &Cache{cfg: cfg, seed: maphash.MakeSeed(), seen: make(map[uint64]int64), began: cfg.Now()}
	c.steady = func(t time.Time) int64 { return int64(t.Sub(c.began)) }
	c.small = c.store(cfg.MaxBytes-large, func() {})
	c.large = c.store(large, func() { c.big.Add(-1) })
	return c
}

// upkeep does what a store has to do after a write, or a number of reads: at once, since a goroutine for each write costs more than
// what it would do, unless nothing was done for a while: then all that has expired meanwhile may be much for one reader to wait for.
type upkeep struct{ last atomic.Int64 } // unix nanoseconds

// longAgo is how much time's expiries one reader or writer may have to see to: about as many as results are stored in it.
const longAgo = 100 * time.Millisecond

func (u *upkeep) do(maintain func()) {
	now := time.Now().UnixNano()
	if time.Duration(now-u.last.Swap(now)) > longAgo {
		go maintain()
		return
	}
	maintain()
}

func (c *Cache) store(maxBytes int64, deleted func()) *otter.Cache[string, *Entry] {
	return otter.Must(&otter.Options[string, *Entry]{
		MaximumWeight: uint64(maxBytes),
		Executor:      new(upkeep).do,
		Weigher:       func(key string, e *Entry) uint32 { return uint32(e.weight(key)) },
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, *Entry]) time.Duration {
			return e.Value.ends() - e.Value.sent.age(c.moment())
		}),
		OnAtomicDeletion: func(e otter.DeletionEvent[string, *Entry]) {
			s := e.Value.stamp.owner
			s.entries.Add(-1)
			s.bytes.Add(-e.Value.weight(e.Key))
			deleted()
		},
	})
}

// Stats are the sizes of a cache.
type Stats struct {
	Entries   int
	Bytes     uint64 // of what is stored, keys and overhead included
	Recording int64  // bytes of results that are being received
	Pinned    int64  // bytes of large results that are being sent
	Suspended bool   // nothing is returned or stored at the moment
}

// Stats reads the sizes.
func (c *Cache) Stats() Stats {
	return Stats{Entries: c.small.EstimatedSize() + c.large.EstimatedSize(), Bytes: c.small.WeightedSize() + c.large.WeightedSize(),
		Recording: c.recording.Load(), Pinned: c.pinned.Load(), Suspended: c.suspended.Load()}
}

// Now is the time that results live by.
func (c *Cache) Now() time.Time { return c.cfg.Now() }

// Close ends the cache's goroutines.
func (c *Cache) Close() {
	c.small.StopAllGoroutines()
	c.large.StopAllGoroutines()
}

// A Policy says how long results may be returned.
type Policy struct {
	MaxAge time.Duration // as fresh; 0: nothing is stored
	Stale  time.Duration // for as long after that, while a new one is fetched
}

// A Space is one database's part of a cache. Nothing is shared between two.
type Space struct {
	cache  *Cache
	policy atomic.Pointer[Policy]
	scope  atomic.Uint64
	all    epoch
	tables sync.Map // number of a table modulo maxEpochs, uint32 -> *epoch

	entries, bytes atomic.Int64 // stored

	mu      sync.Mutex
	flights map[string]*Flight
}

// Space makes a new space.
func (c *Cache) Space(p Policy) *Space {
	s := &Space{cache: c, flights: make(map[string]*Flight)}
	s.policy.Store(&p)
	s.Renew()
	return s
}

// SetPolicy changes for how long results live that are stored from now on.
func (s *Space) SetPolicy(p Policy) { s.policy.Store(&p) }

// Policy is the one in force.
func (s *Space) Policy() Policy { return *s.policy.Load() }

// Scope is a number that keys of the space are to start with. No other space has
// or had it.
func (s *Space) Scope() uint64 { return s.scope.Load() }

// Renew gives the space a new scope, where the same key no longer means the same:
// another origin, say.
func (s *Space) Renew() {
	s.scope.Store(s.cache.spaces.Add(1))
	s.Bump(Write{All: true})
}

// Size is how many results of the space are stored, and their weight in bytes.
func (s *Space) Size() (entries int, bytes int64) { return int(s.entries.Load()), s.bytes.Load() }

// An Entry is a stored result. Of each there may be some hundred thousand: what can be
// shared is, and ages are in milliseconds.
type Entry struct {
	Tag  uint64 // of the dialect's
	Size uint32 // of it all, in bytes

	piece    uint32    // length of body in bytes
	body     *byte     // all of it, or what more follows
	more     *[][]byte // of a large one
	stamp    *Stamp
	sent     moment // when it was asked for
	fresh    uint32 // the age up to which it is, in milliseconds
	stale    uint32 // up to which it may be returned while a new one is fetched
	failures atomic.Int32
	again    atomic.Int64 // not to be refreshed before, as of steady; beingRefreshed while it is
}

// newEntry makes the entry of a flight's result.
func newEntry(f *Flight, body [][]byte, fresh, stale time.Duration) *Entry {
	e := &Entry{Size: uint32(f.size), Tag: f.tag, stamp: f.stamp, sent: f.sent,
		fresh: uint32(min(fresh.Milliseconds(), math.MaxUint32)), stale: uint32(min(stale.Milliseconds(), math.MaxUint32))}
	if len(body) > 0 {
		e.body, e.piece = unsafe.SliceData(body[0]), uint32(len(body[0]))
	}
	if len(body) > 1 {
		more := body[1:]
		e.more = &more
	}
	return e
}

// Body is the result, or what More follows. It must not be changed.
func (e *Entry) Body() []byte { return unsafe.Slice(e.body, e.piece) }

// current is the age up to which the result is fresh; ends, that at which it is gone.
func (e *Entry) current() time.Duration { return time.Duration(e.fresh) * time.Millisecond }
func (e *Entry) ends() time.Duration    { return time.Duration(e.stale) * time.Millisecond }

// A moment is a point in time by the clock, in Unix nanoseconds, and by Cache.steady.
type moment struct{ clock, steady int64 }

func (c *Cache) moment() moment {
	t := c.cfg.Now()
	return moment{t.UnixNano(), c.steady(t)}
}

// age is how long ago m was, as of now. Of the two the longer counts: a clock may be set
// back, and a machine that sleeps has none that is steady.
func (m moment) age(now moment) time.Duration {
	return time.Duration(max(now.clock-m.clock, now.steady-m.steady))
}

// More is what follows Body.
func (e *Entry) More() [][]byte {
	if e.more == nil {
		return nil
	}
	return *e.more
}

func (e *Entry) weight(key string) int64 { return int64(e.Size) + int64(len(key)) + overhead }

const beingRefreshed = math.MaxInt64

// Pin counts a large entry that is about to be written to a client, which keeps its
// memory however slow the client and whether or not it is still stored. It reports
// false where too much is pinned already. Unpin ends it.
func (s *Space) Pin(e *Entry) bool {
	if s.cache.pinned.Add(int64(e.Size)) > s.cache.cfg.MaxRecording {
		s.Unpin(e)
		return false
	}
	return true
}

// Unpin ends what Pin began.
func (s *Space) Unpin(e *Entry) { s.cache.pinned.Add(-int64(e.Size)) }

// A State says what Get found.
type State uint8

// The states.
const (
	Absent State = iota
	Fresh
	Stale // to be returned, and to be refreshed by the one that Refresh says so to
)

// Get looks a key up, and says how long ago what it finds was asked for. It neither
// keeps the key nor allocates.
func (s *Space) Get(key []byte) (*Entry, State, time.Duration) {
	k := unsafe.String(unsafe.SliceData(key), len(key))
	e, ok := s.cache.small.GetIfPresent(k)
	if !ok {
		if s.cache.big.Load() == 0 {
			return nil, Absent, 0
		}
		if e, ok = s.cache.large.GetIfPresent(k); !ok {
			return nil, Absent, 0
		}
	}
	if e.stamp.owner != s || !s.current(e.stamp) {
		return nil, Absent, 0
	}
	age := e.sent.age(s.cache.moment())
	switch {
	case age < e.current():
		return e, Fresh, age
	case age < e.ends():
		return e, Stale, age
	}
	return nil, Absent, 0
}

// Refresh reports whether the caller is the one to fetch a new result in place of
// a stale one: there is only one at a time, and after a failure none for a while.
func (s *Space) Refresh(e *Entry) bool {
	again := e.again.Load()
	return s.cache.moment().steady >= again && e.again.CompareAndSwap(again, beingRefreshed)
}

// maxBackoff is the longest time between two attempts to refresh an entry.
const maxBackoff = 10 * time.Second

// Refreshed ends what Refresh began. Where it failed, the next attempt waits for a
// second, then twice as long, up to ten.
func (s *Space) Refreshed(e *Entry, ok bool) {
	again := int64(0)
	if !ok {
		wait := min(time.Second<<min(e.failures.Add(1)-1, 4), maxBackoff)
		again = s.cache.moment().steady + int64(wait)
	}
	e.again.Store(again)
}

// put stores the result of a flight.
func (s *Space) put(f *Flight, body [][]byte) bool {
	key, size := f.key, f.size
	p := s.Policy()
	if p.MaxAge <= 0 {
		return false
	}
	age := p.MaxAge
	if !s.cache.cfg.NoJitter {
		age -= time.Duration(rand.Float64() * jitter * float64(age))
	}
	e := newEntry(f, body, age, age+p.Stale)
	now := s.cache.moment()
	life := e.ends() - e.sent.age(now)
	if life <= 0 {
		return false
	}
	if size > secondSight && !s.cache.sighted(key, now.steady, life) {
		return false
	}
	c := s.cache
	to, other := c.small, c.large
	if size > largeResult {
		to, other = other, to
	}
	weight := e.weight(key)
	if uint64(weight) > to.GetMaximum() {
		return false
	}
	s.entries.Add(1)
	s.bytes.Add(weight)
	if to == c.large {
		c.big.Add(1)
	}
	to.Set(key, e)
	if other == c.large && c.big.Load() == 0 {
		return true
	}
	if _, ok := other.GetIfPresent(key); ok {
		other.Invalidate(key)
	}
	return true
}

// sighted reports whether a key was asked for before, within the life of what it
// was for.
func (c *Cache) sighted(key string, now int64, life time.Duration) bool {
	h := maphash.String(c.seed, key)
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.seen[h]
	if len(c.seen) >= maxSeen {
		clear(c.seen)
	}
	c.seen[h] = now + int64(life)
	return ok && now < until
}
