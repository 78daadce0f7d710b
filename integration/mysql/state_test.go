package mysql

import (
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sluicedb/sluice/protocol/mywire"
)

func TestPooling51UseAndInitDB(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.connect(t), w.connect(t)
		exec(t, a, "USE other")
		for range 3 {
			want(t, a, "SELECT DATABASE()", "other")
			want(t, b, "SELECT DATABASE()", "orders")
		}
		if _, err := a.ExecContext(t.Context(), "USE nothing_there"); code(err) != 1049 {
			t.Errorf("USE of a missing database: %v", err)
		}
		want(t, a, "SELECT DATABASE()", "other")
		raw := w.raw(t)
		raw.send(t, 0x02, "nothing_there")
		if e := raw.expectError(t); e.Code != 1049 {
			t.Errorf("COM_INIT_DB of a missing database: %v", e)
		}
		raw.send(t, 0x02, "other")
		raw.expectOK(t)
		want(t, b, "SELECT DATABASE()", "orders")
		if got := raw.value(t, "SELECT DATABASE()"); got != "other" {
			t.Errorf("schema after COM_INIT_DB: %q", got)
		}
	})
}

func TestPooling55Autocommit(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.connect(t), w.connect(t)
		exec(t, b, "CREATE TABLE IF NOT EXISTS autocommitted (id int)")
		exec(t, b, "DELETE FROM autocommitted")
		exec(t, a, "SET autocommit=0")
		for range 3 {
			exec(t, a, "INSERT INTO autocommitted VALUES (1)")
			exec(t, a, "ROLLBACK")
			want(t, b, "SELECT @@autocommit", "1")
			want(t, b, "SELECT COUNT(*) FROM autocommitted", "0")
			want(t, a, "SELECT @@autocommit", "0")
			exec(t, b, "INSERT INTO autocommitted VALUES (2)")
			exec(t, b, "DELETE FROM autocommitted")
		}
		before := w.db.Counts().ParamSets
		for range 10 {
			want(t, a, "SELECT 1", "1")
			exec(t, a, "COMMIT")
		}
		if sets := w.db.Counts().ParamSets - before; sets > 1 {
			t.Errorf("%d times settings were put in force for one client", sets)
		}
	})
}

// TestPooling55MetadataLocks: with autocommit off no lock of a table outlasts the transaction of its client,
// also where the server's status shows none.
func TestPooling55MetadataLocks(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, other := w.raw(t), s.direct(t, "orders")
		for name, engine := range map[string]string{"named": "InnoDB", "named_plain": "MyISAM"} {
			other.exec(t, "DROP TABLE IF EXISTS "+name)
			other.exec(t, "CREATE TABLE "+name+" (id int) ENGINE="+engine)
		}
		other.exec(t, "SET lock_wait_timeout = 60")
		a.exec(t, "SET autocommit = 0")
		for _, query := range []string{
			"SELECT * FROM named_plain", "SELECT nothing FROM named", "SELECT * FROM named LIMIT 0", "EXPLAIN SELECT * FROM named_plain",
			"INSERT INTO named_plain VALUES (1)", "SELECT * FROM named",
		} {
			a.send(t, mywire.ComQuery, query)
			_, _, _ = a.rows(t, mywire.ComQuery) // one of them fails
			a.exec(t, "COMMIT")
			other.exec(t, "ALTER TABLE named COMMENT = 'x', ALGORITHM = COPY")
			other.exec(t, "ALTER TABLE named_plain COMMENT = 'x', ALGORITHM = COPY")
		}
		a.want(t, "SELECT @@autocommit", "0")
	})
}

func TestPooling55Savepoint(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(2))
		a := w.connect(t)
		exec(t, a, "SET autocommit=0")
		exec(t, a, "SAVEPOINT s")
		exec(t, a, "ROLLBACK TO SAVEPOINT s")
		exec(t, a, "ROLLBACK")
	})
}

func TestPooling56Deadlock(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(2))
		a, b := w.connect(t), w.connect(t)
		exec(t, a, "CREATE TABLE IF NOT EXISTS deadlocked (id int primary key, n int)")
		exec(t, a, "REPLACE INTO deadlocked VALUES (1, 0), (2, 0)")
		exec(t, a, "BEGIN")
		exec(t, b, "BEGIN")
		exec(t, a, "UPDATE deadlocked SET n = n + 1 WHERE id = 1")
		exec(t, b, "UPDATE deadlocked SET n = n + 1 WHERE id = 2")
		var wg sync.WaitGroup
		errs := make([]error, 2)
		wg.Go(func() { _, errs[0] = a.ExecContext(t.Context(), "UPDATE deadlocked SET n = n + 1 WHERE id = 2") })
		wg.Go(func() { _, errs[1] = b.ExecContext(t.Context(), "UPDATE deadlocked SET n = n + 1 WHERE id = 1") })
		wg.Wait()
		victim, other := a, b
		if errs[0] == nil {
			victim, other = b, a
		}
		if code(errs[0])+code(errs[1]) != 1213 {
			t.Fatalf("deadlock: %v, %v", errs[0], errs[1])
		}
		exec(t, victim, "INSERT INTO deadlocked VALUES (3, 0) ON DUPLICATE KEY UPDATE n = 1") // of no transaction
		exec(t, victim, "ROLLBACK")
		exec(t, other, "ROLLBACK")
		want(t, a, "SELECT COUNT(*) FROM deadlocked", "3")
		want(t, b, "SELECT SUM(n) FROM deadlocked WHERE id < 3", "0")
		exec(t, a, "DELETE FROM deadlocked")
	})
}

func TestPooling57OneShotIsolation(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(3))
		a, b := w.connect(t), w.connect(t)
		exec(t, a, "CREATE TABLE IF NOT EXISTS isolated (id int)")
		exec(t, a, "DELETE FROM isolated")
		sees := func(begin ...string) string {
			for _, sql := range begin {
				exec(t, a, sql)
			}
			exec(t, a, "BEGIN")
			defer exec(t, a, "COMMIT")
			value(t, a, "SELECT COUNT(*) FROM isolated")
			exec(t, b, "INSERT INTO isolated VALUES (1)")
			n := value(t, a, "SELECT COUNT(*) FROM isolated")
			exec(t, b, "DELETE FROM isolated")
			return n
		}
		for range 3 {
			if n := sees("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"); n != "1" {
				t.Errorf("the transaction behind SET TRANSACTION is not read committed: %s", n)
			}
			if n := sees(); n != "0" {
				t.Errorf("the one behind that is: %s", n)
			}
		}
		if n := w.db.Stats().Pinned; n != 0 {
			t.Errorf("%d pinned", n)
		}
	})
}

func TestPooling58LastInsertID(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(2))
		setup := w.connect(t)
		exec(t, setup, "DROP TABLE IF EXISTS numbered, refers")
		exec(t, setup, "CREATE TABLE numbered (id int primary key auto_increment, v text)")
		exec(t, setup, "CREATE TABLE refers (id int, v text)")
		var wg sync.WaitGroup
		for i := range 50 {
			c := w.connect(t)
			wg.Go(func() {
				for j := range 5 {
					v := fmt.Sprint(i, " ", j)
					res, err := c.ExecContext(t.Context(), "INSERT INTO numbered (v) VALUES ('"+v+"')")
					if err != nil {
						t.Errorf("insert: %v", err)
						return
					}
					id, _ := res.LastInsertId()
					want(t, c, "SELECT LAST_INSERT_ID()", fmt.Sprint(id))
					exec(t, c, "INSERT INTO refers VALUES (LAST_INSERT_ID(), '"+v+"')")
					exec(t, c, "INSERT INTO refers VALUES (LAST_INSERT_ID(), ?)", v)
					want(t, c, "SELECT LAST_INSERT_ID() + 0", fmt.Sprint(id))
				}
			})
		}
		wg.Wait()
		want(t, setup, "SELECT COUNT(*) FROM numbered JOIN refers USING (id, v)", "500")
		want(t, setup, "SELECT LAST_INSERT_ID(77)", "77")
		value(t, w.connect(t), "SELECT LAST_INSERT_ID(78)")
		want(t, setup, "SELECT LAST_INSERT_ID()", "77")
		want(t, setup, "SELECT LAST_INSERT_ID() + 0", "77")
	})
}

func TestPooling58Warnings(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.connect(t), w.connect(t)
		warnings := func(c *sql.Conn, q string) (text string) {
			rows, err := c.QueryContext(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var level, message string
				var code int
				if err := rows.Scan(&level, &code, &message); err != nil {
					t.Fatal(err)
				}
				text += fmt.Sprintf("%s %d ", level, code)
			}
			return text
		}
		for range 3 {
			value(t, a, "SELECT 1/0")
			if got := warnings(b, "SHOW WARNINGS"); got != "" {
				t.Errorf("warnings of another client: %s", got)
			}
			if got := warnings(a, "SHOW WARNINGS"); got != "Warning 1365 " {
				t.Errorf("SHOW WARNINGS: %s", got)
			}
			if _, err := a.ExecContext(t.Context(), "SELECT nothing"); code(err) != 1054 {
				t.Errorf("%v", err)
			}
			if got := warnings(a, "SHOW ERRORS"); got != "Error 1054 " {
				t.Errorf("SHOW ERRORS: %s", got)
			}
			want(t, a, "SHOW COUNT(*) WARNINGS", "1")
			value(t, a, "SELECT 1")
			if got := warnings(a, "SHOW WARNINGS"); got != "" {
				t.Errorf("old warnings: %s", got)
			}
		}
		exec(t, a, "CREATE TABLE IF NOT EXISTS row_counted (id int)")
		exec(t, a, "DELETE FROM row_counted")
		exec(t, a, "INSERT INTO row_counted VALUES (1), (2), (3)")
		want(t, a, "SELECT ROW_COUNT()", "3")
		value(t, a, "SELECT SQL_CALC_FOUND_ROWS id FROM row_counted LIMIT 1")
		value(t, b, "SELECT 1")
		want(t, a, "SELECT FOUND_ROWS()", "3")
	})
}

func TestPooling59Pins(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1), func(c *mysqlConfig) { c.MaxPinned = 1 })
		pinned := func(reason string) { // which is known a moment after the reply
			t.Helper()
			waitFor(t, func() bool { return w.db.Counts().PinnedBy[reason] == 1 })
		}
		free := func() {
			t.Helper()
			waitFor(t, func() bool { return w.db.Stats().Pinned == 0 })
		}
		a, b := w.raw(t), w.raw(t)
		a.exec(t, "SET @x = 5")
		pinned("user_variable")
		b.want(t, "SELECT @x", "")
		a.want(t, "SELECT @x", "5")
		a.reset(t)
		free()
		a.want(t, "SELECT @x", "")

		a.exec(t, "CREATE TEMPORARY TABLE temporary1 (id int)")
		pinned("temporary_table")
		a.exec(t, "INSERT INTO temporary1 VALUES (1)")
		b.fails(t, "SELECT * FROM temporary1", 1146)
		a.want(t, "SELECT * FROM temporary1", "1")
		a.exec(t, "DROP TABLE temporary1")
		free()

		a.want(t, "SELECT GET_LOCK('l1', 1)", "1")
		pinned("user_lock")
		a.want(t, "SELECT GET_LOCK('l1', 1)", "1")
		b.want(t, "SELECT GET_LOCK('l1', 0)", "0")
		a.want(t, "SELECT RELEASE_LOCK('l1')", "1")
		pinned("user_lock")
		a.want(t, "SELECT RELEASE_LOCK('l1')", "1")
		free()

		a.exec(t, "CREATE TABLE IF NOT EXISTS locked (id int)")
		a.exec(t, "LOCK TABLES locked WRITE")
		pinned("lock_tables")
		a.exec(t, "UNLOCK TABLES")
		free()

		a.exec(t, "PREPARE p FROM 'SELECT 3'")
		pinned("prepare")
		a.want(t, "EXECUTE p", "3")
		a.exec(t, "DEALLOCATE PREPARE p")
		free()

		a.exec(t, "DROP PROCEDURE IF EXISTS unseen")
		a.exec(t, "CREATE PROCEDURE unseen() SET @unseen = 4")
		a.exec(t, "CALL unseen()")
		pinned("unknown")
		a.want(t, "SELECT @unseen", "4")
		b.want(t, "SELECT @unseen", "")
		a.Close()
		c := w.raw(t)
		c.want(t, "SELECT GET_LOCK('l2', 1)", "1")
		c.Close()
		waitFor(t, func() bool { return b.value(t, "SELECT COALESCE(IS_USED_LOCK('l2'), 0)") == "0" })
		waitFor(t, func() bool { return w.db.Stats().Pinned == 0 })
	})
}

// TestPooling59Null: a variable that is NULL, or DEFAULT, is that on every origin connection.
func TestPooling59Null(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t), w.raw(t)
		for _, set := range []string{
			"character_set_results = NULL", "default_tmp_storage_engine = NULL", "enforce_storage_engine = NULL", "innodb_ft_user_stopword_table = NULL", "innodb_tmpdir = NULL",
			"external_table_storage_engine = NULL", "system_versioning_asof = DEFAULT",
		} {
			a.send(t, mywire.ComQuery, "SET "+set)
			if _, _, failed := a.rows(t, mywire.ComQuery); failed != nil {
				continue // a variable of the other server
			}
			b.want(t, "SELECT 1", "1")
			a.want(t, "SELECT 1", "1")
		}
	})
}

// TestPooling52Versions: a statement reads the version of a table that its client wants.
func TestPooling52Versions(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		if s.name == "mysql" { // which has no such tables
			return
		}
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t), w.raw(t)
		a.exec(t, "DROP TABLE IF EXISTS versions")
		a.exec(t, "CREATE TABLE versions (id int) WITH SYSTEM VERSIONING")
		a.exec(t, "INSERT INTO versions VALUES (1)")
		a.exec(t, "SET system_versioning_asof = '2020-01-01 00:00:00'")
		ids := map[*raw]uint32{}
		for _, r := range []*raw{a, b} {
			ids[r], _ = r.prepare(t, "SELECT COUNT(*) FROM versions")
		}
		for range 2 {
			for r, want := range map[*raw]int64{a: 0, b: 1} {
				rows, _, failed := r.execute(t, ids[r], 0, false)
				if n := number(t, rows, failed); n != want {
					t.Errorf("%d rows, want %d", n, want)
				}
			}
		}
		a.exec(t, "SET system_versioning_asof = DEFAULT")
		b.want(t, "SELECT COUNT(*) FROM versions", "1")
		a.want(t, "SELECT COUNT(*) FROM versions", "1")
	})
}

func TestPooling59Settings(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t), w.raw(t)
		defaults := map[string]string{}
		names := []string{"time_zone", "sql_mode", "group_concat_max_len", "character_set_client", "character_set_results", "collation_connection", "foreign_key_checks",
			"sql_select_limit", "lc_time_names", "long_query_time", "wait_timeout"}
		for _, name := range names {
			defaults[name] = b.value(t, "SELECT @@session."+name)
		}
		for _, set := range []struct{ sql, name, want string }{
			{"SET time_zone = '+03:00'", "time_zone", "+03:00"},
			{"SET sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')", "sql_mode", ""},
			{"SET SESSION group_concat_max_len = 123456", "group_concat_max_len", "123456"},
			{"SET NAMES latin1", "character_set_client", "latin1"},
			{"SET character_set_results = NULL", "character_set_results", ""},
			{"SET foreign_key_checks = 0", "foreign_key_checks", "0"},
			{"SET lc_time_names = 'de_DE'", "lc_time_names", "de_DE"},
			{"SET long_query_time = 0.5", "long_query_time", "0.500000"},
			{"SET @@session.wait_timeout = 1234", "wait_timeout", "1234"},
			{"SET sql_select_limit = 17", "sql_select_limit", "17"},
		} {
			a.exec(t, set.sql)
			for _, name := range names {
				b.want(t, "SELECT @@session."+name, defaults[name])
			}
			got := a.value(t, "SELECT @@session."+set.name)
			if set.want != "" && got != set.want || set.want == "" && set.name == "sql_mode" && !strings.Contains(got, "ANSI_QUOTES") {
				t.Errorf("%s: %s is %q", set.sql, set.name, got)
			}
		}
		a.want(t, "SELECT @@time_zone", "+03:00")
		for reason, n := range w.db.Counts().PinnedBy {
			if n > 0 {
				t.Errorf("pinned by %s", reason)
			}
		}
		a.reset(t)
		for _, name := range names {
			if name != "collation_connection" { // TestPooling59ResetCharset
				a.want(t, "SELECT @@session."+name, defaults[name])
			}
		}
	})
}
