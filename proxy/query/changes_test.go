package query

import (
	"fmt"
	"strings"
	"testing"
)

func TestChanges(t *testing.T) {
	for _, tt := range []struct{ sql, want string }{
		{"SET work_mem = '1MB'", "[{work_mem false}] true"},
		{"set Work_Mem TO default", "[{work_mem true}] true"},
		{"SET SESSION search_path TO a, b; SELECT 1", "[{search_path false}] true"},
		{"SET LOCAL work_mem = 1", "[] true"},
		{"SET TIME ZONE 'UTC'", "[{timezone false}] true"},
		{"SET TIME ZONE LOCAL", "[{timezone true}] true"},
		{"SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE", "[{timezone false}] true"},
		{"SET NAMES 'LATIN1'", "[{client_encoding false}] true"},
		{"SET NAMES", "[{client_encoding true}] true"},
		{"SET SCHEMA 'x'", "[{search_path false}] true"},
		{"SET XML OPTION DOCUMENT", "[{xmloption false}] true"},
		{"SET ROLE x", "[{role false}] true"},
		{"SET SESSION ROLE NONE", "[{role false}] true"},
		{"RESET ROLE", "[{role true}] true"},
		{"SET SESSION AUTHORIZATION x", "[{session_authorization false} {role false}] true"},
		{"SET SESSION AUTHORIZATION DEFAULT", "[{session_authorization true} {role true}] true"},
		{"SET SESSION SESSION AUTHORIZATION x", "[{session_authorization false} {role false}] true"},
		{"SET session_authorization = x", "[{session_authorization false} {role false}] true"},
		{"SET SESSION session.tenant = 'x'; SET session.tenant TO 'y'", "[{session.tenant false} {session.tenant false}] true"},
		{"SET local.tenant = 'x'; SET LOCAL local.tenant = 'y'", "[{local.tenant false}] true"},
		{"SET transaction.x = 1; SET constraints.x = 1; SET time.x = 1", "[{transaction.x false} {constraints.x false} {time.x false}] true"},
		{"SET role.x = 1; SET role TO DEFAULT; SET role = x", "[{role.x false} {role true} {role false}] true"},
		{"SET names.x = 1; SET schema.x = 1; SET xml.x = 1; SET session.characteristics = 1",
			"[{names.x false} {schema.x false} {xml.x false} {session.characteristics false}] true"},
		{"RESET session.x; RESET time.x; RESET transaction.x", "[{session.x true} {time.x true} {transaction.x true}] true"},
		{"RESET SESSION AUTHORIZATION", "[{session_authorization true} {role true}] true"},
		{"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
			"[{default_transaction_isolation false} {default_transaction_read_only false} {default_transaction_deferrable false}] true"},
		{"SET TRANSACTION READ ONLY", "[] true"},
		{"SET CONSTRAINTS ALL DEFERRED", "[] true"},
		{`SET app."User" = 'x'`, "[{app.user false}] true"},
		{"SET a.b.c = 1", "[{a.b.c false}] true"},
		{"RESET ALL", "[{ true}] true"},
		{"SELECT 1; RESET app.x ; set y = 2", "[{app.x true} {y false}] true"},
		{"SELECT set_config('App.x', $1, false)", "[{app.x false}] true"},
		{"SELECT pg_catalog.set_config('search_path', '', false);", "[{search_path false}] true"},
		{"SELECT set_config('a.b', coalesce($1, f(2, 3)), true)", "[] true"},
		{"SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new", "[{jit false}] true"},
		{"SELECT set_config('a.b', array['x','y'][1], 'f'), set_config('c.d', '', 'false')", "[{a.b false} {c.d false}] true"},
		{"SELECT set_config('a.b', NULL, false)", "[{a.b true}] true"},
		{"SELECT set_config('a.b', NULL::text, false)", "[{a.b false}] true"},
		{"EXPLAIN SELECT set_config('a.b', NULL, false)", "[{a.b false}] true"},
		{"SELECT set_config('a.b', null, true), set_config('session_authorization', null, false)", "[{session_authorization true} {role true}] true"},
		{`SELECT set_config('a.b', 'a\\', false)`, "[{a.b false}] false"},
		{"SELECT set_config($1, 'x', false)", "[] false"},
		{"SELECT set_config('a.b', 'x', $1)", "[] false"},
		{"SELECT set_config('a.b', 'x', not true)", "[] false"},
		{"SELECT set_config(is_local => false, setting_name => 'a', new_value => 'b')", "[] false"},
		{"SELECT set_config('a', 'b'", "[] false"},
		{"SELECT set_config('", "[] false"},
		{"SELECT set_config('a", "[] false"},
		{"SELECT set_config('a.b', set_config('role', 'x', false), true)", "[] false"},
		{"SELECT E'' -- a comment\n '\\'', set_config('role','x',false)--'", "[{role false}] true"},
		{`SELECT set_config('a\', 'b', true), x('', false)`, "[] false"},
		{`SET a = 'b\'`, "[{a false}] false"},
		{"SET", "[] false"},
		{"SET = 1", "[] false"},
		{`SET U&"\0061" = 1`, "[] false"},
		{"SELECT 'SET x = 1'; UPDATE t SET a = 1", "[] true"},
	} {
		changes, ok := Changes([]byte(tt.sql), false)
		type change struct {
			name  string
			reset bool
		}
		got := []change{}
		for _, ch := range changes {
			if !ch.Local {
				got = append(got, change{ch.Name, ch.Reset})
			}
		}
		if s := fmt.Sprint(got, ok); s != tt.want {
			t.Errorf("Changes(%q) = %s, want %s", tt.sql, s, tt.want)
		}
	}
}

// Where a text is made to reset to something else: * is where a statement is put behind
// the nth, and a constant NULL is in parentheses.
func TestSites(t *testing.T) {
	for _, tt := range []struct{ sql, want string }{
		{"RESET work_mem", "RESET work_mem*0!"},
		{"RESET work_mem -- so\n", "RESET work_mem*0! -- so\n"},
		{";; RESET work_mem; ; SET LOCAL a.b TO DEFAULT ;SHOW work_mem", ";; RESET work_mem*0; ; SET LOCAL a.b TO DEFAULT*1 ;SHOW work_mem"},
		{"SELECT 1; RESET ALL; SET TIME ZONE LOCAL; SET TIME ZONE DEFAULT", "SELECT 1; RESET ALL*1; SET TIME ZONE LOCAL*2; SET TIME ZONE DEFAULT*3"},
		{"SET NAMES; SET NAMES DEFAULT; SET NAMES 'UTF8'; RESET TIME ZONE", "SET NAMES*0; SET NAMES DEFAULT*1; SET NAMES 'UTF8'; RESET TIME ZONE*3"},
		{"RESET SESSION AUTHORIZATION", "RESET SESSION AUTHORIZATION*0!*0!"},
		{"SET LOCAL SESSION AUTHORIZATION DEFAULT;", "SET LOCAL SESSION AUTHORIZATION DEFAULT*0!*0!;"},
		{"RESET work_mem x; SELECT 1", "RESET work_mem x; SELECT 1"},
		{"SET work_mem; SELECT 1", "SET work_mem; SELECT 1"},
		{"SET work_mem = default, 1; RESET jit", "SET work_mem = default, 1; RESET jit*1"},
		{"SELECT set_config('a.b', NULL, false), set_config('c', null, true)", "SELECT set_config('a.b', (NULL)0!, false), set_config('c', (null)0!, true)"},
		{"CREATE VIEW v AS SELECT set_config('a', NULL, false); RESET a; SELECT set_config('a', NULL, false)",
			"CREATE VIEW v AS SELECT set_config('a', NULL, false); RESET a*1; SELECT set_config('a', NULL, false)"},
		{"PREPARE p AS SELECT set_config('a', NULL, false)", "PREPARE p AS SELECT set_config('a', NULL, false)"},
		{"CREATE FUNCTION f() RETURNS text BEGIN ATOMIC SELECT 1; END; RESET a", "CREATE FUNCTION f() RETURNS text BEGIN ATOMIC SELECT 1; END; RESET a"},
		{"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); RESET a", "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); RESET a"},
		{`SELECT 'a\'; RESET a; SELECT '`, `SELECT 'a\'; RESET a; SELECT '`},
		{"SELECT set_config($1, '', false); RESET a", "SELECT set_config($1, '', false); RESET a*1"},
	} {
		found, _ := Changes([]byte(tt.sql), false)
		var got strings.Builder
		at := 0
		for _, ch := range found {
			s := ch.Site
			if s.At == 0 {
				continue
			}
			got.WriteString(tt.sql[at:s.At])
			if at = s.At + s.Len; s.Len > 0 {
				got.WriteString("(" + tt.sql[s.At:at] + ")")
			} else {
				got.WriteString("*")
			}
			fmt.Fprint(&got, s.Command)
			if s.Only {
				got.WriteString("!")
			}
		}
		got.WriteString(tt.sql[at:])
		if got.String() != tt.want {
			t.Errorf("sites of %q:\n%s, want\n%s", tt.sql, got.String(), tt.want)
		}
	}
}

func TestChannels(t *testing.T) {
	for _, tt := range []struct{ sql, want string }{
		{"LISTEN a", "[{a false}]"},
		{`begin; listen "A b"; unlisten C; commit`, "[{A b false} {c true}]"},
		{"UNLISTEN *", "[{ true}]"},
		{"SELECT 'listen x'", "[]"},
		{"LISTEN", "[]"},
	} {
		if got := fmt.Sprint(Channels([]byte(tt.sql))); got != tt.want {
			t.Errorf("Channels(%q) = %s, want %s", tt.sql, got, tt.want)
		}
	}
}
