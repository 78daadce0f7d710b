package mysql

import (
	"runtime"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// taken is what the process has of memory for objects and for stacks of goroutines,
// after what is free has gone.
func taken() uint64 {
	runtime.GC()
	runtime.GC() // what pools hold on to goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// stacks is what the process has of memory for stacks of goroutines.
func stacks() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.StackInuse
}

// An idle client costs at most 8 KB, also one that has run queries and has prepared a statement.
// The drivers' ends of the connections are counted too: they are in this process.
func TestIdleMemory(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(2))
		const clients = 400
		conns := make([]*raw, 0, clients)
		w.raw(t).value(t, "SELECT 1") // what the first of all needs is not an idle client's
		before, stacked := taken(), stacks()
		for range clients {
			conns = append(conns, w.raw(t))
		}
		idle := taken()
		if each := (int64(idle) - int64(before)) / clients; each > idleClient {
			t.Errorf("an idle client takes %d bytes, want at most %d", each, idleClient)
		}
		for _, r := range conns {
			r.value(t, "SELECT REPEAT('x', 100000)")
			id, _ := r.prepare(t, "SELECT ? + 0")
			r.send(t, mywire.ComStmtExecute, id32(id)+"\x00\x01\x00\x00\x00\x00\x01\x08\x00\x05\x00\x00\x00\x00\x00\x00\x00")
			r.rows(t, mywire.ComStmtExecute)
		}
		// They come to wait in goroutines with the least of stack, and are served when they speak.
		limit := stacked + clients*idleStack
		for deadline := time.Now().Add(time.Minute); stacks() > limit; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d idle clients take %d bytes of stack, want at most %d", clients, stacks()-stacked, limit-stacked)
			}
		}
		busy := taken()
		if each := (int64(busy) - int64(before)) / clients; each > idleClient {
			t.Errorf("an idle client that has worked takes %d bytes, want at most %d", each, idleClient)
		}
		for _, r := range conns {
			r.value(t, "SELECT 1")
		}
	})
}
