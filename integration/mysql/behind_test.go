package mysql

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/mywire"
)

// TestPooling58Behind: what a client asks of its last statement is answered as on a connection of its own.
func TestPooling58Behind(t *testing.T) {
	both := "SELECT CAST('1x' AS SIGNED), (SELECT 1 UNION SELECT 2)" // a warning and an error
	rows := "SELECT SQL_CALC_FOUND_ROWS 1 UNION SELECT 2 LIMIT 1"
	onBoth(t, func(t *testing.T, s server) {
		for _, script := range [][]string{
			{both, "SHOW WARNINGS", "SHOW ERRORS", "SHOW COUNT(*) WARNINGS"},
			{"BEGIN", both, "SHOW WARNINGS", "ROLLBACK"},
			{"BEGIN", both, "SELECT ROW_COUNT()", "ROLLBACK"},
			{"BEGIN", rows, both, "SELECT FOUND_ROWS()", "ROLLBACK"},
			{both, "SELECT @@warning_count"},
			{both, "SELECT @@session.error_count"},
			{rows, "SHOW WARNINGS", "SELECT FOUND_ROWS()"},
			{"BEGIN", "SET NAMES utf8mb3", "SHOW WARNINGS", "ROLLBACK"},
			{"SELECT GET_LOCK('behind', 0)", "SELECT RELEASE_LOCK('behind'), 1/0", "SHOW WARNINGS", "SELECT ROW_COUNT()"},
			{"CREATE TEMPORARY TABLE behind (a int)", "INSERT INTO behind VALUES (1), (2)", "SELECT ROW_COUNT()", "INSERT INTO behind VALUES (1), (2)", "ping", "SELECT ROW_COUNT()", "DROP TABLE behind"},
			{"SELECT 1", "ping", "SELECT ROW_COUNT()"},
			{"DO 0", "option", "SELECT ROW_COUNT()"},
		} {
			var got [2][]string
			for i, r := range []*raw{s.direct(t, harness.MySQLDatabase), newWorld(t, s, maxConns(1)).raw(t)} {
				for _, query := range script {
					cmd := mywire.ComQuery
					switch query {
					case "ping":
						cmd, query = mywire.ComPing, ""
					case "option":
						cmd, query = mywire.ComSetOption, "\x01\x00"
					}
					r.send(t, cmd, query)
					rows, _, failed := r.rows(t, cmd)
					if got[i] = append(got[i], string(slices.Concat(rows...))); failed != nil {
						got[i] = append(got[i], failed.Error())
					}
				}
				r.Close()
			}
			if !slices.Equal(got[0], got[1]) {
				t.Errorf("%s:\nserver %q\nproxy  %q", strings.Join(script, "; "), got[0], got[1])
			}
		}
	})
}

// TestPooling59ResetCharset: a session has the character set and collation of its login, and behind COM_RESET_CONNECTION
// those that the server has then.
func TestPooling59ResetCharset(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		w.raw(t).want(t, "SELECT 1", "1")
		for _, collation := range []byte{45, 46, 224, 33, 83, 192, 8, 47, 15} {
			ask := func(r *raw) string {
				var all []string
				for _, name := range []string{"character_set_client", "character_set_connection", "character_set_results", "collation_connection"} {
					all = append(all, r.value(t, "SELECT @@"+name))
				}
				return strings.Join(all, " ")
			}
			a, b := s.directAs(t, harness.MySQLDatabase, collation), w.rawAs(t, collation)
			for _, step := range []string{"", "reset", "SET NAMES latin1 COLLATE latin1_bin", "reset", "SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SET NAMES DEFAULT"} {
				for _, r := range []*raw{a, b} {
					switch step {
					case "":
					case "reset":
						r.reset(t)
					default:
						r.exec(t, step)
					}
				}
				if want, got := ask(a), ask(b); want != got {
					t.Errorf("login with %d, behind %q: %q, of the server itself %q", collation, step, got, want)
				}
			}
			a.Close()
			b.Close()
		}
	})
}
