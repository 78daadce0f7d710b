package pooling

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

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
			eventually(t, time.Second, "the lock is gone", func() bool {
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
	w := newWorld(t, maxConns(1))
	y := w.wire(t)
	pid := y.value("select pg_backend_pid()")
	for i, send := range []func(*wire){
		func(x *wire) { x.send(q("select pg_sleep(61)")) },
		func(x *wire) { x.send(q("begin"), q("select pg_sleep(61)"), q("select 1")) },
		func(x *wire) { x.send(parse("", "select pg_sleep(61)"), bind(""), execute, flush) },
		func(x *wire) { x.send(q("select pg_sleep(61) /*" + strings.Repeat("x", 50000) + "*/")) },
	} {
		x := w.wire(t)
		send(x)
		eventually(t, patience, "runs", func() bool { return running(t, "pg_sleep(61)") == 1 })
		x.reset()
		eventually(t, 2*time.Second, "is cancelled", func() bool { return running(t, "pg_sleep(61)") == 0 })
		if got := y.value("select pg_backend_pid()"); got != pid {
			t.Errorf("%d: backend %s, was %s", i, got, pid)
		}
	}
	// While it waits in line it leaves the line.
	y.want("C:BEGIN Z:T", q("begin"))
	x := w.wire(t)
	x.send(q("select 1"))
	eventually(t, patience, "waits", func() bool { return w.db.Stats().Waiting == 1 })
	x.reset()
	eventually(t, 2*time.Second, "waits no more", func() bool { return w.db.Stats().Waiting == 0 })
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
		eventually(t, patience, "is attached", func() bool { return w.db.Stats().Idle == 0 })
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
		eventually(t, patience, "runs", func() bool { return running(t, "pg_sleep(62)") == 1 })
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
	eventually(t, patience, "the backend is gone", func() bool {
		return ask(t, a, "select count(*)::text from pg_stat_activity where pid = $1::int", pid) == "0"
	})
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
	for range 5 {
		pid := x.value("select pg_backend_pid()")
		if hasTimeout {
			ended(t, a, pid)
		} else {
			terminate(t, a, pid)
		}
		x.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
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
	w := newWorld(t, maxConns(5))
	idle, busy, stuck, deaf, late := w.wire(t), w.wire(t), w.wire(t), w.wire(t), w.wire(t)
	busy.want("C:BEGIN Z:T", q("begin"))
	late.want("C:BEGIN Z:T", q("begin"))
	stuck.send(q("select pg_sleep(63)"))
	deaf.send(q("select repeat('x', 1000) from generate_series(1, 1000000)"))
	deaf.got("T")
	eventually(t, patience, "runs", func() bool { return running(t, "pg_sleep(63)") == 1 })
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
