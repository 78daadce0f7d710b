package streamtest

import (
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
)

// cycles opens and ends 10,000 streams in every way there is, and compares what the process holds before and after.
func cycles(t *testing.T, pair Pair) {
	run := func(n int) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := next.Add(1); i <= int64(n); i = next.Add(1) {
					a, b := pair(t)
					cycle(t, a, b, int(i))
				}
			})
		}
		wg.Wait()
	}
	run(500) // whatever is made once
	before := measure()
	run(10_000)

	deadline := time.Now().Add(patience)
	for {
		after := measure()
		if after.goroutines <= before.goroutines+4 && after.descriptors <= before.descriptors &&
			after.heap <= before.heap+4<<20 {
			t.Logf("before %+v, after %+v", before, after)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: before %+v, after %+v", before, after)
		}
		runtime.Gosched()
	}
}

// cycle ends a stream in the i-th way.
func cycle(t *testing.T, a, b stream.Conn, i int) {
	_ = a.SetDeadline(time.Now().Add(patience))
	_ = b.SetDeadline(time.Now().Add(patience))
	var one [1]byte
	if _, err := a.Write([]byte("q")); err != nil {
		t.Errorf("cycle %d: Write: %v", i, err)
	}
	if _, err := io.ReadFull(b, one[:]); err != nil {
		t.Errorf("cycle %d: Read: %v", i, err)
	}
	switch i % 6 {
	case 0: // a query's end, as Pipe does it
		_ = a.CloseWrite()
		_, _ = b.Read(one[:])
		_ = b.CloseWrite()
		_, _ = a.Read(one[:])
	case 1:
		_ = a.Reset(stream.CodeCancelled)
	case 2:
		_ = b.Reset(stream.CodeCancelled)
	case 3: // both at once
		go a.Reset(stream.CodeCancelled)
	case 4: // unread data
		_, _ = b.Write(make([]byte, 3000))
	case 5: // unread data, aborted
		_, _ = a.Write(make([]byte, 3000))
		_ = a.Reset(stream.CodeAborted)
	}
	if i%6 == 3 {
		_ = b.Reset(stream.CodeCancelled)
		_, _ = a.Read(one[:])
		return
	}
	_ = a.Close()
	_ = b.Close()
}

// held is what a process holds.
type held struct {
	goroutines, descriptors int
	heap                    uint64 // bytes
}

func measure() held {
	runtime.GC()
	runtime.GC() // the second frees what sync.Pools kept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return held{runtime.NumGoroutine(), Descriptors(), m.HeapAlloc}
}

// Descriptors counts the process's open file descriptors, or returns 0 where the system does not list them.
func Descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
