package caching

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/postgres"
	"github.com/sluicedb/sluice/proxy/query"
)

const numbers = "create table NAME.t as select i as id, 'row ' || i as body from generate_series(1, 100) i"

func TestCache01MissThenHit(t *testing.T) {
	s, direct := tables(t, numbers)
	w := newWorld(t)
	w.ready(t, s+".t")
	sql := "select * from " + s + ".t order by id"
	want := rows(t, direct, sql)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec, pgx.QueryExecModeCacheStatement} {
		conn := w.by(t, mode)
		sql := sql + strings.Repeat(" ", int(mode)+1) + "limit 100"
		for i := range 4 {
			got := ""
			n := w.asked(func() { got = rows(t, conn, sql) })
			if got != want {
				t.Fatalf("%v, run %d: other rows", mode, i)
			}
			if i >= 2 && mode == pgx.QueryExecModeSimpleProtocol && n != 0 {
				t.Errorf("%v, run %d: the origin was asked %d times", mode, i, n)
			}
		}
		w.expect(t, mode.String(), func() { rows(t, conn, sql) }, query.StatusHit)
	}
}

func TestCache02And06AgeStaleAndRefresh(t *testing.T) {
	s, direct := tables(t, numbers)
	w := newWorld(t)
	w.ready(t, s+".t")
	conn := w.simply(t)
	sql := "select count(*) from " + s + ".t"
	count := func() string { return strings.TrimSpace(rows(t, conn, sql)) }
	w.expect(t, "first", func() { count() }, query.StatusMiss)
	exec(t, direct, "delete from "+s+".t where id > 50") // around the proxy
	w.clock.advance(59 * time.Second)
	w.expect(t, "at 59 s", func() {
		if got := count(); got != "100" {
			t.Errorf("at 59 s: %s", got)
		}
	}, query.StatusHit)
	w.clock.advance(2 * time.Second)
	if got := count(); got != "100" {
		t.Errorf("at 61 s: %s", got)
	}
	within(t, "a refresh", func() bool { return count() == "50" })
	if n := w.asked(func() { count() }); n != 0 {
		t.Errorf("after a refresh the origin was asked %d times", n)
	}
	w.clock.advance(76 * time.Second)
	w.expect(t, "at 76 s", func() { count() }, query.StatusMiss)
}

// within waits for something that must happen.
func within(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestCache03Disabled(t *testing.T) {
	s, _ := tables(t, numbers)
	w := newWorld(t, func(c *postgres.Config) { c.Caching = cache.Policy{} })
	conn := w.simply(t)
	if n := w.asked(func() {
		for range 5 {
			rows(t, conn, "select * from "+s+".t")
		}
	}); n != 5 {
		t.Errorf("the origin was asked %d times of 5", n)
	}
	w.db.Results().SetPolicy(cache.Policy{MaxAge: time.Minute})
	w.ready(t, s+".t")
	w.db.Results().SetPolicy(cache.Policy{})
	if n := w.asked(func() { rows(t, conn, "select 'ready' from "+s+".t limit 1") }); n != 1 {
		t.Errorf("a hit while caching is disabled")
	}
}

func TestCache04Coalescing(t *testing.T) {
	s, _ := tables(t, numbers, "create function NAME.slow(int) returns int immutable language plpgsql as 'begin perform pg_sleep(1); return $1; end'")
	w := newWorld(t)
	w.ready(t, s+".t")
	const n = 100
	conns := make([]*pgx.Conn, n)
	for i := range conns {
		conns[i] = w.simply(t)
	}
	var wait sync.WaitGroup
	asked := w.asked(func() {
		for _, conn := range conns {
			wait.Go(func() {
				if got, err := tryRows(conn, "select "+s+".slow(id) from "+s+".t where id = 7"); err != nil || got != "7\n" {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
		wait.Wait()
	})
	if asked != 1 {
		t.Errorf("the origin was asked %d times", asked)
	}
}

func TestCache05LeaderGoesErrorsAreNotShared(t *testing.T) {
	s, _ := tables(t, numbers, "create function NAME.slow(int) returns int immutable language plpgsql as 'begin perform pg_sleep(1); return $1; end'",
		"create function NAME.fail(int) returns int immutable language plpgsql as 'begin perform pg_sleep(0.3); return 1/0; end'")
	w := newWorld(t)
	w.ready(t, s+".t")
	leader, follower := w.simply(t), w.simply(t)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	before := w.db.Counts().Queries
	go func() {
		defer close(gone)
		_, _ = leader.Exec(ctx, "select "+s+".slow(id) from "+s+".t where id = 8")
	}()
	within(t, "the leader's query", func() bool { return w.db.Counts().Queries > before })
	done := make(chan struct{})
	asked := w.asked(func() {
		go func() {
			defer close(done)
			if got, err := tryRows(follower, "select "+s+".slow(id) from "+s+".t where id = 8"); err != nil || got != "8\n" {
				t.Errorf("follower: %q, %v", got, err)
			}
		}()
		cancel()
		<-gone
		<-done
	})
	if asked > 1 { // 1 where the leader was gone before the follower came
		t.Errorf("the follower asked the origin %d times", asked)
	}
	// Each gets an error of its own.
	var wait sync.WaitGroup
	for range 5 {
		conn := w.simply(t)
		wait.Go(func() {
			if _, err := tryRows(conn, "select "+s+".fail(id) from "+s+".t where id = 1"); err == nil || !strings.Contains(err.Error(), "22012") {
				t.Errorf("%v", err)
			}
			if got, err := tryRows(conn, "select 1"); err != nil || got != "1\n" {
				t.Errorf("after the error: %q, %v", got, err)
			}
		})
	}
	wait.Wait()
}

func TestCache07RefreshNeverStandsInLine(t *testing.T) {
	s, _ := tables(t, numbers)
	w := newWorld(t, func(c *postgres.Config) { c.MaxConns = 1 })
	w.ready(t, s+".t")
	conn, other := w.simply(t), w.simply(t)
	sql := "select count(*) from " + s + ".t"
	rows(t, conn, sql)
	exec(t, other, "begin") // holds the only connection
	w.kept = 1
	w.clock.advance(61 * time.Second)
	for range 10 {
		w.expect(t, "stale", func() { rows(t, conn, sql) }, query.StatusHit)
	}
	if n := w.db.Stats().Waiting; n != 0 {
		t.Errorf("%d in line", n)
	}
	exec(t, other, "rollback")
}

// goDown takes the origin away: its connections end, and no new ones come.
func (w *world) goDown(t *testing.T, direct *pgx.Conn) {
	t.Helper()
	w.down.Store(true)
	within(t, "the end of the connections", func() bool {
		return rows(t, direct, "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'Sluice'") == "0\n"
	})
}

func TestCache32OriginDown(t *testing.T) {
	s, direct := tables(t, numbers)
	w := newWorld(t)
	w.ready(t, s+".t")
	conn := w.simply(t)
	sql := "select count(*) from " + s + ".t"
	rows(t, conn, sql)
	w.quiet(t)
	w.goDown(t, direct)
	hits := w.counts()[query.StatusHit]
	for range 3 {
		if got, err := tryRows(conn, sql); err != nil || got != "100\n" {
			t.Errorf("%q, %v", got, err)
		}
	}
	if n := w.counts()[query.StatusHit] - hits; n != 3 {
		t.Errorf("%d hits of 3 while the origin is down", n)
	}
	w.clock.advance(76 * time.Second)
	if _, err := tryRows(conn, sql); err == nil {
		t.Error("an answer from beyond the end of its life")
	}
	if _, err := tryRows(w.simply(t), "select 1"); err == nil {
		t.Error("select 1 was answered without an origin")
	}
}

// TestCache06RefreshFails: while a result may be stale it is returned though it cannot be
// fetched anew, with few attempts; beyond, the driver is told.
func TestCache06RefreshFails(t *testing.T) {
	s, direct := tables(t, numbers)
	w := newWorld(t)
	w.ready(t, s+".t")
	conn := w.simply(t)
	sql := "select count(*) from " + s + ".t"
	rows(t, conn, sql)
	w.quiet(t)
	w.goDown(t, direct)
	w.clock.advance(61 * time.Second)
	before := w.db.Stats().DialErrors
	for range 100 {
		if got, err := tryRows(conn, sql); err != nil || got != "100\n" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	// The pool tries by itself too, so it is not the refreshes alone that count.
	if n := w.db.Stats().DialErrors - before; n > 50 {
		t.Errorf("%d attempts for 100 stale answers", n)
	}
	w.clock.advance(15 * time.Second)
	if _, err := tryRows(conn, sql); err == nil {
		t.Error("a result of 76 s ago")
	}
}

// TestCache16ConfigsShareNothing: two databases of one process with the same origin, user
// and settings never see each other's results, and a role of a session not another's.
func TestCache16ConfigsShareNothing(t *testing.T) {
	s, direct := tables(t, numbers)
	one := newWorld(t)
	two := newWorld(t, func(c *postgres.Config) { c.Cache = one.cache })
	sql := "select count(*) from " + s + ".t"
	one.ready(t, s+".t")
	two.ready(t, s+".t")
	a, b := one.simply(t), two.simply(t)
	one.expect(t, "the first", func() { rows(t, a, sql) }, query.StatusMiss)
	exec(t, direct, "delete from "+s+".t") // around both
	one.expect(t, "the first again", func() {
		if got := rows(t, a, sql); got != "100\n" {
			t.Errorf("%q", got)
		}
	}, query.StatusHit)
	two.expect(t, "the second", func() {
		if got := rows(t, b, sql); got != "0\n" {
			t.Errorf("%q is the other's", got)
		}
	}, query.StatusMiss)
	one.db.Results().Purge()
	two.expect(t, "after a purge of the first", func() { rows(t, b, sql) }, query.StatusHit)
}

func TestCache20CommentsDoNotSplit(t *testing.T) {
	s, _ := tables(t, numbers)
	w := newWorld(t)
	w.ready(t, s+".t")
	conn := w.simply(t)
	from := " from " + s + ".t where id = 3"
	w.expect(t, "first", func() { rows(t, conn, "select body"+from+" /*traceparent='00-1'*/") }, query.StatusMiss)
	w.expect(t, "another trace", func() { rows(t, conn, "select body"+from+" /*traceparent='00-2'*/") }, query.StatusHit)
	w.expect(t, "a comment", func() { rows(t, conn, "select body"+from+" -- NOW()") }, query.StatusHit)
	w.expect(t, "a string", func() {
		if got := rows(t, conn, "select '/*x*/'"+from); got != "/*x*/\n" {
			t.Error(got)
		}
	}, query.StatusMiss)
	w.expect(t, "another string", func() {
		if got := rows(t, conn, "select $$/*y*/$$"+from); got != "/*y*/\n" {
			t.Error(got)
		}
	}, query.StatusMiss)
}
