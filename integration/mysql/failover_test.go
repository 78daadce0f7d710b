package mysql

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/mywire"
)

// TestFailoverReadOnly: a server that has become read-only, as the former primary of a
// group has, is not asked on connections of before.
func TestFailoverReadOnly(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		admin := s.admin(t)
		exec(t, admin, "CREATE USER plain@'%' IDENTIFIED BY 'plain'") // whose rights do not lift read_only
		defer exec(t, admin, "DROP USER plain@'%'")
		exec(t, admin, fmt.Sprintf("GRANT ALL ON %s.* TO plain@'%%'", harness.MySQLDatabase))
		w := newWorld(t, s, maxConns(1), func(c *mysqlConfig) { c.User, c.Password = "plain", "plain" })
		a := w.connect(t)
		exec(t, a, "CREATE TABLE IF NOT EXISTS failed_over (id int)")
		before := value(t, a, "SELECT CONNECTION_ID() + 0")
		want(t, a, "SELECT CONNECTION_ID() + 0", before)
		exec(t, admin, "SET GLOBAL read_only = 1")
		defer exec(t, admin, "SET GLOBAL read_only = 0")
		for range 2 { // the second is of the same failover
			if _, err := a.ExecContext(t.Context(), "INSERT INTO failed_over VALUES (1)"); code(err) != mywire.CodeOptionPrevents {
				t.Errorf("%v", err)
			}
		}
		if after := value(t, a, "SELECT CONNECTION_ID() + 0"); after == before {
			t.Error("the connection of before is lent again")
		}
		if n := w.db.Counts().Failovers; n != 1 {
			t.Errorf("%d failovers", n)
		}
	})
}

// TestRefusedBegin: a transaction that gets no origin connection to begin on ends its
// client, of whose driver's queue the rest would be committed statement by statement.
func TestRefusedBegin(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		var cfg mysqlConfig
		w := newWorld(t, s, maxConns(1), func(c *mysqlConfig) { cfg = *c })
		holder, other, third := w.raw(t), w.raw(t), w.raw(t)
		holder.exec(t, "BEGIN")
		holder.value(t, "SELECT COUNT(*) FROM information_schema.schemata")
		impatient := cfg
		impatient.WaitTimeout = 100 * time.Millisecond
		w.db.SetConfig(impatient)
		for _, text := range []string{"SELECT COUNT(*) FROM information_schema.schemata", "BEGIN"} {
			other.send(t, mywire.ComQuery, text)
			if e := other.expectError(t); e.Code != mywire.CodeConCount {
				t.Errorf("%s: %v", text, e)
			}
		}
		if _, _, err := mywire.ReadPacket(other, mywire.MaxPayload); err == nil {
			t.Error("a client goes on whose BEGIN was refused")
		}
		w.db.SetConfig(cfg)
		holder.exec(t, "ROLLBACK")
		third.exec(t, "BEGIN")
		third.exec(t, "COMMIT")
	})
}
