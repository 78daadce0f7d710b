package pooling

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluicedb/sluice/proxy/postgres"
)

// listenShared listens on a port that others listen on too.
func listenShared(t *testing.T, addr string) net.Listener {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return errors.Join(err, failed)
	}}
	ln, err := config.Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// A second proxy takes over the port under load, and a third from that: no
// transaction fails that had begun, none is lost or done twice, and the idle are
// told.
func TestPooling71(t *testing.T) {
	t.Parallel()
	next := func(addr string) *world {
		w := unserved(t, func(s *postgres.Server) { s.Grace = patience }, maxConns(4))
		w.serve(t, listenShared(t, addr))
		return w
	}
	entry := next("127.0.0.1:0") // the address is the same for all
	addr := entry.addr.String()
	setup := entry.wire(t)
	setup.want("C:CREATE_TABLE Z:I", q("create unlogged table takeover (client int, n int)"))

	var stop atomic.Bool
	var committed, told atomic.Int64
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			var x *wire
			for n := 0; !stop.Load(); {
				var err error
				if x == nil {
					if x, err = entry.tryWire(t); err != nil {
						if code(err) != "" { // what reached a proxy is served
							t.Errorf("client %d: log in: %v", i, err)
							return
						}
						continue
					}
				}
				began, err := x.transaction(fmt.Sprintf("insert into takeover values (%d, %d)", i, n))
				switch {
				case err == nil:
					n++
					committed.Add(1)
				case began:
					t.Errorf("client %d: a transaction that had begun: %v", i, err)
					return
				default: // told to go between transactions: the driver connects again
					told.Add(1)
					x.conn.Close()
					x = nil
				}
			}
		})
	}
	serving := entry
	for range 2 {
		before := committed.Load()
		eventually(t, "transactions are under way", func() bool { return committed.Load() > before+200 })
		idle := entry.wire(t)
		former := serving
		serving = next(addr)
		former.stop()
		if got := idle.end(); !strings.HasSuffix(got, "E:57P01") {
			t.Errorf("an idle client: %s", got)
		}
	}
	before := committed.Load()
	eventually(t, "transactions go on", func() bool { return committed.Load() > before+200 })
	stop.Store(true)
	wg.Wait()
	x := entry.wire(t)
	if got, want := x.value("select count(*) || ' ' || count(distinct (client, n)) from takeover"), fmt.Sprintf("%d %d", committed.Load(), committed.Load()); got != want {
		t.Errorf("rows: %s, want %s", got, want)
	}
	if told.Load() == 0 {
		t.Error("no client was told to go: nothing was tried")
	}
	t.Logf("%d transactions, clients told to go %d times", committed.Load(), told.Load())
	x.want("C:DROP_TABLE Z:I", q("drop table takeover"))
}

// transaction reports whether BEGIN was answered, and what went wrong.
func (x *wire) transaction(sql string) (began bool, err error) {
	for _, step := range []string{"begin", sql, "commit"} {
		if _, err := x.conn.Write(encode(q(step))); err != nil {
			return began, err
		}
		s, err := x.tryReady(1)
		if err != nil {
			return began, fmt.Errorf("after %q: %w", s, err)
		}
		if strings.Contains(s, "E:") {
			return began, errors.New(s)
		}
		began = true
	}
	return began, context.Cause(x.t.Context())
}
