package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/mysql"
	"github.com/sluicedb/sluice/proxy/query"
)

// newCached is newWorld with a cache, whose catalog is known.
func newCached(t testing.TB, s server, changes ...func(*mysql.Config)) *world {
	t.Helper()
	c := cache.New(cache.Config{MaxBytes: 256 << 20, NoJitter: true})
	t.Cleanup(c.Close)
	changes = append([]func(*mysql.Config){func(cfg *mysql.Config) {
		cfg.Cache, cfg.Caching = c, cache.Policy{MaxAge: time.Hour} // longer than any test
	}}, changes...)
	return newWorld(t, s, changes...)
}

// known waits until the catalog is, as it is after what the test has done to it.
func (w *world) known(t testing.TB, table string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		e := w.db.Results().Explain(ctx, "SELECT * FROM "+table)
		if e.Status == query.StatusMiss {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("SELECT * FROM %s: %v: %s", table, e.Status, e.Reason)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *world) status(s query.Status) uint64 { return w.db.Results().Counts().Statuses[s] }

// hits runs f and returns how many statements were answered from the cache meanwhile.
func (w *world) hits(f func()) uint64 {
	before := w.status(query.StatusHit)
	f()
	return w.status(query.StatusHit) - before
}

// table makes a table with some rows, for one test.
func (w *world) table(t testing.TB, c *sql.Conn, name, columns string, rows ...string) {
	t.Helper()
	exec(t, c, "DROP TABLE IF EXISTS "+name)
	exec(t, c, "CREATE TABLE "+name+" ("+columns+")")
	t.Cleanup(func() { _, _ = c.ExecContext(context.Background(), "DROP TABLE IF EXISTS "+name) })
	for _, row := range rows {
		exec(t, c, "INSERT INTO "+name+" VALUES "+row)
	}
	w.known(t, name)
}

func TestCache35Capabilities(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newCached(t, s)
		a := w.connect(t)
		w.table(t, a, "cache35", "id INT PRIMARY KEY, b LONGTEXT", "(1,'one'),(2,NULL),(3,'three')")
		exec(t, a, "INSERT INTO cache35 SELECT 10+i.n, 'many' FROM (WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM i WHERE n < 400) SELECT n FROM i) i")
		exec(t, a, "CREATE TABLE cache35long (b LONGTEXT)")
		defer exec(t, a, "DROP TABLE cache35long")
		exec(t, a, "INSERT INTO cache35long VALUES (REPEAT('x', 17000000))")
		w.known(t, "cache35long")
		for _, test := range []struct {
			name, text string
			rows       int
		}{
			{"few", "SELECT id, b FROM cache35 WHERE id < 3", 2},
			{"none", "SELECT id, b FROM cache35 WHERE id < 0", 0},
			{"more than numbers", "SELECT id, b FROM cache35 ORDER BY id", 403},
			{"a row of 17 MB", "SELECT b FROM cache35long", 1},
		} {
			t.Run(test.name, func(t *testing.T) {
				var first [][]byte
				for i, caps := range []mywire.Capabilities{0, 0, mywire.CapDeprecateEOF, 0} {
					r := w.raw(t, caps)
					var rows [][]byte
					hit := w.hits(func() {
						r.send(t, mywire.ComQuery, test.text)
						rows, _, _ = r.rows(t, mywire.ComQuery)
					})
					if len(rows) != test.rows {
						t.Fatalf("%d rows, want %d", len(rows), test.rows)
					}
					if i == 0 {
						first = rows
					}
					for k := range rows {
						if string(rows[k]) != string(first[k]) {
							t.Errorf("row %d is another", k)
						}
					}
					// What is large is stored when it is asked for twice.
					if least := min(i-1, 1); int(hit) < least || i == 0 && hit > 0 {
						t.Errorf("client %d: %d hits", i, hit)
					}
					r.send(t, mywire.ComQuery, "SELECT 1")
					if rows, _, _ := r.rows(t, mywire.ComQuery); len(rows) != 1 {
						t.Error("the connection is out of step")
					}
				}
			})
		}
		// Text and binary are two results.
		b := w.connect(t)
		for i := range 3 {
			binary := w.hits(func() { want(t, b, "SELECT id FROM cache35 WHERE id = ?", "2", 2) })
			text := w.hits(func() { want(t, b, "SELECT id FROM cache35 WHERE id = 2", "2") })
			if want := uint64(min(i, 1)); binary != want || text != want {
				t.Errorf("time %d: %d hits in binary, %d in text, want %d", i, binary, text, want)
			}
		}
	})
}

func TestCache36Refused(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newCached(t, s)
		a := w.connect(t)
		w.table(t, a, "cache36", "id INT PRIMARY KEY, b TEXT", "(1,'one')")
		for text, status := range map[string]query.Status{
			"SELECT /*!90000 NOW(), */ id FROM cache36":                  query.StatusUncacheable,
			"SELECT /*M! NOW(), */ id FROM cache36":                      query.StatusUncacheable,
			"SELECT @a, id FROM cache36":                                 query.StatusVolatile,
			"SELECT @@session.sql_mode, id FROM cache36":                 query.StatusVolatile,
			"SELECT SQL_CALC_FOUND_ROWS id FROM cache36":                 query.StatusUncacheable,
			"SELECT LAST_INSERT_ID(), id FROM cache36":                   query.StatusVolatile,
			"SELECT GET_LOCK('a', 0), id FROM cache36":                   query.StatusVolatile,
			"SELECT NOW(), id FROM cache36":                              query.StatusVolatile,
			"SELECT RAND(), id FROM cache36":                             query.StatusVolatile,
			"SELECT id FROM cache36 FOR UPDATE":                          query.StatusUncacheable,
			"SELECT id FROM cache36 LOCK IN SHARE MODE":                  query.StatusUncacheable,
			"SELECT SQL_NO_CACHE id FROM cache36":                        query.StatusDisabled,
			"SELECT TABLE_NAME FROM information_schema.TABLES WHERE 1=0": query.StatusUncacheable,
			"SELECT 1": query.StatusUncacheable,
			"SELECT id FROM cache36 WHERE \\N IS NULL":                             query.StatusUncacheable,
			"SELECT id, CURRENT_USER FROM cache36":                                 query.StatusVolatile,
			"SHOW TABLES":                                                          query.StatusNotAQuery,
			"SELECT id FROM cache36 WHERE b > UTC_DATE":                            query.StatusVolatile,
			"SELECT id FROM cache36 PROCEDURE ANALYSE()":                           query.StatusParseError,
			"SELECT UUID() FROM cache36":                                           query.StatusVolatile,
			"SELECT SLEEP(0) FROM cache36":                                         query.StatusVolatile,
			"SELECT id FROM cache36 UNION SELECT CONNECTION_ID()":                  query.StatusVolatile,
			"SELECT id FROM (SELECT id, FOUND_ROWS() AS n FROM cache36) x":         query.StatusVolatile,
			"WITH c AS (SELECT id FROM cache36 WHERE id > RAND()) SELECT * FROM c": query.StatusVolatile,
		} {
			refused := w.status(status)
			hit := w.hits(func() {
				for range 3 {
					rows, err := a.QueryContext(t.Context(), text)
					if err == nil {
						rows.Close()
					}
				}
			})
			if hit != 0 || w.status(status) != refused+3 {
				t.Errorf("%s: %d hits, %d times %v", text, hit, w.status(status)-refused, status)
			}
		}
		exec(t, a, "SELECT id FROM cache36 INTO @x")
		if hit := w.hits(func() { want(t, a, "SELECT id FROM cache36", "1"); want(t, a, "SELECT id FROM cache36", "1") }); hit != 0 {
			t.Errorf("a client that is pinned gets %d hits", hit)
		}
		// Tables of the server's own change by themselves, and have namesakes.
		w.table(t, w.connect(t), "processlist", "id INT PRIMARY KEY")
		for _, prepare := range []string{"USE information_schema", "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED", "SET ROLE NONE"} {
			c := w.connect(t)
			exec(t, c, prepare)
			if hit := w.hits(func() {
				value(t, c, "SELECT COUNT(*) FROM processlist")
				value(t, c, "SELECT COUNT(*) FROM processlist")
			}); hit != 0 {
				t.Errorf("%s: %d hits", prepare, hit)
			}
		}
	})
}

func TestCache37NoCrossHit(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newCached(t, s)
		admin := w.connect(t)
		w.table(t, admin, "cache37", "id INT PRIMARY KEY, b VARCHAR(20) CHARACTER SET utf8mb4, at TIMESTAMP NULL", "(1,'\u00e4','2026-01-02 03:04:05')")
		exec(t, admin, "CREATE DATABASE IF NOT EXISTS cache37db")
		defer exec(t, admin, "DROP DATABASE cache37db")
		exec(t, admin, "CREATE TABLE cache37db.cache37 AS SELECT 1 AS id, 'other' AS b, NULL AS at")
		w.known(t, "cache37db.cache37")
		const text = "SELECT b, at, NOT 1 BETWEEN -5 AND 5 FROM cache37"
		plain := w.connect(t)
		read := func(c *sql.Conn) string {
			var b, at, n sql.NullString
			if err := c.QueryRowContext(t.Context(), text).Scan(&b, &at, &n); err != nil {
				t.Fatal(err)
			}
			return b.String + at.String + n.String
		}
		first := read(plain)
		if hit := w.hits(func() {
			if got := read(plain); got != first {
				t.Errorf("a hit is %q, want %q", got, first)
			}
		}); hit != 1 {
			t.Errorf("%d hits of the same session", hit)
		}
		for _, change := range []string{
			"SET NAMES latin1", "SET sql_mode = CONCAT(@@sql_mode, ',HIGH_NOT_PRECEDENCE')", "SET time_zone = '+05:00'", "USE cache37db",
			"SET character_set_results = latin1", "SET sql_select_limit = 0",
		} {
			c := w.connect(t)
			exec(t, c, change)
			direct := connectDSN(t, fmt.Sprintf("root@unix(%s)/%s?parseTime=true", s.socket, harness.MySQLDatabase))
			exec(t, direct, change)
			if hit := w.hits(func() {
				if strings.Contains(change, "select_limit") {
					return // no row
				}
				if got, want := read(c), read(direct); got != want {
					t.Errorf("%s: %q, want %q", change, got, want)
				}
			}); hit != 0 {
				t.Errorf("%s: a hit of another session's", change)
			}
		}
		// A statement means what it meant where it was prepared, whatever the schema of now.
		moved, stays := w.connect(t), w.connect(t)
		const own = "SELECT b FROM cache37 WHERE id = ?"
		here, err := moved.PrepareContext(t.Context(), own)
		if err != nil {
			t.Fatal(err)
		}
		defer here.Close()
		exec(t, moved, "USE cache37db")
		exec(t, stays, "USE cache37db")
		for range 2 {
			var b string
			if err := here.QueryRowContext(t.Context(), 1).Scan(&b); err != nil || b != "\u00e4" {
				t.Errorf("prepared before USE: %q, %v", b, err)
			}
			want(t, stays, own, "other", 1)
			want(t, moved, own, "other", 1)
		}
		// Parameters' types are remembered where they are not sent again.
		stmt, err := plain.PrepareContext(t.Context(), "SELECT CONCAT(b, ?) FROM cache37")
		if err != nil {
			t.Fatal(err)
		}
		defer stmt.Close()
		for i, arg := range []any{1, "1", 1, "1"} {
			var got string
			hit := w.hits(func() {
				if err := stmt.QueryRowContext(t.Context(), arg).Scan(&got); err != nil {
					t.Fatal(err)
				}
			})
			if got != "\u00e41" || hit != uint64(i/2) {
				t.Errorf("%v: got %q, %d hits", arg, got, hit)
			}
		}
	})
}

func TestCache38LastPacket(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newCached(t, s)
		a := w.connect(t)
		w.table(t, a, "cache38", "id INT PRIMARY KEY", "(1)")
		for _, caps := range []mywire.Capabilities{0, mywire.CapDeprecateEOF} {
			r := w.raw(t, caps)
			for range 2 {
				r.send(t, mywire.ComQuery, "SELECT id FROM cache38")
				rows, status, failed := r.rows(t, mywire.ComQuery)
				if len(rows) != 1 || failed != nil || status&^(mywire.StatusNoIndex|mywire.StatusNoGoodIndex) != mywire.StatusAutocommit {
					t.Errorf("%d rows, status %x, %v", len(rows), status, failed)
				}
			}
		}
		if w.status(query.StatusHit) < 3 {
			t.Errorf("%d hits", w.status(query.StatusHit))
		}
		_, err := a.ExecContext(t.Context(), "SELECT nothing FROM cache38")
		if err == nil {
			t.Fatal("no error")
		}
		want(t, a, "SELECT id FROM cache38", "1")
		want(t, a, "SELECT FOUND_ROWS()", "1")
		want(t, a, "SELECT id FROM cache38", "1")
		want(t, a, "SELECT ROW_COUNT()", "-1")
		want(t, a, "SELECT id FROM cache38", "1")
		rows, err := a.QueryContext(t.Context(), "SHOW WARNINGS")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		if rows.Next() {
			t.Error("there are warnings after a hit")
		}
	})
}

// Writes through the proxy are seen at once: one's own, others', in transactions, and
// whatever they go by.
func TestCache39Writes(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newCached(t, s)
		a, b := w.connect(t), w.connect(t)
		w.table(t, a, "cache39", "id INT PRIMARY KEY, n INT", "(1,0)")
		w.table(t, a, "cache39child", "id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES cache39 (id) ON DELETE CASCADE", "(1,1)")
		w.table(t, a, "cache39log", "n INT", "(0)")
		exec(t, a, "CREATE TRIGGER cache39t AFTER UPDATE ON cache39 FOR EACH ROW UPDATE cache39log SET n = NEW.n")
		exec(t, a, "CREATE PROCEDURE cache39p(v INT) UPDATE cache39 SET n = v")
		defer exec(t, a, "DROP PROCEDURE cache39p")
		w.known(t, "cache39")
		const sum = "SELECT n FROM cache39 WHERE id = 1"
		expect := func(n int) {
			t.Helper()
			for _, c := range []*sql.Conn{a, b} {
				want(t, c, sum, fmt.Sprint(n))
				want(t, c, "SELECT n FROM cache39log", fmt.Sprint(n))
			}
		}
		steps := []func(n int){
			func(n int) { exec(t, a, fmt.Sprintf("UPDATE cache39 SET n = %d", n)) },
			func(n int) { exec(t, a, "UPDATE cache39 SET n = ? WHERE id = ?", n, 1) },
			func(n int) { exec(t, a, "CALL cache39p(?)", n) },
			func(n int) {
				exec(t, a, "BEGIN")
				exec(t, a, "UPDATE cache39 SET n = ?", n)
				want(t, a, sum, fmt.Sprint(n))
				want(t, b, sum, fmt.Sprint(n-1))
				exec(t, a, "COMMIT")
			},
			func(n int) {
				exec(t, a, "SET autocommit = 0")
				exec(t, a, "UPDATE cache39 SET n = ?", n)
				exec(t, a, "COMMIT")
				exec(t, a, "SET autocommit = 1")
			},
			func(n int) {
				exec(t, a, fmt.Sprintf("PREPARE p FROM 'UPDATE cache39 SET n = %d'", n))
				exec(t, a, "EXECUTE p")
				exec(t, a, "DEALLOCATE PREPARE p")
			},
			func(n int) {
				exec(t, a, fmt.Sprintf("INSERT INTO cache39 (id, n) VALUES (1, %d) ON DUPLICATE KEY UPDATE n = VALUES(n)", n))
			},
		}
		if s.name == "mariadb" {
			steps = append(steps, func(n int) {
				exec(t, a, fmt.Sprintf("SET STATEMENT max_statement_time = 20 FOR UPDATE cache39 SET n = %d", n))
			})
		}
		n := 0
		for range 3 {
			for _, step := range steps {
				n++
				step(n)
				expect(n)
			}
		}
		want(t, b, "SELECT COUNT(*) FROM cache39child", "1")
		want(t, b, "SELECT COUNT(*) FROM cache39child", "1")
		exec(t, a, "DELETE FROM cache39 WHERE id = 1")
		want(t, b, "SELECT COUNT(*) FROM cache39child", "0")
		exec(t, a, "ALTER TABLE cache39log ADD m INT DEFAULT 7")
		var rows int
		r, err := b.QueryContext(t.Context(), "SELECT * FROM cache39log")
		if err != nil {
			t.Fatal(err)
		}
		if columns, _ := r.Columns(); len(columns) != 2 {
			t.Errorf("%d columns after ALTER TABLE", len(columns))
		}
		for r.Next() {
			rows++
		}
		r.Close()
		if w.status(query.StatusHit) == 0 {
			t.Error("nothing was answered from the cache")
		}
	})
}
