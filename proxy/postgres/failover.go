package postgres

import (
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

// What makes a failover of several ended connections: this many within that
// long. A single one is an administrator's pg_terminate_backend.
const (
	stormConns  = 3
	stormWithin = time.Second
)

// renewEvery is the least time between two renewals because of what an origin
// says: a standby that clients insist on writing to says it all the time.
const renewEvery = 10 * time.Second

// A failover notices that the origin is another server than it was, or is about
// to be: then no connection of before is lent again.
type failover struct {
	mu      sync.Mutex
	renewed time.Time
	began   time.Time // of the storm
	ended   int       // connections ended in it
}

// heard takes in an SQLSTATE that an origin connection reported, and reports
// whether the connections of now should go.
func (f *failover) heard(code string, standby bool, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch code {
	case pgwire.CodeReadOnlyTransaction:
		if !standby { // the client's own transaction is read only
			return false
		}
	case pgwire.CodeAdminShutdown, pgwire.CodeCrashShutdown, pgwire.CodeCannotConnectNow:
		if now.Sub(f.began) > stormWithin {
			f.began, f.ended = now, 0
		}
		if f.ended++; f.ended < stormConns {
			return false
		}
	default:
		return false
	}
	if now.Sub(f.renewed) < renewEvery {
		return false
	}
	f.renewed = now
	return true
}

// heard renews the pool where an origin connection says that it leads to a
// server that is no longer the one to ask, and reports whether it did.
func (o *origin) heard(code string) bool {
	if !o.db.failover.heard(code, o.standby, time.Now()) {
		return false
	}
	o.db.counts.failovers.Add(1)
	o.db.Renew()
	return true
}
