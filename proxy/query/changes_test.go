package query

import (
	"fmt"
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
		got, ok := Changes([]byte(tt.sql), false)
		if s := fmt.Sprint(got, ok); s != tt.want {
			t.Errorf("Changes(%q) = %s, want %s", tt.sql, s, tt.want)
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
