package caching

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/postgres"
	"github.com/sluicedb/sluice/proxy/query"
)

// goroutines is how many have all these functions on their stack.
func goroutines(functions ...string) (n int) {
	stacks := make([]byte, 1<<20)
	for s := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if !slices.ContainsFunc(functions, func(f string) bool { return !strings.Contains(s, f) }) {
			n++
		}
	}
	return n
}

const (
	leading   = "postgres.(*client).lead("
	reading   = "postgres.(*client).pump("
	following = "cache.(*Reader).Next("
)

// gate is a function that returns once nobody holds the advisory lock 4711 for himself.
const gate = "create function NAME.gate(int) returns int immutable language plpgsql as 'begin perform pg_advisory_lock_shared(4711); perform pg_advisory_unlock_shared(4711); return $1; end'"

// gated makes a table of 2 MB, and a query of it that waits until open is called.
func gated(t *testing.T) (w *world, sql string, open func()) {
	t.Helper()
	s, direct := tables(t, "create table NAME.t as select i as id, repeat('x', 1000) as body from generate_series(1, 2000) i", gate)
	w = newWorld(t, func(c *postgres.Config) { c.Limits.MaxConns = 2 })
	w.ready(t, s+".t")
	rows(t, direct, "select pg_advisory_lock(4711)")
	return w, "select " + s + ".gate(id), body from " + s + ".t where id > ", func() { rows(t, direct, "select pg_advisory_unlock(4711)") }
}

// asks sends a query and returns what becomes of it.
func asks(conn *pgx.Conn, sql string) <-chan string {
	done := make(chan string, 1)
	go func() {
		got, err := tryRows(conn, sql)
		if err != nil {
			got = err.Error()
		}
		done <- got
	}()
	return done
}

// TestCache05LeaderIsToldAtOnce: a client that asked first and is told to wait no longer
// waits no longer, and those that wait for the same get it all the same, of one query.
func TestCache05LeaderIsToldAtOnce(t *testing.T) {
	w, sql, open := gated(t)
	sql += "1999"
	leader, follower := w.simply(t), w.simply(t)
	asked := w.asked(func() {
		led := asks(leader, sql)
		within(t, "a query on its client's goroutine", func() bool { return goroutines(leading, reading) == 1 })
		followed := asks(follower, sql)
		within(t, "one who waits for the same", func() bool { return goroutines(following) == 1 })
		if err := leader.PgConn().CancelRequest(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := <-led; !strings.Contains(got, "57014") {
			t.Errorf("cancelled: %.100q", got)
		}
		within(t, "another goroutine", func() bool { return goroutines(leading) == 0 })
		if got := rows(t, leader, "select 1"); got != "1\n" {
			t.Errorf("after it: %.100q", got)
		}
		select {
		case got := <-followed:
			t.Errorf("it did not wait: %.100q", got)
		default:
		}
		open()
		if got := <-followed; !strings.HasPrefix(got, "2000 ") {
			t.Errorf("who waited got %.100q", got)
		}
	})
	if asked != 2 { // select 1
		t.Errorf("the origin was asked %d times", asked)
	}
	w.expect(t, "what a cancelled client asked for", func() { rows(t, leader, sql) }, query.StatusHit)
	within(t, "rest", func() bool { s := w.db.Stats(); return s.Live == s.Idle })
}

// TestCache05LeaderInLine: who is told so in line for an origin connection leaves the
// line, and those that wait for the same ask by themselves.
func TestCache05LeaderInLine(t *testing.T) {
	w, sql, open := gated(t)
	open()
	var held []*pgx.Conn
	for range 2 {
		conn := w.simply(t)
		exec(t, conn, "begin")
		rows(t, conn, "select 1")
		held = append(held, conn)
	}
	leader, follower := w.simply(t), w.simply(t)
	led := asks(leader, sql+"1999")
	within(t, "one in line", func() bool { return w.db.Stats().Waiting == 1 })
	followed := asks(follower, sql+"1999")
	within(t, "one who waits for the same", func() bool { return goroutines(following) == 1 })
	if err := leader.PgConn().CancelRequest(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := <-led; !strings.Contains(got, "57014") {
		t.Errorf("cancelled: %.100q", got)
	}
	for _, conn := range held {
		exec(t, conn, "commit")
	}
	if got := <-followed; !strings.HasPrefix(got, "2000 ") {
		t.Errorf("who waited got %.100q", got)
	}
	within(t, "rest", func() bool { s := w.db.Stats(); return s.Live == s.Idle })
}

// TestCache05OneAfterTheOther: what a client asks for has nothing of what it asked for before,
// neither its error nor the settings of then.
func TestCache05OneAfterTheOther(t *testing.T) {
	s, _ := tables(t, "create table NAME.t as select i as id, timestamptz '2026-01-01 00:00+00' + i * interval '1 day' as at from generate_series(1, 30) i")
	w := newWorld(t)
	w.ready(t, s+".t")
	for name, conn := range map[string]*pgx.Conn{"simple": w.simply(t), "prepared": w.connect(t)} {
		hour := "00"
		before := w.counts()[query.StatusMiss]
		good := 0
		for i := range 27 {
			switch i % 10 {
			case 4:
				exec(t, conn, "set timezone = 'Asia/Tokyo'")
				hour = "09"
			case 9:
				exec(t, conn, "set timezone = 'Etc/UTC'")
				hour = "00"
			}
			got, err := tryRows(conn, fmt.Sprintf("select to_char(at, 'DD HH24'), 6 / (%d %% 3), '%s' from %s.t where id = %d", i, name, s, i+1))
			switch want := fmt.Sprintf("%02d %s %d %s\n", i+2, hour, 6/max(i%3, 1), name); {
			case i%3 == 0 && (err == nil || !strings.Contains(err.Error(), "22012")):
				t.Errorf("%s: %q, %v, want division by zero", name, got, err)
			case i%3 != 0 && (err != nil || got != want):
				t.Errorf("%s: %q, %v, want %q", name, got, err, want)
			case i%3 != 0:
				good++
			}
		}
		if misses := w.counts()[query.StatusMiss] - before; misses < uint64(good) {
			t.Errorf("%s: %d misses of %d", name, misses, good)
		}
	}
}

// TestCache33LeaderThatDoesNotRead holds nobody up who waits for the same.
func TestCache33LeaderThatDoesNotRead(t *testing.T) {
	w, sql, open := gated(t)
	sql += "0"
	h, err := w.simply(t).PgConn().Hijack()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Conn.Close()
	h.Frontend.Send(&pgproto3.Query{String: sql})
	if err := h.Frontend.Flush(); err != nil {
		t.Fatal(err)
	}
	within(t, "a query on its client's goroutine", func() bool { return goroutines(leading, reading) == 1 })
	follower := w.simply(t)
	followed := asks(follower, sql)
	within(t, "one who waits for the same", func() bool { return goroutines(following) == 1 })
	open()
	if got := <-followed; len(got) < 2_000_000 {
		t.Errorf("%d bytes: %.100q", len(got), got)
	}
}

// TestMissIsHadAtOnce: a result that has just been answered with is a hit for whoever asks next, though it is stored behind the
// answer: for another client, for one that has sent the same question right behind, and for nobody behind a write.
func TestMissIsHadAtOnce(t *testing.T) {
	s, direct := tables(t, "create table NAME.t as select i as id from generate_series(1, 10) i")
	w := newWorld(t)
	w.ready(t, s+".t")
	text := func(i int) string { return fmt.Sprintf("select max(id), %d from %s.t", i, s) }
	first, second, writer := w.simply(t), w.simply(t), w.simply(t)
	const times = 300
	want := make([]query.Status, 0, 2*times)
	for range times {
		want = append(want, query.StatusMiss, query.StatusHit)
	}
	w.expect(t, "two clients", func() {
		for i := range times {
			if a, b := rows(t, first, text(i)), rows(t, second, text(i)); a != b {
				t.Fatalf("%q, then %q", a, b)
			}
		}
	}, want...)
	conn := hijack(t, w)
	w.expect(t, "one client's two questions at once", func() {
		for i := range times {
			ask := pgwire.AppendQuery(nil, text(times+i))
			reply := 2 * roundTrip(t, conn, pgwire.AppendQuery(nil, text(2*times+i)))
			if _, err := conn.Write(append(ask, ask...)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, make([]byte, reply)); err != nil {
				t.Fatal(err)
			}
		}
	}, append(want, slices.Repeat([]query.Status{query.StatusMiss}, times)...)...)
	w.quiet(t)
	for i := range times {
		rows(t, first, text(3*times+i))
		exec(t, writer, fmt.Sprintf("insert into %s.t values (%d)", s, 100+i))
		if got, want := rows(t, second, text(3*times+i)), rows(t, direct, text(3*times+i)); got != want {
			t.Fatalf("behind a write: %q, want %q", got, want)
		}
	}
}
