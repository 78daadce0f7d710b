package query

import "testing"

func TestCommand(t *testing.T) {
	for _, tt := range []struct {
		sql  string
		own  Own
		name string
	}{
		{"DISCARD ALL", DiscardAll, ""},
		{" discard /* x */ all ; ", DiscardAll, ""},
		{"-- c\nDiscard All;", DiscardAll, ""},
		{"DISCARD TEMP", NotOwn, ""},
		{"DISCARD ALL; SELECT 1", NotOwn, ""},
		{"DEALLOCATE ALL", DeallocateAll, ""},
		{"DEALLOCATE PREPARE ALL", DeallocateAll, ""},
		{"deallocate pdo_stmt_00000001", Deallocate, "pdo_stmt_00000001"},
		{"DEALLOCATE PREPARE Foo;", Deallocate, "foo"},
		{`DEALLOCATE "F""oo"`, Deallocate, `F"oo`},
		{"DEALLOCATE prepare", Deallocate, "prepare"},
		{"DEALLOCATE", NotOwn, ""},
		{"DEALLOCATE a b", NotOwn, ""},
		{"DELETE FROM t", NotOwn, ""},
		{"", NotOwn, ""},
		{";", NotOwn, ""},
	} {
		if own, name := Command([]byte(tt.sql)); own != tt.own || name != tt.name {
			t.Errorf("Command(%q) = %v, %q; want %v, %q", tt.sql, own, name, tt.own, tt.name)
		}
	}
}

func TestScan(t *testing.T) {
	for _, tt := range []struct {
		sql  string
		want Session
	}{
		{"SELECT 1", Clean},
		{"SELECT abalance FROM pgbench_accounts WHERE aid = 7", Clean},
		{"UPDATE t SET a = coalesce(b, now()) WHERE id IN (1, 2)", Clean},
		{"INSERT INTO t (a, b) VALUES (1, 'set_config(x)')", Clean},
		{`INSERT INTO "s"."t" (a) VALUES (f(1))`, Dirty},
		{`INSERT INTO s.t(a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = excluded.a`, Clean},
		{"INSERT INTO t SELECT f(1)", Dirty},
		{"WITH x(a) AS (SELECT 1) SELECT * FROM x", Clean},
		{"WITH x AS (SELECT f(1)) SELECT * FROM x", Dirty},
		{"SELECT 1 AS a, f(2)", Dirty},
		{"COPY t (a, b) FROM STDIN", Clean},
		{"SELECT set_config('a.b', 'x', false)", Sets},
		{"SELECT E''\n'\\'', set_config('role','x',false)--'", Sets},
		{"SELECT pg_advisory_lock(1)", Locks},
		{"SELECT pg_catalog.pg_try_advisory_lock (1)", Locks},
		{"SELECT pg_advisory_xact_lock(1)", Clean},
		{`SELECT "now"()`, Dirty},
		{"SELECT myschema.now()", Dirty},
		{"CREATE TEMP TABLE x AS SELECT 1", Temps},
		{"SELECT 1 INTO TEMPORARY x", Temps},
		{"SELECT * INTO pg_temp.x FROM y", Temps},
		{"DECLARE c CURSOR WITH HOLD FOR SELECT 1", Holds},
		{"SELECT 'pg_advisory_lock(1)'", Clean},
		{"SELECT $$pg_advisory_lock(1)$$", Clean},
		{"SELECT $x$ $$ pg_advisory_lock(1) $x$", Clean},
		{"SELECT E'\\'', f(1)", Dirty},
		{"SELECT 'a\\'", Dirty | Begins},
		{"SELECT /* f( */ 1 -- f(", Clean},
		{"SELECT setseed(0.5)", Spoilt},
		{"begin", Begins}, {"select 1;/* ; */ START transaction", Begins}, {"commit and CHAIN", Begins}, {"select chain, start from begin", Clean},
		{"SELECT nextval('s')", Numbers}, {"select pg_catalog.SETVAL('s', 1)", Numbers},
		{"select lastval()", Asks}, {"SELECT CURRVAL('s'), nextval('s')", Asks | Numbers}, {"select my.lastval()", Dirty},
		{`SELECT 1 INTO "pg_temp".x`, Temps | Dirty},
		{`SELECT 1 INTO "pg_temp_3"."x"`, Temps | Dirty},
		{`SELECT 1 INTO U&"\0070g_temp".x`, Temps | Dirty},
		{`SELECT 1 INTO "x"`, Clean},
		{"SELECT E'\x83\\', f(1), '", Dirty | Begins},
		{"SELECT E'a\\n'", Clean},
		{"SELECT n'a\\'", Dirty | Begins},
		{"SELECT $x$ \x83\\ $x$", Clean},
		{"SELECT ((1))", Clean},
		{"SET a = 1", Sets},
		{"SELECT 1; set a = 1", Sets},
		{"UPDATE t SET a = 1", Clean},
		{"RESET ALL", Sets},
		{"LISTEN x", Listens},
		{"PREPARE x AS SELECT f()", Prepares | Dirty},
		{"EXECUTE x", Dirty},
		{"CREATE TABLE x AS EXECUTE y", Dirty},
		{"DEALLOCATE x", Prepares | Deallocates},
		{"discard all", Deallocates},
		{"CLOSE x", Holds},
		{"SELECT pg_catalog.now()", Clean},
		{"SELECT x.pg_catalog.now()", Clean},
		{"SELECT pg_advisory_unlock(1), f()", Locks | Dirty},
	} {
		if got := Scan([]byte(tt.sql), false); got != tt.want {
			t.Errorf("Scan(%q) = %v, want %v", tt.sql, got, tt.want)
		}
	}
}

func TestCleanTag(t *testing.T) {
	for tag, want := range map[string]bool{
		"SELECT 1": true, "INSERT 0 1": true, "UPDATE 5": true, "BEGIN": true, "COMMIT": true, "ROLLBACK": true,
		"START TRANSACTION": true, "COPY 5": true, "SET": true, "RESET": true, "PREPARE": true, "LISTEN": true,
		"DECLARE CURSOR": true, "DISCARD ALL": false, "DO": false, "CALL": false, "CREATE TABLE": false, "LOAD": false,
		"SET CONSTRAINTS": true, "PREPARE TRANSACTION": true, "ROLLBACK PREPARED": true, "DROP TABLE": false,
	} {
		if got := CleanTag([]byte(tag)); got != want {
			t.Errorf("CleanTag(%q) = %v, want %v", tag, got, want)
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, s := range []string{"SELECT 1", "E'\\", "$a$ x $a", "/* /* */", `"a""b`, "DEALLOCATE \"", "U&'x'", "'", "$", "1.5e(", "DEALLOCATE PREPARE a;", "SELECT set_config('", "E''\n'\\''", "SET a TO \"", "LISTEN \""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, sql []byte) {
		Scan(sql, len(sql)%2 == 0)
		Command(sql)
		CleanTag(sql)
		Changes(sql, len(sql)%2 == 0)
		Channels(sql)
	})
}

func BenchmarkScan(b *testing.B) {
	sql := []byte("SELECT abalance FROM pgbench_accounts WHERE aid = 1234567")
	b.ReportAllocs()
	for b.Loop() {
		Scan(sql, true)
	}
}
