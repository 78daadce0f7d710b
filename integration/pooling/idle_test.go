package pooling

import (
	"bytes"
	"context"
	"net"
	"runtime"
	"strings"
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
		conn, err := logIn(t, w.url())
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

// stacks is what the process has of memory for stacks of goroutines.
func stacks() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.StackInuse
}

// A client that has worked, or has only logged in, comes to wait in a goroutine with the least of stack, with TLS too,
// and is served when it speaks, again and again.
func TestIdleStack(t *testing.T) {
	w, _ := withTLS(t, nil, maxConns(2))
	const clients = 400
	before := stacks()
	var conns []net.Conn
	for i := range clients {
		url := w.url()
		if i%4 == 0 {
			url = strings.Replace(url, "sslmode=disable", "sslmode=require", 1)
		}
		conn, err := logIn(t, url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conns = append(conns, conn)
	}
	for range 2 {
		for i, conn := range conns {
			if i%8 < 2 {
				continue
			}
			if _, err := conn.Write(encode(q("select repeat('x', 100000)"))); err != nil {
				t.Fatal(err)
			}
			if err := skipToReady(conn); err != nil {
				t.Fatal(err)
			}
		}
		each := int64(0)
		for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			if each = (int64(stacks()) - int64(before)) / clients; each <= idleStack {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("an idle client takes %d bytes of stack, want at most %d", each, idleStack)
			}
		}
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
func logIn(t testing.TB, url string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	h, err := conn.Hijack()
	if err != nil {
		return nil, err
	}
	return h.Conn, nil
}
