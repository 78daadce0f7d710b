package cache

import (
	"errors"
	"slices"
	"sync"
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

// A Reader reads a flight from its start.
type Reader struct {
	f     *Flight
	chunk int // number of the next chunk
	off   int // in it
	any   bool
	lead  bool // it is told the flight's error in any case
}

// Join returns a reader of the flight for a key. Where there is none whose stamp is
// still current, and that began less than the age of a fresh result ago, it makes one of st: then lead is true, and the caller must see to
// it that the flight is written and ended. left is called at most once, from any
// goroutine, when all readers have left a flight that has not ended.
func (s *Space) Join(key []byte, st *Stamp, left func()) (r *Reader, lead bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.flights[unsafe.String(unsafe.SliceData(key), len(key))]; ok && s.current(f.stamp) && f.sent.age(s.cache.moment()) < s.Policy().MaxAge {
		if r := f.reader(); r != nil {
			return r, false
		}
	}
	f := s.newFlight(string(key), st)
	f.left = left
	r = f.reader()
	r.lead = true
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
	return s.newFlight(string(key), st)
}

func (s *Space) newFlight(key string, st *Stamp) *Flight {
	f := &Flight{space: s, key: key, stamp: st, sent: s.cache.moment()}
	f.readers, f.body = f.few[:0], f.piece[:0]
	s.flights[key] = f
	return f
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
	r := &f.own
	if r.f != nil {
		r = new(Reader)
	}
	r.f = f
	f.readers = append(f.readers, r)
	return r
}

// Flight is what r reads.
func (r *Reader) Flight() *Flight { return r.f }

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

// End ends the flight. With an error the reader that Join made with the flight and
// those who have read something are told so, the others ErrAlone. Without one the result is stored, if nothing was
// written to its tables since the flight began.
func (f *Flight) End(err error) {
	f.mu.Lock()
	if !f.unstored && err == nil && f.space.current(f.stamp) {
		f.stored = f.space.put(f, compact(f.body, f.size))
	}
	f.space.cache.recording.Add(-f.charged)
	f.charged = 0
	f.ended, f.err = true, err
	wake(&f.changed)
	f.mu.Unlock()
	f.forget()
}

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

// ErrStopped is returned by Next when it was told not to wait any longer.
var ErrStopped = errors.New("stopped")

// Ready reports whether Next would not wait.
func (r *Reader) Ready() bool {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	i := r.chunk - r.f.first
	return r.f.ended || i < len(r.f.body) && (len(r.f.body[i]) > r.off || i+1 < len(r.f.body))
}

// Next returns what comes next, nil at the end. It waits for it until stop is closed
// (then the error is ErrStopped).
func (r *Reader) Next(stop <-chan struct{}) ([]byte, error) {
	f := r.f
	f.mu.Lock()
	for {
		if i := r.chunk - f.first; i < len(f.body) {
			if b := f.body[i][r.off:]; len(b) > 0 {
				r.any = true
				if r.off += len(b); r.off == cap(f.body[i]) {
					r.chunk, r.off = r.chunk+1, 0
				}
				wake(&f.drained)
				f.mu.Unlock()
				return b, nil
			}
			if i+1 < len(f.body) { // the chunk was not filled up
				r.chunk, r.off = r.chunk+1, 0
				continue
			}
		}
		if f.ended {
			err := f.err
			f.mu.Unlock()
			if err != nil && !r.any && !r.lead {
				err = ErrAlone
			}
			return nil, err
		}
		wait := waiting(&f.changed)
		f.mu.Unlock()
		select {
		case <-wait:
		case <-stop:
			return nil, ErrStopped
		}
		f.mu.Lock()
	}
}

// Leave ends reading. It must be called once, also after the end.
func (r *Reader) Leave() {
	f := r.f
	f.mu.Lock()
	if i := slices.Index(f.readers, r); i >= 0 {
		f.readers = slices.Delete(f.readers, i, i+1)
	}
	last := len(f.readers) == 0 && !f.ended
	left := f.left
	if last {
		f.left = nil
		f.deserted = left != nil // whoever asks from now on asks anew
	}
	wake(&f.drained)
	f.mu.Unlock()
	if last && left != nil {
		left()
	}
}
