package mysql

import (
	"strings"
	"testing"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// TestPooling52Context: a statement means what it meant when it was prepared, wherever
// it is executed, and whoever shares it.
func TestPooling52Context(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(2))
		a, b, c := w.raw(t), w.raw(t), w.raw(t)
		for _, schema := range []string{"orders", otherDatabase} {
			a.exec(t, "CREATE TABLE IF NOT EXISTS "+schema+".context (id bigint)")
			a.exec(t, "DELETE FROM "+schema+".context")
		}
		a.exec(t, "INSERT INTO orders.context VALUES (1)")
		a.exec(t, "INSERT INTO "+otherDatabase+".context VALUES (2)")
		ids := map[*raw]uint32{}
		for _, r := range []*raw{a, b} {
			ids[r], _ = r.prepare(t, "SELECT id FROM context")
		}
		a.exec(t, "USE "+otherDatabase)
		check := func() {
			for _, r := range []*raw{a, b} {
				rows, _, failed := r.execute(t, ids[r], 0, false)
				if n := number(t, rows, failed); n != 1 {
					t.Errorf("the statement reads another schema: %d", n)
				}
			}
			a.want(t, "SELECT id FROM context", "2")
			b.want(t, "SELECT id FROM context", "1")
		}
		check()
		c.exec(t, "SET @x = 1") // takes one of the two connections
		check()
	})
}

func TestPooling51SchemaGone(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t), w.raw(t)
		a.exec(t, "CREATE DATABASE IF NOT EXISTS gone")
		a.exec(t, "CREATE TABLE IF NOT EXISTS orders.kept (id int)")
		for i := range 2 {
			a.exec(t, "USE gone")
			b.want(t, "SELECT DATABASE()", "orders")
			if i == 0 {
				a.exec(t, "DROP DATABASE gone")
			} else {
				b.exec(t, "DROP DATABASE gone")
			}
			b.want(t, "SELECT DATABASE()", "orders")
			a.fails(t, "DELETE FROM kept", 1046)
			a.fails(t, "DELETE FROM kept", 1046)
			a.exec(t, "CREATE DATABASE gone")
			a.exec(t, "USE gone")
			a.want(t, "SELECT DATABASE()", "gone")
		}
		a.exec(t, "DROP DATABASE gone")
	})
}

// TestPooling52SchemaGone: a statement whose schema is gone fails, and its client goes on as it was.
func TestPooling52SchemaGone(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(2))
		a, b := w.raw(t), w.raw(t)
		for _, query := range []string{"CREATE DATABASE IF NOT EXISTS gone", "USE gone", "SET sql_mode = 'ANSI_QUOTES'", "CREATE TABLE context (id bigint)"} {
			a.exec(t, query)
		}
		id, _ := a.prepare(t, "SELECT id FROM context")
		a.exec(t, "USE "+otherDatabase)
		a.exec(t, "SET sql_mode = 'NO_BACKSLASH_ESCAPES'")
		b.exec(t, "DROP DATABASE gone")
		b.exec(t, "SET @x = 1") // takes the connection where it is prepared
		for range 2 {
			if _, _, failed := a.execute(t, id, 0, false); failed == nil || failed.Code != mywire.CodeBadDB {
				t.Errorf("%v", failed)
			}
			a.exec(t, "BEGIN")
			if _, _, failed := a.execute(t, id, 0, false); failed == nil || failed.Code != mywire.CodeBadDB {
				t.Errorf("in a transaction: %v", failed)
			}
			a.want(t, "SELECT DATABASE()", otherDatabase)
			a.want(t, "SELECT @@sql_mode", "NO_BACKSLASH_ESCAPES")
			a.exec(t, "COMMIT")
		}
	})
}

// TestPooling52Signal: a stored function that says what a server says of a statement that is to be prepared again
// runs once.
func TestPooling52Signal(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a := w.raw(t)
		if s.name == "mysql" {
			a.exec(t, "SET GLOBAL log_bin_trust_function_creators = 1")
		}
		a.exec(t, "DROP FUNCTION IF EXISTS counts")
		a.exec(t, "CREATE FUNCTION counts() RETURNS int BEGIN SET @counted = COALESCE(@counted, 0) + 1; SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1615; RETURN 1; END")
		a.exec(t, "SET @counted = 0")
		id, _ := a.prepare(t, "SELECT counts()")
		if _, _, failed := a.execute(t, id, 0, false); failed == nil || failed.Code != mywire.CodeNeedReprepare {
			t.Errorf("%v", failed)
		}
		a.want(t, "SELECT @counted", "1")
	})
}

// TestPooling51Failed: what a text has chosen before it failed is its client's alone.
func TestPooling51Failed(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		for _, text := range []string{"USE other; SELECT nothing", "USE other; SELECT 1; SELECT nothing", "USE other; SELECT 1, (SELECT 1 UNION SELECT 2)", "SELECT 1; USE other; SELEC",
			"USE other; SELECT 1; SELECT 2", "USE other; CALL orders.telling()", "USE other; CALL orders.failing()"} {
			w := newWorld(t, s, maxConns(1))
			a, b := w.raw(t, mywire.CapMultiStatements), w.raw(t)
			b.exec(t, "DROP PROCEDURE IF EXISTS failing")
			b.exec(t, "CREATE PROCEDURE failing() BEGIN SELECT 1; SIGNAL SQLSTATE '45000'; END")
			b.exec(t, "DROP PROCEDURE IF EXISTS telling")
			b.exec(t, "CREATE PROCEDURE telling() BEGIN SELECT 1; END")
			a.send(t, mywire.ComQuery, text)
			_, _, _ = a.rows(t, mywire.ComQuery)
			a.want(t, "SELECT DATABASE()", "other")
			b.exec(t, "DO 1")
			b.want(t, "SELECT DATABASE()", "orders")
			a.want(t, "SELECT DATABASE()", "other")
			a.Close()
			b.exec(t, "DO 1")
			b.want(t, "SELECT DATABASE()", "orders")
			b.Close()
			w.stop()
		}
	})
}

func TestPooling59Collation(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t), w.raw(t)
		a.exec(t, "SET NAMES utf8mb4 COLLATE utf8mb4_bin")
		b.exec(t, "SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci")
		for range 2 {
			a.want(t, "SELECT @@collation_connection", "utf8mb4_bin")
			b.want(t, "SELECT @@collation_connection", "utf8mb4_unicode_ci")
			a.want(t, "SELECT 'a' = 'A'", "0")
			b.want(t, "SELECT 'a' = 'A'", "1")
		}
		b.exec(t, "SET NAMES latin1")
		a.want(t, "SELECT @@character_set_connection", "utf8mb4")
		b.want(t, "SELECT @@character_set_connection", "latin1")
		b.want(t, "SELECT @@collation_connection", "latin1_swedish_ci")
	})
}

func TestPooling58ExplicitID(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t), w.raw(t)
		a.exec(t, "DROP TABLE IF EXISTS explicit")
		a.exec(t, "CREATE TABLE explicit (id bigint primary key auto_increment)")
		a.exec(t, "DROP PROCEDURE IF EXISTS nothing_at_all")
		a.exec(t, "CREATE PROCEDURE nothing_at_all() BEGIN END")
		a.want(t, "SELECT LAST_INSERT_ID() + 0", "0")
		a.exec(t, "INSERT INTO explicit VALUES ()")
		a.want(t, "SELECT LAST_INSERT_ID()", "1")
		b.exec(t, "INSERT INTO explicit VALUES (NULL)")
		a.exec(t, "INSERT INTO explicit VALUES (42)")
		a.want(t, "SELECT LAST_INSERT_ID()", "1")
		a.want(t, "SELECT LAST_INSERT_ID() + 0", "1")
		b.want(t, "SELECT LAST_INSERT_ID() + 0", "2")
		a.exec(t, "BEGIN")
		a.exec(t, "INSERT INTO explicit VALUES (50)")
		a.want(t, "SELECT LAST_INSERT_ID()", "1")
		a.exec(t, "ROLLBACK")
		b.exec(t, "CALL nothing_at_all()")
		b.want(t, "SELECT LAST_INSERT_ID()", "2")
		a.want(t, "SELECT LAST_INSERT_ID()", "1")
	})
}

func TestPooling59Failed(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t, mywire.CapMultiStatements), w.raw(t)
		a.fails(t, "SELECT @secret := 5, (SELECT 1 UNION SELECT 2)", 1242)
		b.want(t, "SELECT @secret", "")
		a.exec(t, "DROP PROCEDURE IF EXISTS hides")
		a.exec(t, "CREATE PROCEDURE hides() BEGIN SET @hidden = 6; SET SESSION max_join_size = 9999; CREATE TEMPORARY TABLE hidden (id int); END")
		a.exec(t, "CALL hides()")
		a.want(t, "SELECT @hidden", "6")
		b.want(t, "SELECT @hidden", "")
		b.fails(t, "SELECT * FROM hidden", 1146)
		a.want(t, "SELECT COUNT(*) FROM hidden", "0")
		a.reset(t)

		a.exec(t, "CREATE TEMPORARY TABLE again (id int)")
		a.send(t, mywire.ComQuery, "DROP TEMPORARY TABLE IF EXISTS again; CREATE TEMPORARY TABLE again (n int)")
		if _, _, failed := a.rows(t, mywire.ComQuery); failed != nil {
			t.Error(failed)
		}
		a.want(t, "SELECT COUNT(n) FROM again", "0")
		a.want(t, "SELECT GET_LOCK('held', 1)", "1")
		a.want(t, `SELECT 'x\'; DO RELEASE_ALL_LOCKS(); DROP TABLE again; -- '`, "x'; DO RELEASE_ALL_LOCKS(); DROP TABLE again; -- ")
		if v := b.value(t, "SELECT IS_USED_LOCK('held')"); v == "" {
			t.Error("a lock is gone because of what a string said")
		}
		a.reset(t)
		a.fails(t, "SELECT 1; KILL 5", 1235)
		a.send(t, mywire.ComStmtPrepare, "KILL 5")
		if e := a.expectError(t); e.Code != 1235 {
			t.Errorf("KILL prepared: %v", e)
		}
		a.send(t, mywire.ComQuery, "COMMIT RELEASE")
		a.expectOK(t)
		if _, err := a.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("behind COMMIT RELEASE: %v", err)
		}
		b.want(t, "SELECT 1", "1")
	})
}

// TestPooling53LeftBehind: parameters that were sent ahead are nobody's where their
// execution is refused.
func TestPooling53LeftBehind(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t), w.raw(t)
		id, _ := a.prepare(t, "SELECT CONCAT(?, LENGTH(?))")
		head := "\x00\x01\x00\x00\x00\x00"
		types := "\x01\xfc\x00\xfc\x00"
		a.send(t, mywire.ComStmtExecute, id32(id)+head+types+"\x01a\x01b")
		if _, _, failed := a.rows(t, mywire.ComStmtExecute); failed != nil {
			t.Fatal(failed)
		}
		b.exec(t, "SET @x = 1") // another origin connection from here on
		a.send(t, mywire.ComStmtSendLongData, id32(id)+"\x00\x00secret")
		long := string(mywire.AppendLenencString(nil, strings.Repeat("x", 30_000)))
		a.send(t, mywire.ComStmtExecute, id32(id)+head+"\x00"+long)
		if _, _, failed := a.rows(t, mywire.ComStmtExecute); failed != nil && failed.Code != mywire.CodeNetPacketTooLarge {
			t.Error(failed)
		}
		b.reset(t)
		idB, _ := b.prepare(t, "SELECT CONCAT(?, LENGTH(?))")
		for range 2 {
			b.send(t, mywire.ComStmtExecute, id32(idB)+head+types+"\x01a\x01b")
			rows, _, failed := b.rows(t, mywire.ComStmtExecute)
			if failed != nil || strings.Contains(string(rows[0]), "secret") {
				t.Errorf("%q, %v", rows, failed)
			}
		}
		a.want(t, "SELECT 1", "1")
	})
}

func TestPooling54OptionInTransaction(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a := w.raw(t)
		a.exec(t, "BEGIN")
		value := a.value(t, "SELECT COUNT(*) FROM information_schema.schemata")
		a.send(t, mywire.ComSetOption, "\x00\x00")
		a.packet(t)
		a.send(t, mywire.ComQuery, "SELECT 1; SELECT 2")
		if rows, _, failed := a.rows(t, mywire.ComQuery); failed != nil || len(rows) != 2 {
			t.Errorf("%q, %v", rows, failed)
		}
		a.send(t, mywire.ComSetOption, "\x01\x00")
		a.packet(t)
		a.fails(t, "SELECT 1; SELECT 2", 1064)
		a.want(t, "SELECT COUNT(*) FROM information_schema.schemata", value)
		a.exec(t, "ROLLBACK")
	})
}

func TestPooling58PreparedFunctions(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t), w.raw(t)
		a.exec(t, "CREATE TABLE IF NOT EXISTS functions (id int)")
		a.exec(t, "DELETE FROM functions")
		rowCount, _ := a.prepare(t, "SELECT ROW_COUNT()")
		foundRows, _ := a.prepare(t, "SELECT FOUND_ROWS() AS n")
		connectionID, _ := a.prepare(t, "SELECT CONNECTION_ID()")
		a.exec(t, "INSERT INTO functions VALUES (1), (2), (3)")
		b.exec(t, "INSERT INTO functions VALUES (4)")
		rows, _, failed := a.execute(t, rowCount, 0, false)
		if n := number(t, rows, failed); n != 3 {
			t.Errorf("ROW_COUNT(): %d", n)
		}
		a.value(t, "SELECT SQL_CALC_FOUND_ROWS id FROM functions LIMIT 1")
		b.value(t, "SELECT id FROM functions LIMIT 1")
		rows, _, failed = a.execute(t, foundRows, 0, false)
		if n := number(t, rows, failed); n != 4 {
			t.Errorf("FOUND_ROWS(): %d", n)
		}
		rows, _, failed = a.execute(t, connectionID, 0, false)
		if n := number(t, rows, failed); n != int64(number32(t, a.value(t, "SELECT CONNECTION_ID()"))) {
			t.Errorf("CONNECTION_ID(): %d", n)
		}
	})
}

// TestPooling59Profiles: what a client has run is nobody else's to see.
func TestPooling59Profiles(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t), w.raw(t)
		a.exec(t, "SET profiling = 1")
		a.want(t, "SELECT 'secret'", "secret")
		a.reset(t)
		b.send(t, mywire.ComQuery, "SHOW PROFILES")
		if rows, _, failed := b.rows(t, mywire.ComQuery); failed != nil || len(rows) != 0 {
			t.Errorf("%q, %v", rows, failed)
		}
	})
}
