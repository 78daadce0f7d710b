package cache

import (
	"errors"
	"sync"
	"time"
	"unsafe"
)

// ErrAlone says that a flight has come to nothing before anything of it was read:
// the reader is to ask the origin by itself.
var ErrAlone = errors.New("result is not shared")

// ErrLeft is returned by Write when nobody reads what cannot be stored.
var ErrLeft = errors.New("nobody waits for the result")

const (
	// chunk is the size in bytes of a flight's buffers; the first grows up to it.
	chunk = 64 << 10
	// window is how many bytes a flight that is not stored may be ahead of its
	// slowest reader.
	window = 1 << 20
)

// A Flight is one query under way, whose result is written by one goroutine and
// read by any number, each at its own pace.
type Flight struct {
	space *Space
	key   string
	stamp *Stamp
	sent  moment

	mu       sync.Mutex
	unstored bool // it is too large, or not fit to be stored
	passing  bool // what is read is dropped
	ended    bool
	settled  bool // it has ended, and was stored where it is fit for that
	joined   bool // it has had more readers than the one that Join made with it
	deserted bool // all readers have left, and its query is being cancelled
	stored   bool
	oversize bool
	changed  chan struct{} // closed when there is more to read; nil: nobody waits for it
	drained  chan struct{} // likewise when a reader has read
	body     [][]byte
	first    int   // chunks that were dropped before body
	size     int64 // of everything written
	charged  int64 // of the budget for recordings
	err      error // how it has ended
	readers  []*Reader
	left     func() // called once when the last reader has left
	tag      uint64

	// What most flights need no more of.
	own   Reader
	few   [1]*Reader
	piece [1][]byte
}

// Join returns a reader of the flight for a key. Where there is none whose stamp is
// still current, and that began less than the age of a fresh result ago, it makes one of st: then lead is true, and the caller must see to
// it that the flight is written and ended. left is called at most once, from any
// goroutine, when all readers have left a flight that has not ended.
func (s *Space) Join(key []byte, st *Stamp, left func()) (r *Reader, lead bool) {
	r, lead = s.join(key, st, left)
	if r.late { // what it has is asked for again: it is not for its own leader to store it in time
		r.f.Store()
	}
	return r, lead
}

func (s *Space) join(key []byte, st *Stamp, left func()) (r *Reader, lead bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cache.moment()
	if f, ok := s.flights[unsafe.String(unsafe.SliceData(key), len(key))]; ok && s.current(f.stamp) && f.sent.age(now) < s.Policy().MaxAge {
		if r := f.reader(); r != nil {
			return r, false
		}
	} else if ok { // what takes its place is newer, whichever is stored last
		f.Unstored()
	}
	f := s.newFlight(string(key), st, now)
	f.left = left
	r = &f.own // nobody else knows of f
	r.f, r.lead = f, true
	f.readers = append(f.readers, r)
	return r, true
}

// Lead makes a flight without a reader, to refresh an entry. It returns nil where
// one is under way.
func (s *Space) Lead(key []byte, st *Stamp) *Flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.flights[unsafe.String(unsafe.SliceData(key), len(key))]; ok {
		return nil
	}
	return s.newFlight(string(key), st, s.cache.moment())
}

func (s *Space) newFlight(key string, st *Stamp, now moment) *Flight {
	f := flights.Get().(*Flight)
	f.space, f.key, f.stamp, f.sent = s, key, st, now
	f.readers, f.body = f.few[:0], f.piece[:0]
	s.flights[key] = f
	return f
}

// flights are those that Recycle took back.
var flights = sync.Pool{New: func() any { return new(Flight) }}

// Recycle takes a flight back that was stored and that nobody but its leader has read,
// who has left it. Its leader must not touch it any more, nor its reader.
func (f *Flight) Recycle() {
	if f.joined || !f.settled || len(f.readers) > 0 { // nobody can join it any more, so what is read here stays as it is
		return
	}
	*f = Flight{}
	flights.Put(f)
}

// forget takes f out of the table, so that nobody joins it any more.
func (f *Flight) forget() {
	f.space.mu.Lock()
	defer f.space.mu.Unlock()
	if f.space.flights[f.key] == f {
		delete(f.space.flights, f.key)
	}
}

func (f *Flight) reader() *Reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended && f.err != nil || f.passing || f.deserted {
		return nil
	}
	r := new(Reader)
	r.f, r.late = f, f.ended
	f.joined = true
	f.readers = append(f.readers, r)
	return r
}

// Write adds to the result, and wakes who waits for it. It copies p. Where the result is
// too large to be stored it blocks while the slowest reader is far behind.
func (f *Flight) Write(p []byte) error {
	err := f.Add(p)
	f.Wake()
	return err
}

// Wake wakes readers that wait for what was added.
func (f *Flight) Wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	wake(&f.changed)
}

// wake closes a channel that somebody waits for. The flight's lock is held.
func wake(c *chan struct{}) {
	if *c != nil {
		close(*c)
		*c = nil
	}
}

// waiting is the channel that wake will close. The flight's lock is held.
func waiting(c *chan struct{}) <-chan struct{} {
	if *c == nil {
		*c = make(chan struct{})
	}
	return *c
}

// Add is Write for what more follows, or the end, at once: readers are not woken for it,
// unless it blocks.
func (f *Flight) Add(p []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size += int64(len(p))
	if !f.passing {
		f.charge(int64(len(p)))
	}
	for f.passing && f.behind() > window && len(f.readers) > 0 {
		wake(&f.changed)
		wait := waiting(&f.drained)
		f.mu.Unlock()
		<-wait
		f.mu.Lock()
	}
	if f.passing && len(f.readers) == 0 {
		return ErrLeft
	}
	f.append(p)
	return nil
}

// charge counts n bytes against the budgets; where one is exceeded what is read is
// dropped from now on, and the result not stored.
func (f *Flight) charge(n int64) {
	c := f.space.cache
	if f.charged += n; c.recording.Add(n) <= c.cfg.MaxRecording && f.size <= c.cfg.MaxResult {
		return
	}
	f.oversize = f.size > c.cfg.MaxResult
	f.unstored, f.passing = true, true
	c.recording.Add(-f.charged)
	f.charged = 0
	f.mu.Unlock()
	f.forget()
	f.mu.Lock()
}

func (f *Flight) append(p []byte) {
	for len(p) > 0 {
		last := len(f.body) - 1
		if last < 0 || len(f.body[last]) == cap(f.body[last]) {
			// The first chunk is as large as what comes at once, which for most is all.
			f.body = append(f.body, make([]byte, 0, max(min(len(p), chunk), min(int(f.size), chunk))))
			last++
		}
		b := f.body[last]
		n := min(len(p), cap(b)-len(b))
		f.body[last] = append(b, p[:n]...)
		p = p[n:]
	}
}

// behind is how many bytes the slowest reader has still to read. Chunks that all
// have read are dropped.
func (f *Flight) behind() int {
	slowest := f.first + len(f.body)
	off := 0
	for _, r := range f.readers {
		if r.chunk < slowest {
			slowest, off = r.chunk, r.off
		}
	}
	for f.first < slowest && len(f.body) > 1 {
		f.body[0] = nil
		f.body = f.body[1:]
		f.first++
	}
	n := -off
	for _, b := range f.body[min(max(slowest-f.first, 0), len(f.body)):] {
		n += len(b)
	}
	return n
}

// Tag is a number of the dialect's that the entry is to carry.
func (f *Flight) Tag(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tag = n
}

// Unstored says that the result is not fit to be stored. Its readers get it all the
// same.
func (f *Flight) Unstored() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unstored = true
}

// End is Finish and Store.
func (f *Flight) End(err error) {
	f.Finish(err)
	f.Store()
}

// Finish ends the flight. With an error the reader that Join made with the flight and
// those who have read something are told so, the others ErrAlone. Without one the result
// is yet to be stored: the caller must see to it that Store is called. Who asks for
// it before that joins the flight.
func (f *Flight) Finish(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.space.cache.recording.Add(-f.charged)
	f.charged = 0
	f.ended, f.err = true, err
	wake(&f.changed)
}

// Store stores the result of a flight that has ended without an error, if it is fit for that and nothing was
// written to its tables since the flight began, and reports whether it was stored. All
// calls but the first only report.
func (f *Flight) Store() bool {
	f.mu.Lock()
	if !f.ended || f.settled {
		defer f.mu.Unlock()
		return f.stored
	}
	f.settled = true
	if !f.unstored && f.err == nil && f.space.current(f.stamp) {
		f.stored = f.space.put(f, compact(f.body, f.size))
	}
	stored := f.stored
	f.mu.Unlock()
	f.forget()
	return stored
}

// Age is how long ago the flight began.
func (f *Flight) Age() time.Duration { return f.sent.age(f.space.cache.moment()) }

// compact brings a small body into one piece of its own size.
func compact(body [][]byte, size int64) [][]byte {
	if size > largeResult || len(body) == 1 && cap(body[0])-len(body[0]) < chunk/256 {
		return body
	}
	b := make([]byte, 0, size)
	for _, part := range body {
		b = append(b, part...)
	}
	return [][]byte{b}
}

// Stored reports whether an ended flight's result was stored, and whether it was
// too large to be.
func (f *Flight) Stored() (stored, oversized bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stored, f.oversize
}

// Size is how many bytes were written so far.
func (f *Flight) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}
