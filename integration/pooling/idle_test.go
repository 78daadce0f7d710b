package pooling

import (
	"bytes"
	"context"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
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

// An idle client costs at most 8 KB, and what large results have taken comes back.
// The drivers' ends of the connections are counted too: they are in this process.
func TestPooling73(t *testing.T) {
	w := newWorld(t, maxConns(2))
	const clients = 400
	conns := make([]net.Conn, 0, clients)
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	x := w.wire(t) // what the first of all needs is not an idle client's
	x.send(q("select 1"))
	x.ready(1)
	before := taken()
	for range clients {
		conn, err := w.logIn(t)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	idle := taken()
	if each := (int64(idle) - int64(before)) / clients; each > idleClient {
		t.Errorf("an idle client takes %d bytes, want at most %d", each, idleClient)
	}
	for range 20 { // 10 MB each
		x.send(q("select repeat('x', 10000000)"))
		if err := skipToReady(x.conn); err != nil {
			t.Fatal(err)
		}
	}
	if after := taken(); after > idle+idle/10 {
		t.Errorf("after large results %d bytes are taken, %d before", after, idle)
	}
}

// skipToReady reads and forgets what comes, up to a ReadyForQuery outside transactions.
func skipToReady(conn net.Conn) error {
	ready := []byte{'Z', 0, 0, 0, 5, 'I'}
	var buf [64 << 10]byte
	tail := 0
	for !bytes.HasSuffix(buf[:tail], ready) {
		kept := copy(buf[:], buf[max(0, tail-len(ready)):tail])
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		n, err := conn.Read(buf[kept:])
		if err != nil {
			return err
		}
		tail = kept + n
	}
	return nil
}

// logIn is wire without what reads messages.
func (w *world) logIn(t testing.TB) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := pgconn.Connect(ctx, w.url())
	if err != nil {
		return nil, err
	}
	h, err := conn.Hijack()
	if err != nil {
		return nil, err
	}
	return h.Conn, nil
}
