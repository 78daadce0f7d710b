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
