package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

const (
	// healTime is how long the installation has to be whole again by itself: the longest pause between a slot's attempts, and time
	// to find dead what was cut off last.
	healTime = 90 * time.Second
	// leftGoroutines and leftFiles are what all parts of a kind may have more than before the chaos, taken together: where sessions
	// and streams are is up to chance. A session is ten or so of the former over WebSocket and one of the latter, and the pool may
	// have grown to its limit, of three goroutines and a descriptor for each connection.
	leftGoroutines = 10*connectors*slots + 3*originConns
	leftFiles      = 2*connectors*slots + originConns
)

// TestChaos lets a hundred clients write while every part of a fleet is killed, stopped, cut off and slowed down at random. What was
// acknowledged is in the database once, nobody waited beyond a deadline, and everything is whole and idle afterwards.
// SLUICE_CHAOS is for how long (a minute), SLUICE_SEED repeats the choices of a run.
func TestChaos(t *testing.T) {
	d, seed, err := harness.Soak("SLUICE_CHAOS")
	must(t, err)
	t.Logf("SLUICE_SEED=%d SLUICE_CHAOS=%v", seed, d)
	ctx := within(t, d+10*time.Minute)
	f := newFleet(ctx, t)
	f.exec(ctx, t, "create table marks (client int not null, n int not null, half int not null)")
	var l load
	t.Cleanup(l.end) // before the fleet goes
	f.work(ctx, clients, &l)
	f.warm(ctx, t, &l)
	l.end()
	before := f.settle(ctx, t)

	f.work(ctx, clients, &l)
	f.chaos(t, seed).run(ctx, d)
	f.healthy(ctx, t)
	f.warm(ctx, t, &l)
	l.end()
	l.report(t)
	l.audit(ctx, t)
	after := f.settle(ctx, t)
	for kind, now := range after {
		if now.goroutines > before[kind].goroutines+leftGoroutines || now.files > before[kind].files+leftFiles {
			t.Errorf("every %s together has %d goroutines and %d descriptors, and had %d and %d before", kind, now.goroutines, now.files,
				before[kind].goroutines, before[kind].files)
		}
	}
	f.leave(ctx, t)
}

func (f *fleet) exec(ctx context.Context, t *testing.T, sql string) {
	t.Helper()
	conn, err := f.pg.Connect(ctx)
	must(t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	must(t, err)
}

// warm waits until every client has committed more.
func (f *fleet) warm(ctx context.Context, t *testing.T, l *load) {
	t.Helper()
	began := l.done.Load()
	ctx, cancel := context.WithTimeout(ctx, healTime)
	defer cancel()
	must(t, harness.WaitFor(ctx, nil, func(context.Context) error {
		if n := l.done.Load() - began; n < 3*clients {
			return fmt.Errorf("%d transactions were acknowledged, want %d", n, 3*clients)
		}
		return nil
	}))
}

// healthy waits until every part says that it is ready, and every slot has its session.
func (f *fleet) healthy(ctx context.Context, t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, healTime)
	defer cancel()
	for _, p := range f.parts {
		p.mu.Lock()
		url := p.metrics[:len(p.metrics)-len("/metrics")]
		p.mu.Unlock()
		if err := harness.WaitFor(ctx, nil, p.ns.Ready(url)); err != nil {
			t.Errorf("%s is not ready: %v", p.name, err)
		}
	}
	var last error
	if err := harness.WaitFor(ctx, nil, func(ctx context.Context) error {
		err := f.connected(ctx)
		if ctx.Err() == nil {
			last = err // what was wrong, and not that the time was over
		}
		return err
	}); err != nil {
		t.Errorf("connections of the tunnel after %v: %v", healTime, last)
	}
}

// connected reports whether control sees each slot of each connector once.
func (f *fleet) connected(ctx context.Context) error {
	out, err := f.control.CLI(ctx, nil, "tunnel", "connections", tunnelName, "--json")
	if err != nil {
		return err
	}
	var list []struct {
		Conns []json.RawMessage `json:"conns"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return err
	}
	n := 0
	for _, c := range list {
		n += len(c.Conns)
	}
	if len(list) != connectors || n != connectors*slots {
		return fmt.Errorf("%d connections of %d connectors, want %d of %d: %s", n, len(list), connectors*slots, connectors, out)
	}
	return nil
}

// usage is what a process holds.
type usage struct{ goroutines, files int }

// settle waits until nothing moves without clients: as many streams at the connectors as the database has sessions, and each at one
// relay or two. It returns what the parts of each kind hold together.
func (f *fleet) settle(ctx context.Context, t *testing.T) map[string]usage {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, healTime)
	defer cancel()
	admin, err := f.pg.Admin(ctx)
	must(t, err)
	defer admin.Close(ctx)
	held := map[string]usage{}
	err = harness.WaitFor(ctx, nil, func(ctx context.Context) error {
		var sessions int
		if err := admin.QueryRow(ctx, "select count(*) from pg_stat_activity where usename = $1", harness.PostgresUser).Scan(&sessions); err != nil {
			return err
		}
		joined, relayed, forwarded := 0, 0, 0
		clear(held)
		for _, p := range f.parts {
			v, err := p.gauges(ctx, "go_goroutines", "process_open_fds", "sluice_connector_streams", "sluice_relay_streams")
			if err != nil {
				return err
			}
			held[p.kind] = usage{held[p.kind].goroutines + int(v[0]), held[p.kind].files + int(v[1])}
			joined, relayed = joined+int(v[2]), relayed+int(v[3])
		}
		if forwarded = relayed - joined; joined != sessions || forwarded < 0 || forwarded > joined {
			return fmt.Errorf("the origin has %d sessions, the connectors %d streams, the relays %d", sessions, joined, relayed)
		}
		return nil
	})
	if err != nil {
		t.Errorf("without clients: %v", err)
	}
	for kind, u := range held {
		t.Logf("every %s together: %d goroutines, %d descriptors", kind, u.goroutines, u.files)
	}
	return held
}

// leave ends the proxy, and looks whether the streams and the origin's sessions end with it.
func (f *fleet) leave(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := f.proxy.running().Stop(healTime); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(ctx, healTime)
	defer cancel()
	admin, err := f.pg.Admin(ctx)
	must(t, err)
	defer admin.Close(ctx)
	if err := harness.WaitFor(ctx, nil, func(ctx context.Context) error {
		var sessions, streams int
		if err := admin.QueryRow(ctx, "select count(*) from pg_stat_activity where usename = $1", harness.PostgresUser).Scan(&sessions); err != nil {
			return err
		}
		for _, p := range f.parts {
			if p == f.proxy {
				continue
			}
			v, err := p.gauges(ctx, "sluice_connector_streams", "sluice_relay_streams")
			if err != nil {
				return err
			}
			streams += int(v[0] + v[1])
		}
		if sessions+streams > 0 {
			return fmt.Errorf("%d sessions at the origin and %d streams are left", sessions, streams)
		}
		return nil
	}); err != nil {
		t.Errorf("without the proxy: %v", err)
	}
}
