package dialect

import "time"

// Limits bound what clients of a database may take. What is zero has the pool's
// default, or no limit where there is no such default.
type Limits struct {
	MaxConns               int           // most origin connections
	MinConns               int           // kept open
	MaxPinned              int           // most that sessions keep for themselves, beside MaxConns; 0: as many again
	ConnectTimeout         time.Duration // of one dial of the origin, login included
	WaitTimeout            time.Duration // of a client in line for a connection
	IdleTimeout            time.Duration // of a connection that nobody needs
	MaxLifetime            time.Duration // of a connection
	QueryTimeout           time.Duration // a statement that runs longer is cancelled; 0: none
	IdleTransactionTimeout time.Duration // a client that is silent in a transaction for longer is disconnected; 0: none
}

// Counts are totals of a database since it was made.
type Counts struct {
	Queries, RePrepares, ParamSets, Resets, Cancels, ClientsGone, Failovers uint64
	PinnedBy                                                                map[string]int // clients that keep their origin connection at the moment, by reason
}
