package pooling

import (
	"fmt"
	"strings"
	"testing"
)

// Whatever a client does to its session, it finds there what it would find on a
// connection of its own: settings with and without transactions and savepoints, roles,
// temporary tables, cursors, locks, PREPARE, and all of that undone.
func TestDifferentialSession(t *testing.T) {
	compare(t, maxConns(10), func(d *differ) { d.ask = d.sessionMessage })
}

var sessionTexts = []string{
	"set work_mem = '1MB'", "set work_mem = '2MB'", "set local work_mem = '3MB'", "reset work_mem", "set work_mem to default", "show work_mem", "show work_mem",
	"reset all", "select set_config('diff.x', 'a', false)", "select set_config('diff.x', 'b', true)", "set diff.x = 'c'", "reset diff.x",
	"select coalesce(current_setting('diff.x', true), '')", "select coalesce(current_setting('diff.x', true), '')",
	"set search_path = pg_catalog", "set search_path = public, pg_catalog", "show search_path", "set datestyle = 'German'", "select date '2000-02-01'", "reset datestyle",
	"set role pg_monitor", "set role none", "reset role", "select current_user", "select current_user", "set session authorization default",
	"set session characteristics as transaction read only", "set session characteristics as transaction read write", "show transaction_read_only",
	"set transaction read only", "set default_transaction_isolation = 'serializable'", "show transaction_isolation",
	"create temp table tt (a int)", "create temp table tt (a text, b int) on commit drop", "create temp table tt (a int) on commit delete rows",
	"select 1 as a, 2 as b into temp tt", "create temp table tt as select 1 as a", "create table pg_temp.tt (a text)", "do $$ begin create temp table tt (a int, z int); end $$",
	"insert into tt values (1)", "select count(*) from tt", "select * from tt", "select * from pg_temp.tt", "drop table tt", "drop table if exists tt", "alter table tt add c int default 3",
	"alter table tt rename to uu", "select * from uu", "drop table uu", "create temp view vv as select 7", "select * from vv", "drop view vv", "discard temp",
	"select pg_advisory_lock(LOCK)", "select pg_advisory_lock_shared(LOCK)", "select pg_try_advisory_lock(LOCK)", "select pg_advisory_unlock(LOCK)", "select pg_advisory_xact_lock(LOCK)",
	"select pg_advisory_unlock_all()", "do $$ begin perform pg_advisory_lock(LOCK); end $$",
	"select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()", "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
	"declare h cursor with hold for select generate_series(1, 9)", "fetch 2 h", "move 1 h", "close h", "close all", "select name from pg_cursors where is_holdable",
	"prepare pa as select 1", "prepare pb(int) as select $1 + 1", "prepare pt as select * from tt", "execute pa", "execute pb(3)", "execute pt", "deallocate pa", "deallocate prepare pb",
	"deallocate all", "discard all", "discard plans", "discard sequences", "select name from pg_prepared_statements where from_sql order by 1",
	"begin", "begin", "commit", "commit", "rollback", "savepoint s", "rollback to s", "release s", "select 1/0", "selec", "commit and chain", "rollback and chain",
	"begin isolation level serializable", "select 'x'", "listen ch", "unlisten ch", "unlisten *", "",
}

// sessionMessage adds one thing that a client does to its session, or looks at.
func (d *differ) sessionMessage() {
	text := func() string {
		return strings.ReplaceAll(sessionTexts[d.r.IntN(len(sessionTexts))], "LOCK", "LOCK, "+fmt.Sprint(d.id))
	}
	name := d.one("a", "b", "c")
	switch d.r.IntN(16) {
	case 0, 1:
		d.add(q(text() + "; " + text()))
	case 2:
		d.add(q(text() + "; " + text() + "; " + text()))
	case 3, 4, 5:
		d.add(parse("", text()), bind(""), describePortal(""), execute, syncMsg)
	case 6:
		d.add(parse("", text()), bind(""), execute, parse("", text()), bind(""), execute, syncMsg)
	case 7:
		d.add(syncMsg, closeStatement(name), parse(name, d.goodText(text)), bind(name), describePortal(""), execute, syncMsg)
	case 8, 9:
		d.add(bind(name), describePortal(""), execute, syncMsg)
	default:
		d.add(q(text()))
	}
	if d.r.IntN(4) == 0 {
		d.add(syncMsg)
	}
}

// What a client resets, alone or among other statements, in whatever transaction, goes
// back to what its start-up packet has set, and positions in errors are those in its text.
func TestDifferentialReset(t *testing.T) {
	compare(t, maxConns(3), func(d *differ) {
		d.ask = d.resetMessage
		d.sides[0].positions, d.sides[1].positions = true, true
	}, "options", "-c work_mem=8MB -c role=pg_read_all_settings -c diff.base=b", "search_path", `pg_catalog, "$user", public`, "TimeZone", "Asia/Tokyo")
}

var resetTexts = []string{
	"set work_mem = '1MB'", "set work_mem = '2MB'", "set local work_mem = '3MB'", "reset work_mem", "set work_mem to default", "set session work_mem = default",
	"set local work_mem to default", "set local search_path = default", "set local role to default", "set local time zone default",
	"reset all", "reset all", "set diff.base = 'c'", "reset diff.base", "set diff.other = 'd'", "reset diff.other",
	"set role none", "set role pg_signal_backend", "set role pg_monitor", "set local role none", "reset role", "set role to default", "reset session authorization",
	"set session authorization default", "set local session authorization default",
	"set time zone 'UTC'", "set time zone local", "reset time zone", "set timezone to default", "set search_path = public", "reset search_path", "set names default",
	"show work_mem", "show search_path", "select current_setting('work_mem')||current_setting('role')||current_setting('TimeZone')", "select current_user",
	"select current_setting('diff.base') || coalesce(current_setting('diff.other', true), '')", "select 'é', 1 -- ;", "/* é; */ select 1", "", "",
	"begin", "begin", "commit", "rollback", "savepoint s", "rollback to s", "release s", "commit and chain", "rollback and chain", "set transaction isolation level serializable",
	"show transaction_isolation", "select 1/0", "select no_such_column", "selec", "reset no_such_setting", "select (", "set work_mem = 'x'", "do $$ begin raise notice 'x'; end $$",
}

// resetMessage adds a text of statements, or a group of them.
func (d *differ) resetMessage() {
	// RESET ALL passes over what is at its default for the transaction only (ResetAllOptions looks at
	// where a value is from), so that the session's own value comes back: through the proxy it is reset.
	text := func() string {
		for {
			s := resetTexts[d.r.IntN(len(resetTexts))]
			if d.n%2 == 0 && s != "reset all" || d.n%2 == 1 && (!strings.HasPrefix(s, "set local") || !strings.HasSuffix(s, "default")) {
				return s
			}
		}
	}
	if d.r.IntN(4) == 0 {
		for range 1 + d.r.IntN(4) {
			d.add(parse("", text()), bind(""), describePortal(""), execute)
		}
		d.add(syncMsg)
		return
	}
	var texts []string
	for range 1 + d.r.IntN(6) {
		t := text()
		if d.n%2 == 0 && d.r.IntN(4) == 0 { // whose result is the start-up packet's value, of a simple Query
			t = d.one("select set_config('work_mem', null, false)", "select set_config('search_path', NULL, true)", "select 'é', set_config('role', null, false), no_such_column",
				"select set_config('work_mem', null, false) from generate_series(1, 0)")
		}
		texts = append(texts, t)
	}
	d.add(q(strings.Join(texts, d.one(";", "; ", " ; "))))
}

// goodText is a text that can be prepared, and whose columns stay as they are: where
// a driver is told the new ones the proxy prepares anew, and PostgreSQL refuses.
func (d *differ) goodText(text func() string) string {
	for {
		if s := text(); s != "selec" && !strings.HasSuffix(s, "tt") && !strings.HasSuffix(s, "uu") {
			return s
		}
	}
}

// What a client keeps its origin connection for is its own until DISCARD ALL is
// answered, and free then.
func TestPooling16Kept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(2))
	x, y := w.wire(t), w.wire(t)
	x.want("T D: C:SELECT_1 Z:I C:CREATE_TABLE Z:I", q("select pg_advisory_lock(1616)"), q("create temp table p16 (a int)"))
	x.want("1 Z:I", parse("s", "select 1"), syncMsg)
	// DEALLOCATE ALL takes statements and nothing else, however it comes.
	x.want("1 2 C:DEALLOCATE_ALL Z:I E:26000 Z:I", parse("", "deallocate all"), bind(""), execute, syncMsg, bind("s"), syncMsg)
	x.want("T D:0 C:SELECT_1 C:DEALLOCATE_ALL Z:I T D:1 C:SELECT_1 Z:I", q("select count(*) from p16; deallocate all"), q("select 1"))
	x.want("T D:0 C:SELECT_1 Z:I", q("select count(*) from p16"))
	y.want("T D:f C:SELECT_1 Z:I", q("select pg_try_advisory_lock(1616)"))
	// What comes behind DISCARD ALL in its group is kept.
	x.want("1 2 C:DISCARD_ALL", parse("", "discard all"), bind(""), execute, flush)
	x.want("1 2 C:CREATE_TABLE Z:I", parse("", "create temp table p16 (b text)"), bind(""), execute, syncMsg)
	x.want("T D:0 C:SELECT_1 Z:I", q("select count(b) from p16"))
	for range 20 {
		x.want("T D: C:SELECT_1 Z:I C:DISCARD_ALL Z:I", q("select pg_advisory_lock(1616)"), q("discard all"))
		y.want("T D:t C:SELECT_1 T D:t C:SELECT_1 Z:I", q("select pg_try_advisory_lock(1616); select pg_advisory_unlock(1616)"))
	}
	x.want("E:42P01 Z:I", q("select * from p16"))
}

// RESET ALL undoes also what the origin is still being asked about.
func TestPooling26Behind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(2))
	for range 20 {
		x := w.wire(t)
		x.want("C:SET Z:I", q("set session characteristics as transaction read only"))
		x.want("C:RESET Z:I", q("reset all"))
		x.want("T D:off C:SHOW Z:I", q("show transaction_read_only"))
		x.want("T D:off C:SHOW Z:I", q("show transaction_read_only"))
		x.conn.Close()
	}
}
