package query

import (
	"slices"
	"strings"
	"testing"
)

// testCatalog is a small database: what CatalogSQL would return of it.
func testCatalog(t testing.TB) *Catalog {
	t.Helper()
	rows := func(lines ...string) [][]string {
		var out [][]string
		for _, l := range lines {
			out = append(out, strings.Split(l, "|"))
		}
		return out
	}
	var results [sqlQueries][][]string
	builtin := func(volatile string, names ...string) {
		for _, n := range names {
			results[sqlFunctions] = append(results[sqlFunctions], []string{n, "pg_catalog", "t", volatile, "t"})
		}
	}
	builtin("i", "lower", "count", "sum", "max", "min", "btrim", "substring", "jsonb_set", "unnest", "row_number", "left", "like_escape", "array_agg", "overlay", "position", "similar_to_escape", "coalesce_")
	builtin("is", "age", "date", "date_trunc", "extract", "timezone", "to_timestamp", "length", "overlaps", "generate_series")
	builtin("s", "now", "to_char", "json_agg", "jsonb_agg", "concat", "current_setting", "inet_client_addr", "pg_backend_pid", "version",
		"json_populate_record", "to_regclass", "txid_current", "concat_ws", "row_to_json", "regclass", "timetz")
	builtin("v", "random", "nextval", "lastval", "set_config", "pg_sleep", "clock_timestamp", "lo_unlink", "query_to_xml")
	results[sqlFunctions] = append(results[sqlFunctions], rows(
		"pure|public|f|i|t", "stale|public|f|s|t", "vol|public|f|v|t", "worst|public|f|i|t", "worst|other|f|iv|f", "lower|other|f|i|t")...)
	results[sqlRelations] = rows(
		"20001|public|articles|r|f|f|f", "20002|public|users|r|f|f|f", "20003|public|tenants|r|t|f|f", "20004|public|plain|v|f|f|f",
		"20005|public|chance|v|f|f|f", "20006|public|over|v|f|f|f", "20007|public|remote|f|f|f|f", "20008|public|ids|S|f|f|f",
		"20009|public|mv|m|f|f|f", "20010|public|parent|p|f|f|f", "20011|public|part1|r|f|f|f", "20012|public|audited|r|f|t|f",
		"20013|public|comments|r|f|f|f", "20014|a|twice|r|f|f|f", "20015|b|twice|r|t|f|f", "20016|public|shifts|r|f|f|f",
		"20017|public|writing|v|f|f|f", "1259|pg_catalog|pg_class|r|f|f|f")
	results[sqlColumns] = rows(
		"20001|id|o", "20001|published_time|d", "20001|d|d", "20001|body|o", "20002|id|o", "20002|body|o", "20002|born|d", "20013|d|o", "20016|at|t", "20016|zoned|z", "20009|d|d")
	results[sqlViews] = rows("20004|20001,20004||f", "20005|20001|random\x1eb|f", "20006|20005||f", "20017|20001|vol\x1eu|f")
	results[sqlInherits] = rows("20010|20011")
	results[sqlForeignKeys] = rows("20001|20013")
	results[sqlOperators] = rows("@@@|v", "##|i")
	results[sqlCasts] = nil
	results[sqlTypes] = rows("mood|public|t", "email|public|f")
	results[sqlDefaults] = rows(`t|"$user", public|on`)
	c, err := NewCatalog(results[:])
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVerdicts(t *testing.T) {
	c := testCatalog(t)
	for _, test := range []struct {
		sql  string
		want Status
	}{
		{"select * from articles", StatusMiss},
		{"select * from articles;", StatusMiss},
		{"table articles", StatusMiss},
		{"select * from public.articles a join users u using (id) where a.id = $1 order by 1 limit 10", StatusMiss},
		{"with x as (select * from articles) select count(*) from x where body like 'a%' escape '!'", StatusMiss},
		{"select 1 from articles union all select id from users", StatusMiss},
		{"select lower(body), left(body, 3), coalesce(body, 'x') from articles", StatusMiss},
		{"select json_agg(a), to_char(published_time, 'YYYY'), concat(body, id) from articles a group by 2", StatusMiss},
		{"select row_number() over (partition by body order by id) from articles", StatusMiss},
		{"select * from articles a, lateral (select count(*) c from users u where u.id = a.id) x", StatusMiss},
		{"select case when id in (1,2) then 'a' else 'b' end from articles where id between 1 and 3 and body is not null", StatusMiss},
		{"select body::varchar(10), id::numeric(10,2), array[id, 2], (select max(id) from users) from articles", StatusMiss},
		{"select 'happy'::mood from articles", StatusMiss},
		{"select extract(year from published_time), date_trunc('day', published_time) at time zone 'UTC' from articles", StatusMiss},
		{"select trim(both 'x' from body), substring(body from 1 for 2), overlay(body placing 'x' from 1), position('a' in body) from articles", StatusMiss},
		{"select * from unnest(array[1,2]) as u(x) join articles on articles.id = u.x", StatusMiss},
		{"select id ## 1 from articles", StatusMiss},
		{"select * from plain", StatusMiss},
		{"select * from mv", StatusMiss},
		{"select * from parent", StatusMiss},
		{"select pure(id) from articles", StatusMiss},
		{"select '/* random() */' from articles -- NOW()", StatusMiss},
		{"select age(published_time, published_time) from articles", StatusMiss},
		{"select published_time::date from articles", StatusMiss},
		{"select date(published_time) from articles", StatusMiss},
		{"select * from articles where d = current_date", StatusMiss},
		{"select * from articles where d = now()::date", StatusMiss},
		{"select (current_date - interval '1 day')::date from articles", StatusMiss},
		{"select min(d)::date from articles", StatusMiss},

		{"", StatusNotAQuery}, {"  -- nothing\n", StatusNotAQuery}, {"begin", StatusNotAQuery}, {"set a.b = 1", StatusNotAQuery},
		{"insert into articles values (1)", StatusNotAQuery}, {"copy articles to stdout", StatusNotAQuery}, {"call p()", StatusNotAQuery},
		{"explain select * from articles", StatusNotAQuery}, {"show all", StatusNotAQuery}, {"fetch 1 from c", StatusNotAQuery},
		{"declare c cursor for select * from articles", StatusNotAQuery}, {"execute p", StatusNotAQuery}, {"listen x", StatusNotAQuery},
		{"create table x (a int)", StatusNotAQuery}, {"do 'begin end'", StatusNotAQuery}, {"lock table articles", StatusNotAQuery},
		{"prepare p as select * from articles", StatusNotAQuery}, {"refresh materialized view mv", StatusNotAQuery},
		{"select 1; select 2", StatusMultipleStatements}, {"select ';' from articles;", StatusMiss}, {"select 1 from articles;;", StatusMiss},
		{"selec * from articles", StatusParseError}, {"select * from articles where", StatusParseError},
		{"select U&\"l\\006fwer\"('x') from articles", StatusParseError}, {"select 'a\\' from articles", StatusParseError},

		{"select 1", StatusUncacheable}, {"values (1)", StatusUncacheable}, {"select * from generate_series(1,2)", StatusUncacheable},
		{"select * from missing", StatusUncacheable}, {"select missing(1) from articles", StatusUncacheable},
		{"select * into x from articles", StatusUncacheable}, {"select * from articles for update", StatusUncacheable},
		{"select * from (select * from articles for share) a", StatusUncacheable},
		{"with x as (insert into articles values (1) returning *) select * from x, articles", StatusUncacheable},
		{"with x as (select 1) select * from articles where id in (with y as (delete from users returning id) select id from y)", StatusUncacheable},
		{"select * from articles tablesample system (10)", StatusUncacheable}, {"select * from pg_class", StatusUncacheable},
		{"select * from pg_catalog.pg_locks", StatusUncacheable}, {"select * from information_schema.tables", StatusUncacheable},
		{"select * from pg_temp.articles", StatusUncacheable}, {"select * from tenants", StatusUncacheable}, {"select * from twice", StatusUncacheable},
		{"select * from a.twice", StatusMiss}, {"select * from remote", StatusUncacheable}, {"select * from ids", StatusUncacheable},
		{"select ctid, id from articles", StatusUncacheable}, {"select 1 from articles a where (a.xmax)::text = '0'", StatusUncacheable},
		{"select xmin, tableoid from articles", StatusMiss},
		{"select xmlelement(name a) from articles", StatusUncacheable}, {"select json_populate_record(null::articles, '{}') from articles", StatusUncacheable},
		{"select body::date from articles", StatusUncacheable}, {"select date(body) from articles", StatusUncacheable},
		{"select d::date from articles, comments", StatusUncacheable}, {"select x::date from (select body as x from articles) s", StatusUncacheable},
		{"select d::date from (select body as d from users) s, articles", StatusUncacheable},
		{"select (body || '')::timestamptz from articles", StatusUncacheable}, {"select lower(body)::date from articles", StatusUncacheable},
		{"select d::date from articles, unnest(array[body]) u", StatusUncacheable},
		{"select d::date from (select (users).* from users) u, articles", StatusUncacheable},
		{"select * from shifts", StatusMiss}, {"select * from shifts where zoned > '10:00'", StatusUncacheable}, {"select at::timetz from shifts", StatusUncacheable},
		{"select array[body]::date[] from articles", StatusUncacheable}, {"select '1'::regclass from articles", StatusUncacheable},
		{"select 'x@y'::email from articles", StatusUncacheable}, {"select '10:00 America/New_York'::timetz from articles", StatusUncacheable},
		{"select at at time zone 'UTC' from shifts", StatusUncacheable}, {"select orders.articles.id from orders.public.articles", StatusUncacheable},

		{"select now() from articles", StatusVolatile}, {"select current_timestamp from articles", StatusVolatile},
		{"select localtimestamp(3) from articles", StatusVolatile}, {"select current_user from articles", StatusVolatile},
		{"select current_time from articles", StatusVolatile}, {"select current_schema from articles", StatusVolatile},
		{"select random() from articles", StatusVolatile}, {"select nextval('ids') from articles", StatusVolatile},
		{"select lastval() from articles", StatusVolatile}, {"select txid_current() from articles", StatusVolatile},
		{"select pg_backend_pid() from articles", StatusVolatile}, {"select inet_client_addr() from articles", StatusVolatile},
		{"select age(published_time) from articles", StatusVolatile}, {"select pg_catalog.now() from articles", StatusVolatile},
		{"select stale(1) from articles", StatusVolatile}, {"select vol(1) from articles", StatusVolatile}, {"select worst(1) from articles", StatusVolatile},
		{"select public.worst(1) from articles", StatusMiss}, {"select articles.vol from articles", StatusVolatile}, {"select (articles).stale from articles", StatusVolatile},
		{"select id @@@ 1 from articles", StatusVolatile}, {"select id operator(public.@@@) 1 from articles", StatusVolatile},
		{"select * from chance", StatusVolatile}, {"select * from over", StatusVolatile}, {"select * from writing", StatusVolatile},
		{"select * from articles where d = 'today'", StatusVolatile}, {"select * from articles where d = ' Today'", StatusVolatile},
		{"select * from articles where d = 'NOW '", StatusVolatile}, {"select date 'tomorrow' from articles", StatusVolatile},
		{"select $$yesterday 10:00$$::timestamp from articles", StatusVolatile}, {"select * from articles where body = 'todays'", StatusMiss},
		{"select * from articles where id = (select set_config('a.b', 'c', false))::int", StatusVolatile},
		{"select * from rows from (random()) r, articles", StatusVolatile}, {"select sum(id) filter (where random() > 0.5) from articles", StatusVolatile},
		{"select * from articles order by random()", StatusVolatile}, {"select * from articles limit (random() * 10)::int", StatusVolatile},
		{"select count(*) over (order by vol(id)) from articles", StatusVolatile},
	} {
		if got := c.Judge(Analyze(test.sql)); got.Status != test.want {
			t.Errorf("%s\n\tgot %v (%s), want %v", test.sql, got.Status, got.Reason, test.want)
		}
	}
	if got := c.Judge(Analyze("select '" + strings.Repeat("x", MaxText) + "' from articles")); got.Status != StatusOversizedQuery || !got.Effect.DDL {
		t.Errorf("long text: %v", got)
	}
	var none *Catalog
	if got := none.Judge(Analyze("select * from articles")); got.Status != StatusUncacheable {
		t.Errorf("without a catalog: %v", got)
	}
}

func TestTablesAndDay(t *testing.T) {
	c := testCatalog(t)
	for _, test := range []struct {
		sql  string
		want []uint32
		day  bool
	}{
		{"select * from articles", []uint32{20001}, false},
		{"select * from plain, users", []uint32{20001, 20002}, false},
		{"select * from parent", []uint32{20010, 20011}, false},
		{"select * from part1", []uint32{20011}, false},
		{"select * from mv", nil, false},
		{"select * from articles where date(published_time) = current_date", []uint32{20001}, true},
		{"with users as (select * from articles) select * from users", []uint32{20001, 20002}, false},
	} {
		if got := c.Judge(Analyze(test.sql)); !slices.Equal(got.Tables, test.want) || got.Day != test.day {
			t.Errorf("%s: %v, %v", test.sql, got.Tables, got.Day)
		}
	}
}

func TestTimed(t *testing.T) {
	c := testCatalog(t)
	for sql, want := range map[string]bool{
		"select * from articles where d = $1": false, "select * from articles where body = $1::text": false,
		"select * from articles where d = $1::date": true, "select * from articles where published_time > timestamptz($1)": true,
		"select * from articles where d = any(($1)::date[])": true,
	} {
		if got := c.Judge(Analyze(sql)); got.Timed != want {
			t.Errorf("%s: %v", sql, got.Timed)
		}
	}
}

func TestEffects(t *testing.T) {
	c := testCatalog(t)
	all, any := Effect{All: true}, Effect{All: true, DDL: true}
	tables := func(ids ...uint32) Effect { return Effect{Tables: ids} }
	for _, test := range []struct {
		sql  string
		want Effect
	}{
		{"select * from articles", Effect{}}, {"select now(), random(), nextval('ids') from articles", Effect{}}, {"begin", Effect{}}, {"commit", Effect{}},
		{"set x.y = 1", Effect{}}, {"select xmlelement(name a, lower('x')) from articles", Effect{}}, {"prepare p as delete from users", Effect{}},
		{"select pg_sleep(1)", Effect{}}, {"copy articles to stdout", Effect{}}, {"explain select 1", Effect{}}, {"vacuum articles", Effect{}},
		{"insert into users values (1, default)", tables(20002)}, {"insert into users (id) select id from articles returning *", tables(20002)},
		{"insert into users values (1) on conflict (id) do update set id = excluded.id", tables(20002)},
		{"update users set body = 'x' where id = 1", tables(20002)}, {"update users set (id, body) = (select 1, 'x')", tables(20002)},
		{"delete from users using articles where true", tables(20002)}, {"delete from articles", tables(20001, 20013)},
		{"insert into parent values (1)", tables(20010, 20011)}, {"insert into part1 values (1)", tables(20011)}, {"truncate users, part1", tables(20002, 20011)},
		{"copy users from stdin", tables(20002)}, {"with x as (delete from users returning *) insert into part1 select id from x", tables(20002, 20011)},
		{"merge into users u using part1 p on u.id = p.id when matched then delete when not matched then insert values (1)", tables(20002)},
		{"explain analyze delete from users", tables(20002)}, {"select 1; delete from users", tables(20002)}, {"insert into twice values (1)", tables(20014, 20015)},
		{"insert into audited values (1)", all}, {"truncate users cascade", all}, {"insert into plain values (1)", all}, {"insert into missing values (1)", all}, {"insert into audited values (vol(1))", any},
		{"select vol(1)", any}, {"update users set id = vol(1)", any}, {"select articles.vol from articles", any}, {"select id @@@ 1 from articles", any},
		{"select * from writing", any}, {"select missing(1)", any}, {"select lo_unlink(1)", any}, {"call p()", any}, {"do 'x'", any}, {"execute p", any},
		{"with x as (insert into users values (1) returning *) select * from x", tables(20002)}, {"declare c cursor for select vol(1)", any},
		{"commit prepared 'x'", any}, {"prepare transaction 'x'", any}, {"not sql at all", any}, {"select xmlelement(name a, vol(1))", any},
		{"create table x (a int)", any}, {"alter table users enable row level security", any},
		{"refresh materialized view mv", any}, {"grant select on users to x", any},
		{"create table x as select 1", any}, {"select stale(1)", Effect{}}, {"select * into x from articles", any},
	} {
		got := c.Judge(Analyze(test.sql)).Effect
		if got.All != test.want.All || got.DDL != test.want.DDL || !slices.Equal(got.Tables, test.want.Tables) {
			t.Errorf("%s: got %+v, want %+v", test.sql, got, test.want)
		}
	}
	var none *Catalog
	if got := none.Judge(Analyze("insert into users values (1)")).Effect; !got.All || got.DDL {
		t.Errorf("without a catalog: %+v", got)
	}
	if got := none.Judge(Analyze("select vol(1)")).Effect; !got.All || !got.DDL {
		t.Errorf("a call without a catalog: %+v", got)
	}
}

func TestNormalise(t *testing.T) {
	for in, want := range map[string]string{
		"select 1":                "select 1",
		"  select 1 ; \n":         "select 1 ;",
		"select/* x */1":          "select 1",
		"select 1 -- x\nfrom t":   "select 1  \nfrom t",
		"/* a /* b */ c */ sel":   "sel",
		"select '-- x' --y":       "select '-- x'",
		"select $$/* x */$$/**/":  "select $$/* x */$$",
		`select "a--b"`:           `select "a--b"`,
		"select /*+ h */ 1 /*x*/": "select /*+ h */ 1",
		"select 1 /* open":        "select 1 /* open",
		"select E'\\'--' --":      "select E'\\'--'",
	} {
		if got := string(Normalise(nil, []byte(in))); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestTimeWord(t *testing.T) {
	for in, want := range map[string]bool{"today": true, " Today": true, "NOW ": true, "yesterday 10:00": true, "[today,)": true, "2020now": true,
		"tomorrow+1": true, "todays": false, "know": false, "nowhere": false, "": false, "to day": false} {
		if got := TimeWord(in); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}

// FuzzAnalyze: whatever the text, there is a verdict, and one that allows caching
// names no function that is not in the catalog as pure.
func FuzzAnalyze(f *testing.F) {
	for _, s := range []string{"select * from articles", "select now() from articles", "with a as (select 1) select * from a, articles",
		"select /*", "select 'x", "insert into users values (1)", "select body::date from articles", "select random () from articles",
		"select $$a$$ from articles", "select \"random\"() from articles", "select * from articles a(b, c)"} {
		f.Add(s)
	}
	c := testCatalog(f)
	f.Fuzz(func(t *testing.T, sql string) {
		if len(sql) > 2000 {
			return
		}
		v := c.Judge(Analyze(sql))
		if v.Status != StatusMiss {
			return
		}
		low := strings.ToLower(v.Text)
		// Texts without strings, quotes and comments show their calls plainly.
		if strings.ContainsAny(low, `'"$-/&`) {
			return
		}
		for _, name := range []string{"random", "now", "nextval", "vol", "clock_timestamp", "pg_backend_pid", "lo_unlink"} {
			for i := strings.Index(low, name); i >= 0; i = -1 {
				rest := strings.TrimLeft(low[i+len(name):], " \t\n\r\f\v")
				whole := i == 0 || !isWord(low[i-1])
				if whole && strings.HasPrefix(rest, "(") && !v.Day {
					t.Errorf("cacheable: %q", sql)
				}
			}
		}
	})
}

func BenchmarkAnalyze(b *testing.B) {
	c := testCatalog(b)
	const sql = "select a.id, a.body, json_agg(u) from articles a left join users u on u.id = a.id where a.published_time > $1 and a.body like $2 group by 1, 2 order by a.published_time desc limit 50"
	b.ReportAllocs()
	for b.Loop() {
		if v := c.Judge(Analyze(sql)); v.Status != StatusMiss {
			b.Fatal(v)
		}
	}
}

func BenchmarkKnown(b *testing.B) {
	k := NewClassifier(Postgres(nil))
	k.SetSource(Postgres(testCatalog(b)))
	sql := []byte("select a.id, a.body, json_agg(u) from articles a left join users u on u.id = a.id where a.published_time > $1 limit 50")
	k.Judge(sql)
	b.ReportAllocs()
	for b.Loop() {
		if k.Known(sql) == nil {
			b.Fatal("forgotten")
		}
	}
}

// TestAgain: a verdict that is remembered is taken for its own text only, and only under
// the catalog that it was made by.
func TestAgain(t *testing.T) {
	c := NewClassifier(Postgres(nil))
	c.SetSource(Postgres(testCatalog(t)))
	text := []byte("select * from articles")
	v := c.Judge(text)
	if c.Again(v, text) != v || c.Again(nil, text) != v {
		t.Error("another verdict on the same text")
	}
	if got := c.Again(v, []byte("select now() from articles")); got.Status != StatusVolatile {
		t.Errorf("another text: %v", got.Status)
	}
	c.SetSource(Postgres(nil))
	if got := c.Again(v, text); got == v || got.Status != StatusUncacheable {
		t.Errorf("another catalog: %v", got.Status)
	}
	if n := testing.AllocsPerRun(100, func() { c.Again(v, text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
