package pooling

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/proxy/postgres"
)

// A client's settings are its own on every origin connection, and nobody else's.
func TestPooling21(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(2))
	x, y, z := w.wire(t), w.wire(t), w.wire(t, "TimeZone", "Asia/Tokyo")
	defaults := y.value("show timezone")
	x.want("C:SET Z:I", q("set TimeZone = 'America/Lima'"))
	// Whatever connection is free, at random: each client gets its own value.
	hold := w.wire(t)
	for i := range 6 {
		if i%2 == 0 {
			hold.want("C:BEGIN Z:T", q("begin"))
		} else {
			hold.want("C:COMMIT Z:I", q("commit"))
		}
		for name, c := range map[string]struct {
			*wire
			want string
		}{"x": {x, "America/Lima"}, "y": {y, defaults}, "z": {z, "Asia/Tokyo"}} {
			if got := c.value("show timezone"); got != c.want {
				t.Errorf("round %d: TimeZone of %s is %s, want %s", i, name, got, c.want)
			}
		}
	}
	x.want("C:RESET Z:I", q("reset timezone"))
	if got := x.value("show timezone"); got != defaults {
		t.Errorf("after RESET: %s", got)
	}
}

// reported reads messages up to ReadyForQuery and returns the value last reported
// of a parameter.
func (x *wire) reported(name string) (value string) {
	x.t.Helper()
	for {
		m, err := x.fe.Receive()
		if err != nil {
			x.t.Fatal(err)
		}
		switch m := m.(type) {
		case *pgproto3.ParameterStatus:
			if m.Name == name {
				value = m.Value
			}
		case *pgproto3.ReadyForQuery:
			return value
		}
	}
}

// What a driver is told of its parameters is what they are for it.
func TestReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	x.send(q("set client_encoding = 'LATIN1'"))
	if got := x.reported("client_encoding"); got != "LATIN1" {
		t.Fatalf("told %q", got)
	}
	for range 3 {
		x.send(q("select 1"))
		if got := x.reported("client_encoding"); got != "" && got != "LATIN1" {
			t.Errorf("x is told %s", got)
		}
		y.send(q("select now()"))
		if got := y.reported("client_encoding"); got != "" && got != "UTF8" {
			t.Errorf("y is told %s", got)
		}
		x.send(q("do $$ begin end $$"))
		if got := x.reported("client_encoding"); got != "" && got != "LATIN1" {
			t.Errorf("x is told %s", got)
		}
	}
	x.want("C:SET Z:I", q("set app.name = 'M\xfcller'"))
	y.value("select 1")
	x.send(q("set client_encoding = 'UTF8'"))
	x.ready(1)
	if got := x.value("show app.name"); got != "Müller" {
		t.Errorf("a value in another encoding came back as %q", got)
	}
	x.send(q("discard all"))
	x.ready(1)
	x.send(q("set client_encoding = 'LATIN1'"))
	x.ready(1)
	y.value("select 1")
	x.send(q("discard all"))
	if got := x.reported("client_encoding"); got != "UTF8" {
		t.Errorf("after DISCARD ALL x is told %q", got)
	}
}

func TestPooling22(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	x.want("C:SET Z:I", q("set work_mem = '111kB'"))
	for _, tt := range []struct{ sql, want string }{
		{"begin; set work_mem = '222kB'; rollback", "111kB"},
		{"begin; set work_mem = '222kB'; select 1/0", "111kB"},
		{"set work_mem = '222kB'; select 1/0", "111kB"},
		{"begin; set work_mem = '333kB'; commit", "333kB"},
		{"begin; set work_mem = '444kB'; savepoint s; set work_mem = '555kB'; rollback to s; commit", "444kB"},
		{"begin; set work_mem = '444kB'; savepoint s; set work_mem = '555kB'; release s; commit", "555kB"},
		{"begin; set local work_mem = '666kB'; commit", "555kB"},
		{"begin; set work_mem = '777kB'; set local work_mem = '888kB'; commit", "777kB"},
		{"begin; set work_mem = '888kB'; commit; begin; set work_mem = '999kB'; rollback", "888kB"},
		{"set work_mem = '222kB'; begin; set work_mem = '333kB'; rollback", "888kB"},
		{"set work_mem = nonsense", "888kB"},
		{"begin; reset work_mem; rollback", "888kB"},
	} {
		x.send(q(tt.sql))
		if s := x.ready(1); s[len(s)-1] != 'I' {
			x.send(q("rollback"))
			x.ready(1)
		}
		y.value("select now()")
		if got := x.value("show work_mem"); got != tt.want {
			t.Errorf("after %q: %s, want %s", tt.sql, got, tt.want)
		}
	}
	// One statement a message, pipelined, by the extended protocol.
	step := func(sql string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{parse("", sql), bind(""), execute, syncMsg}
	}
	var msgs []pgproto3.FrontendMessage
	for _, sql := range []string{"begin", "set work_mem = '123kB'", "savepoint a", "set work_mem = '124kB'", "rollback to a", "commit", "show work_mem"} {
		msgs = append(msgs, step(sql)...)
	}
	x.send(msgs...)
	x.ready(7)
	y.value("select now()")
	if got := x.value("show work_mem"); got != "123kB" {
		t.Errorf("by the extended protocol: %s", got)
	}
}

func TestPooling23(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	defaults := y.value("show work_mem")
	x.want("C:SET Z:I", q("set work_mem = '999kB'"))
	x.want("C:SET Z:I", q("set DateStyle = 'SQL'"))
	x.want("C:SET Z:I", q("set DateStyle = 'DMY'"))
	x.want("C:SET Z:I", q("set session characteristics as transaction read only"))
	x.want("C:SET Z:I", q(`set app."Tenant" = 'a ''quoted'' \ value; drop table x'`))
	for range 3 {
		if got := y.value("show work_mem"); got != defaults {
			t.Errorf("y: %s", got)
		}
		if got := y.value("select coalesce(current_setting('app.tenant', true), 'none') || current_setting('transaction_read_only')"); got != "noneoff" && got != "off" {
			t.Errorf("y: %s", got)
		}
		for name, want := range map[string]string{"work_mem": "999kB", "DateStyle": "SQL, DMY", "transaction_read_only": "on", "app.tenant": `a 'quoted' \ value; drop table x`} {
			if got := x.value("show " + name); got != want {
				t.Errorf("x: %s = %s, want %s", name, got, want)
			}
		}
	}
	// With reset the transaction is the end of it.
	w = newWorld(t, maxConns(1), func(c *postgres.Config) { c.Policy = postgres.Reset })
	x, y = w.wire(t, "application_name", "x", "IntervalStyle", "iso_8601"), w.wire(t)
	x.want("C:BEGIN C:SET C:SET T D:999kB C:SHOW C:COMMIT Z:I", q("begin; set work_mem = '999kB'; set intervalstyle = 'postgres_verbose'; show work_mem; commit"))
	for name, c := range map[string]*wire{"x": x, "y": y} {
		if got := c.value("show work_mem"); got != defaults {
			t.Errorf("%s, with reset: %s", name, got)
		}
	}
	if got := x.value("show intervalstyle"); got != "iso_8601" {
		t.Errorf("a start-up parameter with reset: %s", got)
	}
}

// Names of settings that begin as SET's own grammar does.
func TestPooling23Keywords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	names := []string{"session.tenant", "local.tenant", "transaction.tenant", "constraints.tenant", "time.tenant", "role.tenant", "names.tenant", "schema.tenant", "xml.tenant"}
	for i, name := range names {
		x.want("C:SET Z:I", q(fmt.Sprintf("set %s = '%d'", name, i)))
		y.value("select 1")
	}
	for i, name := range names {
		if got := x.value("show " + name); got != fmt.Sprint(i) {
			t.Errorf("x: %s = %q, want %d", name, got, i)
		}
		if got := y.value("select coalesce(current_setting('" + name + "', true), '')"); got != "" {
			t.Errorf("y: %s = %q", name, got)
		}
	}
	for _, sql := range []string{"set role to default", "set session authorization default", "set session_authorization to default"} {
		x.want("C:SET Z:I", q("set role pg_read_all_settings"))
		y.value("select 1")
		x.want("C:SET Z:I", q(sql))
		y.value("select 1")
		if got := x.value("show role"); got != "none" {
			t.Errorf("after %s: %s", sql, got)
		}
	}
}

func TestPooling24(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	me := y.value("select current_user")
	look := "select current_user || ' ' || session_user"
	x.want("C:SET Z:I", q("set role pg_read_all_settings"))
	for range 3 {
		if got := y.value(look); got != me+" "+me {
			t.Errorf("y is %s", got)
		}
		if got := x.value(look); got != "pg_read_all_settings "+me {
			t.Errorf("x is %s", got)
		}
		x.want("C:BEGIN C:SET C:ROLLBACK Z:I", q("begin; set role none; rollback"))
	}
	x.want("C:SET Z:I", q("set session authorization default"))
	for _, c := range []*wire{x, y, x} {
		if got := c.value(look); got != me+" "+me {
			t.Errorf("after SET SESSION AUTHORIZATION DEFAULT: %s", got)
		}
	}
	x.want("C:SET Z:I", q("set role pg_read_all_settings"))
	y.value("select 1")
	x.want("C:RESET Z:I", q("reset role"))
	y.value("select 1")
	if got := x.value(look); got != me+" "+me {
		t.Errorf("after RESET ROLE: %s", got)
	}
}

// A role that cannot be put in force again ends the session: nothing runs as
// somebody else.
func TestRoleLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	admin, err := pg.Admin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context())
	me := pg.Target().User
	for _, sql := range []string{"create role role_lost", "grant role_lost to " + me} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	x, y := w.wire(t), w.wire(t)
	y.want("C:CREATE_TABLE C:GRANT Z:I", q("create table role_lost_t (a int); grant all on role_lost_t to public"))
	x.want("C:SET Z:I", q("set role role_lost"))
	y.value("select 1")
	if _, err := admin.Exec(t.Context(), "revoke role_lost from "+me); err != nil {
		t.Fatal(err)
	}
	x.send(q("insert into role_lost_t values (1)"))
	if got := x.end(); got == "" || got[:2] != "E:" {
		t.Errorf("x goes on: %s", got)
	}
	if got := y.value("select count(*) from role_lost_t"); got != "0" {
		t.Errorf("what followed the refused role has run")
	}
	y.want("C:DROP_TABLE Z:I", q("drop table role_lost_t"))
	if _, err := admin.Exec(t.Context(), "drop role role_lost"); err != nil {
		t.Error(err)
	}
}

func TestPooling25(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	// asyncpg's introspection turns jit off and puts it back by another statement.
	y.want("C:SET Z:I", q("set jit = on"))
	x.want("1 2 D:off C:SELECT_1 Z:I", parse("", "select set_config('jit', 'off', false)"), bind(""), execute, syncMsg)
	for range 3 {
		if got := y.value("show jit"); got != "on" {
			t.Errorf("jit of y is %s", got)
		}
		if got := x.value("show jit"); got != "off" {
			t.Errorf("jit of x is %s", got)
		}
	}
	x.want("1 2 D:on C:SELECT_1 Z:I", parse("back", "select set_config('jit', $1, false)"), bind("back", "on"), execute, syncMsg)
	if got := y.value("show jit"); got != "on" {
		t.Errorf("jit of y is %s", got)
	}
	if got := x.value("show jit"); got != "on" {
		t.Errorf("jit of x is %s", got)
	}
	// A tenant by parameter, also in the middle of something else.
	for i := range 3 {
		tenant := fmt.Sprintf("tenant %d", i)
		x.want("1 2 D:"+tenant+" C:SELECT_1 Z:I", parse("", "select set_config('app.tenant', $1, false) from generate_series(1, 1)"), bind("", tenant), execute, syncMsg)
		if got := y.value("select current_setting('app.tenant', true)"); got == tenant {
			t.Error("y sees the tenant of x")
		}
		if got := x.value("select current_setting('app.tenant')"); got != tenant {
			t.Errorf("tenant of x is %q", got)
		}
	}
	x.want("T D:local C:SELECT_1 Z:I", q("select set_config('app.tenant', 'local', true)"))
	if got := x.value("select current_setting('app.tenant')"); got != "tenant 2" {
		t.Errorf("after a local one the tenant of x is %q", got)
	}
}

func TestPooling26(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t, "TimeZone", "Asia/Tokyo", "options", "-c work_mem=1234kB"), w.wire(t)
	check := func(after string) {
		t.Helper()
		for range 2 {
			for name, want := range map[string]string{"timezone": "Asia/Tokyo", "work_mem": "1234kB"} {
				if got := x.value("show " + name); got != want {
					t.Errorf("after %s: %s = %s, want %s", after, name, got, want)
				}
			}
			y.value("select now()")
		}
	}
	x.want("C:SET C:SET C:SET Z:I", q("set timezone = 'UTC'; set work_mem = '999kB'; set jit = off"))
	x.want("C:RESET Z:I", q("reset all"))
	check("RESET ALL")
	x.want("C:SET Z:I", q("set time zone default"))
	check("SET TIME ZONE DEFAULT")
	x.want("C:BEGIN Z:T", q("begin"))
	x.want("C:SET Z:T", q("set work_mem = '999kB'"))
	x.want("C:RESET Z:T", q("reset work_mem"))
	if got := x.value("show work_mem"); got != "1234kB" {
		t.Errorf("in a block: %s", got)
	}
	x.want("C:COMMIT Z:I", q("commit"))
	check("RESET in a block")
	x.want("C:RESET C:SET Z:I", q("reset work_mem; set work_mem = '77kB'"))
	y.value("select 1")
	if got := x.value("show work_mem"); got != "77kB" {
		t.Errorf("RESET, then SET: %s", got)
	}
	x.want("1 2 C:RESET Z:I 1 2 D:1234kB C:SHOW Z:I", parse("", "reset all"), bind(""), execute, syncMsg, parse("", "show work_mem"), bind(""), execute, syncMsg)
	check("pipelined RESET ALL")
	x.want("C:SET Z:I", q("set work_mem = '999kB'"))
	x.want("C:DISCARD_ALL Z:I", q("discard all"))
	check("DISCARD ALL")
}

// A role of the start-up packet that cannot be had again, behind a RESET, ends the session
// before anything runs as the origin's user.
func TestRoleLostByReset(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(2))
	admin, err := pg.Admin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context())
	me := pg.Target().User
	must := func(sql string) {
		t.Helper()
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	must("create role reset_lost")
	w.wire(t).want("C:CREATE_TABLE C:GRANT Z:I", q("create table reset_lost_t (a text); grant all on reset_lost_t to public"))
	for name, msgs := range map[string][]pgproto3.FrontendMessage{
		"text":  {q("reset role; insert into reset_lost_t values (current_user)")},
		"block": {q("begin"), q("set local role to default"), q("insert into reset_lost_t values (current_user)"), q("commit")},
		"group": {parse("", "reset role"), bind(""), execute, parse("", "insert into reset_lost_t values (current_user)"), bind(""), execute, syncMsg},
		"alone": {q("reset role")},
		"call":  {q("select set_config('role', null, false); insert into reset_lost_t values (current_user)")},
	} {
		must("grant reset_lost to " + me)
		x := w.wire(t, "options", "-c role=reset_lost")
		x.want("C:SET Z:I", q("set role none")) // and the origin connection is kept by nobody
		must("revoke reset_lost from " + me)
		x.send(msgs...)
		got := ""
		for !strings.Contains(got, "E:") {
			m, err := x.next()
			if err != nil {
				break
			}
			got = note(m)
		}
		if name == "call" { // its own error
			if got != "E:42501" {
				t.Errorf("%s: %s", name, got)
			}
		} else if _, err := x.next(); got != "E:42501" || err == nil {
			t.Errorf("%s: %s, and the session goes on", name, got)
		}
		x.conn.Close()
	}
	y := w.wire(t)
	if got := y.value("select count(*) from reset_lost_t"); got != "0" {
		t.Errorf("%s texts have run as somebody else", got)
	}
	y.want("C:DROP_TABLE Z:I", q("drop table reset_lost_t"))
	must("drop role reset_lost")
}

// What a RESET goes back to is there for what follows it in the same group, and SET
// TRANSACTION may follow.
func TestPooling26Text(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t, "TimeZone", "Asia/Tokyo", "search_path", "pg_catalog,public", "options", "-c work_mem=1234kB -c role=pg_read_all_settings"), w.wire(t)
	x.want("C:SET C:RESET T D:1234kB C:SHOW Z:I", q("set work_mem = '1MB'; reset work_mem; show work_mem"))
	x.want("C:BEGIN C:RESET C:SET T D:serializable C:SHOW C:COMMIT Z:I", q("begin; reset work_mem; set transaction isolation level serializable; show transaction_isolation; commit"))
	x.want("C:BEGIN Z:T C:RESET Z:T C:SET Z:T C:COMMIT Z:I", q("begin"), q("reset work_mem"), q("set transaction isolation level serializable"), q("commit"))
	x.want("C:RESET T D:pg_catalog,public C:SHOW Z:I", q("reset all; show search_path"))
	x.want("C:SET C:RESET T D:pg_read_all_settings C:SELECT_1 Z:I", q("set role none; reset role; select current_user"))
	x.want("C:BEGIN C:SET C:SET T D:1234kB C:SHOW C:ROLLBACK T D:1234kB C:SHOW Z:I",
		q("begin; set work_mem = '1MB'; set local work_mem to default; show work_mem; rollback; show work_mem"))
	x.want("C:SET Z:I C:BEGIN Z:T C:SET Z:T T D:1234kB C:SHOW Z:T C:COMMIT Z:I T D:2MB C:SHOW Z:I", q("set work_mem = '2MB'"), q("begin"),
		q("set local work_mem to default"), q("show work_mem"), q("commit"), q("show work_mem"))
	x.want("C:SET T D:1234kB C:SELECT_1 T D:1234kB C:SHOW Z:I", q("set work_mem = '1MB'; select set_config('work_mem', NULL, false); show work_mem"))
	// By the extended protocol, in one group, and with an error that undoes it.
	reset := []pgproto3.FrontendMessage{parse("", "reset work_mem"), bind(""), execute}
	show := []pgproto3.FrontendMessage{parse("", "show work_mem"), bind(""), execute}
	x.want("C:SET Z:I", q("set work_mem = '1MB'"))
	x.send(append(append(append([]pgproto3.FrontendMessage{}, reset...), show...), parse("", "select 1/0"), bind(""), execute, syncMsg)...)
	if got := x.ready(1); got != "1 2 C:RESET 1 2 D:1234kB C:SHOW 1 E:22012 Z:I" && got != "1 2 C:RESET 1 2 D:1234kB C:SHOW 1 2 E:22012 Z:I" {
		t.Error(got)
	}
	x.want("T D:1MB C:SHOW Z:I", q("show work_mem"))
	x.want("1 2 C:RESET", append(reset, flush)...)
	x.want("1 2 D:1234kB C:SHOW Z:I", append(show, syncMsg)...)
	x.want("1 2 D:1234kB C:SELECT_1 Z:I", parse("", "select current_setting('work_mem')"), bind(""), execute, syncMsg)
	x.want("C:SET Z:I", q("set work_mem = '1MB'"))
	x.want("1 2 D:4MB C:SELECT_1 1 2 D:1234kB C:SHOW Z:I", append([]pgproto3.FrontendMessage{parse("", "select set_config('work_mem', null, false)"), bind(""), execute},
		append(show, syncMsg)...)...)
	y.value("select 1")
	x.want("T D:1234kB C:SHOW Z:I", q("show work_mem"))
}
