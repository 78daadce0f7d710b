package caching

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/postgres"
	"github.com/sluicedb/sluice/proxy/query"
)

// tortured are the tables of TestTorture.
const tortured = 4

// TestTorture lets random readers and writers loose on one proxy: SLUICE_SOAK says for
// how long (a minute), SLUICE_SEED how. Each row says which schema and table it is of, and
// how often it was written to. No read may be older than a write that was acknowledged
// before it was sent, of another schema or table, in another zone or format, or of
// another role, by row security or by "$user"; what is volatile or locks rows always
// reaches the origin.
func TestTorture(t *testing.T) {
	length, seed, err := harness.Soak("SLUICE_SOAK")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("SLUICE_SEED=%d", seed)
	sql := []string{"create schema NAME_b", "create sequence NAME.seq"}
	for _, s := range []string{"NAME", "NAME_b"} {
		for i := range tortured {
			sql = append(sql, fmt.Sprintf("create table %s.t%d as select 1 as id, 0 as v, '%s.%d'::text as who, '2026-01-01 12:00+00'::timestamptz as at", s, i, s, i),
				fmt.Sprintf("create view %s.v%d as select id, v, who, at from %s.t%d", s, i, s, i))
		}
	}
	s, direct := tables(t, sql...)
	t.Cleanup(func() { exec(t, direct, "drop schema if exists "+s+"_b cascade") })
	tortureRoles(t, s, direct)
	w := newWorld(t, func(c *postgres.Config) {
		c.Caching = cache.Policy{MaxAge: 2 * time.Second, Stale: time.Second}
		c.MaxConns = 4
	})
	w.clock.runs.Store(true)
	w.ready(t, s+".t0")
	began := time.Now()
	m := &model{t: t, w: w, name: s, began: began, until: began.Add(length)}
	var wait sync.WaitGroup
	for i := range 8 {
		c := m.client(rand.New(rand.NewPCG(seed, uint64(i))))
		wait.Go(func() { m.torture(c) })
	}
	wait.Wait()
	n := w.counts()
	hits, all := n[query.StatusHit], n[query.StatusHit]+n[query.StatusMiss]+n[query.StatusTransaction]+n[query.StatusVolatile]+n[query.StatusUncacheable]
	t.Logf("of %d reads %d were hits, %d misses, %d in transactions, %d volatile, %d uncacheable; %d writes, the catalog in doubt %d times", all, hits,
		n[query.StatusMiss], n[query.StatusTransaction], n[query.StatusVolatile], n[query.StatusUncacheable], m.writes.Load(), m.doubts.Load())
	for _, why := range w.db.Results().Report(10).Reasons {
		t.Logf("%d not cached: %s", why.Statements, why.Reason)
	}
	if 3*hits < all || m.writes.Load() < 10 || m.doubts.Load() < 10 {
		t.Errorf("%d hits of %d reads, %d writes and %d doubts prove nothing", hits, all, m.writes.Load(), m.doubts.Load())
	}
}

// storm and weather are how long at a time, and in what time, clients also do what puts the
// catalog in doubt, of which there would be no moment without otherwise: then little is left
// of the cache to be tried.
const (
	storm   = 500 * time.Millisecond
	weather = 3 * time.Second
)

// stormy reports whether it is such a moment.
func (m *model) stormy() bool { return time.Since(m.began)%weather < storm }

type model struct {
	t      *testing.T
	w      *world
	name   string
	began  time.Time
	until  time.Time
	acked  [2][tortured]atomic.Int64 // what was last acknowledged, by schema and table
	locks  [2][tortured]sync.Mutex   // of writers
	writes atomic.Int64
	doubts atomic.Int64 // acts that put the catalog in doubt
	drawn  sync.Map     // values of the sequence
}

// A torturer is one client.
type torturer struct {
	*rand.Rand
	conn   *pgx.Conn
	schema int
	zone   string
}

// often is a number below n, mostly 0: on a slow machine too, most reads are then of what
// was read not long ago.
func (c *torturer) often(n int) int {
	if c.IntN(4) > 0 {
		return 0
	}
	return c.IntN(n)
}

func (m *model) schema(i int) string { return m.name + []string{"", "_b"}[i] }

func (m *model) client(r *rand.Rand) *torturer {
	c := &torturer{Rand: r, schema: r.IntN(2), zone: []string{"UTC", "Asia/Tokyo", "Europe/Berlin"}[r.IntN(3)]}
	mode := []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe}[r.IntN(4)]
	c.conn = m.w.by(m.t, mode, "search_path", m.schema(c.schema), "timezone", c.zone)
	return c
}

func (m *model) torture(c *torturer) {
	for time.Now().Before(m.until) && !m.t.Failed() {
		switch n := c.IntN(1000); {
		case m.stormy() && n < 60:
			m.doubts.Add(1)
			switch {
			case n < 2:
				m.alter(c)
			case n < 10:
				m.write(c, true)
			default:
				m.shadow(c)
			}
		case n < 960:
			m.read(c, c.conn, c.often(tortured), -1)
		case n < 975:
			m.write(c, false)
		case n < 983:
			m.draw(c)
		case n < 989:
			m.roam(c)
		case n < 995:
			m.act(c)
		default:
			c.conn.Close(context.Background())
			*c = *m.client(c.Rand)
		}
	}
}

// read reads a table by one of many texts. least is what it must at least show; -1:
// what is acknowledged by now.
func (m *model) read(c *torturer, conn interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}, table int, least int64) {
	if least < 0 {
		least = m.acked[c.schema][table].Load()
	}
	from := []string{fmt.Sprintf("t%d", table), fmt.Sprintf("v%d", table), fmt.Sprintf("%s.t%d", m.schema(c.schema), table),
		fmt.Sprintf("(select * from t%d) x", table)}[c.often(4)]
	sql, args := "select v, who, to_char(at, 'HH24') from "+from+" where id = 1", []any(nil)
	switch c.often(3) {
	case 0:
		sql, args = "select v, who, to_char(at, 'HH24') from "+from+" where id = $1 -- "+strconv.Itoa(c.IntN(5)), []any{1}
	case 1:
		sql = "with w as (select * from " + from + ") select v, who, to_char(at, 'HH24') from w"
	}
	var v int64
	var who, hour string
	rows, err := conn.Query(context.Background(), sql, args...)
	if err == nil {
		for rows.Next() {
			err = rows.Scan(&v, &who, &hour)
		}
		if err == nil {
			err = rows.Err()
		}
		rows.Close()
	}
	if err != nil {
		if !strings.Contains(err.Error(), "cached plan must not change") {
			m.t.Errorf("%s: %v", sql, err)
		}
		return
	}
	want := map[string]string{"UTC": "12", "Asia/Tokyo": "21", "Europe/Berlin": "13"}[c.zone]
	if v < least || who != fmt.Sprintf("%s.%d", m.schema(c.schema), table) || hour != want {
		m.t.Errorf("%s in %s, %s: read %d of %s at %s, want at least %d at %s", sql, m.schema(c.schema), c.zone, v, who, hour, least, want)
	}
}

// write writes to a table, in one of many ways or unseen, and reads it again.
func (m *model) write(c *torturer, unseen bool) {
	table := c.IntN(tortured)
	ctx := context.Background()
	mu := &m.locks[c.schema][table]
	mu.Lock()
	defer mu.Unlock()
	next := m.acked[c.schema][table].Load() + 1
	name := fmt.Sprintf("t%d", table)
	var err error
	switch n := c.IntN(20); {
	case unseen:
		_, err = c.conn.Exec(ctx, "do $$begin update "+m.schema(c.schema)+"."+name+" set v = v + 1; end$$")
	case n < 4:
		_, err = c.conn.Exec(ctx, "with x as (update "+name+" set v = v + 1 returning v) select v from x")
	case n < 9:
		var tx pgx.Tx
		if tx, err = c.conn.Begin(ctx); err != nil {
			break
		}
		if _, err = tx.Exec(ctx, "update "+name+" set v = v + 1"); err != nil {
			break
		}
		m.read(c, tx, table, next)
		if c.IntN(3) == 0 {
			err = tx.Rollback(ctx)
			next--
		} else {
			err = tx.Commit(ctx)
		}
	default:
		_, err = c.conn.Exec(ctx, "update "+name+" set v = v + 1 where id = $1", 1)
	}
	if err != nil {
		m.t.Errorf("write: %v", err)
		return
	}
	m.acked[c.schema][table].Store(next)
	m.writes.Add(1)
	m.read(c, c.conn, table, next)
}

// draw takes a number that nobody else may get.
func (m *model) draw(c *torturer) {
	var n int64
	sql := "select nextval('" + m.name + ".seq') from t0" + []string{"", " for update", " for share"}[c.IntN(3)]
	if err := c.conn.QueryRow(context.Background(), sql).Scan(&n); err != nil {
		m.t.Errorf("draw: %v", err)
		return
	}
	if _, seen := m.drawn.LoadOrStore(n, true); seen {
		m.t.Errorf("%d was drawn twice", n)
	}
}

// roam reads under other settings for the length of a transaction.
func (m *model) roam(c *torturer) {
	ctx := context.Background()
	other := *c
	other.schema = 1 - c.schema
	other.zone = "Asia/Tokyo"
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		m.t.Errorf("begin: %v", err)
		return
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, "set local search_path = "+m.schema(other.schema)); err != nil {
		m.t.Errorf("set: %v", err)
		return
	}
	if _, err := tx.Exec(ctx, "set local timezone = 'Asia/Tokyo'"); err != nil {
		m.t.Errorf("set: %v", err)
		return
	}
	m.read(&other, tx, c.IntN(tortured), -1)
}

// act reads as another role, in and out of a transaction. Each role sees rows of its
// own in a table with row security, and a table of its own by "$user".
func (m *model) act(c *torturer) {
	ctx := context.Background()
	role := m.name + []string{"_r1", "_r2"}[c.IntN(2)]
	run := func(sql string) bool {
		if _, err := c.conn.Exec(ctx, sql); err != nil {
			m.t.Errorf("%s: %v", sql, err)
			return false
		}
		return true
	}
	inside := c.IntN(3) == 0
	if inside && !run("begin") || !run("set role "+role) || !run(`set search_path = "$user"`) {
		return
	}
	for range 1 + c.IntN(4) {
		for _, sql := range []string{"select who from " + m.name + ".owned", "select who from mine", "select who from mine where who <> $1"} {
			args := []any(nil)
			if strings.Contains(sql, "$1") {
				args = []any{"nobody"}
			}
			got, err := tryRows(c.conn, sql, args...)
			if err != nil || got != role+"\n" {
				m.t.Errorf("%s as %s: %q, %v", sql, role, got, err)
			}
		}
	}
	if inside {
		run("rollback")
	} else if run("reset role") {
		run("set search_path = " + m.schema(c.schema))
	}
}

// tortureRoles makes two roles that the proxy's user may become.
func tortureRoles(t *testing.T, s string, direct *pgx.Conn) {
	admin, err := pg.Admin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	exec(t, admin, "alter role "+pg.Target().User+" createrole")
	exec(t, direct, "create table "+s+".owned (who text)")
	exec(t, direct, "alter table "+s+".owned enable row level security")
	exec(t, direct, "create policy own on "+s+".owned using (who = current_user)")
	for _, role := range []string{s + "_r1", s + "_r2"} {
		exec(t, direct, "create role "+role)
		exec(t, direct, "grant "+role+" to "+pg.Target().User)
		exec(t, direct, "create schema "+role)
		exec(t, direct, fmt.Sprintf("create table %s.mine as select '%s'::text as who", role, role))
		exec(t, direct, fmt.Sprintf("insert into %s.owned values ('%s')", s, role))
		exec(t, direct, fmt.Sprintf("grant usage on schema %s, %s to %s", s, role, role))
		exec(t, direct, fmt.Sprintf("grant select on %s.owned, %s.mine to %s", s, role, role))
		t.Cleanup(func() {
			exec(t, direct, "drop schema "+role+" cascade")
			exec(t, direct, "drop owned by "+role)
			exec(t, direct, "drop role "+role)
		})
	}
}

// shadow reads a temporary table that has the name of another.
func (m *model) shadow(c *torturer) {
	ctx := context.Background()
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		m.t.Errorf("begin: %v", err)
		return
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, "create temp table t1 on commit drop as select -7 as v, 1 as id"); err != nil {
		m.t.Errorf("temp: %v", err)
		return
	}
	var v int
	if err := tx.QueryRow(ctx, "select v from t1 where id = 1").Scan(&v); err != nil || v != -7 {
		m.t.Errorf("a temporary table reads %d, %v", v, err)
	}
}

// alter changes a table in a way that its readers here do not see.
func (m *model) alter(c *torturer) {
	table := c.IntN(tortured)
	if _, err := c.conn.Exec(context.Background(), fmt.Sprintf("comment on table t%d is 'x%d'", table, c.IntN(1000))); err != nil {
		m.t.Errorf("alter: %v", err)
	}
}
