package pooling

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/proxy/postgres"
)

const (
	// tortureAccounts are few enough for transfers to meet in them.
	tortureAccounts = 50
	// tortureHeap is how many bytes the heap may have grown by when every client is gone:
	// buffers that are kept for the next ones, and what the transfers of an hour take here.
	tortureHeap = 32 << 20
)

// TestTorture lets tortureClients loose on 10 origin connections, behind proxy, relays and
// connector: SLUICE_SOAK says for how long (a minute), SLUICE_SEED how, as far as the
// scheduler lets it be repeated. They send random pipelines of everything, cut into
// random packets; each knows what must come back, its own marker in every value.
// Meanwhile the parts of the way go and come. Who loses a connection by that may lose
// what it was doing, and nothing else; in between, and where a part goes in order and
// another stands in for it, nobody loses anything. Money is moved from account to
// account: what was acknowledged is there once, and what was rolled back is not.
func TestTorture(t *testing.T) {
	length, seed, err := harness.Soak("SLUICE_SOAK")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("SLUICE_SEED=%d", seed)
	n := newWay(t)
	m := &torture{
		t: t, way: n, until: time.Now().Add(length),
		world: newServer(t, func(s *postgres.Server) { s.LoginTimeout = patience }, maxConns(10), func(c *postgres.Config) { c.Dial = n.dial }),
	}
	x := m.world.wire(t)
	x.want("C:CREATE_TABLE Z:I", q("create unlogged table torture (mark text, n int)"))
	x.want("C:CREATE_TABLE Z:I", q("create table torture_ledger (client int, n int, source int, target int, amount int)"))
	x.want(fmt.Sprintf("C:SELECT_%d Z:I", tortureAccounts), q(fmt.Sprintf("create table torture_accounts as select id, 0 as balance from generate_series(1, %d) id", tortureAccounts)))
	x.want("C:ALTER_TABLE Z:I", q("alter table torture_accounts add primary key (id)"))
	x.conn.Close()
	defer func() {
		m.world.wire(t).want("C:DROP_TABLE Z:I", q("drop table if exists torture, torture_ledger, torture_accounts"))
	}()
	before := heap()
	clients := make([]*torturer, tortureClients)
	var all sync.WaitGroup
	for i := range clients {
		c := &torturer{m: m, t: t, w: m.world, id: i, r: rand.New(rand.NewPCG(seed, uint64(i)))}
		clients[i] = c
		all.Go(c.run)
	}
	m.disturb(rand.New(rand.NewPCG(seed, tortureClients)))
	all.Wait()
	eventually(t, "every connection is back", func() bool { s := m.world.db.Stats(); return s.Idle == s.Live && s.Dialing == 0 })
	t.Logf("%d rounds, %d transfers, %d lost of %d disturbances, %+v, %+v", m.rounds.Load(), m.transfers.Load(), m.lost.Load(), m.disturbances,
		m.world.db.Counts(), m.world.db.Stats())
	if t.Failed() {
		return
	}
	m.audit(clients)
	for _, c := range clients {
		*c = torturer{}
	}
	if after := heap(); after > before+tortureHeap {
		t.Errorf("the heap has grown from %d to %d bytes", before, after)
	}
}

// torture is what the clients of TestTorture share.
type torture struct {
	t     *testing.T
	way   *way
	world *world
	until time.Time

	rounds, transfers, lost atomic.Int64
	disturbances            int

	mu        sync.Mutex
	disturbed bool      // something is being done to the way that may cost connections
	quiet     time.Time // since when nothing is
}

// disturbEvery is how long the clients have to themselves between two disturbances:
// some tens of rounds each.
const disturbEvery = 2 * time.Second

// tortureAftermath is how long after a disturbance its victims may still be found: as
// long as it takes to find out that a peer of a session is gone without a word
// (docs/behaviours.md, Tunnel20), and the pool's backoff behind that.
const tortureAftermath = 20 * time.Second

// mayLose reports whether what has begun at a time may have been lost by now.
func (m *torture) mayLose(begun time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.disturbed || begun.Before(m.quiet.Add(tortureAftermath))
}

func (m *torture) setDisturbed(is bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disturbed, m.quiet = is, time.Now()
}

// disturb does something to the way every few seconds, until the end is near.
func (m *torture) disturb(r *rand.Rand) {
	kinds := []struct {
		what  string
		costs bool // connections
		do    func() error
	}{
		{"a relay stops in order", false, func() error { return m.way.restartRelay(0, false) }},
		{"the other relay stops in order", false, func() error { return m.way.restartRelay(1, false) }},
		{"another connector takes over", false, m.way.restartConnector},
		{"backends are terminated", true, m.terminate},
		{"a relay is killed", true, func() error { return m.way.restartRelay(r.IntN(2), true) }},
		{"the origin is restarted", true, restartOrigin},
	}
	for i := 0; !m.t.Failed(); i++ {
		k := kinds[i%len(kinds)]
		pause := disturbEvery
		if !k.costs { // let what came before be over
			m.mu.Lock()
			pause = max(pause, time.Until(m.quiet.Add(tortureAftermath)))
			m.mu.Unlock()
		}
		if i > 0 && time.Until(m.until) < pause+tortureAftermath {
			return
		}
		<-time.After(pause)
		begun := time.Now()
		if k.costs {
			m.setDisturbed(true)
		}
		if err := k.do(); err != nil {
			m.t.Errorf("%s: %v", k.what, err)
		}
		if k.costs {
			m.setDisturbed(false)
		}
		m.disturbances++
		m.t.Logf("%s, in %v; %d rounds, %d lost so far", k.what, time.Since(begun).Round(time.Millisecond), m.rounds.Load(), m.lost.Load())
	}
}

// terminate ends some of the origin connections, busy or not.
func (m *torture) terminate() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := pg.Admin(ctx)
	if err != nil {
		return err
	}
	defer a.Close(ctx)
	_, err = a.Exec(ctx, "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1 order by random() limit 4", pg.Target().User)
	return err
}

// restartOrigin lets the origin lose its clients, and not what it has acknowledged.
func restartOrigin() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	return errors.Join(pg.Stop(), pg.Start(ctx))
}

// audit compares what the clients know with what there is.
func (m *torture) audit(clients []*torturer) {
	t := m.t
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := pg.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close(ctx)
	rows, err := a.Query(ctx, "select client, n, count(*) from torture_ledger group by 1, 2")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var client, n, count int
		if err := rows.Scan(&client, &n, &count); err != nil {
			t.Fatal(err)
		}
		fate := &clients[client].transfers[n]
		if count != 1 || *fate == rolledBack {
			t.Errorf("transfer %d of client %d is there %d times, and is %v", n, client, count, *fate)
		}
		*fate = found
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		for n, fate := range c.transfers {
			if fate == committed {
				t.Errorf("transfer %d of client %d was acknowledged and is not there", n, c.id)
			}
		}
	}
	for what, sql := range map[string]string{
		"accounts that do not agree with the ledger": "select count(*)::text from torture_accounts where balance <> " +
			"(select coalesce(sum(case when target = id then amount else -amount end), 0) from torture_ledger where id in (source, target))",
		"advisory locks held":   "select count(*)::text from pg_locks where locktype = 'advisory'",
		"connections not idle":  "select count(*)::text from pg_stat_activity where usename = '" + pg.Target().User + "' and pid <> pg_backend_pid() and state <> 'idle'",
		"temporary tables left": "select count(*)::text from pg_class where relname = 'torture_temp'",
	} {
		if n := ask(t, a, sql); n != "0" {
			t.Errorf("%s: %s", what, n)
		}
	}
}
