package pooling

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/proxy/postgres"
)

func queryTimeout(d time.Duration) func(*postgres.Config) {
	return func(c *postgres.Config) { c.QueryTimeout = d }
}

// admin is a superuser's connection straight to the origin.
func admin(t testing.TB) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pg.Admin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func ask(t testing.TB, conn *pgx.Conn, sql string, args ...any) (s string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := conn.QueryRow(ctx, sql, args...).Scan(&s); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return s
}

// running counts the backends that run a text and sleep.
func running(t testing.TB, text string) (n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pg.Admin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and query like '%' || $1 || '%'", text).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPooling39(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	y := w.wire(t)
	a := admin(t)
	pid := y.value("select pg_backend_pid()")
	for i, end := range []func(*wire){(*wire).reset, func(x *wire) { x.conn.Close() }} {
		for _, sql := range []string{"begin; select pg_advisory_xact_lock(39)", "begin; select pg_advisory_lock(39); select 1/0"} {
			x := w.wire(t)
			x.send(q(sql))
			x.ready(1)
			end(x)
			eventually(t, "the lock is gone", func() bool {
				return ask(t, a, "select count(*)::text from pg_locks where locktype = 'advisory' and objid = 39") == "0"
			})
			if got := y.value("select pg_backend_pid()"); got != pid {
				t.Errorf("%d, %s: backend %s, was %s", i, sql, got, pid)
			}
		}
		// The same where the pump runs, and in the middle of a group.
		x := w.wire(t)
		x.send(q("begin"), parse("", "select '"+strings.Repeat("p", 40000)+"'"), bind(""))
		x.got("C:BEGIN Z:T")
		x.send(flush)
		x.got("1 2")
		end(x)
		if got := y.value("select pg_backend_pid()"); got != pid {
			t.Errorf("in a group: backend %s, was %s", got, pid)
		}
	}
}

func TestPooling40(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1), queryTimeout(5*patience))
	y := w.wire(t)
	pid := y.value("select pg_backend_pid()")
	for i, send := range []func(*wire){
		func(x *wire) { x.send(q("select pg_sleep(301)")) },
		func(x *wire) { x.send(q("begin"), q("select pg_sleep(301)"), q("select 1")) },
		func(x *wire) { x.send(parse("", "select pg_sleep(301)"), bind(""), execute, flush) },
		func(x *wire) { x.send(q("select pg_sleep(301) /*" + strings.Repeat("x", 50000) + "*/")) },
	} {
		x := w.wire(t)
		send(x)
		eventually(t, "runs", func() bool { return running(t, "pg_sleep(301)") == 1 })
		x.reset()
		eventually(t, "is cancelled", func() bool { return running(t, "pg_sleep(301)") == 0 })
		if got := y.value("select pg_backend_pid()"); got != pid {
			t.Errorf("%d: backend %s, was %s", i, got, pid)
		}
	}
	// While it waits in line it leaves the line.
	y.want("C:BEGIN Z:T", q("begin"))
	x := w.wire(t)
	x.send(q("select 1"))
	eventually(t, "waits", func() bool { return w.db.Stats().Waiting == 1 })
	x.reset()
	eventually(t, "waits no more", func() bool { return w.db.Stats().Waiting == 0 })
	y.want("C:COMMIT Z:I", q("commit"))
}

func TestPooling41(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	y := w.wire(t)
	for i, half := range [][]byte{
		encode(parse("", "select $1::text"), bind("", strings.Repeat("b", 40000)))[:30000],
		encode(q("select '" + strings.Repeat("b", 40000) + "'"))[:30000],
		encode(q("begin"), parse("s", "select $1::text"), bind("s", strings.Repeat("b", 40000)))[:30000],
	} {
		pid := y.value("select pg_backend_pid()")
		x := w.wire(t)
		x.write(half)
		eventually(t, "is attached", func() bool { return w.db.Stats().Idle == 0 })
		x.reset()
		if got := y.value("select pg_backend_pid()"); got == pid {
			t.Errorf("%d: a backend that was sent half a message is used again", i)
		}
	}
	// Less than goes out in a packet of its own: never sent, so nothing is lost.
	x := w.wire(t)
	x.write(encode(bind("", "x"))[:8])
	x.reset()
	y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
}

func TestPooling42(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	a := admin(t)
	x, y := w.wire(t), w.wire(t)
	for range 20 { // idle: nobody sees it
		pid := x.value("select pg_backend_pid()")
		terminate(t, a, pid)
		y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
	}
	for i, send := range []func(*wire){
		func(x *wire) { x.send(q("select pg_sleep(62)")) },
		func(x *wire) { x.send(q("begin"), q("select pg_sleep(62)"), parse("", "select 1"), syncMsg) },
		func(x *wire) { x.send(parse("", "select pg_sleep(62)"), bind(""), execute, flush) },
		func(x *wire) { x.send(q("select pg_sleep(62) /*" + strings.Repeat("x", 50000) + "*/")) },
	} {
		z := w.wire(t)
		send(z)
		eventually(t, "runs", func() bool { return running(t, "pg_sleep(62)") == 1 })
		terminate(t, a, ask(t, a, "select pid::text from pg_stat_activity where query like 'select pg_sleep(62)%' and state = 'active'"))
		if got := z.end(); strings.Count(got, "E:") != 1 || !strings.HasSuffix(got, "E:57P01") {
			t.Errorf("%d: %s", i, got)
		}
		y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
	}
	// In an idle transaction: told with the next query.
	z := w.wire(t)
	z.want("C:BEGIN Z:T", q("begin"))
	pid := z.value("select pg_backend_pid()")
	terminate(t, a, pid)
	z.send(q("select 1"))
	if got := z.end(); got != "E:57P01" && got != "E:08006" {
		t.Errorf("idle in transaction: %s", got)
	}
	y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
}

// terminate ends a backend and waits until it is gone.
func terminate(t *testing.T, a *pgx.Conn, pid string) {
	t.Helper()
	ask(t, a, "select pg_terminate_backend($1::int)::text", pid)
	ended(t, a, pid)
}

// ended waits until a backend is gone.
func ended(t *testing.T, a *pgx.Conn, pid string) {
	t.Helper()
	eventually(t, "the backend is gone", func() bool {
		return ask(t, a, "select count(*)::text from pg_stat_activity where pid = $1::int", pid) == "0"
	})
}

// What a client has done in a group that it never ended is not done.
func TestUnsyncedGroupIsUndone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	y := w.wire(t)
	y.want("C:CREATE_TABLE Z:I", q("create table unsynced (n int)"))
	defer func() { y.want("C:DROP_TABLE Z:I", q("drop table unsynced")) }()
	pid := y.value("select pg_backend_pid()")
	for n, then := range [][]pgproto3.FrontendMessage{
		{flush},
		{parse("", "insert into unsynced values (2)"), bind(""), execute, flush},
		{closeStatement("s"), flush},
	} {
		x := w.wire(t)
		x.send(parse("s", "insert into unsynced values (1)"), bind("s"), execute, flush)
		x.got("1 2 C:INSERT_0_1")
		x.send(then...)
		if n == 1 {
			x.got("1 2 C:INSERT_0_1")
		}
		x.reset()
		if got := y.value("select count(*) from unsynced"); got != "0" {
			t.Errorf("case %d: %s rows", n, got)
		}
	}
	if got := y.value("select pg_backend_pid()"); got != pid {
		t.Errorf("the origin connection %s was not used again", pid)
	}
}

// Nor is what a client sends of a transaction that it never ends, however early it goes.
func TestUnendedTransactionIsUndone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	y := w.wire(t)
	y.want("C:CREATE_TABLE Z:I", q("create table unended (n int)"))
	defer func() { y.want("C:DROP_TABLE Z:I", q("drop table unended")) }()
	pipeline := encode(q("begin"), q("insert into unended values (1)"), q("select 1"))
	for n := range 200 {
		x := w.wire(t)
		x.write(pipeline[:len(pipeline)-n%20])
		x.reset()
	}
	if got := y.value("select count(*) from unended"); got != "0" {
		t.Errorf("%s rows are there", got)
	}
}

// A client that is gone keeps its origin connection for a bounded time, whatever it
// has sent, and a BEGIN is not what is cancelled.
func TestEndlessPipelineOfTheGone(t *testing.T) {
	t.Parallel()
	setup := newWorld(t).wire(t)
	setup.want("C:CREATE_TABLE Z:I", q("create table endless (n int)"))
	t.Cleanup(func() { setup.want("C:DROP_TABLE Z:I", q("drop table endless")) })
	slow := slices.Repeat([]pgproto3.FrontendMessage{q("select pg_sleep(0.9)")}, 300) // which nobody waits for
	for name, last := range map[string][]pgproto3.FrontendMessage{
		"no block":       {q("select 1")},
		"block":          {q("begin"), q("insert into endless values (1)"), q("select 1")},
		"block by name":  {parse("", "begin"), bind(""), execute, syncMsg, q("insert into endless values (1)"), q("select 1")},
		"block and half": {q("begin"), q("insert into endless values (1)"), parse("", strings.Repeat("x", 40000))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, maxConns(1))
			y := w.wire(t)
			x := w.wire(t)
			out := encode(slices.Concat(slow, last)...)
			x.write(out[:len(out)-1])
			eventually(t, "runs", func() bool { return w.db.Stats().Idle == 0 })
			x.reset()
			if got := y.value("select count(*) from endless"); got != "0" {
				t.Errorf("%s rows", got)
			}
		})
	}
}

// Where there is no connection for a BEGIN its driver is gone with it: what it has sent
// behind it is on its way, or is not seen for TLS, and may not happen alone.
func TestRefusedBegin(t *testing.T) {
	t.Parallel()
	var cfg postgres.Config
	w, trust := withTLS(t, nil, maxConns(1), func(c *postgres.Config) { cfg = *c })
	y := w.wire(t)
	y.want("C:CREATE_TABLE Z:I", q("create table refused (n int)"))
	insert := q("insert into refused values (1)")
	text := []pgproto3.FrontendMessage{parse("", "insert into refused values (1)"), bind(""), execute, syncMsg}
	for name, first := range map[string][]pgproto3.FrontendMessage{
		"Query":    {q("begin")},
		"words":    {q("/* so */ Start Transaction; select 1")},
		"behind":   {q("select 1; begin")},
		"long":     {q("select 1" + strings.Repeat(" ", 40000))},
		"group":    {parse("", "begin"), bind(""), execute, syncMsg},
		"named":    {bind("b"), execute, syncMsg},
		"skipped":  {parse("", "select 1"), bind(""), execute, parse("", "begin"), bind(""), execute, syncMsg},
		"skipped2": {parse("", "select 1"), bind(""), execute, bind("b"), execute, syncMsg},
	} {
		w.db.SetConfig(cfg)
		x, err := w.tryWireAs(t, func(c *pgconn.Config) { c.TLSConfig = trust })
		if err != nil {
			t.Fatal(err)
		}
		x.want("1 Z:I", parse("b", "begin"), syncMsg)
		y.want("C:BEGIN Z:T", q("begin"))
		short := cfg
		short.Limits.WaitTimeout = 100 * time.Millisecond
		w.db.SetConfig(short)
		x.send(first...) // records of their own
		x.send(insert)
		x.send(text...)
		if got := x.end(); got != "E:58000" && got != "E:58000 E:58000" {
			t.Errorf("%s: got %s", name, got)
		}
		y.want("C:COMMIT Z:I", q("commit"))
	}
	if got := y.value("select count(*) from refused"); got != "0" {
		t.Errorf("%s rows", got)
	}
	y.want("C:DROP_TABLE Z:I", q("drop table refused"))
}

func TestPooling43(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(2))
	a := admin(t)
	hasTimeout := ask(t, a, "select count(*)::text from pg_settings where name = 'idle_session_timeout'") == "1" // since PostgreSQL 14
	x, y := w.wire(t), w.wire(t)
	if hasTimeout {
		x = w.wire(t, "idle_session_timeout", "100ms")
	}
	for range 5 { // x asks when its connection has ended, not when it is about to
		pid := x.value("select pg_backend_pid()")
		if hasTimeout {
			ended(t, a, pid)
		} else {
			terminate(t, a, pid)
		}
		y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
	}
}

// Terminate right behind a query: the query is done all the same.
func TestTerminateBehindQuery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	y := w.wire(t)
	y.want("C:CREATE_TABLE Z:I", q("create unlogged table goodbye (a int)"))
	for range 50 {
		x := w.wire(t)
		x.write(append(encode(q("insert into goodbye values (1)")), 'X', 0, 0, 0, 4))
		if got := x.end(); got != "C:INSERT_0_1 Z:I" {
			t.Errorf("%s", got)
		}
	}
	if n := y.value("select count(*) from goodbye"); n != "50" {
		t.Errorf("%s of 50 rows", n)
	}
	y.want("C:DROP_TABLE Z:I", q("drop table goodbye"))
}

// The end of the proxy: the idle are told, who is in a transaction may finish it,
// and who does not, or does not even read, does not hold it up.
func TestDrain(t *testing.T) {
	t.Parallel()
	w := newServer(t, func(s *postgres.Server) { s.Grace = 10 * time.Second }, maxConns(5)) // for what takes no time
	idle, busy, stuck, deaf, late := w.wire(t), w.wire(t), w.wire(t), w.wire(t), w.wire(t)
	busy.want("C:BEGIN Z:T", q("begin"))
	late.want("C:BEGIN Z:T", q("begin"))
	stuck.send(q("select pg_sleep(63)"))
	deaf.send(q("select repeat('x', 1000) from generate_series(1, 1000000)"))
	deaf.got("T")
	eventually(t, "runs", func() bool { return running(t, "pg_sleep(63)") == 1 })
	stopped := make(chan struct{})
	go func() { w.stop(); close(stopped) }()
	if got := idle.end(); got != "E:57P01" {
		t.Errorf("idle: %s", got)
	}
	busy.want("T D:1 C:SELECT_1 Z:T", q("select 1"))
	busy.want("C:COMMIT Z:I", q("commit"))
	if got := busy.end(); got != "E:57P01" {
		t.Errorf("after its transaction: %s", got)
	}
	if got := late.end(); got != "E:57P01" {
		t.Errorf("in a transaction: %s", got)
	}
	if got := stuck.end(); got != "E:57P01" {
		t.Errorf("in a query: %s", got)
	}
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Fatal("Serve does not return")
	}
}

func TestExpel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(2))
	idle, busy := w.wire(t), w.wire(t)
	busy.want("C:BEGIN Z:T", q("begin"))
	w.srv.Expel(w.db, func(string) bool { return false })
	if got := idle.end(); got != "E:57P01" {
		t.Errorf("idle: %s", got)
	}
	for i := range 3 {
		busy.want(fmt.Sprintf("T D:%d C:SELECT_1 Z:T", i), q(fmt.Sprint("select ", i)))
	}
	busy.want("C:COMMIT Z:I", q("commit"))
	if got := busy.end(); got != "E:57P01" {
		t.Errorf("after its transaction: %s", got)
	}
}

// A driver that says goodbye is none that was lost, though it leaves a transaction open.
func TestGoodbyeIsNoLoss(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	for _, tt := range []struct {
		leave func(*wire)
		lost  uint64
	}{
		{func(x *wire) { x.send(&pgproto3.Terminate{}) }, 0},
		{func(x *wire) { x.conn.Close() }, 1},
	} {
		x := w.wire(t)
		x.want("C:BEGIN Z:T", q("begin"))
		tt.leave(x)
		w.wire(t).want("T D:1 C:SELECT_1 Z:I", q("select 1")) // on the connection that it had
		if got := w.db.Counts().ClientsGone; got != tt.lost {
			t.Errorf("%d clients were lost, want %d", got, tt.lost)
		}
	}
}
