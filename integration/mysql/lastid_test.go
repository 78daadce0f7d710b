package mysql

import (
	"strings"
	"testing"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/mywire"
)

// first is the first column of the last row that a query returns; "" for none.
func (r *raw) first(t testing.TB, query string) string {
	t.Helper()
	r.send(t, mywire.ComQuery, query)
	rows, _, _ := r.rows(t, mywire.ComQuery)
	if len(rows) == 0 || rows[len(rows)-1][0] == 0xfb {
		return ""
	}
	v, _, err := mywire.LenencString(rows[len(rows)-1])
	if err != nil {
		t.Fatal(err)
	}
	return string(v)
}

// TestPooling58Direct: what LAST_INSERT_ID() is to clients that take turns on one origin
// connection is what it is to clients with a connection each, however a row came by its
// number.
func TestPooling58Direct(t *testing.T) {
	pad := strings.Repeat(" ", 20_000)
	setup := []string{
		"DROP TABLE IF EXISTS by_itself, by_hand, filled", "CREATE TABLE by_itself (id bigint unsigned primary key auto_increment, v int unique)",
		"CREATE TABLE by_hand (id int primary key)", "DROP PROCEDURE IF EXISTS adds", "CREATE PROCEDURE adds() INSERT INTO by_itself VALUES ()",
		"DROP FUNCTION IF EXISTS tells", "CREATE FUNCTION tells() RETURNS bigint READS SQL DATA RETURN LAST_INSERT_ID()",
		"INSERT INTO by_itself (v) VALUES (1), (2), (3)",
	}
	for name, lines := range map[string][]string{
		"explicit first":      {"a: INSERT INTO by_itself VALUES (42, NULL)"},
		"explicit behind":     {"a: INSERT INTO by_itself VALUES ()", "b: INSERT INTO by_itself VALUES ()", "a: INSERT INTO by_itself VALUES (42, NULL)"},
		"of another's number": {"b: INSERT INTO by_itself VALUES ()", "b: DELETE FROM by_itself WHERE v IS NULL", "a: INSERT INTO by_itself VALUES (4, NULL)"},
		"others between":      {"a: INSERT INTO by_itself VALUES (42, NULL)", "b: INSERT INTO by_itself VALUES ()", "b: INSERT INTO by_hand VALUES (1)", "a: INSERT INTO by_hand VALUES (2)"},
		"several":             {"a: INSERT INTO by_itself VALUES (); INSERT INTO by_itself VALUES (42, NULL)", "b: INSERT INTO by_itself VALUES (50, NULL); INSERT INTO by_itself VALUES ()"},
		"several rows":        {"a: INSERT INTO by_itself VALUES (42, NULL), (NULL, NULL), (NULL, NULL)"},
		"in a transaction":    {"a: INSERT INTO by_itself VALUES ()", "b: INSERT INTO by_itself VALUES ()", "a: BEGIN", "a: INSERT INTO by_itself VALUES (42, NULL)", "a: COMMIT"},
		"read inside": {"b: INSERT INTO by_itself VALUES ()", "a: BEGIN", "a: INSERT INTO by_itself VALUES (42, NULL)", "a: SELECT LAST_INSERT_ID() + ROW_COUNT()",
			"a: INSERT INTO by_itself VALUES ()", "a: SELECT LAST_INSERT_ID() + 10 * ROW_COUNT()", "a: ROLLBACK"},
		"without autocommit": {"a: SET autocommit = 0", "a: INSERT INTO by_itself VALUES ()", "a: SELECT LAST_INSERT_ID() + 10 * ROW_COUNT()", "a: INSERT INTO by_itself VALUES (42, NULL)", "a: COMMIT"},
		"kept":               {"a: SET @kept = 1", "b: INSERT INTO by_itself VALUES ()", "a: INSERT INTO by_itself VALUES (42, NULL)", "a: SELECT LAST_INSERT_ID() + 0"},
		"comes to be kept":   {"b: INSERT INTO by_itself VALUES ()", "a: INSERT INTO by_itself SELECT 42, GET_LOCK('kept', 0)", "a: SELECT LAST_INSERT_ID() + 0", "a: DO RELEASE_LOCK('kept')"},
		"comes to be kept, own": {"a: INSERT INTO by_itself VALUES ()", "b: INSERT INTO by_itself VALUES ()", "a: CREATE TEMPORARY TABLE kept (id int primary key auto_increment) SELECT 7 AS v",
			"a: SELECT LAST_INSERT_ID() + 0", "a: INSERT INTO by_itself VALUES (42, NULL)", "a: DROP TEMPORARY TABLE kept"},
		"refused":          {"a: INSERT INTO by_itself VALUES ()", "b: INSERT INTO by_itself VALUES ()", "a: INSERT INTO by_itself (v) VALUES (1)", "a: INSERT INTO by_itself VALUES (1, 1)"},
		"ignored":          {"a: INSERT INTO by_itself VALUES ()", "a: INSERT IGNORE INTO by_itself (v) VALUES (1)"},
		"on duplicate key": {"a: INSERT INTO by_itself (v) VALUES (2) ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id)", "b: INSERT INTO by_itself VALUES ()"},
		"on duplicate row": {"b: INSERT INTO by_itself VALUES ()", "a: INSERT INTO by_itself (v) VALUES (2) ON DUPLICATE KEY UPDATE v = v + 100"},
		"replace":          {"a: REPLACE INTO by_itself VALUES (2, 9)", "b: REPLACE INTO by_itself (v) VALUES (9)"},
		"select":           {"b: INSERT INTO by_itself VALUES ()", "a: INSERT INTO by_itself SELECT id + 40, NULL FROM by_itself WHERE id < 3"},
		"create":           {"a: CREATE TABLE filled (id int primary key auto_increment, v int) SELECT v FROM by_itself", "b: INSERT INTO by_itself VALUES (42, NULL)"},
		"update":           {"a: UPDATE by_itself SET v = 7 WHERE id = LAST_INSERT_ID(3)", "b: INSERT INTO by_itself VALUES (42, NULL)"},
		"call":             {"a: CALL adds()", "b: INSERT INTO by_itself VALUES (42, NULL)"},
		"function":         {"a: INSERT INTO by_itself VALUES ()", "b: INSERT INTO by_itself VALUES ()", "a: SELECT tells()", "a: INSERT INTO by_itself (v) SELECT tells()"},
		"prepared":         {"a: PREPARE p FROM 'INSERT INTO by_itself VALUES ()'", "a: EXECUTE p", "a: DEALLOCATE PREPARE p", "b: INSERT INTO by_itself VALUES (42, NULL)"},
		"long":             {"b: INSERT INTO by_itself VALUES ()", "a: INSERT INTO by_itself VALUES (42," + pad + "NULL)", "b: INSERT INTO by_itself VALUES (NULL," + pad + "NULL)"},
		"set":              {"a: SET last_insert_id = 5", "b: INSERT INTO by_itself VALUES ()", "a: INSERT INTO by_itself VALUES (42, NULL)"},
		"returning":        {"b: INSERT INTO by_itself VALUES ()", "a: INSERT INTO by_itself VALUES () RETURNING v", "b: INSERT INTO by_itself VALUES (42, NULL) RETURNING v"},
		"reset":            {"a: INSERT INTO by_itself VALUES ()", "a: reset", "b: INSERT INTO by_itself VALUES (42, NULL)"},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, s server) {
				w := newWorld(t, s, maxConns(1), func(c *mysqlConfig) { c.MaxPinned = 1 })
				proxied := map[string]*raw{"a": w.raw(t, mywire.CapMultiStatements), "b": w.raw(t, mywire.CapMultiStatements)}
				direct := map[string]*raw{"a": s.direct(t, harness.MySQLDatabase), "b": s.direct(t, harness.MySQLDatabase)}
				var got, want []string
				for _, run := range []struct {
					on  map[string]*raw
					say *[]string
				}{{direct, &want}, {proxied, &got}} {
					for _, text := range setup {
						run.on["b"].exec(t, text)
					}
					run.on["b"].reset(t)
					for _, line := range lines {
						who, text, _ := strings.Cut(line, ": ")
						if text == "reset" {
							run.on[who].reset(t)
						} else {
							*run.say = append(*run.say, run.on[who].first(t, text))
						}
						for _, who := range []string{"a", "b", "a"} {
							if strings.Contains(line, "BEGIN") || who == "b" && strings.Contains(line, "SELECT") {
								continue
							}
							*run.say = append(*run.say, who+" "+run.on[who].first(t, "SELECT LAST_INSERT_ID()"))
						}
					}
					for _, who := range []string{"b", "a"} {
						*run.say = append(*run.say, who+" "+run.on[who].first(t, "SELECT LAST_INSERT_ID() + 0"))
						run.on[who].Close()
					}
				}
				if g, w := strings.Join(got, ", "), strings.Join(want, ", "); g != w {
					t.Errorf("got  %s\nwant %s", g, w)
				}
			})
		})
	}
}
