package mysql

import (
	"testing"
)

// TestPooling59Spelled: what a statement leaves is nobody else's, however a sql_mode has the server read the names in it,
// and LAST_INSERT_ID() is the client's own, however its variable is written.
func TestPooling59Spelled(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		for _, test := range []struct{ mode, query string }{
			{"ANSI_QUOTES", `SET sql_big_selects = "get_lock"('hidden', 0)`},
			{"ANSI_QUOTES", `SET "character_set_database" = latin1`},
			{"ANSI_QUOTES", `SET @@session . "character_set_database" = latin1`},
			{"", "SET @@session .character_set_database = latin1"},
			{"", "SET @@session. /* a */ `character_set_database` = latin1"},
			{"MSSQL", "SELECT 1 AS [a'], @hidden := 'secret', 2 AS [b']"},
			{"MSSQL", "SELECT 1 AS [a'], GET_LOCK('hidden', 0), 2 AS [b']"},
		} {
			if test.mode == "MSSQL" && s.name == "mysql" { // which has none such
				continue
			}
			w := newWorld(t, s, maxConns(1))
			a, b := w.raw(t), w.raw(t)
			a.exec(t, "SET sql_mode = '"+test.mode+"'")
			if failed := w.hides(t, a, b, test.query); failed != nil {
				t.Errorf("%s: %v", test.query, failed)
			}
		}
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t), w.raw(t)
		for _, query := range []string{"SELECT @@session .last_insert_id", "SELECT 0 + @@session. `last_insert_id`", "SELECT 0 + @@local/**/.identity"} {
			b.exec(t, "SET last_insert_id = 77")
			b.want(t, "SELECT LAST_INSERT_ID() + 0", "77")
			a.want(t, query, "0")
		}
	})
}
