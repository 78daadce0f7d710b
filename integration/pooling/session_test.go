package pooling

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedb/sluice/proxy/postgres"
)

func TestPooling27(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x := w.wire(t, "extra_float_digits", "0", "search_path", `"$user", pg_catalog, other`, "application_name", "",
		"options", `-c work_mem=1234kB --statement-timeout=77s -c my.setting=a\ b\\c'd`, "TimeZone", "Asia/Tokyo")
	y := w.wire(t, "TimeZone", "America/Lima")
	z := w.wire(t)
	for range 3 {
		for name, want := range map[string]string{"extra_float_digits": "0", "search_path": `"$user", pg_catalog, other`, "work_mem": "1234kB",
			"statement_timeout": "77s", "my.setting": `a b\c'd`, "TimeZone": "Asia/Tokyo"} {
			if got := x.value("show " + name); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		if got := y.value("show timezone"); got != "America/Lima" {
			t.Errorf("TimeZone of another client: %s", got)
		}
		if got := y.value("show work_mem"); got == "1234kB" {
			t.Errorf("work_mem of another client: %s", got)
		}
		if got := z.value("select current_setting('my.setting', true)"); got != "" {
			t.Errorf("my.setting of a client without parameters: %s", got)
		}
		if got := z.value("show timezone"); got == "Asia/Tokyo" || got == "America/Lima" {
			t.Errorf("TimeZone of a client without parameters: %s", got)
		}
	}
}

// A role given at start-up is not the next client's.
func TestRoleAtStartup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	setup := w.wire(t)
	me := setup.value("select current_user")
	x, y := w.wire(t, "options", "-c role=pg_read_all_settings"), w.wire(t, "TimeZone", "Asia/Tokyo")
	if _, err := w.tryWire(t); err != nil {
		t.Fatal(err)
	}
	x.send(q("select current_user"))
	if got := x.ready(1); strings.HasPrefix(got, "E:") {
		t.Fatalf("role is not granted: %s", got)
	}
	for _, c := range []*wire{y, setup} {
		if got := c.value("select current_user"); got != me {
			t.Errorf("current_user = %s, want %s", got, me)
		}
		if got := x.value("select current_user"); got != "pg_read_all_settings" {
			t.Errorf("current_user = %s", got)
		}
	}
}

func TestPooling28(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	good := w.wire(t)
	pid := good.value("select pg_backend_pid()")
	for _, p := range [][2]string{{"TimeZone", "nowhere"}, {"work_mem", "x"}, {"no_such_setting", "1"}, {"shared_buffers", "1MB"}} {
		x, err := w.tryWire(t, p[0], p[1])
		if err != nil { // may also be told at login
			if c := code(err); c != "22023" && c != "42704" && c != "55P02" {
				t.Errorf("%s: %v", p[0], err)
			}
			continue
		}
		x.send(q("select 1"))
		got := x.end()
		if got != "E:22023" && got != "E:42704" && got != "E:55P02" {
			t.Errorf("%s: %s", p[0], got)
		}
	}
	if _, err := w.tryWire(t, "bad name", "1"); code(err) != "42602" {
		t.Errorf("bad name: %v", err)
	}
	if got := good.value("select pg_backend_pid()"); got != pid {
		t.Errorf("backend was lost: %s, was %s", got, pid)
	}
}

// Nothing of one client reaches the next on the same origin connection.
func TestLeaks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1), func(c *postgres.Config) { c.MaxPinned = 10 })
	setup := w.wire(t)
	setup.want("C:CREATE_SEQUENCE Z:I", q("create sequence leaks"))
	setup.want("C:CREATE_FUNCTION Z:I", q("create function leak_work_mem() returns text language plpgsql as $$ begin set work_mem = '999kB'; return ''; end $$"))
	defaults := setup.value("show work_mem")
	me := setup.value("select current_user")
	other := w.wire(t)
	for _, tt := range []struct{ name, dirt, look, want string }{
		{"set", "set work_mem = '999kB'", "show work_mem", defaults},
		{"set in an aborted block", "begin; set work_mem = '999kB'; rollback", "show work_mem", defaults},
		{"set in a committed block", "begin; set work_mem = '999kB'; commit", "show work_mem", defaults},
		{"set in a block left open", "begin; set work_mem = '999kB'", "show work_mem", defaults},
		{"set_config", "select set_config('work_mem', '999kB', false)", "show work_mem", defaults},
		{"function", "select leak_work_mem()", "show work_mem", defaults},
		{"do", "do $$ begin set work_mem = '999kB'; end $$", "show work_mem", defaults},
		{"role", "set role pg_read_all_settings", "select current_user", me},
		{"session authorization", "set session authorization default; set role pg_read_all_settings", "select session_user || current_user", me + me},
		{"temp table", "create temp table leak (a int)", "select coalesce(to_regclass('leak')::text, 'none')", "none"},
		{"temp table by select", "select 1 as a into temp leak", "select coalesce(to_regclass('leak')::text, 'none')", "none"},
		{"temp table by schema", `select 1 as a into "pg_temp".leak`, "select coalesce(to_regclass('leak')::text, 'none')", "none"},
		{"advisory lock", "select pg_advisory_lock(4711)", "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()", "0"},
		{"advisory lock and an error", "select pg_advisory_lock(4711), 1/0", "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()", "0"},
		{"listen", "listen leak", "select count(*) from pg_listening_channels()", "0"},
		{"prepare", "prepare leak as select 1", "select count(*) from pg_prepared_statements where name = 'leak'", "0"},
		{"hold cursor", "declare leak cursor with hold for select 1", "select count(*) from pg_cursors where name = 'leak'", "0"},
		{"sequence", "select nextval('leaks')", "select count(*) from pg_stat_activity where pid = pg_backend_pid() and false", "0"},
		{"isolation", "set default_transaction_isolation = 'serializable'", "show transaction_isolation", "read committed"},
		{"read only", "set default_transaction_read_only = on", "show transaction_read_only", "off"},
		{"timeout", "set statement_timeout = '1ms'", "show statement_timeout", "0"},
		{"encoding", "set client_encoding = 'LATIN1'", "show client_encoding", "UTF8"},
		{"a name like a keyword", "set local.leak = 'x'", "select coalesce(current_setting('local.leak', true), '')", ""},
		{"another", "set transaction.leak = 'x'", "select coalesce(current_setting('transaction.leak', true), '')", ""},
	} {
		for _, gone := range []bool{false, true} {
			x := w.wire(t)
			x.send(q(tt.dirt))
			if got := x.ready(1); strings.Contains(got, "E:") != strings.Contains(tt.name, "error") {
				t.Errorf("%s: %s", tt.name, got)
			}
			if gone || strings.HasSuffix(tt.name, "left open") {
				x.reset()
			}
			if got := other.value(tt.look); got != tt.want {
				t.Errorf("%s: the next client sees %q, want %q", tt.name, got, tt.want)
			}
			x.conn.Close()
		}
	}
	other.send(q("select lastval()"))
	if got := other.ready(1); got != "T E:55000 Z:I" {
		t.Errorf("lastval of another client: %s", got)
	}
	setup.want("C:DROP_FUNCTION C:DROP_SEQUENCE Z:I", q("drop function leak_work_mem(); drop sequence leaks"))
}

// What takes a short timeout of one client's away runs under it, and so before the next client's
// first message: where it is cut short, that client gets another origin connection.
func TestHasty(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	other := w.wire(t)
	other.want("C:SET Z:I", q("set work_mem = '1MB'"))
	for _, tt := range []struct {
		timeout string
		resets  uint64
	}{{"1ms", 10}, {"10s", 0}} {
		hasty, before := w.wire(t), w.db.Counts().Resets // another each time: a SET runs under the timeout of before
		for range 10 {
			hasty.send(q("set statement_timeout = '" + tt.timeout + "'"))
			hasty.ready(1)
			if got := other.value("show statement_timeout"); got != "0" {
				t.Errorf("another client's statement_timeout is in force: %s", got)
			}
			if got := other.value("show work_mem"); got != "1MB" {
				t.Errorf("work_mem = %s", got)
			}
		}
		if got := w.db.Counts().Resets - before; got != tt.resets {
			t.Errorf("statement_timeout %s: %d resets, want %d", tt.timeout, got, tt.resets)
		}
	}
}

// What a prepared statement's text does counts as well, and a function that is
// called by its number.
func TestLeaksExtended(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	defaults := y.value("show work_mem")
	x.want("1 2 D:999kB C:SELECT_1 Z:I", parse("s", "select set_config('work_mem', '999kB', false)"), bind("s"), execute, syncMsg)
	for i := range 5 {
		if got := y.value("show work_mem"); got != defaults {
			t.Errorf("round %d: %s", i, got)
		}
		x.want("2 D:999kB C:SELECT_1 Z:I", bind("s"), execute, syncMsg)
	}
	if got := y.value("show work_mem"); got != defaults {
		t.Errorf("at the end: %s", got)
	}
	// Views can hide calls: that is what AlwaysReset is for.
	v := newWorld(t, maxConns(1), func(c *postgres.Config) { c.AlwaysReset = true })
	x, y = v.wire(t), v.wire(t)
	x.want("C:CREATE_VIEW Z:I", q("create view leaky as select set_config('work_mem', '999kB', false)"))
	x.want("T D:999kB C:SELECT_1 Z:I", q("select * from leaky"))
	if got := y.value("show work_mem"); got != defaults {
		t.Errorf("by a view: %s", got)
	}
	x.want("C:DROP_VIEW Z:I", q("drop view leaky"))
}

// Clients with different search_paths share no plan.
func TestSearchPaths(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	setup := w.wire(t)
	setup.send(q("create schema sp1; create schema sp2; create table sp1.t as select 1 as a; create table sp2.t as select 'two'::text as a"))
	setup.ready(1)
	a, b := w.wire(t, "search_path", "sp1"), w.wire(t, "search_path", "sp2")
	for i := range 5 {
		a.want("1 2 D:1 C:SELECT_1 Z:I", parse(fmt.Sprint("s", i), "select a from t"), bind(fmt.Sprint("s", i)), execute, syncMsg)
		b.want("1 2 D:two C:SELECT_1 Z:I", parse(fmt.Sprint("s", i), "select a from t"), bind(fmt.Sprint("s", i)), execute, syncMsg)
	}
	setup.send(q("drop schema sp1, sp2 cascade"))
	setup.ready(1)
}

// DISCARD ALL and the like on an origin connection that a function has emptied.
func TestStatementsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	x.want("1 2 D:1 C:SELECT_1 Z:I", parse("s", "select 1"), bind("s"), execute, syncMsg)
	y.want("C:DO Z:I", q("do $$ begin execute 'deallocate all'; end $$"))
	x.send(bind("s"), execute, syncMsg)
	if got := x.ready(1); got != "E:26000 Z:I" && got != "2 D:1 C:SELECT_1 Z:I" {
		t.Fatal(got)
	}
	x.want("2 D:1 C:SELECT_1 Z:I", bind("s"), execute, syncMsg)
}

func TestUnknownStartup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	for _, value := range []string{"database", "true", "1"} {
		if _, err := w.tryWire(t, "replication", value); code(err) != "0A000" || !strings.Contains(err.Error(), "replication connections cannot be pooled") {
			t.Errorf("replication=%s: %v", value, err)
		}
	}
	w.wire(t, "replication", "off").want("T D:1 C:SELECT_1 Z:I", q("select 1"))
	cfg, err := pgconn.ParseConfig(w.url())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Database = "none"
	if _, err := pgconn.ConnectConfig(t.Context(), cfg); code(err) != "28P01" {
		t.Errorf("unknown database: %v", err)
	}
}

// What was prepared while a client had a temporary table of some name is not what
// the next one gets, whose table of that name has other columns.
func TestTemporaryColumns(t *testing.T) {
	t.Parallel()
	const text, id = "select id from ids_of_lease where id = $1", "00000000-0000-0000-0000-000000000001"
	for _, tt := range []struct{ name, end, tag string }{
		{"on commit drop", "commit", "COMMIT"},
		{"dropped", "drop table ids_of_lease; commit", "DROP_TABLE C:COMMIT"},
		{"rolled back", "rollback", "ROLLBACK"},
		{"discarded", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, maxConns(1))
			x, y := w.wire(t), w.wire(t)
			create := "create temp table ids_of_lease (id %s) on commit drop"
			if tt.name == "discarded" { // by a client that keeps its connection
				create = "create temp table ids_of_lease (id %s)"
			}
			x.want("C:BEGIN Z:T", q("begin"))
			x.want("C:CREATE_TABLE Z:T", q(fmt.Sprintf(create, "int")))
			x.want("1 2 C:SELECT_0 Z:T", parse("s", text), bind("s", "1"), execute, syncMsg)
			if tt.tag == "" {
				x.want("C:COMMIT Z:I", q("commit"))
				x.want("C:DISCARD_ALL Z:I", q("discard all"))
			} else {
				x.want("C:"+tt.tag+" Z:I", q(tt.end))
			}
			y.want("C:BEGIN Z:T", q("begin"))
			y.want("C:CREATE_TABLE Z:T", q(fmt.Sprintf(create, "uuid")))
			y.want("1 2 C:SELECT_0 Z:T", parse("s", text), bind("s", id), execute, syncMsg)
			y.want("C:COMMIT Z:I", q("commit"))
		})
	}
}
