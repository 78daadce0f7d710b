package verdict

import (
	"strings"
	"testing"

	"github.com/sluicedb/sluice/proxy/query"
)

// testCatalog is of a user who sees all of app, and may only read in far.
func testCatalog(t testing.TB) *Catalog {
	t.Helper()
	rows := make([][][]string, len(SQL))
	rows[Globals] = [][]string{{"8.4.0", "STRICT_TRANS_TABLES", "SYSTEM", "UTC", "0", "1", "0", "en_US", "utf8mb4", "utf8mb4_general_ci", "0", "4", "1024", "1"}}
	for _, name := range []string{"articles", "users", "parent", "child", "loud", "clocks"} {
		rows[Tables] = append(rows[Tables], []string{"app", name, "BASE TABLE", "InnoDB"})
	}
	rows[Tables] = append(rows[Tables], []string{"app", "v", "VIEW", ""}, []string{"app", "remote", "BASE TABLE", "FEDERATED"},
		[]string{"far", "things", "BASE TABLE", "InnoDB"})
	rows[Triggers] = [][]string{{"app", "loud"}}
	rows[Cascades] = [][]string{{"app", "parent"}}
	rows[Columns] = [][]string{{"app", "clocks", "1", "0"}}
	rows[Privileges] = [][]string{{`app`, "TRIGGER"}}
	rows[Functions] = [][]string{{"mine"}, {"soundex"}}
	c, err := NewCatalog(rows)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRead(t *testing.T) {
	s := Source(testCatalog(t))
	for text, want := range map[string]query.Status{
		"SELECT * FROM articles": query.StatusMiss,
		"select a.id, count(*) from articles a join users u using (id) where u.name like 'x%' group by a.id order by 2 desc limit 5": query.StatusMiss,
		"(SELECT id FROM articles) UNION ALL (SELECT id FROM users)":                                                                 query.StatusMiss,
		"WITH c (n) AS (SELECT id FROM articles) SELECT n FROM c":                                                                    query.StatusMiss,
		"WITH RECURSIVE c AS (SELECT 1 AS n UNION ALL SELECT n+1 FROM c WHERE n < 5) SELECT * FROM c, articles":                      query.StatusMiss,
		"SELECT * FROM articles WHERE DATE(published_time) = CURRENT_DATE ORDER BY published_time DESC LIMIT 50":                     query.StatusMiss,
		"SELECT * FROM articles WHERE d = CURDATE() -- today":                                                                        query.StatusMiss,
		"SELECT JSON_EXTRACT(b, '$.a'), b->>'$.b' FROM articles":                                                                     query.StatusMiss,
		"SELECT id FROM articles WHERE id IN (?, ?) AND name = 'it\\'s'":                                                             query.StatusMiss,
		"SELECT RANK() OVER (PARTITION BY a ORDER BY b) FROM articles":                                                               query.StatusMiss,
		"SELECT * FROM app.articles;":                                                                                                query.StatusMiss,
		"SELECT CAST(a AS SIGNED), CASE WHEN b THEN 1 ELSE 2 END, IF(a, b, c), EXTRACT(YEAR FROM d) FROM articles":                   query.StatusMiss,
		"SELECT UNIX_TIMESTAMP(d) FROM articles":                                                                                     query.StatusMiss,
		"SELECT * FROM far.things":                                                                                                   query.StatusMiss,

		"SELECT UNIX_TIMESTAMP() FROM articles":                                    query.StatusVolatile,
		"SELECT NOW() FROM articles":                                               query.StatusVolatile,
		"SELECT CURRENT_TIMESTAMP FROM articles":                                   query.StatusVolatile,
		"SELECT SYSDATE(3) FROM articles":                                          query.StatusVolatile,
		"SELECT @@version FROM articles":                                           query.StatusVolatile,
		"SELECT @x := id FROM articles":                                            query.StatusVolatile,
		"SELECT mine(id) FROM articles":                                            query.StatusUncacheable,
		"SELECT soundex(id) FROM articles":                                         query.StatusUncacheable, // somebody's own by now
		"SELECT `mine`(id) FROM articles":                                          query.StatusUncacheable,
		"SELECT app.mine(id) FROM articles":                                        query.StatusUncacheable,
		"SELECT * FROM v":                                                          query.StatusUncacheable,
		"SELECT * FROM remote":                                                     query.StatusUncacheable,
		"SELECT * FROM nothing":                                                    query.StatusUncacheable,
		"SELECT 1":                                                                 query.StatusUncacheable,
		"SELECT * FROM mysql.user":                                                 query.StatusUncacheable,
		"SELECT * FROM articles FOR UPDATE":                                        query.StatusUncacheable,
		"SELECT * FROM articles FOR SHARE":                                         query.StatusUncacheable,
		"SELECT * FROM articles INTO OUTFILE 'x'":                                  query.StatusUncacheable,
		"SELECT /*!80000 SQL_NO_CACHE */ * FROM articles":                          query.StatusUncacheable,
		"SELECT /*+ SET_VAR(sql_mode='') */ * FROM articles":                       query.StatusUncacheable,
		"SELECT SQL_NO_CACHE * FROM articles":                                      query.StatusDisabled,
		"SELECT /*+ BKA(`a*/, NOW() , '*/`) */ * FROM articles":                    query.StatusUncacheable,
		"SELECT * FROM articles; SELECT 2":                                         query.StatusMultipleStatements,
		"SELECT * FROM articles; DELETE FROM articles":                             query.StatusMultipleStatements,
		"INSERT INTO articles VALUES (1)":                                          query.StatusNotAQuery,
		"EXPLAIN SELECT * FROM articles":                                           query.StatusNotAQuery,
		"SELECT * FROM articles WHERE":                                             query.StatusParseError,
		"WITH c AS (SELECT 1) DELETE FROM articles":                                query.StatusUncacheable,
		"SELECT * FROM articles WHERE a = 'open":                                   query.StatusUncacheable,
		"SELECT NEXTVAL(s) FROM articles":                                          query.StatusUncacheable,
		"SELECT * FROM JSON_TABLE('[]', '$' COLUMNS (a INT PATH '$')) t, articles": query.StatusUncacheable,
	} {
		v := s.Judge(text)
		if v.Status != want && !(want == query.StatusUncacheable && v.Status == query.StatusParseError) {
			t.Errorf("%s: %v (%s), want %v", text, v.Status, v.Reason, want)
		}
		if v.Status == query.StatusMiss && (len(v.Tables) == 0 || !v.Effect.None()) {
			t.Errorf("%s: reads %v, changes %+v", text, v.Tables, v.Effect)
		}
		if strings.Contains(v.Reason, "it's") {
			t.Errorf("%s: the reason has a constant", text)
		}
	}
	for text, want := range map[string]bool{
		"SELECT * FROM articles": false, "SELECT * FROM articles WHERE d = CURRENT_DATE": true, "SELECT curdate() FROM articles": true,
		"SELECT * FROM clocks": true, "SELECT TIME(a) FROM articles": true, "SELECT CAST(a AS TIME) FROM articles": true,
		"SELECT TIME'10:00' FROM articles": true, "SELECT * FROM articles WHERE a = '10:00'": false,
	} {
		if v := s.Judge(text); v.Status != query.StatusMiss || v.Day != want {
			t.Errorf("%s: %v (%s), of the day: %v", text, v.Status, v.Reason, v.Day)
		}
	}
	if v := s.Judge("SELECT * FROM far.things"); len(v.Tables) != 2 || v.Tables[0] != anyTable {
		t.Errorf("a table whose triggers cannot be seen is read as %v", v.Tables)
	}
}

func TestEffect(t *testing.T) {
	c := testCatalog(t)
	for text, want := range map[string]string{
		"INSERT INTO articles VALUES (1, NOW())":                               "articles",
		"INSERT INTO articles (a, b) VALUES (1, 'it\\'s'), (2, \"x\")":         "articles",
		"INSERT INTO articles (a) SELECT id FROM users":                        "articles",
		"INSERT INTO articles SET a = 1 ON DUPLICATE KEY UPDATE a = VALUES(a)": "articles",
		"REPLACE INTO app.articles VALUES (1)":                                 "articles",
		"UPDATE articles SET a = 1 WHERE b IN (SELECT id FROM users)":          "articles",
		"UPDATE articles a JOIN users u ON a.id = u.id SET a.b = u.b":          "articles users",
		"DELETE a FROM articles a JOIN users u ON a.id = u.id":                 "articles users",
		"DELETE FROM articles WHERE id = ?":                                    "articles",
		"WITH c AS (SELECT id FROM users) UPDATE articles, c SET a = 1":        "any", // c is no table
		"WITH c AS (SELECT 1) DELETE FROM articles":                            "articles",
		"INSERT INTO loud VALUES (1)":                                          "any",
		"DELETE FROM parent":                                                   "any",
		"UPDATE v SET a = 1":                                                   "any",
		"UPDATE far.things SET a = 1":                                          "any",
		"INSERT INTO nothing VALUES (1)":                                       "any",
		"INSERT INTO articles VALUES (mine(1))":                                "any",
		"INSERT INTO articles (a) VALUES (articles(1))":                        "any",
		"SELECT mine(1)":   "any",
		"SELECT `mine`(1)": "any",
		"SET @a = mine(1)": "any",
		"CALL p()":         "any ddl",
		"DO mine(1)":       "any",
		"EXECUTE p":        "any ddl",
		"LOAD DATA LOCAL INFILE 'x' INTO TABLE articles": "any",
		"XA COMMIT 'x'": "any",
		"SET STATEMENT max_statement_time = 5 FOR DELETE FROM articles":     "any",
		"set /* x */ statement sql_mode = '' for update articles set a = 1": "any",
		"SET STATEMENT sql_mode = '' FOR ALTER TABLE articles ADD c INT":    "any ddl",
		"SELECT 1 --\x7f '\n; DELETE FROM articles -- '":                    "any",
		"EXPLAIN ANALYZE UPDATE articles SET a = 1":                         "any",
		"INSERT INTO articles VALUES (1); INSERT INTO users VALUES (1)":     "any",
		"INSERT INTO articles VALUES ('open":                                "any",
		"CREATE TABLE t (a INT)":                                            "any ddl",
		"/*!50003 CREATE*/ /*!50017 TRIGGER t*/":                            "any ddl",
		"DROP TABLE articles":                                               "any ddl",
		"CREATE TEMPORARY TABLE t (a INT)":                                  "",
		"CREATE TEMPORARY TABLE IF NOT EXISTS t LIKE articles":              "",
		"CREATE TEMPORARY TABLE t SELECT id FROM articles":                  "",
		"CREATE TEMPORARY TABLE t AS SELECT f(id) FROM articles":            "any ddl",
		"CREATE TEMPORARY TABLE f SELECT f(id) FROM articles":               "any ddl",
		"CREATE TEMPORARY TABLE a.t (a INT DEFAULT (f(1)), KEY (a))":        "any ddl",
		"CREATE TEMPORARY TABLE a.t (a VARCHAR(100), KEY (a))":              "",
		"CREATE /*!99999 TEMPORARY */ TABLE t (a INT)":                      "any ddl",
		"CREATE TABLE temporary (a INT)":                                    "any ddl",
		"CREATE TEMPORARY TABLE t (a INT); CREATE TABLE u (a INT)":          "any ddl",
		"DROP TEMPORARY TABLE IF EXISTS t":                                  "",
		"DROP TEMPORARY TABLE t; DROP TABLE u":                              "any ddl",
		"TRUNCATE articles":                                                 "any ddl",
		"SELECT 1; DROP TABLE articles":                                     "any ddl",
		"RENAME TABLE articles TO b":                                        "any ddl",
		"GRANT ALL ON *.* TO a":                                             "any ddl",
		"SELECT * FROM articles":                                            "",
		"WITH c (a) AS (SELECT 1) SELECT * FROM c":                          "",
		"SELECT a FROM (SELECT id FROM articles) AS x (a)":                  "",
		"SELECT RAND(), GET_LOCK('a', 1), LAST_INSERT_ID()":                 "",
		"SET NAMES utf8mb4":                                                 "", "BEGIN": "", "COMMIT": "", "USE app": "", "SHOW TABLES": "", "EXPLAIN SELECT 1": "", "": "", "/* ping */": "",
		"PREPARE p FROM 'DELETE FROM articles'": "", "LOCK TABLES articles WRITE": "", "(SELECT 1) UNION (SELECT 2)": "",
	} {
		e := Source(c).Judge(text).Effect
		var got []string
		for _, id := range e.Tables {
			if id != anyTable {
				got = append(got, c.byID[id].name)
			}
		}
		if len(e.Tables) > 0 && e.Tables[0] != anyTable {
			t.Errorf("%s: tables that no trigger is seen of are left out", text)
		}
		if e.All {
			got = []string{"any"}
		}
		if e.DDL {
			got = append(got, "ddl")
		}
		sortStrings(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%s: changes %v, want %q", text, got, want)
		}
		if unknown := Source(nil).Judge(text).Effect; want != "" && !unknown.All {
			t.Errorf("%s: without a catalog it changes %+v", text, unknown)
		}
	}
}

func sortStrings(s []string) {
	if len(s) == 2 && s[0] > s[1] {
		s[0], s[1] = s[1], s[0]
	}
}

func TestShape(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT * FROM a WHERE b = 'x' AND c IN (1, 2,3)  /* x */ -- y": "SELECT * FROM a WHERE b = ? AND c IN (?)",
		"SELECT 'it\\'s'": "SELECT ?",
	} {
		if got, ok := shape(text); !ok || got != want {
			t.Errorf("%s: %q, %v", text, got, ok)
		}
	}
	if got, ok := shape("SELECT 'secret"); ok {
		t.Errorf("a shape of an open quote: %q", got)
	}
}

func FuzzJudge(f *testing.F) {
	for _, text := range []string{"SELECT * FROM articles", "INSERT INTO articles VALUES ('a\\'b', 1) -- x", "/*!1 x */ SELECT `a`(1)", "WITH a AS (SELECT 1) SELECT * FROM a", "SELECT '\\"} {
		f.Add(text)
	}
	s := Source(testCatalog(f))
	f.Fuzz(func(t *testing.T, text string) {
		v := s.Judge(text)
		if v.Status == query.StatusMiss && (len(v.Tables) == 0 || !v.Effect.None()) {
			t.Errorf("%q: %+v", text, v)
		}
		if v.Status != query.StatusMiss && v.Reason == "" {
			t.Errorf("%q: no reason for %v", text, v.Status)
		}
		s.Shape(text)
		s.Decided(text)
	})
}
