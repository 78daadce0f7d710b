package mysql

import (
	"slices"
	"testing"
)

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		sql  string
		want traits
	}{
		{"SELECT 1", 0},
		{"select * from t where a = '@x := get_lock()'", moves},
		{"SELECT @x", 0},
		{"SELECT @x := 1", assignsVars},
		{"SELECT a INTO @x FROM t", assignsVars | moves},
		{"SET @x = 1", assignsVars},
		{"SET sql_mode = @x", 0},
		{"SET sql_mode = '', @x = 2", assignsVars},
		{"SET @@session.sql_mode = ''", 0},
		{"SET TRANSACTION READ ONLY", oneShot},
		{"SET SESSION TRANSACTION READ ONLY", 0},
		{"SET @@transaction_isolation = 'SERIALIZABLE'", oneShot},
		{"SET @@session.transaction_isolation = 'SERIALIZABLE'", 0},
		{"set session_track_schema = off", unmovable},
		{"SET ROLE admin", unmovable | staysSet},
		{"CALL p(@a, 1)", assignsVars | setsLastID | calls | foreign},
		{"create /* x */ temporary table a (b int)", makesTemps | changesTables},
		{"DROP TABLE IF EXISTS `a`, b.c", dropsTables | changesTables},
		{"CREATE DEFINER=`a`@`b` PROCEDURE p() BEGIN SELECT GET_LOCK('a', 1); COMMIT; END", changesTables | foreign},
		{"select GET_LOCK('a', 1), release_lock('b')", takesLocks | freesLocks},
		{"select get_lock(@x, 1)", takesLocks | unmovable},
		{"DO RELEASE_ALL_LOCKS()", freesAllLocks},
		{"LOCK TABLES a WRITE", locksTables},
		{"FLUSH TABLES WITH READ LOCK", locksTables},
		{"FLUSH TABLES", 0},
		{"UNLOCK TABLES", unlocksTables},
		{"PREPARE s FROM 'select 1'", prepares},
		{"DEALLOCATE PREPARE s", deallocates},
		{"DROP PREPARE s", deallocates},
		{"XA START 'a'", beginsXA},
		{"XA COMMIT 'a'", endsXA},
		{"BEGIN", begins},
		{"START TRANSACTION; INSERT INTO t VALUES (LAST_INSERT_ID()); COMMIT", begins | moves | readsLastID | ends | several},
		{"ROLLBACK TO SAVEPOINT a", 0},
		{"SELECT LAST_INSERT_ID(5)", readsLastID | setsLastID},
		{"SELECT @@identity", readsLastID},
		{"show warnings", diagnostics},
		{"SELECT SQL_CALC_FOUND_ROWS * FROM t", countsRows | moves},
		{"LOAD DATA LOCAL INFILE 'x' INTO TABLE t", loadsLocal},
		{"LOAD DATA INFILE 'x' INTO TABLE t (@a) SET b = @a", assignsVars | foreign},
		{"/*!50000 SET @x = 1 */", assignsVars},
		{"/* SET @x = 1 */ -- get_lock\n# get_lock\nselect 1", 0},
		{"KILL 5", kills},
		{`select 'a\' , get_lock("b", 1) , 'c'`, takesLocks | foreign},
		{"HANDLER t OPEN", unmovable},
		{"DROP PROCEDURE IF EXISTS p; LOCK TABLES t WRITE", changesTables | locksTables | several},
		{"SET STATEMENT max_statement_time=1 FOR LOCK TABLES t WRITE", locksTables | calls},
		{"SET SESSION `session_track_schema` = 0", unmovable},
		{"SET @@session.`session_track_schema` = 0", unmovable},
		{"/*!99999 ' */ SELECT GET_LOCK('x', 9) -- '", takesLocks | foreign},
		{`SELECT 'it\'s', "a\", GET_LOCK('x', 9), "b\"`, takesLocks | foreign},
		{`INSERT INTO c VALUES ('x\'; DO RELEASE_ALL_LOCKS(); UNLOCK TABLES; -- ')`, moves | several},
		{"SELECT 1; KILL 5", several | kills},
		{"PREPARE s FROM 'KILL 5'", prepares | kills},
		{"COMMIT RELEASE", ends | releases},
		{"LOCK\xa0TABLES t WRITE", locksTables | foreign},
		{"SELECT 'voil\xc3\xa0' FROM t", moves},
		{"SELECT PREVIOUS VALUE FOR s", unmovable},
		{"COMMIT AND CHAIN NO RELEASE", ends},
		{"SELECT GET_LOCK('it''s', 1)", takesLocks | unmovable},
		{"(SELECT 1)", 0},
		{"SELECT COUNT(*), MAX(a) FROM t WHERE b IN (1) GROUP BY CONCAT(a, b) HAVING (SUM(c)) > 1", moves},
		{"INSERT INTO d.t (a, b) VALUES (1, NOW()) ON DUPLICATE KEY UPDATE a = VALUES(a)", moves},
		{"INSERT IGNORE `t`(a) SELECT f (1)", moves | foreign},
		{"INSERT INTO t SELECT d.concat(1)", moves | foreign},
		{"SELECT `f`()", foreign},
		{"SELECT `get_lock`('a', 1)", takesLocks},
		{"SELECT GET_LOCK('\xc3\xa9', 1)", takesLocks | unmovable},
		{"SHOW VARIABLES WHERE f(@a := 1) = GET_LOCK('a', 1)", assignsVars | takesLocks | foreign},
		{"SELECT /*!99999 ' */ 1 /*!50000 , @a := 1 */ /*!99999 ' */", foreign},
		{"SELECT /*!99999 # */ 1 /*!50000 , @a := 1 */", foreign},
		{"SELECT 1 /*!99999 /* */ ' */ , @a := 1 -- '", foreign},
		{"SELECT /*! STRAIGHT_JOIN */ 'a' FROM t", moves},
		{"CREATE PROCEDURE p() SELECT 1; SELECT @a := 1", changesTables | foreign},
		{"BEGIN NOT ATOMIC XA START 'a'; END", begins | foreign | several},
		{"IF 1 THEN SET TRANSACTION READ ONLY; END IF", foreign | several},
		{"SET character_set_database = latin1", unmovable},
		{"SET @@session.collation_database = latin1_bin", unmovable},
		{"SET last_insert_id = 5", setsLastID},
		{"SET sql_mode = f()", foreign},
		{"FLUSH TABLES \"a\" WITH READ LOCK", locksTables},
		{"LOCK INSTANCE FOR BACKUP", unmovable},
		{"UNLOCK INSTANCE", 0},
		{"PREPARE s FROM 'SELECT 1 INTO @a'", prepares | unmovable},
		{"XA COMMIT 'a'; XA START 'b'", beginsXA | several},
		{"XA START 'a'; XA COMMIT 'a'", beginsXA | endsXA | several},
		{"COMMIT; SAVEPOINT a", savepoints | several},
		{"RELEASE SAVEPOINT a", 0},
		{"ALTER TABLE a RENAME TO b", changesTables | renames},
		{"RENAME TABLE a TO b", changesTables | renames},
		{"SELECT '\x95\\', 'it\\'s'", oddBytes},
		{"SELECT 1 AS \x81`, @a := 1 -- `", oddBytes},
		{"SELECT 1 AS caf\xc3\xa9, `\xc3\xa9t\xc3\xa9` FROM t", moves | oddBytes},
		{"SELECT 'x' INTO\xff@a", oddBytes},
		{"SELECT 1--\xc3\xa9", oddBytes},
		{"SELECT 1 --\xa0'\n, @a := 1 -- '", assignsVars | oddBytes},
		{"SELECT 1 --\x7f '\n, @a := 1 -- '", assignsVars | foreign},
		{"SELECT 1 --\x01 '\n, @a := 1 -- '", assignsVars},
		{"CREATE FUNCTION f() RETURNS INT LANGUAGE JAVASCRIPT AS $$ ' $$; SELECT @a := 1 -- '", changesTables | foreign},
		{"SELECT a$, b$c FROM t", moves},
		{"BEGIN `p`; END", begins | foreign | several},
		{"BEGIN;", begins},
		{"SELECT @@session .identity, @@x", readsLastID},
		{"SELECT @@session. /* a */ `last_insert_id`", readsLastID},
		{"SELECT @@local\n. \"warning_count\"", diagnostics},
		{"SELECT @@session", 0},
		{"SELECT @@session.", 0},
		{"SELECT @@session . , @a := 1", assignsVars},
		{"SELECT @@", 0},
		{"SET @@session .session_track_schema = 0", unmovable},
		{"SET @@session . transaction_isolation = 'SERIALIZABLE'", 0},
		{`SET "session_track_schema" = 0`, unmovable},
		{`SET a = "get_lock" ('b', 1)`, takesLocks},
		{"SET a = 'b', session_track_schema = 0", unmovable},
		{"SELECT 1 AS [a'], @a := 1, 2 AS [b']", foreign},
	} {
		if got := judge([]byte(test.sql)).traits &^ (setsOnly | schemaless | inserts); got != test.want {
			t.Errorf("judge(%q) = %b, want %b", test.sql, got, test.want)
		}
	}
}

// TestJudgeInserts: what may change LAST_INSERT_ID() is an INSERT, whatever it is called.
func TestJudgeInserts(t *testing.T) {
	for sql, want := range map[string]bool{
		"INSERT t VALUES ()": true, "/* a */ (replace INTO t SET a = 1)": true, "LOAD DATA LOCAL INFILE 'a' INTO TABLE t": true,
		"CREATE TABLE t (id int AUTO_INCREMENT KEY) SELECT 1 AS a": true, "ANALYZE INSERT t VALUES ()": true, "SELECT 1; INSERT t VALUES ()": true,
		"SELECT 1": false, "DO 1": false, "UPDATE t SET a = 1": false, "DROP TABLE t": false,
	} {
		if got := judge([]byte(sql)).traits&inserts != 0; got != want {
			t.Errorf("%s: %t", sql, got)
		}
	}
}

func TestJudgeNames(t *testing.T) {
	j := judge([]byte("CREATE TEMPORARY TABLE IF NOT EXISTS d.`a b` (x int); DROP TEMPORARY TABLE c, `d`; SELECT GET_LOCK('l', 1); PREPARE S FROM 'x'"))
	if !slices.Equal(j.made, []string{"d.a b"}) || !slices.Equal(j.dropped, []string{"c", "d"}) ||
		!slices.Equal(j.taken, []string{"l"}) || !slices.Equal(j.prepared, []string{"s"}) {
		t.Errorf("names: %+v", j)
	}
}

func FuzzJudge(f *testing.F) {
	f.Add([]byte("SET @x = 1, NAMES utf8; select 'a\\' /*! get_lock( */"))
	f.Fuzz(func(t *testing.T, sql []byte) { judge(sql) })
}

// TestOwnLabel: what the proxy answers by itself bears the name that the server would give it.
func TestOwnLabel(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT @@identity": "@@identity", "SELECT @@session . last_insert_id ;": "@@session . last_insert_id", "select /* a */ @@`identity` /* b */": "@@`identity`",
		"SELECT last_insert_id( )": "last_insert_id( )", "SELECT ROW_COUNT() n": "n",
	} {
		if what, label := bareFunction([]byte(sql)); what == 0 || label != want {
			t.Errorf("%s: %d, %q", sql, what, label)
		}
	}
}
