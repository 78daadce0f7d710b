package dialect

import (
	"sync"
	"time"
)

// What makes a failover of several ended connections: this many within that
// long. A single one is an administrator's doing.
const (
	stormConns  = 3
	stormWithin = time.Second
)

// RenewEvery is the least time between two renewals because of what an origin
// says: a standby that clients insist on writing to says it all the time.
const RenewEvery = 10 * time.Second

// A Failover notices that the origin is another server than it was, or is about
// to be: then no connection of before is to be lent again. The zero value is ready;
// its methods may be called concurrently.
type Failover struct {
	mu      sync.Mutex
	renewed time.Time
	began   time.Time // of the storm
	ended   int       // connections ended in it
}

// ReadOnly takes in that an origin connection leads to a server that takes no
// writes, and reports whether the connections of now should go.
func (f *Failover) ReadOnly(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.due(now)
}

// Ended takes in that a server has ended an origin connection because it stops, and
// reports whether the connections of now should go.
func (f *Failover) Ended(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.began) > stormWithin {
		f.began, f.ended = now, 0
	}
	f.ended++
	return f.ended >= stormConns && f.due(now)
}

// due reports whether they may be renewed again.
func (f *Failover) due(now time.Time) bool {
	if now.Sub(f.renewed) < RenewEvery {
		return false
	}
	f.renewed = now
	return true
}
