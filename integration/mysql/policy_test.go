package mysql

import (
	"testing"

	"github.com/sluicedb/sluice/proxy/mysql"
)

// TestPooling59Reset: with the policy reset nothing of a session outlives its
// transaction, also what no server and no text tells of.
func TestPooling59Reset(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		setup := newWorld(t, s).raw(t)
		if s.name == "mysql" {
			setup.exec(t, "SET GLOBAL log_bin_trust_function_creators = 1")
		}
		for _, text := range []string{
			"DROP TABLE IF EXISTS triggering, triggered", "DROP VIEW IF EXISTS locking", "DROP FUNCTION IF EXISTS takes_a_lock",
			"CREATE TABLE triggering (id int)", "CREATE TABLE triggered (v int)", "INSERT INTO triggered VALUES (5)",
			"CREATE TRIGGER leaves BEFORE INSERT ON triggering FOR EACH ROW BEGIN SELECT v, GET_LOCK('hidden', 0) INTO @hidden, @other FROM triggered; END",
			"CREATE FUNCTION takes_a_lock() RETURNS int DETERMINISTIC RETURN GET_LOCK('hidden', 0)", "CREATE VIEW locking AS SELECT takes_a_lock() AS l",
		} {
			setup.exec(t, text)
		}
		w := newWorld(t, s, maxConns(1), func(c *mysql.Config) { c.Policy = mysql.Reset })
		a, b := w.raw(t), w.raw(t)
		id, _ := a.prepare(t, "SELECT v FROM triggered")
		for _, texts := range [][]string{
			{"INSERT INTO triggering VALUES (1)"}, {"SELECT * FROM locking"}, {"SET @hidden = 1"}, {"SET sql_mode = ''"}, {"DO GET_LOCK('hidden', 0)"},
			{"CREATE TEMPORARY TABLE triggered SELECT 6 AS v"}, {"BEGIN", "INSERT INTO triggering VALUES (2)", "COMMIT"},
		} {
			for _, text := range texts {
				a.first(t, text)
			}
			for _, r := range []*raw{b, a} {
				r.want(t, "SELECT @hidden", "")
				r.want(t, "SELECT COALESCE(IS_USED_LOCK('hidden'), 0)", "0")
				r.want(t, "SELECT @@sql_mode = @@GLOBAL.sql_mode", "1")
				r.want(t, "SELECT v FROM triggered", "5")
			}
			if rows, _, failed := a.execute(t, id, 0, false); failed != nil || len(rows) != 1 {
				t.Errorf("prepared before %s: %d rows, %v", texts, len(rows), failed)
			}
		}
	})
}
