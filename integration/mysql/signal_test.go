package mysql

import (
	"fmt"
	"testing"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// TestFailoverSignal: what a server says when it stops, or takes no writes, a statement may say too, by SIGNAL. That
// ends no client and renews nothing.
func TestFailoverSignal(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t), w.raw(t)
		before := b.value(t, "SELECT CONNECTION_ID() + 0")
		for _, errno := range []uint16{mywire.CodeServerShutdown, mywire.CodeServerShutdown, mywire.CodeServerShutdown, mywire.CodeOptionPrevents,
			mywire.CodeReadOnlyMode, mywire.CodeNetPacketTooLarge, mywire.CodeClientInteraction, 1927} {
			signal := fmt.Sprintf("SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = %d, MESSAGE_TEXT = 'running with the --read-only option'", errno)
			a.fails(t, signal, errno)
			a.want(t, "SELECT 1", "1")
			a.exec(t, "BEGIN")
			a.fails(t, signal, errno)
			a.want(t, "SELECT ROW_COUNT()", "-1")
			a.exec(t, "ROLLBACK")
		}
		if n := w.db.Counts().Failovers; n != 0 {
			t.Errorf("%d failovers", n)
		}
		b.exec(t, "DROP PROCEDURE IF EXISTS stops")
		b.exec(t, "CREATE PROCEDURE stops() SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1053")
		b.fails(t, "CALL stops()", mywire.CodeServerShutdown)
		b.want(t, "SELECT CONNECTION_ID() + 0", before)
	})
}
