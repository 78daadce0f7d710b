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
