package cache

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// clock is a time that tests move.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func newTest(t testing.TB, maxBytes int64) (*Cache, *Space, *clock) {
	t.Helper()
	k := &clock{}
	k.at.Store(time.Now().UnixNano())
	c := New(Config{MaxBytes: maxBytes, Now: k.now, NoJitter: true})
	t.Cleanup(c.Close)
	return c, c.Space(Policy{MaxAge: time.Minute, Stale: 15 * time.Second}), k
}

func put(t testing.TB, s *Space, key string, body []byte, tables ...uint32) *Flight {
	t.Helper()
	st, ok := s.Stamp(tables)
	if !ok {
		t.Fatal("dirty")
	}
	r, lead := s.Join([]byte(key), st, nil)
	if !lead {
		t.Fatal("joined another flight")
	}
	if err := r.Flight().Write(body); err != nil {
		t.Fatal(err)
	}
	r.Flight().End(nil)
	r.Leave()
	return r.Flight()
}

func get(s *Space, key string) (string, State) {
	e, state, _ := s.Get([]byte(key))
	if e == nil {
		return "", state
	}
	return string(e.Body()) + string(bytes.Join(e.More(), nil)), state
}

func TestCache02FreshStaleGone(t *testing.T) {
	_, s, k := newTest(t, 1<<20)
	put(t, s, "k", []byte("rows"), 1)
	for _, step := range []struct {
		after time.Duration
		want  State
	}{{0, Fresh}, {59 * time.Second, Fresh}, {2 * time.Second, Stale}, {13 * time.Second, Stale}, {2 * time.Second, Absent}} {
		k.advance(step.after)
		if _, got := get(s, "k"); got != step.want {
			t.Fatalf("after %v more: %v, want %v", step.after, got, step.want)
		}
	}
}

func TestCache06OneRefreshAtATimeBackingOff(t *testing.T) {
	_, s, k := newTest(t, 1<<20)
	put(t, s, "k", []byte("rows"))
	k.advance(61 * time.Second)
	e, _, _ := s.Get([]byte("k"))
	if !s.Refresh(e) || s.Refresh(e) {
		t.Fatal("not exactly one refresh")
	}
	s.Refreshed(e, false)
	if s.Refresh(e) {
		t.Fatal("a refresh at once after one that failed")
	}
	k.advance(time.Second)
	if !s.Refresh(e) {
		t.Fatal("no refresh a second after the first failure")
	}
	s.Refreshed(e, false)
	k.advance(time.Second)
	if s.Refresh(e) {
		t.Fatal("a refresh a second after the second failure")
	}
}

func TestPolicyOfNothingStoresNothing(t *testing.T) {
	_, s, _ := newTest(t, 1<<20)
	s.SetPolicy(Policy{})
	if stored, _ := put(t, s, "k", []byte("rows")).Stored(); stored {
		t.Fatal("stored")
	}
}

func TestCache16SpacesShareNothing(t *testing.T) {
	c, s, _ := newTest(t, 1<<20)
	other := c.Space(s.Policy())
	if s.Scope() == other.Scope() {
		t.Fatal("one scope")
	}
	put(t, s, "k", []byte("rows"))
	if _, state := get(other, "k"); state != Absent { // even where a key were the same
		t.Fatal("another space's result")
	}
	before := s.Scope()
	s.Renew()
	if _, state := get(s, "k"); state != Absent || s.Scope() == before {
		t.Fatal("a result outlives its scope")
	}
}

func TestCache34KeysAreComparedWhole(t *testing.T) {
	_, s, _ := newTest(t, 16<<20)
	// The map compares keys byte by byte, so no hash can be made to collide: keys
	// that differ in one bit, in length or in a zero byte are all apart.
	keys := []string{"", "\x00", "\x00\x00", "k", "k\x00", "l"}
	for bit := range 256 {
		b := bytes.Repeat([]byte{0x55}, 32)
		b[bit/8] ^= 1 << (bit % 8)
		keys = append(keys, string(b))
	}
	for _, k := range keys {
		put(t, s, k, []byte("of "+k))
	}
	for _, k := range keys {
		if got, state := get(s, k); state != Fresh || got != "of "+k {
			t.Fatalf("%q: %q, %v", k, got, state)
		}
	}
}

func TestCache39Writes(t *testing.T) {
	_, s, _ := newTest(t, 1<<20)
	put(t, s, "a", []byte("1"), 10, 11)
	put(t, s, "b", []byte("2"), 12)
	w := Write{Tables: []uint32{11}}
	s.Begin(w)
	if _, state := get(s, "a"); state != Absent {
		t.Fatal("a hit while a write is under way")
	}
	if _, state := get(s, "b"); state != Fresh {
		t.Fatal("another table's result is gone")
	}
	if _, ok := s.Stamp([]uint32{11}); ok {
		t.Fatal("a stamp while a write is under way")
	}
	s.End(w)
	if _, state := get(s, "a"); state != Absent {
		t.Fatal("a hit after a write")
	}
	// A flight from before a write is not stored, and not joined after it.
	st, _ := s.Stamp([]uint32{10})
	r, _ := s.Join([]byte("a"), st, nil)
	s.Bump(Write{Tables: []uint32{10}})
	st2, _ := s.Stamp([]uint32{10})
	r2, lead := s.Join([]byte("a"), st2, nil)
	if !lead {
		t.Fatal("joined a flight from before the write")
	}
	_ = r.Flight().Write([]byte("old"))
	r.Flight().End(nil)
	r.Leave()
	if _, state := get(s, "a"); state != Absent {
		t.Fatal("stored what is older than the write")
	}
	_ = r2.Flight().Write([]byte("new"))
	r2.Flight().End(nil)
	r2.Leave()
	if got, state := get(s, "a"); state != Fresh || got != "new" {
		t.Fatalf("%q, %v", got, state)
	}
	s.Bump(Write{All: true})
	for _, k := range []string{"a", "b"} {
		if _, state := get(s, k); state != Absent {
			t.Fatal("a hit after a write to anything")
		}
	}
}

func TestCache04FollowersReadOneFlight(t *testing.T) {
	_, s, _ := newTest(t, 16<<20)
	want := bytes.Repeat([]byte("0123456789"), 50_000)
	st, _ := s.Stamp([]uint32{1})
	lead, _ := s.Join([]byte("k"), st, nil)
	var wait sync.WaitGroup
	for range 50 {
		r, leads := s.Join([]byte("k"), st, nil)
		if leads {
			t.Fatal("a second flight")
		}
		wait.Go(func() {
			defer r.Leave()
			if got, err := readAll(r); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	for p := want; len(p) > 0; {
		n := min(len(p), 7777)
		if err := lead.Flight().Write(p[:n]); err != nil {
			t.Fatal(err)
		}
		p = p[n:]
	}
	lead.Flight().End(nil)
	wait.Wait()
	if got, err := readAll(lead); err != nil || !bytes.Equal(got, want) {
		t.Errorf("leader: %d bytes, %v", len(got), err)
	}
	lead.Leave()
	// 500 KB is stored at second sight only.
	if _, state := get(s, "k"); state != Absent {
		t.Fatal("a large result was stored at first sight")
	}
	put(t, s, "k", want, 1)
	if got, state := get(s, "k"); state != Fresh || got != string(want) {
		t.Fatalf("%d bytes, %v", len(got), state)
	}
}

func readAll(r *Reader) ([]byte, error) {
	var all []byte
	for {
		b, err := r.Next(nil)
		if err != nil || b == nil {
			return all, err
		}
		all = append(all, b...)
	}
}

func TestCache05ErrorsAreNotShared(t *testing.T) {
	c, s, _ := newTest(t, 1<<20)
	st, _ := s.Stamp(nil)
	r, _ := s.Join([]byte("k"), st, nil)
	early, _ := s.Join([]byte("k"), st, nil)
	late, _ := s.Join([]byte("k"), st, nil)
	_ = r.Flight().Write([]byte("row"))
	if b, _ := early.Next(nil); string(b) != "row" {
		t.Fatalf("%q", b)
	}
	broken := errors.New("division by zero")
	r.Flight().End(broken)
	if _, err := early.Next(nil); !errors.Is(err, broken) {
		t.Fatalf("one who has read: %v", err)
	}
	_, _ = late.Next(nil)
	fresh, lead := s.Join([]byte("k"), st, nil)
	if !lead {
		t.Fatal("joined a flight that failed")
	}
	other, _ := s.Join([]byte("k"), st, nil)
	fresh.Flight().End(broken)
	if _, err := other.Next(nil); !errors.Is(err, ErrAlone) {
		t.Fatalf("one who has read nothing: %v", err)
	}
	if _, err := fresh.Next(nil); !errors.Is(err, broken) {
		t.Fatalf("the one who asked first: %v", err)
	}
	if n := c.Stats().Recording; n != 0 {
		t.Fatalf("%d bytes still count as being received", n)
	}
	if _, state := get(s, "k"); state != Absent {
		t.Fatal("an error was stored")
	}
}

func TestLastReaderLeaving(t *testing.T) {
	_, s, _ := newTest(t, 1<<20)
	st, _ := s.Stamp(nil)
	left := 0
	a, _ := s.Join([]byte("k"), st, func() { left++ })
	b, _ := s.Join([]byte("k"), st, nil)
	a.Leave()
	if left != 0 {
		t.Fatal("left with a reader left")
	}
	b.Leave()
	if left != 1 {
		t.Fatal("nobody was told")
	}
	if r, lead := s.Join([]byte("k"), st, nil); !lead {
		t.Fatal("joined a flight that is being cancelled")
	} else {
		r.Flight().End(nil)
		r.Leave()
	}
	a.Flight().End(nil)
}

func TestCache27OversizedAndBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{MaxBytes: 8 << 20, MaxResult: 3 << 20, MaxRecording: 5 << 20, NoJitter: true})
		defer c.Close()
		s := c.Space(Policy{MaxAge: time.Minute})
		block := make([]byte, 1<<20)
		write := func(key string, blocks int) (*Flight, int) {
			st, _ := s.Stamp(nil)
			r, lead := s.Join([]byte(key), st, nil)
			if !lead {
				t.Fatal("no lead")
			}
			go func() {
				for range blocks {
					if r.Flight().Write(block) != nil {
						break
					}
				}
				r.Flight().End(nil)
			}()
			got, err := readAll(r)
			r.Leave()
			if err != nil {
				t.Fatal(err)
			}
			return r.Flight(), len(got)
		}
		f, n := write("over", 4)
		if stored, over := f.Stored(); stored || !over || n != 4<<20 {
			t.Fatalf("stored %v, oversized %v, %d bytes", stored, over, n)
		}
		if n := c.Stats().Recording; n != 0 {
			t.Fatalf("%d bytes still held", n)
		}
		write("fits", 1)
		f, n = write("fits", 1)
		if stored, over := f.Stored(); !stored || over || n != 1<<20 {
			t.Fatalf("stored %v, oversized %v, %d bytes", stored, over, n)
		}
		// Two flights of 3 MiB are more than may be received at once: one passes.
		st, _ := s.Stamp(nil)
		a, _ := s.Join([]byte("a"), st, nil)
		b, _ := s.Join([]byte("b"), st, nil)
		for range 3 {
			_ = a.Flight().Write(block)
		}
		go func() {
			for range 3 {
				_ = b.Flight().Write(block)
			}
			b.Flight().End(nil)
		}()
		got, err := readAll(b)
		if stored, _ := b.Flight().Stored(); stored || err != nil || len(got) != 3<<20 {
			t.Fatalf("stored %v, %v, %d bytes", stored, err, len(got))
		}
		b.Leave()
		if n := c.Stats().Recording; n != 3<<20 {
			t.Fatalf("%d bytes held, want those of one flight", n)
		}
		a.Flight().End(nil)
		a.Leave()
	})
}

// TestCache27Limits: a result of just the limit is stored, one byte more is not; a hundred
// large ones at a time, a tenth of the sizes of reality, stay within what may be received.
func TestCache27Limits(t *testing.T) {
	c := New(Config{MaxBytes: 256 << 20, NoJitter: true})
	defer c.Close()
	s := c.Space(Policy{MaxAge: time.Minute})
	block := make([]byte, 1<<20)
	read := func(key string, size int) (n int, f *Flight) {
		st, _ := s.Stamp(nil)
		r, _ := s.Join([]byte(key), st, nil)
		defer r.Leave()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for left := size; left > 0; {
				n := min(left, len(block))
				if r.Flight().Write(block[:n]) != nil {
					break
				}
				left -= n
			}
			r.Flight().End(nil)
		}()
		for {
			b, err := r.Next(nil)
			if err != nil || b == nil {
				<-ended
				return n, r.Flight()
			}
			n += len(b)
		}
	}
	read("most", DefaultMaxResult)
	if n, f := read("most", DefaultMaxResult); n != DefaultMaxResult {
		t.Errorf("%d bytes", n)
	} else if stored, over := f.Stored(); !stored || over {
		t.Errorf("50 MiB: stored %v, oversized %v", stored, over)
	}
	if n, f := read("more", DefaultMaxResult+1); n != DefaultMaxResult+1 {
		t.Errorf("%d bytes", n)
	} else if stored, over := f.Stored(); stored || !over {
		t.Errorf("a byte more: stored %v, oversized %v", stored, over)
	}
	small := New(Config{MaxBytes: 26 << 20, NoJitter: true}) // receives a quarter
	defer small.Close()
	s = small.Space(Policy{MaxAge: time.Minute})
	block = block[:64<<10]
	var wait sync.WaitGroup
	for i := range 100 {
		wait.Go(func() {
			if n, _ := read(fmt.Sprint("many", i), 4<<20); n != 4<<20 {
				t.Errorf("%d bytes", n)
			}
			if n := small.Stats().Recording; n > 26<<20/4+100*int64(len(block)) {
				t.Errorf("%d bytes are being received", n)
			}
		})
	}
	wait.Wait()
	if n := small.Stats().Recording; n != 0 {
		t.Errorf("%d bytes are still held", n)
	}
}

func TestPassingFlightWaitsForItsReaderAndEndsWithoutOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{MaxBytes: 8 << 20, MaxResult: 1})
		defer c.Close()
		s := c.Space(Policy{MaxAge: time.Minute})
		st, _ := s.Stamp(nil)
		r, _ := s.Join([]byte("k"), st, nil)
		var written atomic.Int64
		ended := make(chan error, 1)
		go func() {
			for {
				if err := r.Flight().Write(make([]byte, 64<<10)); err != nil {
					ended <- err
					r.Flight().End(err)
					return
				}
				written.Add(64 << 10)
			}
		}()
		synctest.Wait()
		if n := written.Load(); n < window || n > window+256<<10 {
			t.Fatalf("%d bytes ahead of a reader that does not read", n)
		}
		_, _ = r.Next(nil)
		synctest.Wait()
		r.Leave()
		if err := <-ended; !errors.Is(err, ErrLeft) {
			t.Fatal(err)
		}
	})
}

func TestCache28LargeResultsHaveTheirOwnBudget(t *testing.T) {
	c, s, _ := newTest(t, 64<<20)
	for i := range 5000 {
		put(t, s, fmt.Sprint("small ", i), make([]byte, 4<<10))
	}
	for i := range 10 { // 40 MB of them, each seen twice
		for range 2 {
			put(t, s, fmt.Sprint("large ", i), make([]byte, 4<<20))
		}
	}
	c.small.CleanUp()
	c.large.CleanUp()
	kept := 0
	for i := range 5000 {
		if _, state := get(s, fmt.Sprint("small ", i)); state == Fresh {
			kept++
		}
	}
	if kept != 5000 {
		t.Fatalf("%d of 5000 small results were kept", kept)
	}
	if n := c.large.WeightedSize(); n > 16<<20 {
		t.Fatalf("%d bytes of large results", n)
	}
}

// TestEntryOverhead: what 100,000 entries cost beyond keys and results.
func TestEntryOverhead(t *testing.T) {
	c := New(Config{MaxBytes: 1 << 30})
	defer c.Close()
	s := c.Space(Policy{MaxAge: time.Hour})
	before := heap()
	const n, size, key = 100_000, 200, 100
	for i := range n {
		put(t, s, fmt.Sprintf("%0*d", key, i), make([]byte, size), 1, 2)
	}
	c.small.CleanUp()
	each := (heap()-before)/n - size - key
	t.Logf("%d bytes an entry", each)
	// The allocator's rounding of 200 bytes to 208 and 100 to 112 included.
	if each > 220 {
		t.Errorf("an entry costs %d bytes beyond its key and result", each)
	}
	runtime.KeepAlive(c)
}

func TestSpacesKnowTheirSize(t *testing.T) {
	c, s, k := newTest(t, 1<<20)
	other := c.Space(s.Policy())
	put(t, other, "x", make([]byte, 100))
	for i := range 50 {
		for range 2 { // the second takes the place of the first
			put(t, s, fmt.Sprint("k", i), make([]byte, 100), uint32(i))
		}
	}
	if n, bytes := s.Size(); n != 50 || bytes < 5000 || bytes > 50*(100+4+overhead) {
		t.Errorf("%d entries of %d bytes", n, bytes)
	}
	for i := range 50_000 { // more than there is room for
		put(t, s, fmt.Sprint("l", i), make([]byte, 100))
	}
	c.small.CleanUp()
	n, bytes := s.Size()
	m, _ := other.Size()
	if stats := c.Stats(); n+m != stats.Entries || bytes > 1<<20 {
		t.Errorf("%d and %d entries of %d, %d bytes", n, m, stats.Entries, bytes)
	}
	k.advance(time.Hour)
	c.small.InvalidateAll()
	if n, bytes := s.Size(); n != 0 || bytes != 0 {
		t.Errorf("%d entries of %d bytes are left of none", n, bytes)
	}
}

// TestFinished: a result that has come to an end and is yet to be stored is had by all who ask for it, like one that
// is stored, but for those behind a write.
func TestFinished(t *testing.T) {
	c, s, k := newTest(t, 1<<20)
	finished := func(key string) *Flight {
		st, _ := s.Stamp([]uint32{1})
		r, lead := s.Join([]byte(key), st, nil)
		if !lead {
			t.Fatalf("%s: joined another flight", key)
		}
		_ = r.Flight().Write([]byte("rows"))
		r.Flight().Finish(nil)
		r.Leave()
		if n := c.Stats().Recording; n != 0 {
			t.Errorf("%s: %d bytes count as being received", key, n)
		}
		return r.Flight()
	}
	again := func(key string) (r *Reader, lead bool) {
		st, _ := s.Stamp([]uint32{1})
		return s.Join([]byte(key), st, nil)
	}

	f := finished("asked again")
	r, lead := again("asked again")
	if got, err := r.Next(nil); lead || !r.Late() || string(got) != "rows" || err != nil {
		t.Errorf("who asked again read %q, %v, late: %v, first: %v", got, err, r.Late(), lead)
	}
	if got, state := get(s, "asked again"); state != Fresh || got != "rows" || !f.Store() {
		t.Errorf("asked for again: %q, %v", got, state)
	}
	f.Recycle()
	if r.Leave(); f.space != s {
		t.Error("a flight was taken back that somebody read")
	}

	f = finished("stored")
	for range 2 {
		if !f.Store() {
			t.Error("not stored")
		}
	}
	if f.Recycle(); f.space != nil {
		t.Error("a flight was not taken back that nobody reads")
	}

	f = finished("written to")
	s.Bump(Write{Tables: []uint32{1}})
	if r, lead := again("written to"); !lead || f.Store() {
		t.Error("a result of before a write was returned or stored")
	} else {
		r.Flight().End(errors.New("no"))
		r.Leave()
	}

	f = finished("outlived")
	k.advance(time.Minute)
	if r, lead = again("outlived"); !lead {
		t.Fatal("joined what is not fresh any more")
	}
	_ = r.Flight().Write([]byte("newer"))
	r.Flight().End(nil)
	r.Leave()
	if f.Store(); len(s.flights) != 0 {
		t.Errorf("%d flights are left", len(s.flights))
	}
	if got, state := get(s, "outlived"); state != Fresh || got != "newer" {
		t.Errorf("%q, %v behind what was stored late", got, state)
	}
}

func TestSuspended(t *testing.T) {
	c, s, _ := newTest(t, 1<<20)
	put(t, s, "k", []byte("rows"), 1)
	st, _ := s.Stamp(nil)
	r, _ := s.Join([]byte("l"), st, nil)
	if !c.Suspend() || c.Suspend() {
		t.Error("suspended, or not, before")
	}
	if _, ok := s.Stamp(nil); ok {
		t.Error("a stamp of a suspended cache")
	}
	if _, state := get(s, "k"); state != Absent {
		t.Error("a hit of a suspended cache")
	}
	c.Resume()
	r.Flight().End(nil)
	r.Leave()
	for _, key := range []string{"k", "l"} {
		if _, state := get(s, key); state != Absent {
			t.Errorf("%s is from before", key)
		}
	}
	put(t, s, "k", []byte("rows"), 1)
	if _, state := get(s, "k"); state != Fresh {
		t.Error("nothing is stored any more")
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkGet(b *testing.B) {
	_, s, _ := newTest(b, 64<<20)
	key := bytes.Repeat([]byte("k"), 300)
	put(b, s, string(key), make([]byte, 200), 1, 2)
	b.ReportAllocs()
	for b.Loop() {
		if _, state, _ := s.Get(key); state != Fresh {
			b.Fatal(state)
		}
	}
}
