package cache

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
)

// TestStoring: a result is stored without a goroutine, whose start would wake a thread each time, and
// with few allocations: a flight, its key, the result, an entry, what the store needs, and two of the test.
func TestStoring(t *testing.T) {
	_, s, _ := newTest(t, 8<<20)
	body := make([]byte, 200)
	n := 0
	store := func() {
		n++
		put(t, s, fmt.Sprintf("key %d", n), body, 1)
	}
	const results, most = 1000, 9
	if got := testing.AllocsPerRun(results, store); got > most {
		t.Errorf("%v allocations for a result, want at most %d", got, most)
	}
	created := []metrics.Sample{{Name: "/sched/goroutines-created:goroutines"}}
	metrics.Read(created)
	before := created[0].Value.Uint64()
	for range results {
		store()
		runtime.Gosched() // so that one that was started would be done
	}
	metrics.Read(created)
	if got := created[0].Value.Uint64() - before; got > results/10 { // the collector's
		t.Errorf("%d goroutines for %d results", got, results)
	}
	if entries, _ := s.Size(); entries != n {
		t.Errorf("%d entries of %d", entries, n)
	}
}

// TestUpkeepAfterRest: nobody waits for the upkeep of a store that has rested.
func TestUpkeepAfterRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var u upkeep
		for range 3 {
			done, release := false, make(chan struct{})
			u.do(func() { <-release; done = true })
			close(release)
			synctest.Wait()
			if !done {
				t.Error("not done")
			}
			done = false
			u.do(func() { done = true })
			if !done {
				t.Error("not done at once though it was just now")
			}
			time.Sleep(2 * longAgo)
		}
	})
}
