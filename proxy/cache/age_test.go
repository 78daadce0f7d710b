package cache

import (
	"testing"
	"time"
)

// TestCache02ClocksThatAreSet: a result's age is the longer of what the clock and what
// time itself says.
func TestCache02ClocksThatAreSet(t *testing.T) {
	c, s, k := newTest(t, 1<<20)
	var passed time.Duration
	c.steady = func(time.Time) int64 { return int64(passed) }
	for _, test := range []struct {
		name          string
		passes, reads time.Duration
		want          State
	}{
		{"set back at once", time.Second, -time.Hour, Fresh},
		{"set back", 61 * time.Second, -time.Hour, Stale},
		{"set back, much later", 2 * time.Minute, -time.Hour, Absent},
		{"asleep", 0, 61 * time.Second, Stale},
		{"both", 61 * time.Second, 61 * time.Second, Stale},
	} {
		put(t, s, test.name, []byte("rows"))
		passed += test.passes
		k.advance(test.reads)
		if _, got := get(s, test.name); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// TestCache04OldFlightsAreNotJoined: what was asked for longer ago than a result is
// fresh is not for those who ask now.
func TestCache04OldFlightsAreNotJoined(t *testing.T) {
	_, s, k := newTest(t, 1<<20)
	st, _ := s.Stamp(nil)
	join := func() (*Reader, bool) {
		r, lead := s.Join([]byte("k"), st, func() {})
		t.Cleanup(r.Leave)
		return r, lead
	}
	first, _ := join()
	k.advance(time.Minute - 1)
	if r, lead := join(); lead || r.Flight() != first.Flight() {
		t.Fatal("not joined within its age")
	}
	k.advance(1)
	second, lead := join()
	if !lead {
		t.Fatal("joined beyond its age")
	}
	first.Flight().End(nil)
	if r, lead := join(); lead || r.Flight() != second.Flight() {
		t.Fatal("the old one took the new one out of sight")
	}
}

// TestStampsAreShared by all queries of the same tables, until something is written.
func TestStampsAreShared(t *testing.T) {
	_, s, _ := newTest(t, 1<<20)
	first, _ := s.Stamp([]uint32{1, 2})
	if n := testing.AllocsPerRun(100, func() {
		if again, ok := s.Stamp([]uint32{1, 2}); !ok || again != first {
			t.Fatal("another stamp of the same")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	for _, tables := range [][]uint32{{1}, {1, 3}, {2, 1}, nil} {
		if st, ok := s.Stamp(tables); !ok || st == first || len(st.of) != len(tables) {
			t.Errorf("a stamp of tables 1 and 2 is one of %d", tables)
		}
	}
	for _, w := range []Write{{Tables: []uint32{2}}, {All: true}} {
		before, _ := s.Stamp([]uint32{1, 2})
		s.Bump(w)
		if st, ok := s.Stamp([]uint32{1, 2}); !ok || st == before || s.current(before) || !s.current(st) {
			t.Errorf("a stamp of before %+v is one of after", w)
		}
	}
}

// TestEpochsAreBounded uses ever new tables, as an application does that makes a table, asks for it and drops it.
func TestEpochsAreBounded(t *testing.T) {
	_, s, _ := newTest(t, 1<<20)
	for id := range uint32(2 * maxEpochs) {
		s.Stamp([]uint32{id})
	}
	s.Bump(Write{Tables: []uint32{3 * maxEpochs}})
	n := 0
	s.tables.Range(func(any, any) bool { n++; return true })
	if n != maxEpochs {
		t.Errorf("%d epochs, want %d", n, maxEpochs)
	}

	put(t, s, "k", []byte("rows"), 7)
	both := Write{Tables: []uint32{7, maxEpochs + 7}} // which share one
	s.Begin(both)
	if _, state := get(s, "k"); state != Absent {
		t.Errorf("during a write to a table that shares the epoch: %v, want Absent", state)
	}
	s.End(both)
	put(t, s, "k", []byte("rows"), 7)
	if _, state := get(s, "k"); state != Fresh {
		t.Errorf("after the write: %v, want Fresh", state)
	}
}
