package caching

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/postgres"
	"github.com/sluicedb/sluice/proxy/query"
)

// always runs a query three times and requires that each is the origin's to answer.
func (w *world) always(t testing.TB, conn *pgx.Conn, want query.Status, sql string, args ...any) {
	t.Helper()
	w.expect(t, sql, func() {
		for range 3 {
			_, _ = tryRows(conn, sql, args...)
		}
	}, want, want, want)
}

// once runs a query three times and requires a miss and two hits.
func (w *world) once(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	w.expect(t, sql, func() {
		first := rows(t, conn, sql, args...)
		for range 2 {
			if got := rows(t, conn, sql, args...); got != first {
				t.Errorf("%s: %q, then %q", sql, first, got)
			}
		}
	}, query.StatusMiss, query.StatusHit, query.StatusHit)
}

const articles = `create table NAME.articles (id int primary key, d date, published_time timestamptz, body text);
 insert into NAME.articles select i, current_date - i + 1, now() - i * interval '1 day', 'body ' || i from generate_series(1, 20) i`

func TestCache08To15Verdicts(t *testing.T) {
	s, direct := tables(t, articles,
		"create sequence NAME.seq", "create view NAME.chance as select random() as r, id from NAME.articles", "create view NAME.over as select * from NAME.chance",
		"create view NAME.today as select current_date as c, id from NAME.articles", "create view NAME.plain as select id, lower(body) as b from NAME.articles",
		"create view NAME.locked as select id, xmax from NAME.articles",
		"create view NAME.cast as select id, body::varchar::date as b from NAME.articles where false",
		"create function NAME.vol(NAME.articles) returns int language sql volatile as 'select 1'",
		"create function NAME.imm(int) returns int language sql immutable as 'select 2'", "create function NAME.sta(int) returns int language sql stable as 'select 3'",
		"create function NAME.volint(int, int) returns int language sql volatile as 'select 4'",
		"create operator NAME.### (leftarg = int, rightarg = int, function = NAME.volint)",
		"create table NAME.secret (tenant text, v int)", "insert into NAME.secret values ('x', 1), ('y', 2)", "alter table NAME.secret enable row level security",
		"create policy p on NAME.secret using (tenant = current_setting('app.tenant', true))", "alter table NAME.secret force row level security",
		"create aggregate NAME.agg (int) (sfunc = NAME.volint, stype = int)")
	w := newWorld(t, func(c *postgres.Config) { c.Caching = cache.Policy{MaxAge: 2 * time.Second, Stale: time.Minute} }) // looks at the catalog every second
	w.ready(t, s+".articles")
	conn := w.simply(t, "search_path", s)
	t.Run("08", func(t *testing.T) {
		for _, f := range []string{"now()", "current_timestamp", "localtimestamp", "random()", "nextval('seq')", "lastval()", "txid_current()", "current_user",
			"pg_backend_pid()", "inet_client_addr()", "clock_timestamp()", "current_setting('timezone')", "current_time", "gen_random_uuid()"} {
			w.always(t, conn, query.StatusVolatile, "select "+f+", id from articles")
		}
	})
	t.Run("09", func(t *testing.T) {
		w.always(t, conn, query.StatusVolatile, "select age(published_time) from articles")
		w.once(t, conn, "select age(published_time, published_time) from articles")
		w.once(t, conn, "select json_agg(a) from articles a")
		w.once(t, conn, "select to_char(published_time, 'YYYY-MM-DD HH24 TZ') from articles where id = 1")
		berlin, tokyo := w.simply(t, "search_path", s, "timezone", "Europe/Berlin"), w.simply(t, "search_path", s, "timezone", "Asia/Tokyo")
		sql := "select to_char(published_time, 'HH24 TZ') from articles where id = 2"
		a, b := rows(t, berlin, sql), rows(t, tokyo, sql)
		if a == b || rows(t, berlin, sql) != a || rows(t, tokyo, sql) != b {
			t.Errorf("%q, %q", a, b)
		}
	})
	t.Run("10", func(t *testing.T) {
		w.always(t, conn, query.StatusVolatile, "select * from articles where d = 'today'")
		w.always(t, conn, query.StatusVolatile, "select * from articles where d = ' Today'")
		w.always(t, conn, query.StatusUncacheable, "select body::timestamp from articles where false")
		ext := w.by(t, pgx.QueryExecModeExec, "search_path", s)
		w.once(t, ext, "select id from articles where body = $1 -- by text", "today")
		prepared := w.connect(t, "search_path", s)
		sql := "select count(*) from articles where d = $1"
		if _, err := prepared.Prepare(context.Background(), "p", sql); err != nil {
			t.Fatal(err)
		}
		raw := func() {
			res := prepared.PgConn().ExecPrepared(context.Background(), "p", [][]byte{[]byte("today")}, []int16{0}, nil).Read()
			if res.Err != nil || string(res.Rows[0][0]) != "1" {
				t.Errorf("%v", res)
			}
		}
		w.expect(t, "a date by the word today", func() { raw(); raw(); raw() }, query.StatusMiss, query.StatusMiss, query.StatusMiss)
	})
	t.Run("11", func(t *testing.T) {
		w.always(t, conn, query.StatusVolatile, "select * from chance")
		w.always(t, conn, query.StatusVolatile, "select * from over")
		w.always(t, conn, query.StatusVolatile, "select * from today")
		w.always(t, conn, query.StatusVolatile, "select * from locked")
		w.always(t, conn, query.StatusUncacheable, "select id, xmax from articles")
		w.always(t, conn, query.StatusVolatile, "select * from "+s+".cast")
		w.once(t, conn, "select * from plain")
	})
	t.Run("12", func(t *testing.T) { w.always(t, conn, query.StatusVolatile, "select articles.vol from articles") })
	t.Run("13", func(t *testing.T) {
		w.always(t, conn, query.StatusVolatile, "select sta(id) from articles")
		w.always(t, conn, query.StatusVolatile, "select volint(id, 1) from articles")
		w.always(t, conn, query.StatusVolatile, "select agg(id) from articles")
		w.ready(t, s+".articles") // as what these call may have changed the catalog
		w.once(t, conn, "select imm(id) from articles")
		exec(t, direct, "create or replace function "+s+".imm(int) returns int language sql volatile as 'select 5'")
		within(t, "the change of a function", func() bool {
			before := w.counts()[query.StatusVolatile]
			rows(t, conn, "select imm(id) from articles")
			return w.counts()[query.StatusVolatile] > before
		})
	})
	t.Run("14", func(t *testing.T) { w.always(t, conn, query.StatusVolatile, "select id ### 1 from articles") })
	t.Run("15", func(t *testing.T) {
		w.always(t, conn, query.StatusUncacheable, "select * from secret")
		x, y := w.simply(t, "search_path", s, "app.tenant", "x"), w.simply(t, "search_path", s, "app.tenant", "y")
		for range 3 {
			if a, b := rows(t, x, "select v from secret"), rows(t, y, "select v from secret"); a != "1\n" || b != "2\n" {
				t.Errorf("%q, %q", a, b)
			}
		}
		w.ready(t, s+".articles")
		w.once(t, conn, "select count(*) from articles a")
		exec(t, direct, "alter table "+s+".articles enable row level security")
		within(t, "row security", func() bool {
			before := w.counts()[query.StatusUncacheable]
			rows(t, conn, "select count(*) from articles a")
			return w.counts()[query.StatusUncacheable] > before
		})
	})
}

// TestCache10ParametersOfText: what a driver declares as text is read as a time by a cast.
func TestCache10ParametersOfText(t *testing.T) {
	s, _ := tables(t, articles)
	w := newWorld(t)
	w.ready(t, s+".articles")
	_, send := w.raw(t)
	for _, declared := range []uint32{pgtype.TextOID, pgtype.VarcharOID, 0} {
		for _, format := range []int16{0, 1} {
			if format == 1 && declared == 0 { // it is a date in binary then
				continue
			}
			ask := func() {
				want(t, "today", send(&pgproto3.Parse{Query: "select count(*) from " + s + ".articles where d = $1::date", ParameterOIDs: []uint32{declared}},
					&pgproto3.Bind{Parameters: [][]byte{[]byte("today")}, ParameterFormatCodes: []int16{format}},
					&pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{}), "1", "ZI")
			}
			w.expect(t, fmt.Sprintf("today as type %d in format %d", declared, format), func() { ask(); ask() }, query.StatusUncacheable, query.StatusUncacheable)
		}
	}
}

// TestCache14Comparisons: an operator that is not IMMUTABLE may happen without being written.
func TestCache14Comparisons(t *testing.T) {
	s, direct := tables(t, "create type NAME.comp as (a int)", "create table NAME.t (c NAME.comp, id int)", "insert into NAME.t values (row(1), 1)")
	w := newWorld(t, func(c *postgres.Config) { c.Caching = cache.Policy{MaxAge: 2 * time.Second, Stale: time.Minute} })
	w.ready(t, s+".t")
	conn := w.simply(t, "search_path", s)
	for _, sql := range []string{"create function NAME.eq(NAME.comp, NAME.comp) returns bool language plpgsql volatile as 'begin return true; end'",
		"create operator NAME.= (leftarg = NAME.comp, rightarg = NAME.comp, function = NAME.eq)"} {
		exec(t, direct, strings.ReplaceAll(sql, "NAME", s))
	}
	within(t, "the operator", func() bool {
		before := w.counts()[query.StatusUncacheable]
		rows(t, conn, "select id from t")
		return w.counts()[query.StatusUncacheable] > before && w.db.Results().Ready()
	})
	for _, sql := range []string{"select a.id from t a join t b using (c)", "select case c when row(1) then id end from t", "select id from t where c in (select c from t)"} {
		w.always(t, conn, query.StatusUncacheable, sql)
	}
}

func TestCacheDayExampleOfHyperdrive(t *testing.T) {
	s, _ := tables(t, articles)
	w := newWorld(t)
	w.ready(t, s+".articles")
	conn := w.simply(t, "search_path", s, "timezone", "UTC")
	sql := "SELECT * FROM articles WHERE DATE(published_time) = CURRENT_DATE ORDER BY published_time DESC LIMIT 50"
	if now := time.Now().UTC(); now.Add(time.Minute).Day() != now.Day() || now.Add(-time.Minute).Day() != now.Day() {
		t.Log("close to midnight nothing of the day is cached")
		return
	}
	w.once(t, conn, sql)
	w.clock.advance(24 * time.Hour)
	w.expect(t, "the day after, by the clock of the cache", func() { rows(t, conn, sql) }, query.StatusMiss)
	odd := w.simply(t, "search_path", s, "timezone", "EST5EDT")
	w.always(t, odd, query.StatusUncacheable, sql)
}

func TestCache16And17Settings(t *testing.T) {
	s, _ := tables(t, articles, "create schema NAME_b", "create table NAME_b.articles as select 'other'::text as id")
	t.Cleanup(func() {
		admin, err := pg.Connect(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close(context.Background())
		exec(t, admin, "drop schema "+s+"_b cascade")
	})
	w := newWorld(t)
	w.ready(t, s+".articles")
	a, b := w.simply(t, "search_path", s), w.simply(t, "search_path", s+"_b")
	for range 3 {
		if x, y := rows(t, a, "select min(id) from articles"), rows(t, b, "select min(id) from articles"); x != "1\n" || y != "other\n" {
			t.Fatalf("%q, %q", x, y)
		}
	}
	base := "select published_time, d, 0.1::float8 / 3, '\\x41'::bytea, interval '1 day 2 hours' from articles where id = 1"
	seen := map[string]string{}
	for _, setting := range [][2]string{{"timezone", "Asia/Tokyo"}, {"timezone", "UTC"}, {"datestyle", "German"}, {"intervalstyle", "iso_8601"}, {"bytea_output", "escape"}, {"extra_float_digits", "0"}} {
		conn := w.simply(t, "search_path", s, setting[0], setting[1])
		var raw string
		w.expect(t, fmt.Sprint(setting), func() {
			for range 2 {
				res, err := conn.PgConn().Exec(context.Background(), strings.ReplaceAll(base, "'\\x41'", "'A'")).ReadAll()
				if err != nil {
					t.Fatal(err)
				}
				raw = ""
				for _, col := range res[0].Rows[0] {
					raw += string(col) + "|"
				}
			}
		}, query.StatusMiss, query.StatusHit)
		for other, of := range seen {
			if of == raw && other != "[timezone UTC]" {
				t.Errorf("%v and %s: both %q", setting, other, raw)
			}
		}
		seen[fmt.Sprint(setting)] = raw
	}
	named := w.simply(t, "search_path", s, "application_name", "one")
	w.expect(t, "application_name", func() { rows(t, named, "select 1 from articles"); rows(t, a, "select 1 from articles") }, query.StatusMiss, query.StatusHit)
	for _, setting := range [][2]string{{"standard_conforming_strings", "off"}, {"search_path", s + ", pg_temp"}, {"client_encoding", "SJIS"}} {
		conn := w.simply(t, setting[0], setting[1])
		w.expect(t, fmt.Sprint(setting), func() {
			for range 3 {
				if _, err := conn.PgConn().Exec(context.Background(), "select body from "+s+".articles").ReadAll(); err != nil {
					t.Error(err)
				}
			}
		}, query.StatusUncacheable, query.StatusUncacheable, query.StatusUncacheable)
	}
}

func TestCache18And19Formats(t *testing.T) {
	s, _ := tables(t, articles)
	w := newWorld(t)
	w.ready(t, s+".articles")
	conn := w.connect(t).PgConn()
	ctx := context.Background()
	sql := "select id, body from " + s + ".articles where id = $1"
	run := func(types []uint32, params [][]byte, formats, results []int16) string {
		t.Helper()
		res := conn.ExecParams(ctx, sql, params, types, formats, results).Read()
		if res.Err != nil {
			t.Fatal(res.Err)
		}
		return fmt.Sprintf("%q", res.Rows)
	}
	text, binary := []byte("3"), []byte{0, 0, 0, 3}
	plain, bin := `[["3" "body 3"]]`, `[["\x00\x00\x00\x03" "body 3"]]`
	for range 2 {
		for _, c := range []struct {
			types            []uint32
			param            []byte
			formats, results []int16
			want             string
		}{
			{nil, text, nil, nil, plain}, {nil, text, []int16{0}, []int16{1}, bin}, {nil, text, []int16{0}, []int16{1, 0}, bin},
			{nil, text, nil, []int16{0, 1}, plain}, {[]uint32{23}, binary, []int16{1}, nil, plain}, {[]uint32{25}, text, nil, nil, ""},
		} {
			if c.want == "" {
				if res := conn.ExecParams(ctx, sql, [][]byte{c.param}, c.types, c.formats, c.results).Read(); res.Err == nil {
					t.Error("integer = text was answered")
				}
				continue
			}
			if got := run(c.types, [][]byte{c.param}, c.formats, c.results); got != c.want {
				t.Errorf("%v: got %s, want %s", c, got, c.want)
			}
		}
	}
	simple, exec := w.simply(t), w.by(t, pgx.QueryExecModeExec)
	sql19 := "select body from " + s + ".articles where id = 4"
	w.expect(t, "simple, then extended", func() {
		rows(t, simple, sql19)
		if res := exec.PgConn().ExecParams(ctx, sql19, nil, nil, nil, nil).Read(); res.Err != nil || string(res.Rows[0][0]) != "body 4" {
			t.Error(res)
		}
		for _, name := range []string{"a", "b"} {
			if _, err := exec.PgConn().Prepare(ctx, name, sql19, nil); err != nil {
				t.Fatal(err)
			}
			if res := exec.PgConn().ExecPrepared(ctx, name, nil, nil, nil).Read(); res.Err != nil || string(res.Rows[0][0]) != "body 4" {
				t.Error(res)
			}
		}
	}, query.StatusMiss, query.StatusHit, query.StatusHit, query.StatusHit)
}
