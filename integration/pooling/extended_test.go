package pooling

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Postgres.js with prepare:false sends Parse, Describe and Flush, and the rest when
// it knows the types; it does so for query after query without waiting.
func TestPooling01(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	const clients, rounds = 50, 20 // 1000 rounds
	var wg sync.WaitGroup
	for c := range clients {
		x := w.wire(t)
		wg.Go(func() {
			for r := range rounds {
				mark := fmt.Sprint(c*rounds + r)
				x.send(parse("", "select $1::text"), describe(""), flush)
				if s := x.read(3); s != "1 t T" {
					t.Errorf("%s", s)
					return
				}
				// The end of the first query and all of four more in one packet.
				msgs := []pgproto3.FrontendMessage{bind("", mark), execute, syncMsg}
				want := "2 D:" + mark + " C:SELECT_1 Z:I"
				for i := range 4 {
					m := fmt.Sprint(mark, "-", i)
					msgs = append(msgs, parse("", "select $1::text"), bind("", m), execute, syncMsg)
					want += " 1 2 D:" + m + " C:SELECT_1 Z:I"
				}
				x.send(msgs...)
				if s, err := x.tryReady(5); err != nil || s != want {
					t.Errorf("got  %s, %v\nwant %s", s, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestPooling02(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	for range 50 {
		x.want("1 2 D:1 C:SELECT_1 Z:I 1 2 D:2 C:SELECT_1 Z:I 1 2 D:3 C:SELECT_1 Z:I",
			parse("", "select 1"), bind(""), execute, syncMsg, parse("", "select 2"), bind(""), execute, syncMsg,
			parse("", "select 3"), bind(""), execute, syncMsg)
		y.want("T D:4 C:SELECT_1 Z:I", q("select 4"))
	}
	if s := w.db.Stats(); s.Live != 1 || s.Idle > 1 {
		t.Errorf("pool: %+v", s)
	}
}

func TestPooling03(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(2))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 20 {
		y := w.wire(t)
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				y.send(q("select 1"))
				if s, err := y.tryReady(1); err != nil || s != "T D:1 C:SELECT_1 Z:I" {
					t.Errorf("%s, %v", s, err)
					return
				}
			}
		})
	}
	x, other := w.wire(t), w.wire(t)
	for range 20 {
		x.want("1 t T", parse("", "select pg_backend_pid() where $1::int = 1"), describe(""), flush)
		for range 5 { // meanwhile the others go on
			other.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
		}
		x.want("2", bind("", "1"), flush)
		x.send(execute, flush)
		pid := x.read(2)
		x.send(bind("", "1"), execute, syncMsg)
		if again := x.ready(1); again != "2 "+pid+" Z:I" {
			t.Fatalf("backend changed: %s, %s", pid, again)
		}
	}
	close(stop)
	wg.Wait()
}

func TestPooling04(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x := w.wire(t)
	x.want("1 2 D:1 D:2 s", parse("", "select generate_series(1, 10)"), bindTo("p", ""), rows("p", 2), flush)
	for i := 3; i < 11; i += 2 {
		x.want(fmt.Sprintf("D:%d D:%d s", i, i+1), rows("p", 2), flush)
	}
	x.want("C:SELECT_0 Z:I", rows("p", 2), syncMsg)
	x.want("E:34000 Z:I", rows("p", 2), syncMsg)
}

func TestPooling05(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x := w.wire(t)
	for range 20 {
		x.send(parse("", "select $1::int"), bind("", "x"), execute, q("select 1"))
		x.got("1 E:22P02")
		x.want("Z:I", syncMsg)
		x.want("1 2 E:22012 Z:I", parse("", "select 1/(random()*0)::int"), bind(""), execute, q("select 1"), parse("", "select 1"), syncMsg)
		x.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
	}
}

func TestPooling06(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(2))
	x, holder := w.wire(t), w.wire(t)
	x.want("1 Z:I", parse("s", "select $1::int"), syncMsg)
	group := func(arg string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{bind("s", arg), execute, syncMsg}
	}
	ok := func(v string) string { return "2 D:" + v + " C:SELECT_1 Z:I" }
	x.want("E:22P02 Z:I "+ok("2")+" "+ok("3"), append(append(group("x"), group("2")...), group("3")...)...)
	// The same on an origin connection that has to be told the statement first,
	// where the error comes before or behind that.
	for _, first := range []pgproto3.FrontendMessage{parse("", "bad"), bind("none"), rows("none", 0)} {
		holder.want("C:BEGIN Z:T", q("begin"))
		msgs := append([]pgproto3.FrontendMessage{first}, group("1")...)
		msgs = append(append(msgs, group("2")...), group("3")...)
		x.send(msgs...)
		s := x.ready(3)
		if _, rest, _ := strings.Cut(s, "Z:I "); !strings.HasPrefix(s, "E:") || rest != ok("2")+" "+ok("3") {
			t.Fatalf("%T: %s", first, s)
		}
		holder.want("C:ROLLBACK Z:I", q("rollback"))
		x.want("3 Z:I", closeStatement("s"), syncMsg)
		x.want("1 Z:I", parse("s", fmt.Sprintf("select $1::int /* %T */", first)), syncMsg)
	}
}

func TestPooling07(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	y.want("1 Z:I", parse("s", "select 7"), syncMsg) // now known to the backend
	x.want("E:42601 Z:I", parse("", "bad"), parse("s", "select 7"), syncMsg)
	x.want("E:26000 Z:I", bind("s"), syncMsg)
	x.want("1 2 D:7 C:SELECT_1 Z:I", parse("s", "select 7"), bind("s"), execute, syncMsg)
	// A Parse that fails itself frees the name as well, in a pipeline too.
	x.want("E:42601 Z:I 1 2 D:8 C:SELECT_1 Z:I", parse("u", "bad"), syncMsg, parse("u", "select 8"), bind("u"), execute, syncMsg)
	x.want("2 D:8 C:SELECT_1 Z:I", bind("u"), execute, syncMsg)
}

func TestPooling08(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x := w.wire(t)
	x.want("1 Z:I", parse("s", "select 1"), syncMsg)
	x.want("E:42P05 Z:I", parse("s", "select 2"), bind("s"), execute, syncMsg)
	x.want("2 D:1 C:SELECT_1 Z:I", bind("s"), execute, syncMsg)
	x.want("C:BEGIN Z:T", q("begin"))
	x.want("E:42P05 Z:E", parse("s", "select 2"), syncMsg)
	x.want("C:ROLLBACK Z:I", q("rollback"))
	x.want("1 Z:I E:42P05 Z:I", parse("n", "select 1"), syncMsg, parse("n", "select 1"), syncMsg)
}

func TestPooling09(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x := w.wire(t)
	x.want("E:26000 Z:I", bind("none"), execute, syncMsg)
	x.want("E:26000 Z:I", describe("none"), syncMsg)
	x.want("3 Z:I", closeStatement("none"), syncMsg)
	x.send(bind("none"), syncMsg)
	for {
		m, err := x.next()
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := m.(*pgproto3.ErrorResponse); ok && e.Message != `prepared statement "none" does not exist` {
			t.Errorf("message: %s", e.Message)
		}
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			break
		}
	}
	x.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
}

func TestPooling10(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(3))
	const clients, statements = 20, 300
	var wg sync.WaitGroup
	for c := range clients {
		x := w.wire(t)
		wg.Go(func() {
			var msgs []pgproto3.FrontendMessage
			for i := range statements {
				msgs = append(msgs, parse(fmt.Sprint("s", i), fmt.Sprintf("select %d + $1::int", i)))
			}
			x.send(append(msgs, syncMsg)...)
			if s, err := x.tryReady(1); err != nil || s != strings.Repeat("1 ", statements)+"Z:I" {
				t.Errorf("%v, %.100s", err, s)
				return
			}
			for round := range 3 {
				msgs = msgs[:0]
				want := ""
				for i := range statements {
					n := (i*7 + c*13 + round) % statements
					msgs = append(msgs, bind(fmt.Sprint("s", n), fmt.Sprint(c)), execute)
					want += fmt.Sprintf("2 D:%d C:SELECT_1 ", n+c)
					if i%50 == 49 {
						msgs = append(msgs, syncMsg)
						want += "Z:I "
					}
				}
				x.send(msgs...)
				if s, err := x.tryReady(statements / 50); err != nil || s+" " != want {
					t.Errorf("%v, %.300s", err, s)
					return
				}
			}
			x.send(q("select count(*) <= 200 from pg_prepared_statements"))
			if s, err := x.tryReady(1); err != nil || s != "T D:t C:SELECT_1 Z:I" {
				t.Errorf("statements on the backend: %s, %v", s, err)
			}
		})
	}
	wg.Wait()
}

func TestPooling11(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x := w.wire(t)
	var msgs []pgproto3.FrontendMessage
	for i := range 200 {
		msgs = append(msgs, parse(fmt.Sprint("s", i), fmt.Sprintf("select %d", i)))
	}
	x.send(append(msgs, syncMsg)...)
	x.ready(1)
	// All 200 places are taken: each Parse closes the one bound just before.
	msgs = msgs[:0]
	want := ""
	for i := range 200 {
		msgs = append(msgs, parse(fmt.Sprint("a", i), fmt.Sprintf("select 1000 + %d", i)), bindTo(fmt.Sprint("p", i), fmt.Sprint("a", i)))
		want += "1 2 "
	}
	for i := range 200 {
		msgs = append(msgs, parse(fmt.Sprint("c", i), fmt.Sprintf("select 2000 + %d", i)))
		want += "1 "
	}
	for i := range 200 {
		msgs = append(msgs, rows(fmt.Sprint("p", i), 0))
		want += fmt.Sprintf("D:%d C:SELECT_1 ", 1000+i)
	}
	x.want(want+"Z:I", append(msgs, syncMsg)...)
	// A Close that an error skipped leaves the statement where it was.
	x.want("E:42601 Z:I", parse("", "bad"), parse("z", "select 3"), syncMsg)
	msgs, want = msgs[:0], ""
	for i := range 200 {
		msgs = append(msgs, bind(fmt.Sprint("c", i)), execute, syncMsg)
		want += fmt.Sprintf("2 D:%d C:SELECT_1 Z:I ", 2000+i)
	}
	x.want(strings.TrimSpace(want), msgs...)
	if n := x.value("select count(*) from pg_prepared_statements"); n != "200" {
		t.Errorf("%s statements on the backend", n)
	}
}

func TestPooling12(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	y := w.wire(t)
	for i := range 10 {
		x := w.wire(t)
		sql := fmt.Sprintf("select %d", i)
		x.send(parse("s", sql))
		if i%2 == 0 {
			x.send(flush)
			x.got("1")
		}
		x.reset()
		y.want(fmt.Sprintf("1 2 D:%d C:SELECT_1 Z:I", i), parse(fmt.Sprint("s", i), sql), bind(fmt.Sprint("s", i)), execute, syncMsg)
	}
}

func TestPooling13(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	x.want("C:CREATE_TABLE Z:I", q("create table p13 (a int)"))
	for _, c := range []*wire{x, y} {
		c.want("1 Z:I", parse("s", "select * from p13"), syncMsg)
		c.want("2 C:SELECT_0 Z:I", bind("s"), execute, syncMsg)
	}
	x.want("C:ALTER_TABLE Z:I", q("alter table p13 add b int default 5"))
	for i, c := range []*wire{x, y} {
		c.send(bind("s"), execute, syncMsg)
		m, err := c.next()
		e, ok := m.(*pgproto3.ErrorResponse)
		if err != nil || !ok || e.Code != "0A000" || e.Routine != "RevalidateCachedQuery" {
			t.Fatalf("client %d: %v, %v", i, m, err)
		}
		c.got("Z:I")
		c.want("3 Z:I", closeStatement("s"), syncMsg)
		c.send(parse("s2", "select * from p13"), describe("s2"), syncMsg)
		if got := c.ready(1); got != "1 t T Z:I" {
			t.Fatalf("re-Parse: %s", got)
		}
		c.want("2 C:SELECT_0 Z:I", bind("s2"), execute, syncMsg)
	}
	x.want("C:DROP_TABLE Z:I", q("drop table p13"))
}

// Columns that have changed are never read as what they were: not on an origin
// connection either on which the statement is prepared only after the change.
func TestPooling13Elsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(2))
	const sql = "select * from p13e"
	exec := unseen(t)
	exec("create table p13e (a text, b text)")
	exec("insert into p13e values ('a', 'b')")
	holder, x, y, z := w.wire(t), w.wire(t), w.wire(t), w.wire(t)
	for _, c := range []*wire{x, y, z} { // all on one connection
		c.want("1 t T Z:I", parse("s", sql), describe("s"), syncMsg)
		c.want("2 D:a,b C:SELECT_1 Z:I", bind("s"), execute, syncMsg)
	}
	holder.want("C:BEGIN Z:T", q("begin")) // on that one
	exec("alter table p13e drop a, add a text default 'a'")
	stale := func(c *wire, msgs ...pgproto3.FrontendMessage) {
		t.Helper()
		c.send(msgs...)
		m, err := c.next()
		e, ok := m.(*pgproto3.ErrorResponse)
		if err != nil || !ok || e.Code != "0A000" || e.Routine != "RevalidateCachedQuery" {
			t.Fatalf("got %v, %v, want that the plan is stale", m, err)
		}
	}
	for range 2 { // until it is told the columns
		stale(x, bind("s"), execute, syncMsg)
		x.got("Z:I")
	}
	x.want("C:BEGIN Z:T", q("begin"))
	stale(x, bind("s"), execute, q("select 1"), syncMsg)
	x.got("Z:E")
	x.want("C:ROLLBACK Z:I", q("rollback"))
	x.want("3 1 t T Z:I", closeStatement("s"), parse("s", sql), describe("s"), syncMsg)
	x.want("2 D:b,a C:SELECT_1 Z:I", bind("s"), execute, syncMsg)
	// Those that are told the columns with each answer, or anew, notice nothing.
	y.want("2 T D:b,a C:SELECT_1 Z:I", bind("s"), describePortal(""), execute, syncMsg)
	y.want("2 D:b,a C:SELECT_1 Z:I", bind("s"), execute, syncMsg)
	z.want("t T 2 D:b,a C:SELECT_1 Z:I", describe("s"), bind("s"), execute, syncMsg)
	exec("drop table p13e")
}

// Nor does one that knows the columns of its unnamed statement: it was run by then, so
// what it has done is not known.
func TestPooling13Unnamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(2))
	exec := unseen(t)
	exec("create table p13u (a text, b text)")
	exec("insert into p13u values ('a', 'b')")
	holder, x, y := w.wire(t), w.wire(t), w.wire(t)
	for _, c := range []*wire{x, y} { // on one connection
		c.want("1 t T Z:I", parse("", "select * from p13u"), describe(""), syncMsg)
	}
	holder.want("C:BEGIN Z:T", q("begin")) // on that one
	for _, c := range []*wire{x, y, x, y} {
		c.want("2 D:a,b C:SELECT_1 Z:I", bind(""), execute, syncMsg)
	}
	x.want("1 t n Z:I", parse("", "delete from p13u where a = 'c'"), describe(""), syncMsg)
	y.want("1 t T Z:I", parse("", "select * from p13u"), describe(""), syncMsg)
	x.want("2 C:DELETE_0 Z:I", bind(""), execute, syncMsg)
	x.want("1 t T Z:I", parse("", "select * from p13u"), describe(""), syncMsg)
	exec("alter table p13u drop a, add a text default 'a'")
	y.want("2 T D:b,a C:SELECT_1 Z:I", bind(""), describePortal(""), execute, syncMsg) // is told the columns
	x.send(bind(""), execute, syncMsg)
	if s := x.end(); s != "E:08006" {
		t.Errorf("got %s, want that the connection ends", s)
	}
	exec("drop table p13u")
}

// Who prepares a statement only after the columns have changed is told those of now,
// though the origin connection has the text prepared as it was.
func TestPooling13Afterwards(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	x.want("C:CREATE_TABLE Z:I", q("create table p13a (a int)"))
	for i, ddl := range []string{
		"alter table p13a add b int", "drop table p13a; create table p13a (c text)",
		"begin; alter table p13a add d int; commit",
	} {
		name := fmt.Sprint("s", i)
		x.want("1 t T Z:I", parse(name, "select * from p13a"), describe(name), syncMsg)
		x.send(q(ddl))
		x.ready(1)
		y.want("1 t T 2 C:SELECT_0 Z:I", parse(name, "select * from p13a"), describe(name), bind(name), execute, syncMsg)
	}
	// Another table of that name, which is found first from its COMMIT on.
	x.want("C:CREATE_SCHEMA Z:I", q("create schema p13a"))
	x.want("C:SET Z:I", q("set search_path = p13a, public"))
	y.want("C:SET Z:I", q("set search_path = p13a, public"))
	x.want("1 t T Z:I", parse("before", "select * from p13a"), describe("before"), syncMsg)
	x.want("C:BEGIN Z:T C:CREATE_TABLE Z:T C:INSERT_0_1 Z:T C:COMMIT Z:I",
		q("begin"), q("create table p13a.p13a (f text)"), q("insert into p13a.p13a values ('new')"), q("commit"))
	y.want("1 t T 2 D:new C:SELECT_1 Z:I", parse("after", "select * from p13a"), describe("after"), bind("after"), execute, syncMsg)
	x.want("C:DROP_SCHEMA Z:I C:DROP_TABLE Z:I", q("drop schema p13a cascade"), q("drop table p13a"))
}

// lib/pq without binary_parameters prepares the unnamed statement in one group and
// binds it in the next.
func TestPooling14(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	setup := w.wire(t)
	setup.want("C:CREATE_SEQUENCE Z:I", q("create sequence p14"))
	var wg sync.WaitGroup
	for c := range 50 {
		x := w.wire(t)
		wg.Go(func() {
			for i := range 10 {
				mark := fmt.Sprintf("%d-%d", c, i)
				sql := "select $1::text"
				if i%3 == 0 { // resets the backend between the groups
					sql = "select $1::text where nextval('p14') > 0"
				}
				x.send(parse("", sql), describe(""), syncMsg)
				if s, err := x.tryReady(1); err != nil || s != "1 t T Z:I" {
					t.Errorf("%s, %v", s, err)
					return
				}
				x.send(bind("", mark), execute, syncMsg)
				if s, err := x.tryReady(1); err != nil || s != "2 D:"+mark+" C:SELECT_1 Z:I" {
					t.Errorf("%s, %v", s, err)
					return
				}
			}
		})
	}
	wg.Wait()
	// In a pipeline, where the Parse of the group before fails.
	x := w.wire(t)
	x.want("E:42601 Z:I 1 Z:I", parse("", "bad"), bind(""), syncMsg, parse("", "select 'kept'"), syncMsg)
	x.want("2 D:kept C:SELECT_1 Z:I", bind(""), execute, syncMsg)
	setup.want("C:DROP_SEQUENCE Z:I", q("drop sequence p14"))
}

func TestPooling15(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x := w.wire(t)
	x.want("1 Z:I", parse("", "select 1"), syncMsg)
	x.want("T D:2 C:SELECT_1 Z:I", q("select 2"))
	x.want("E:26000 Z:I", bind(""), execute, syncMsg)
	x.want("1 Z:I 3 Z:I E:26000 Z:I", parse("", "select 1"), syncMsg, closeStatement(""), syncMsg, bind(""), syncMsg)
}

// An unnamed statement is never another client's, and never one of before.
func TestUnnamedInPipelines(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	other := func() { // on the one origin connection
		y.want("1 2 D:other C:SELECT_1 Z:I", parse("", "select 'other'"), bind(""), execute, syncMsg)
	}
	other()
	x.want("E:42601 Z:I E:26000 Z:I", parse("", "selec"), bind(""), execute, syncMsg, bind(""), execute, syncMsg)
	other()
	x.want("E:26000 Z:I E:26000 Z:I", bind("nope"), parse("", "select 1"), syncMsg, bind(""), execute, syncMsg)
	// What PostgreSQL skips leaves the unnamed statement alone.
	x.want("1 Z:I", parse("", "select 'mine'"), syncMsg)
	other()
	x.want("E:26000 Z:I 2 D:mine C:SELECT_1 Z:I", bind("nope"), q("select 1"), closeStatement(""), syncMsg, bind(""), execute, syncMsg)
	x.want("E:26000 Z:I T D:1 C:SELECT_1 Z:I E:26000 Z:I", bind("nope"), q("select 1"), syncMsg, q("select 1"), bind(""), execute, syncMsg)
	// And so it is with DEALLOCATE.
	x.want("1 Z:I E:26000 Z:I 2 D:kept C:SELECT_1 Z:I", parse("a", "select 'kept'"), syncMsg,
		bind("nope"), q("deallocate a"), q("deallocate all"), syncMsg, bind("a"), execute, syncMsg)
}

// PostgreSQL loses its place in what is sent, and so would everybody behind it.
func TestCopyInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	w.wire(t).value("create table interrupted (a int); select 1")
	for _, copies := range [][]pgproto3.FrontendMessage{
		{q("copy interrupted from stdin")},
		{parse("", "copy interrupted from stdin"), bind(""), execute, syncMsg},
	} {
		x := w.wire(t)
		x.send(copies...)
		if got := x.read(1 + 2*(len(copies)/4)); !strings.HasSuffix(got, "G") {
			t.Fatalf("COPY: %s", got)
		}
		x.send(copyData("1\n"), parse("", "select 1"), bind(""), execute, syncMsg)
		if got := x.end(); got != "E:08P01" {
			t.Errorf("got %s", got)
		}
	}
	// Before PostgreSQL 14 a COPY takes Sync for nothing, and who sends no other afterwards waits for ever, there as here.
	if version, err := strconv.Atoi(w.wire(t).value("show server_version_num")); err != nil {
		t.Fatal(err)
	} else if version >= 140000 {
		x := w.wire(t) // which does not know that this is a COPY
		x.send(parse("", "copy interrupted from stdin"), bind(""), execute, syncMsg, syncMsg, q("select 1"))
		if got := x.end(); got != "1 2 G E:08P01 E:08P01" {
			t.Errorf("got %s", got)
		}
	}
	w.wire(t).want("T D:0 C:SELECT_1 Z:I C:DROP_TABLE Z:I", q("select count(*) from interrupted"), q("drop table interrupted"))
}

func TestPooling16(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	a, b := w.wire(t), w.wire(t)
	b.want("1 Z:I", parse("s", "select 'b'"), syncMsg)
	for _, command := range []string{"DEALLOCATE ALL", "discard all", "DEALLOCATE PREPARE ALL;"} {
		a.want("1 Z:I", parse("s", "select 'a'"), syncMsg)
		tag := "C:DEALLOCATE_ALL"
		if strings.HasPrefix(command, "disc") {
			tag = "C:DISCARD_ALL"
		}
		a.want(tag+" Z:I", q(command))
		a.want("E:26000 Z:I", bind("s"), syncMsg)
		b.want("2 D:b C:SELECT_1 Z:I", bind("s"), execute, syncMsg)
		// Behind another query in the same packet, and before one as Npgsql has it.
		a.want("1 Z:I", parse("s", "select 'a'"), syncMsg)
		a.want("T D:1 C:SELECT_1 Z:I "+tag+" Z:I 1 2 D:c C:SELECT_1 Z:I",
			q("select 1"), q(command), parse("s", "select 'c'"), bind("s"), execute, syncMsg)
		a.want(tag+" Z:I", q(command))
		b.want("2 D:b C:SELECT_1 Z:I", bind("s"), execute, syncMsg)
	}
	// Prisma's way.
	a.want("C:BEGIN Z:T C:DEALLOCATE_ALL Z:T T D:1 C:SELECT_1 Z:T C:COMMIT Z:I", q("begin"), q("DEALLOCATE ALL"), q("select 1"), q("commit"))
	b.want("2 D:b C:SELECT_1 Z:I", bind("s"), execute, syncMsg)
}

// DISCARD ALL by the extended protocol: the origin connection cannot go before the
// group ends, nor while a transaction that was begun behind it is open.
func TestDiscardAllUnsynced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	x.want("1 2 C:DISCARD_ALL", parse("", "DISCARD ALL"), bind(""), execute, flush)
	x.want("Z:I", syncMsg)
	y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
	x.want("1 2 C:DISCARD_ALL", parse("", "DISCARD ALL"), bind(""), execute, flush)
	x.want("1 2 D:2 C:SELECT_1 Z:I T D:3 C:SELECT_1 Z:I", parse("", "select 2"), bind(""), execute, syncMsg, q("select 3"))
	y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
	x.want("1 2 C:DISCARD_ALL 1 2 C:BEGIN Z:T",
		parse("", "DISCARD ALL"), bind(""), execute, parse("", "begin"), bind(""), execute, syncMsg)
	x.want("T D:1 C:SELECT_1 Z:T", q("select 1"))
	x.want("C:COMMIT Z:I", q("commit"))
	y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
}

func TestPooling17(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x := w.wire(t)
	for _, name := range []string{"pdo_stmt_00000001", `"Quoted""name"`} {
		wireName := strings.ReplaceAll(strings.Trim(name, `"`), `""`, `"`)
		x.want("1 Z:I", parse(wireName, "select 1"), syncMsg)
		x.want("C:DEALLOCATE Z:I", q("DEALLOCATE "+name))
		x.want("E:26000 Z:I", bind(wireName), syncMsg)
		x.want("1 Z:I", parse(wireName, "select 1"), syncMsg)
		x.want("C:BEGIN Z:T C:DEALLOCATE Z:T C:COMMIT Z:I", q("begin"), q("deallocate prepare "+name), q("commit"))
		x.want("E:26000 Z:I", q("deallocate "+name))
	}
	x.want("1 Z:I", parse("s", "select 1"), syncMsg)
	x.want("C:BEGIN Z:T E:42601 Z:E E:25P02 Z:E C:ROLLBACK Z:I", q("begin"), q("bad"), q("deallocate s"), q("rollback"))
	x.want("2 D:1 C:SELECT_1 Z:I", bind("s"), execute, syncMsg)
}

// psycopg 3.1 deallocates by the extended protocol.
func TestPooling17Extended(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x := w.wire(t)
	by := func(sql string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{parse("", sql), bind(""), describePortal(""), execute}
	}
	prepare := []pgproto3.FrontendMessage{parse("s", "select 1"), syncMsg}
	in := func(all ...[]pgproto3.FrontendMessage) []pgproto3.FrontendMessage { return slices.Concat(all...) }
	one := func(m ...pgproto3.FrontendMessage) []pgproto3.FrontendMessage { return m }
	for _, c := range []struct {
		what, want string
		send       []pgproto3.FrontendMessage
	}{
		{"outside", "1 Z:I 1 2 n C:DEALLOCATE Z:I E:26000 Z:I", in(prepare, by("deallocate s"), one(syncMsg, bind("s"), syncMsg))},
		{"again", "1 2 n E:26000 Z:I", in(by("deallocate s"), one(syncMsg))},
		{"in a transaction", "1 Z:I C:BEGIN Z:T 1 2 n C:DEALLOCATE Z:T C:COMMIT Z:I E:26000 Z:I",
			in(prepare, one(q("begin")), by("deallocate s"), one(syncMsg, q("commit"), bind("s"), syncMsg))},
		{"not described", "1 Z:I 1 2 C:DEALLOCATE Z:I", in(prepare, one(parse("", "deallocate s"), bind(""), execute, syncMsg))},
		{"in a group with others", "1 Z:I 1 2 T D:2 C:SELECT_1 1 2 n C:DEALLOCATE 1 2 T D:3 C:SELECT_1 Z:I",
			in(prepare, by("select 2"), by("deallocate s"), by("select 3"), one(syncMsg))},
		{"behind an error", "1 Z:I E:42601 Z:I 2 D:1 C:SELECT_1 Z:I",
			in(prepare, by("bad"), by("deallocate s"), one(syncMsg, bind("s"), execute, syncMsg))},
		{"in a failed transaction", "C:BEGIN Z:T E:42601 Z:E E:25P02 Z:E C:ROLLBACK Z:I 2 D:1 C:SELECT_1 Z:I",
			in(one(q("begin"), q("bad")), by("deallocate s"), one(syncMsg, q("rollback"), bind("s"), execute, syncMsg))},
		{"with a Flush", "1 2 n C:DEALLOCATE Z:I 1 Z:I", in(by("deallocate s"), one(flush, syncMsg), prepare)},
		{"with arguments it does not take", "1 E:08P01 Z:I", one(parse("", "deallocate s"), bind("", "x"), execute, syncMsg)},
	} {
		t.Run(c.what, func(t *testing.T) { x.want(c.want, c.send...) })
	}
}

func TestPooling18(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x := w.wire(t)
	x.want("1 Z:I", parse("s", "select 1"), syncMsg)
	x.want("C:BEGIN Z:T E:25001 Z:E C:ROLLBACK Z:I", q("begin"), q("discard all"), q("rollback"))
	x.want("2 D:1 C:SELECT_1 Z:I", bind("s"), execute, syncMsg)
}

func TestPooling19(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	y.want("1 Z:I 1 Z:I", parse("s", "select 19"), syncMsg, parse("r", "rollback"), syncMsg)
	x.want("C:BEGIN Z:T", q("begin"))
	x.want("E:42703 Z:E", q("select nope"))
	x.want("E:25P02 Z:E", parse("s", "select 19"), syncMsg)
	x.want("1 2 C:ROLLBACK Z:I", parse("r", "rollback"), bind("r"), execute, syncMsg)
	x.want("1 2 D:19 C:SELECT_1 Z:I", parse("s", "select 19"), bind("s"), execute, syncMsg)
	// All in one packet: nobody knows yet that the transaction will have failed.
	x.want("C:BEGIN Z:T E:42703 Z:E E:25P02 Z:E C:ROLLBACK Z:I 1 2 D:19 C:SELECT_1 Z:I",
		q("begin"), q("select nope"), parse("t", "select 19"), syncMsg, q("rollback"), parse("t", "select 19"), bind("t"), execute, syncMsg)
	x.want("C:BEGIN Z:T E:42703 Z:E E:25P02", q("begin"), q("select nope"), parse("u", "select 19"), flush)
	x.want("Z:E C:ROLLBACK Z:I", syncMsg, q("rollback"))
	y.want("2 D:19 C:SELECT_1 Z:I", bind("s"), execute, syncMsg)
}

func TestPooling20(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x := w.wire(t)
	x.want("1 2 D:1 C:SELECT_1 3 2 D:1 C:SELECT_1 Z:I", parse("s", "select 1"), bindTo("s", "s"), rows("s", 0), closePortal("s"),
		bindTo("s", "s"), rows("s", 0), syncMsg)
	x.want("2 D:1 C:SELECT_1 Z:I", bind("s"), execute, syncMsg)
	x.want("C:BEGIN Z:T 2 3 T D:1 C:SELECT_1 Z:T E:26000 Z:E", q("begin"), bindTo("s", "s"), closeStatement("s"), describePortal("s"),
		rows("s", 0), syncMsg, bind("s"), syncMsg)
	x.want("C:ROLLBACK Z:I", q("rollback"))
}

// Two clients, one name, two texts; and one text, two names.
func TestStatementNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	a, b := w.wire(t), w.wire(t)
	a.want("1 1 Z:I", parse("s0", "select 'a'"), parse("s1", "select 'b'"), syncMsg)
	b.want("1 1 Z:I", parse("s0", "select 'b'"), parse("s1", "select 'a'"), syncMsg)
	for range 10 {
		a.send(bind("s0"), execute, bind("s1"), execute, syncMsg)
		b.send(bind("s0"), execute, bind("s1"), execute, syncMsg)
		a.got("2 D:a C:SELECT_1 2 D:b C:SELECT_1 Z:I")
		b.got("2 D:b C:SELECT_1 2 D:a C:SELECT_1 Z:I")
	}
	a.want("3 Z:I", closeStatement("s0"), syncMsg)
	b.want("2 D:b C:SELECT_1 2 D:a C:SELECT_1 Z:I", bind("s0"), execute, bind("s1"), execute, syncMsg)
	if n := b.value("select count(*) from pg_prepared_statements"); n != "2" {
		t.Errorf("%s statements on the backend, want 2", n)
	}
}

// A RowDescription that comes in parts, with answers of the proxy's own behind it.
func TestWideRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	sql := "select 1 as a0"
	for i := 1; i < 1600; i++ {
		sql += fmt.Sprintf(", %d as a_rather_long_name_of_column_number_%d", i, i)
	}
	y.want("1 1 Z:I", parse("w", sql), parse("s", "select 2"), syncMsg)
	for range 20 {
		x.want("1 t T 1 3 1 t T 1 Z:I", parse("w", sql), describe("w"), parse("s", "select 2"), closeStatement("none"),
			parse("w2", sql), describe("w2"), parse("s2", "select 2"), syncMsg)
		x.want("3 3 3 3 Z:I", closeStatement("w"), closeStatement("s"), closeStatement("w2"), closeStatement("s2"), syncMsg)
	}
}

// A statement too many is refused, and the connection goes on.
func TestStatementLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x := w.wire(t)
	for i := range 5 {
		var msgs []pgproto3.FrontendMessage
		for j := range 1000 {
			msgs = append(msgs, parse(fmt.Sprintf("s%d-%d", i, j), "select 1"))
		}
		x.send(append(msgs, syncMsg)...)
		x.ready(1)
	}
	x.want("E:54000 Z:I", parse("more", "select 1"), syncMsg)
	x.want("3 1 Z:I", closeStatement("s0-0"), parse("more", "select 1"), syncMsg)
}

// unseen returns what runs SQL of which the proxy knows nothing.
func unseen(t *testing.T) func(sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	admin, err := pg.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close(context.Background()) })
	return func(sql string) {
		t.Helper()
		if _, err := admin.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
}
