package pooling

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/proxy/pool"
	"github.com/sluicedb/sluice/proxy/postgres"
)

// Each limit is a database's own, and changes while clients are connected.
func TestLimits(t *testing.T) {
	t.Parallel()
	var cfg postgres.Config
	w := newWorld(t, maxConns(1), func(c *postgres.Config) { cfg = *c })
	x, y := w.wire(t), w.wire(t)
	limit := func(change func(*postgres.Limits)) {
		changed := cfg
		change(&changed.Limits)
		w.db.SetConfig(changed)
	}

	limit(func(l *postgres.Limits) { l.WaitTimeout = 200 * time.Millisecond })
	x.want("C:BEGIN Z:T", q("begin"))
	y.want("E:58000 Z:I", q("select 1"))
	limit(func(l *postgres.Limits) { l.MaxConns = 2 })
	y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
	x.want("C:COMMIT Z:I", q("commit"))

	limit(func(l *postgres.Limits) { l.QueryTimeout = 300 * time.Millisecond })
	x.want("T E:57014 Z:I", q("select pg_sleep(77)"))

	limit(func(l *postgres.Limits) { l.IdleTimeout = 100 * time.Millisecond })
	eventually(t, "idle connections are closed", func() bool { return w.db.Stats().Live == 0 })
	if n := w.db.Stats().Retired[pool.Idle]; n == 0 {
		t.Error("no connection was closed for being idle")
	}

	limit(func(l *postgres.Limits) { l.MaxLifetime = 100 * time.Millisecond })
	y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
	eventually(t, "old connections are closed", func() bool { return w.db.Stats().Retired[pool.Aged] > 0 })

	limit(func(l *postgres.Limits) { l.IdleTransactionTimeout = 300 * time.Millisecond })
	busy := q("select pg_sleep(0.2)")
	x.want("C:BEGIN Z:T"+strings.Repeat(" T D: C:SELECT_1 Z:T", 3), q("begin"), busy, busy, busy) // not idle
	if got := x.end(); got != "E:25P03" {
		t.Errorf("silent in a transaction: %s", got)
	}
	y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
}

// An origin that does not answer.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1), func(c *postgres.Config) {
		c.ConnectTimeout = 300 * time.Millisecond
		c.Dial = func(context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			t.Cleanup(func() { far.Close() })
			return near, nil
		}
	})
	_, err := w.tryWire(t)
	if code(err) != "58000" || !strings.Contains(err.Error(), "Server connection attempt failed: connection_timeout") {
		t.Errorf("log in: %v", err)
	}
}

func TestApplicationName(t *testing.T) {
	t.Parallel()
	const seen = "select application_name from pg_stat_activity where pid = pg_backend_pid()"
	for name, forward := range map[string]bool{"Sluice": false, "orders api": true} {
		w := newWorld(t, maxConns(1), func(c *postgres.Config) { c.ForwardApplicationName = forward })
		if got := w.wire(t, "application_name", "orders api").value(seen); got != name {
			t.Errorf("forward %v: the origin sees %q", forward, got)
		}
		if got := w.wire(t).value(seen); got != "Sluice" {
			t.Errorf("forward %v: of a driver without a name the origin sees %q", forward, got)
		}
	}
}
