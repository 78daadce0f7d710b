package pooling

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/postgres"
)

// calls counts the reads that brought something and the writes of connections.
type calls struct{ reads, writes atomic.Int64 }

type countedConn struct {
	net.Conn
	calls *calls
}

func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.calls.reads.Add(1)
	}
	return n, err
}

func (c countedConn) Write(b []byte) (int, error) {
	c.calls.writes.Add(1)
	return c.Conn.Write(b)
}

// countedWorld is a world with one origin connection, whose calls are counted.
func countedWorld(t *testing.T) (*world, *calls) {
	t.Helper()
	origin := &calls{}
	return newWorld(t, maxConns(1), func(c *postgres.Config) {
		c.TLS = nil // crypto/tls allocates for each record that it reads
		dial := c.Dial
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			conn, err := dial(ctx)
			return countedConn{conn, origin}, err
		}
	}), origin
}

// What a client has set travels with its first message: one write to the origin,
// whoever had the connection before.
func TestPooling29(t *testing.T) {
	w, origin := countedWorld(t)
	clients := make([]*wire, 3)
	for i := range clients {
		clients[i] = w.wire(t)
		clients[i].want("C:SET Z:I", q(fmt.Sprintf("set work_mem = '%dkB'", 100+i)))
		clients[i].value("select 1") // behind the question what has become of the session
	}
	for range 10 {
		for i, x := range clients {
			before := origin.writes.Load()
			if got := x.value("show work_mem"); got != fmt.Sprintf("%dkB", 100+i) {
				t.Fatalf("client %d: %s", i, got)
			}
			if n := origin.writes.Load() - before; n != 1 {
				t.Errorf("client %d: %d writes to the origin", i, n)
			}
		}
	}
	if sets := w.db.Counts().ParamSets; sets < 30 {
		t.Errorf("settings were replayed %d times", sets)
	}
}

// A query that is forwarded costs one read and one write of the origin connection,
// and no allocation.
func TestSteadyStateCalls(t *testing.T) {
	for _, c := range []struct {
		what string
		send []pgproto3.FrontendMessage
	}{
		{"simple", []pgproto3.FrontendMessage{q("select 1")}},
		{"extended", []pgproto3.FrontendMessage{parse("", "select 1"), bind(""), describePortal(""), execute, syncMsg}},
		{"prepared", []pgproto3.FrontendMessage{bind("s"), execute, syncMsg}},
	} {
		t.Run(c.what, func(t *testing.T) {
			w, origin := countedWorld(t)
			x := w.wire(t)
			x.want("1 Z:I", parse("s", "select 1"), syncMsg)
			msg := encode(c.send...)
			answer := make([]byte, 4096)
			var failed error
			query := func() {
				if _, err := x.conn.Write(msg); err != nil {
					failed = err
					return
				}
				for n := 0; n < 6 || answer[n-6] != pgwire.MsgReadyForQuery; {
					got, err := x.conn.Read(answer[n:])
					if n += got; err != nil || n == len(answer) {
						failed = io.ErrUnexpectedEOF
						return
					}
				}
			}
			for range 100 {
				query()
			}
			const runs = 1000
			reads, writes := origin.reads.Load(), origin.writes.Load()
			allocations := testing.AllocsPerRun(runs-1, query) // and one to warm up
			if failed != nil {
				t.Fatal(failed)
			}
			if r, w := origin.reads.Load()-reads, origin.writes.Load()-writes; r != runs || w != runs {
				t.Errorf("%d reads and %d writes for %d queries", r, w, runs)
			}
			if allocations > poolAllocations {
				t.Errorf("%v allocations per query", allocations)
			}
		})
	}
}
