package mysql

import (
	"fmt"
	"slices"
	"testing"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/mywire"
)

// TestPooling64Columns: the EOF packet behind columns has the status that the server gives it.
func TestPooling64Columns(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := s.direct(t, harness.MySQLDatabase), w.raw(t, mywire.CapMultiStatements)
		for _, query := range []string{
			"DROP TABLE IF EXISTS statuses", "CREATE TABLE statuses (id int)", "INSERT INTO statuses VALUES (1)", "DROP PROCEDURE IF EXISTS statuses",
			"CREATE PROCEDURE statuses(OUT m int) BEGIN SELECT id FROM statuses; SELECT 2; SET m = 3; END",
			"DROP PROCEDURE IF EXISTS unfinished", "CREATE PROCEDURE unfinished() BEGIN SELECT 1; SELECT (SELECT 1 UNION SELECT 2); END",
		} {
			b.exec(t, query)
		}
		for _, query := range []string{
			"SELECT 1", "SELECT id FROM statuses", "SELECT 1; SELECT id FROM statuses; SELECT 2", "CALL statuses(@m)", "CALL unfinished()", "SET autocommit = 0", "SELECT id FROM statuses", "SELECT id FROM statuses",
			"COMMIT", "SET autocommit = 1", "START TRANSACTION READ ONLY", "SELECT 1", "ROLLBACK",
		} {
			var got [2][]string
			for i, r := range []*raw{a, b} {
				r.send(t, mywire.ComQuery, query)
				got[i] = r.statuses(t, mywire.ComQuery)
			}
			if !slices.Equal(got[0], got[1]) {
				t.Errorf("%s: %q, of the server itself %q", query, got[1], got[0])
			}
		}
		var got [2][]string
		for i, r := range []*raw{a, b} {
			id, _ := r.prepare(t, "CALL statuses(?)")
			r.send(t, mywire.ComStmtExecute, id32(id)+"\x00\x01\x00\x00\x00\x01\x01\x06\x00")
			got[i] = r.statuses(t, mywire.ComStmtExecute)[:5] // MySQL ends it otherwise for whom it sends EOF packets
		}
		if !slices.Equal(got[0], got[1]) {
			t.Errorf("with OUT parameters: %q, of the server itself %q", got[1], got[0])
		}
	})
}

// statuses reads a reply to its end: the status of each packet that has one.
func (r *raw) statuses(t testing.TB, cmd mywire.Command) (all []string) {
	t.Helper()
	r.each(t, cmd, func(part mywire.Part, _ []byte, status mywire.Status) {
		switch part {
		case mywire.PartColumnsEnd, mywire.PartEOF, mywire.PartOK:
			all = append(all, fmt.Sprintf("%d %x", part, uint16(status)))
		case mywire.PartError:
			all = append(all, "error")
		}
	})
	return all
}
