package caching

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/postgres"
	"github.com/sluicedb/sluice/proxy/query"
)

// raw is a connection whose messages a test writes itself.
func (w *world) raw(t *testing.T) (*pgproto3.Frontend, func(...pgproto3.FrontendMessage) []string) {
	t.Helper()
	conn := w.simply(t)
	h, err := conn.PgConn().Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Conn.Close() })
	return h.Frontend, func(ms ...pgproto3.FrontendMessage) (got []string) {
		t.Helper()
		syncs := 0
		for _, m := range ms {
			h.Frontend.Send(m)
			switch m.(type) {
			case *pgproto3.Sync, *pgproto3.Query:
				syncs++
			}
		}
		if err := h.Frontend.Flush(); err != nil {
			t.Fatal(err)
		}
		for syncs > 0 {
			m, err := h.Frontend.Receive()
			if err != nil {
				t.Fatal(err)
			}
			switch m := m.(type) {
			case *pgproto3.DataRow:
				got = append(got, string(bytes.Join(m.Values, []byte(","))))
			case *pgproto3.ErrorResponse:
				got = append(got, m.Code)
			case *pgproto3.ReadyForQuery:
				syncs--
				got = append(got, "Z"+string(m.TxStatus))
			case *pgproto3.PortalSuspended:
				got = append(got, "suspended")
			}
		}
		return got
	}
}

func ask(sql string) []pgproto3.FrontendMessage {
	return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}}
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestCache21To25GroupsAndTransactions(t *testing.T) {
	s, _ := tables(t, "create table NAME.t as select i as id from generate_series(1, 3) i", "create table NAME.log (id int)")
	w := newWorld(t)
	w.ready(t, s+".t")
	_, do := w.raw(t)
	sync := &pgproto3.Sync{}
	sql := "select id from " + s + ".t order by id"
	t.Run("21", func(t *testing.T) {
		for range 2 {
			got := do(&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{MaxRows: 1}, &pgproto3.Execute{}, sync)
			want(t, "rows in parts", got, "1", "suspended", "2", "3", "ZI")
		}
		if w.counts()[query.StatusHit] > 1 {
			t.Error("a part of a result was stored")
		}
	})
	t.Run("22", func(t *testing.T) {
		count := "select count(*) from " + s + ".log"
		want(t, "stored", do(append(ask(count), sync)...), "0", "ZI")
		group := append(ask("insert into "+s+".log values (1)"), ask(count)...)
		want(t, "behind a write in its group", do(append(group, sync)...), "1", "ZI")
		want(t, "after it", do(append(ask(count), sync)...), "1", "ZI")
	})
	t.Run("23", func(t *testing.T) {
		w.expect(t, "two", func() { do(&pgproto3.Query{String: sql + "; " + sql}) }, query.StatusMultipleStatements)
		w.expect(t, "one", func() { do(&pgproto3.Query{String: sql + ";"}) }, query.StatusMiss)
		w.expect(t, "a literal", func() { do(&pgproto3.Query{String: "select ';' from " + s + ".t;"}) }, query.StatusMiss)
	})
	t.Run("24", func(t *testing.T) {
		do(&pgproto3.Query{String: sql})
		w.expect(t, "in a transaction", func() {
			do(&pgproto3.Query{String: "begin"})
			want(t, "begun", do(&pgproto3.Query{String: sql}), "1", "2", "3", "ZT")
			do(append(ask(sql), sync)...)
			do(&pgproto3.Query{String: "commit"})
		}, query.StatusNotAQuery, query.StatusTransaction, query.StatusTransaction, query.StatusNotAQuery)
		w.expect(t, "after it", func() { do(&pgproto3.Query{String: sql}) }, query.StatusHit)
		do(&pgproto3.Query{String: "begin"})
		do(&pgproto3.Query{String: "selec"})
		want(t, "failed", do(&pgproto3.Query{String: sql}), "25P02", "ZE")
		do(&pgproto3.Query{String: "rollback"})
	})
	t.Run("25", func(t *testing.T) {
		for i := range 3 {
			want(t, "a WITH that writes", do(&pgproto3.Query{String: "with x as (insert into " + s + ".log values (2) returning id) select id from x"}), "2", "ZI")
			got := do(&pgproto3.Query{String: "select count(*) from " + s + ".log where id = 2"})
			want(t, "its effect", got, fmt.Sprint(i+1), "ZI")
		}
		for range 2 {
			if n := w.asked(func() { do(&pgproto3.Query{String: "select id from (select id from " + s + ".t for update) x"}) }); n != 1 {
				t.Errorf("a locking read asked the origin %d times", n)
			}
		}
	})
	t.Run("pipeline", func(t *testing.T) {
		w.ready(t, s+".t")
		do(&pgproto3.Query{String: sql})
		var all []pgproto3.FrontendMessage
		for range 5 {
			all = append(append(all, ask(sql)...), sync)
		}
		all = append(append(all, ask("select 7")...), sync)
		n := w.asked(func() {
			want(t, "hits in one packet, and one that is none", do(all...), strings.Fields(strings.Repeat("1 2 3 ZI ", 5)+"7 ZI")...)
		})
		if n != 1 {
			t.Errorf("the origin was asked %d times", n)
		}
	})
}

func TestCache26TemporaryTableShadows(t *testing.T) {
	s, _ := tables(t, "create table NAME.t as select 'real' as v")
	w := newWorld(t)
	w.ready(t, s+".t")
	_, do := w.raw(t)
	sql := "select v from t"
	do(&pgproto3.Query{String: "begin; set local search_path = " + s + "; create temp table t as select 'temp' as v"})
	want(t, "in the transaction", do(&pgproto3.Query{String: sql}), "temp", "ZT")
	do(&pgproto3.Query{String: "rollback"})
	if got := w.counts()[query.StatusHit]; got > 1 {
		t.Errorf("%d hits", got)
	}
}

func TestCache39OwnAndOthersWrites(t *testing.T) {
	s, direct := tables(t, "create table NAME.t (id int primary key, v int)", "insert into NAME.t values (1, 0)", "create table NAME.other as select 1 as id",
		"create table NAME.child (id int references NAME.t on delete cascade)", "insert into NAME.child values (1)",
		"create function NAME.touch() returns void language sql volatile as 'update NAME.t set v = v + 1'",
		"create table NAME.p (id int, k int) partition by range (id)", "create table NAME.p1 partition of NAME.p for values from (0) to (100)",
		"create view NAME.v as select * from NAME.t",
		"create function NAME.bump() returns int language plpgsql volatile as 'begin update NAME.t set v = v + 1; return 1; end'",
		"create table NAME.dft (id int default NAME.bump(), other int)", "create table NAME.src (id int)", "create function NAME.trg() returns trigger language plpgsql as 'begin update NAME.t set v = v + 1; return new; end'",
		"create trigger trg after insert on NAME.src for each row execute function NAME.trg()",
		"create function NAME.fine(int) returns bool language plpgsql volatile as 'begin update NAME.t set v = v + 1; return true; end'",
		"create domain NAME.checked as int check (NAME.fine(value))", "create domain NAME.over as NAME.checked", "create table NAME.checks (c NAME.over)",
		"create type NAME.held as (n int)", "create table NAME.helds (h NAME.held)",
		"create function NAME.hold(int) returns NAME.held language plpgsql volatile as 'begin update NAME.t set v = v + 1; return row($1); end'",
		"create cast (int as NAME.held) with function NAME.hold(int) as assignment",
		"create function NAME.plus(int, int) returns int language plpgsql volatile as 'begin update NAME.t set v = v + 1; return 1; end'",
		"create operator NAME.#+# (leftarg = int, rightarg = int, function = NAME.plus)", "create table NAME.sums (id int, n int default 1 operator(NAME.#+#) 2)")
	w := newWorld(t)
	w.ready(t, s+".t")
	a, b := w.simply(t), w.simply(t)
	x := w.connect(t)
	value := "select v from " + s + ".t where id = 1"
	view := "select v from " + s + ".v where id = 1"
	v := 0
	check := func(what string) {
		t.Helper()
		for name, conn := range map[string]*pgx.Conn{"the writer": a, "another": b, "a prepared one": x} {
			for _, sql := range []string{value, view} {
				if got := strings.TrimSpace(rows(t, conn, sql)); got != fmt.Sprint(v) {
					t.Errorf("%s: %s reads %s, want %d", what, name, got, v)
				}
			}
		}
	}
	check("at first")
	other := "select id from " + s + ".other"
	rows(t, a, other)
	for _, write := range []string{
		"update NAME.t set v = v + 1 where id = 1", "begin; update NAME.t set v = v + 1; commit", "select NAME.touch()", "insert into NAME.src values (1)", "insert into NAME.dft (other) values (1)",
		"insert into NAME.checks values (1)", "insert into NAME.helds values (1)", "insert into NAME.sums (id) values (1)", "select 1::NAME.over",
		"with w as (update NAME.t set v = v + 1 returning v) select * from w", "do $$begin update NAME.t set v = v + 1; end$$",
		"insert into NAME.t values (1, 0) on conflict (id) do update set v = NAME.t.v + 1", "merge into NAME.t using NAME.other o on o.id = NAME.t.id when matched then update set v = v + 1",
		"explain analyze update NAME.t set v = v + 1", "prepare upd as update NAME.t set v = v + 1; execute upd",
	} {
		exec(t, a, strings.ReplaceAll(write, "NAME", s))
		v++
		check(write)
		check(write)
	}
	exec(t, a, "deallocate upd") // as long as it is there the client keeps its origin connection, and reads by it
	// In a transaction nobody sees it before the commit; everybody does after.
	tx, err := a.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(context.Background(), "update "+s+".t set v = v + 1"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := strings.TrimSpace(rows(t, b, value)); got != fmt.Sprint(v) {
			t.Errorf("before the commit another reads %s, want %d", got, v)
		}
	}
	if err := tx.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	v++
	check("after a commit")
	if _, err := x.Exec(context.Background(), "update "+s+".t set v = v + $1", 1); err != nil {
		t.Fatal(err)
	}
	v++
	check("a prepared write")
	if _, err := x.CopyFrom(context.Background(), pgx.Identifier{s, "other"}, []string{"id"}, pgx.CopyFromRows([][]any{{2}})); err != nil {
		t.Fatal(err)
	}
	if got := rows(t, b, other); got != "1\n2\n" {
		t.Errorf("after COPY: %q", got)
	}
	// What is written to one table leaves another's results alone.
	w.ready(t, s+".t")
	rows(t, a, other)
	exec(t, a, "update "+s+".t set v = v + 1")
	v++
	w.expect(t, "another table", func() { rows(t, a, other) }, query.StatusHit)
	check("at last")
	// Cascades, partitions, TRUNCATE.
	children := "select count(*) from " + s + ".child"
	rows(t, b, children)
	exec(t, a, "delete from "+s+".t where id = 1")
	if got := rows(t, b, children); got != "0\n" {
		t.Errorf("after a cascade: %q", got)
	}
	part := "select count(*) from " + s + ".p"
	rows(t, b, part)
	exec(t, a, "insert into "+s+".p1 values (1, 1)")
	if got := rows(t, b, part); got != "1\n" {
		t.Errorf("after a write to a partition: %q", got)
	}
	exec(t, a, "truncate "+s+".p")
	if got := rows(t, b, part); got != "0\n" {
		t.Errorf("after TRUNCATE: %q", got)
	}
	_ = direct
}

func TestCache39FlightFromBeforeAWrite(t *testing.T) {
	s, direct := tables(t, "create table NAME.t as select 0 as v", gate)
	w := newWorld(t)
	w.ready(t, s+".t")
	a, b := w.simply(t), w.simply(t)
	sql := "select " + s + ".gate(v) from " + s + ".t"
	reads := func(n string) func() bool { // each of which has its snapshot then
		return func() bool {
			return rows(t, direct, "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711 and not granted") == n+"\n"
		}
	}
	rows(t, direct, "select pg_advisory_lock(4711)")
	before := asks(b, sql)
	within(t, "a read", reads("1"))
	exec(t, a, "update "+s+".t set v = 1")
	behind := asks(a, sql)
	within(t, "a read of the writer's own", reads("2"))
	rows(t, direct, "select pg_advisory_unlock(4711)")
	if got := <-behind; got != "1\n" {
		t.Errorf("the writer joined a read from before its write: %q", got)
	}
	if got := <-before; got != "0\n" {
		t.Errorf("the read from before: %q", got)
	}
	if got := rows(t, b, sql); got != "1\n" {
		t.Errorf("what was read before the write was stored: %q", got)
	}
}

func TestCache31AlterTable(t *testing.T) {
	s, direct := tables(t, "create table NAME.t as select 1 as a")
	w := newWorld(t)
	w.ready(t, s+".t")
	conn, simple := w.connect(t), w.simply(t)
	sql := "select * from " + s + ".t"
	for range 3 {
		rows(t, conn, sql)
		rows(t, simple, sql)
	}
	exec(t, direct, "alter table "+s+".t add column b int default 2")
	exec(t, direct, "alter table "+s+".t alter column a type text using 'x'")
	for range 3 {
		// Either what was described, or PostgreSQL's own error, which pgx mends.
		got, err := tryRows(conn, sql)
		if err == nil && got != "1\n" && got != "x 2\n" {
			t.Errorf("%q", got)
		}
	}
	exec(t, simple, "alter table "+s+".t add column c int default 3")
	if got := rows(t, simple, sql); got != "x 2 3\n" {
		t.Errorf("after a change seen by the proxy: %q", got)
	}
	for range 3 {
		if got, err := tryRows(conn, sql); err == nil && got != "x 2 3\n" {
			t.Errorf("%q", got)
		}
	}
}

func TestCache27And33LargeResults(t *testing.T) {
	s, _ := tables(t, "create table NAME.t as select i as id, repeat('x', 1000) as body from generate_series(1, 4000) i")
	w := newWorld(t, func(c *postgres.Config) {
		c.Cache = cache.New(cache.Config{MaxBytes: 64 << 20, MaxResult: 3 << 20})
	})
	w.ready(t, s+".t")
	conn, other := w.simply(t), w.simply(t)
	all, part := "select * from "+s+".t", "select * from "+s+".t where id <= 2000"
	w.expect(t, "4 MB, over the limit", func() {
		for range 2 {
			if n := len(rows(t, conn, all)); n < 4_000_000 {
				t.Errorf("%d bytes", n)
			}
		}
	}, query.StatusOversizedResult, query.StatusOversizedResult)
	want := rows(t, conn, part)
	rows(t, conn, part) // stored at second sight
	w.expect(t, "2 MB", func() {
		if rows(t, conn, part) != want {
			t.Error("other rows")
		}
	}, query.StatusHit)
	// One who does not read holds nobody up.
	slow := w.simply(t)
	h, err := slow.PgConn().Hijack()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Conn.Close()
	h.Frontend.Send(&pgproto3.Query{String: part})
	if err := h.Frontend.Flush(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if rows(t, other, part) != want {
			t.Error("other rows beside a slow reader")
		}
	}
}

func TestCache29NothingOddIsStored(t *testing.T) {
	s, _ := tables(t, "create table NAME.t as select i as id from generate_series(0, 3) i",
		"create function NAME.noisy(int) returns int language plpgsql immutable as 'begin raise notice ''said''; return $1; end'")
	w := newWorld(t)
	w.ready(t, s+".t")
	conn := w.simply(t)
	for range 2 {
		if n := w.asked(func() { rows(t, conn, "select "+s+".noisy(id) from "+s+".t") }); n != 1 {
			t.Errorf("with a notice the origin was asked %d times", n)
		}
		if n := w.asked(func() {
			if _, err := tryRows(conn, "select 1 / (2 - id) from "+s+".t order by id"); err == nil {
				t.Error("no error")
			}
		}); n != 1 {
			t.Errorf("with an error the origin was asked %d times", n)
		}
	}
}

func TestCacheCancelAndPurge(t *testing.T) {
	s, _ := tables(t, numbers, "create function NAME.slow(int) returns int immutable language plpgsql as 'begin perform pg_sleep(20); return $1; end'")
	w := newWorld(t)
	w.ready(t, s+".t")
	conn := w.simply(t)
	done := make(chan error, 1)
	before := w.db.Counts().Queries
	go func() {
		_, err := tryRows(conn, "select "+s+".slow(id) from "+s+".t where id = 1")
		done <- err
	}()
	within(t, "a slow read", func() bool { return w.db.Counts().Queries > before })
	if err := conn.PgConn().CancelRequest(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "57014") {
		t.Errorf("cancelled: %v", err)
	}
	within(t, "the end of the query", func() bool { return w.db.Stats().Live == w.db.Stats().Idle })
	if got := rows(t, conn, "select count(*) from "+s+".t"); got != "100\n" {
		t.Errorf("after a cancel: %q", got)
	}
	w.db.Results().Purge()
	w.expect(t, "after a purge", func() { rows(t, conn, "select count(*) from "+s+".t") }, query.StatusMiss)
}
