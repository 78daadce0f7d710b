package postgres

import (
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/dialect"
)

// isFailover takes in an SQLSTATE that an origin connection reported, and reports
// whether the connections of now should go.
func isFailover(f *dialect.Failover, code string, standby bool, now time.Time) bool {
	switch code {
	case pgwire.CodeReadOnlyTransaction: // else the client's own transaction is read only
		return standby && f.ReadOnly(now)
	case pgwire.CodeAdminShutdown, pgwire.CodeCrashShutdown, pgwire.CodeCannotConnectNow:
		return f.Ended(now)
	}
	return false
}

// heard renews the pool where an origin connection says that it leads to a
// server that is no longer the one to ask, and reports whether it did.
func (o *origin) heard(code string) bool {
	if !isFailover(&o.db.failover, code, o.standby, time.Now()) {
		return false
	}
	o.db.counts.failovers.Add(1)
	o.db.Renew()
	return true
}
