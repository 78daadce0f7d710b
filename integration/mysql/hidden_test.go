package mysql

import (
	"strings"
	"testing"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// script runs statements one by one, and compares what they return with what is behind =>. a and b are
// the clients of a script, each of whose lines begins with the name of one.
func script(t *testing.T, a, b *raw, lines ...string) {
	t.Helper()
	for _, line := range lines {
		r := a
		who, query, _ := strings.Cut(line, ": ")
		if who == "b" {
			r = b
		}
		if query == "reset" {
			r.reset(t)
			continue
		}
		query, want, is := strings.Cut(query, " => ")
		r.send(t, mywire.ComQuery, query)
		rows, _, failed := r.rows(t, mywire.ComQuery)
		got := ""
		if len(rows) > 0 && rows[0][0] != 0xfb {
			v, _, err := mywire.LenencString(rows[0])
			if err != nil {
				t.Fatal(err)
			}
			got = string(v)
		}
		switch {
		case is && want == "error":
			if failed == nil {
				t.Errorf("%.100s: no error", line)
			}
		case failed != nil:
			t.Errorf("%.100s: %v", line, failed)
		case is && got != want:
			t.Errorf("%.100s: got %q", line, got)
		}
	}
}

// TestPooling59Hidden: what a statement leaves is nobody else's, wherever it says so.
func TestPooling59Hidden(t *testing.T) {
	pad := strings.Repeat("x", 40_000)
	onBoth(t, func(t *testing.T, s server) {
		setup := newWorld(t, s).raw(t)
		if s.name == "mysql" {
			setup.exec(t, "SET GLOBAL log_bin_trust_function_creators = 1")
		}
		setup.exec(t, "CREATE TABLE IF NOT EXISTS hiding (id int)")
		setup.exec(t, "INSERT INTO hiding VALUES (1)")
		for _, f := range []string{
			"hides_into() RETURNS int DETERMINISTIC BEGIN SELECT 'secret' INTO @hidden; RETURN 1; END",
			"hides_sets() RETURNS int DETERMINISTIC BEGIN DECLARE x text; SELECT @hidden := 'secret' INTO x; RETURN 1; END",
			"hides_lock() RETURNS int DETERMINISTIC RETURN GET_LOCK('hidden', 0)",
		} {
			name, _, _ := strings.Cut(f, "(")
			setup.exec(t, "DROP FUNCTION IF EXISTS "+name)
			setup.exec(t, "CREATE FUNCTION "+f)
		}
		for _, query := range []string{
			"SELECT hides_into()", "SELECT hides_sets()", "SELECT hides_lock()", "SELECT `orders`.`hides_into` ()", "SELECT orders.hides_into()",
			"INSERT INTO hiding SELECT hides_sets()", "INSERT INTO hiding (id) VALUES (hides_into())", "SET sql_big_selects = hides_into()",
			"SELECT `get_lock`('hidden', 0)", "SHOW TABLES WHERE GET_LOCK('hidden', 0) = 1", "SHOW VARIABLES WHERE variable_name = (@hidden := 'secret')",
			"SELECT /*!99999 ' */ 1 /*!50000 , @hidden := 'secret' */ /*!99999 ' */", "SELECT /*!99999 # */ 1 /*!50000 , @hidden := 'secret' */",
			"SELECT 1 /*!99999 /* */ ' */ , @hidden := 'secret' -- '",
			"INSERT INTO hiding SELECT LENGTH('" + pad + "') + (@hidden := 5)",
			"SELECT 'secret' FROM hiding WHERE id < LENGTH('" + pad + "') LIMIT 1 INTO @hidden",
			"SELECT id FROM hiding WHERE id < LENGTH('" + pad + "') OR (@hidden := 'secret') IS NULL",
			"DROP PROCEDURE IF EXISTS hides; CREATE PROCEDURE hides() SELECT 1; SELECT @hidden := 'secret'",
			"SET character_set_database = latin1", "SET @@session.collation_database = latin1_bin", "SET character_set_database = utf16",
		} {
			w := newWorld(t, s, maxConns(1))
			a, b := w.raw(t), w.raw(t)
			if strings.Contains(query, ";") {
				a = w.raw(t, mywire.CapMultiStatements)
			}
			w.hides(t, a, b, query) // one of them is not for both servers
		}
	})
}

// hides runs a query of a's, checks that b finds nothing of what it leaves, neither beside a nor behind it, and ends all
// three. What the query failed with is returned.
func (w *world) hides(t *testing.T, a, b *raw, query string) *mywire.Error {
	t.Helper()
	collation := b.value(t, "SELECT @@collation_database")
	a.send(t, mywire.ComQuery, query)
	_, _, failed := a.rows(t, mywire.ComQuery)
	for range 2 {
		for check, want := range map[string]string{
			"SELECT COALESCE(@hidden, '')":                                 "",
			"SELECT COALESCE(IS_USED_LOCK('hidden') = CONNECTION_ID(), 0)": "0",
			"SELECT @@collation_database":                                  collation,
		} {
			if got := b.value(t, check); got != want {
				t.Errorf("behind %.80s: %s is %q", query, check, got)
			}
		}
		a.Close()
		waitFor(t, func() bool { return w.db.Stats().Pinned == 0 })
	}
	b.Close() // who is welcome for a second
	w.stop()
	return failed
}

// TestPooling59Charset: what a statement leaves is nobody else's, however the session's character set has
// the server read it.
func TestPooling59Charset(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		for _, queries := range [][]string{
			{"SELECT 1 --\x7f '\n, @hidden := 'secret' -- '"},
			{"SET NAMES latin1", "SELECT 1 --\xa0'\n, @hidden := 0x41 -- '"},
			{"SET NAMES cp850", "SELECT 1 --\xff'\n, @hidden := 0x41 -- '"},
			{"SET NAMES cp852", "SELECT 'secret' INTO\xff@hidden"},
			{"SET NAMES gbk", "SELECT 1 AS \x81`, @hidden := 0x41 -- `"},
			{"SET NAMES sjis", "SELECT 1 AS \x81`, @hidden := 0x41 -- `"},
			{"SET NAMES gbk", "SELECT 1 AS \x81`, @hidden := 0x41; SET NAMES utf8mb4; SELECT 1 -- `"},
		} {
			w := newWorld(t, s, maxConns(1))
			a, b := w.raw(t, mywire.CapMultiStatements), w.raw(t)
			for _, query := range queries {
				a.send(t, mywire.ComQuery, query)
				if _, _, failed := a.rows(t, mywire.ComQuery); failed != nil {
					t.Errorf("%q: %v", query, failed)
				}
			}
			if got := b.value(t, "SELECT @hidden"); got != "" {
				t.Errorf("behind %q: %q", queries, got)
			}
			a.Close()
			b.Close() // who is welcome for a second
			w.stop()
		}
	})
}

// TestPooling59Role: a role is nobody else's, whoever has taken it.
func TestPooling59Role(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t), w.raw(t)
		script(t, a, b, "a: DROP ROLE IF EXISTS elevated", "a: CREATE ROLE elevated", "a: GRANT elevated TO CURRENT_USER",
			"a: DROP PROCEDURE IF EXISTS elevates", "a: CREATE PROCEDURE elevates() SET ROLE elevated")
		none := b.value(t, "SELECT CURRENT_ROLE()")
		for _, query := range []string{"SET ROLE elevated", "CALL elevates()"} {
			a.exec(t, query)
			b.want(t, "SELECT CURRENT_ROLE()", none)
			a.reset(t)
			a.want(t, "SELECT CURRENT_ROLE()", none)
			b.want(t, "SELECT CURRENT_ROLE()", none)
		}
		a.exec(t, "DROP ROLE elevated")
	})
}

// TestPooling59Kept: what a client has made is there until it is gone, in whatever way it
// was named.
func TestPooling59Kept(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		setup := newWorld(t, s).raw(t)
		setup.exec(t, "DROP TABLE IF EXISTS keeping")
		setup.exec(t, "CREATE TABLE keeping (id int primary key auto_increment, v int)")
		for name, lines := range map[string][]string{
			"id set by SET":     {"a: INSERT INTO keeping (v) VALUES (1)", "a: SET last_insert_id = 77", "b: SELECT 1", "a: SELECT LAST_INSERT_ID() => 77", "a: SELECT LAST_INSERT_ID() + 0 => 77"},
			"id set by another": {"a: SET @@identity = 78", "b: SELECT LAST_INSERT_ID(5)", "a: SELECT @@identity => 78"},
			"PREPARE of INTO":   {"a: PREPARE p FROM 'SELECT 5 INTO @c'", "a: EXECUTE p", "a: DEALLOCATE PREPARE p", "b: SELECT COALESCE(@c, 0) => 0", "a: SELECT @c => 5"},
			"ANSI quotes":       {"a: SET sql_mode = 'ANSI_QUOTES'", `a: CREATE TEMPORARY TABLE "kept" (id int)`, "b: SELECT 1", `a: SELECT COUNT(*) FROM "kept" => 0`},
			"ANSI lock":         {"a: SET sql_mode = 'ANSI_QUOTES'", `a: FLUSH TABLES "keeping" WITH READ LOCK`, "b: SELECT 1", "a: INSERT INTO keeping (v) VALUES (1) => error"},
			"two schemas": {"a: USE other", "a: CREATE TEMPORARY TABLE kept (id int)", "a: USE orders", "a: CREATE TEMPORARY TABLE kept (id int)", "a: DROP TABLE kept",
				"b: SELECT 1", "a: SELECT COUNT(*) FROM other.kept => 0"},
			"another name": {"a: CREATE TEMPORARY TABLE kept (id int)", "a: ALTER TABLE kept RENAME TO renamed", "a: CREATE TEMPORARY TABLE kept (id int)", "a: DROP TABLE kept",
				"b: SELECT 1", "a: SELECT COUNT(*) FROM renamed => 0"},
			"name of a lock": {"a: SELECT GET_LOCK('\u00e9', 0) => 1", "b: SELECT GET_LOCK('\u00e9', 0) => 0", "a: SELECT RELEASE_LOCK('\u00e9') => 1"},
			"XA that failed": {"a: XA START 'x1'; INSERT INTO keeping (v) VALUES (1); SELECT nothing; XA END 'x1'; XA COMMIT 'x1' ONE PHASE => error", "a: XA END 'x1'", "a: XA ROLLBACK 'x1'", "b: SELECT 1"},
			"second XA":      {"a: XA START 'x2'", "a: XA END 'x2'", "a: XA ROLLBACK 'x2'; XA START 'x3'", "a: XA END 'x3'", "a: XA ROLLBACK 'x3'", "b: SELECT 1"},
			"savepoint":      {"a: SET autocommit = 0", "a: SAVEPOINT a", "a: COMMIT; SAVEPOINT b", "a: ROLLBACK TO b", "a: ROLLBACK", "b: SELECT 1"},
			"savepoint left": {"a: SET autocommit = 0", "a: SAVEPOINT a; SELECT nothing; COMMIT => error", "a: ROLLBACK TO a", "a: ROLLBACK", "b: SELECT 1"},
		} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t, s, maxConns(1))
				a, b := w.raw(t, mywire.CapMultiStatements), w.raw(t)
				script(t, a, b, lines...)
				a.Close()
				b.Close()
			})
		}
	})
}
