// Package control keeps the desired state: accounts, API tokens, tunnels with
// their hostnames, service tokens, applications and databases.
//
// The state lives in a JetStream key-value stream, either on a NATS server
// embedded in this process (no port, every write synced to disk) or on an
// existing cluster; the code is the same. Every change is a compare-and-set,
// and a change of several keys is one atomic batch. Each node keeps the whole
// state in memory as an immutable [Snapshot] fed by a watch, so that nothing on
// a data path asks the store, and everything goes on when the store is away.
//
//	CreateX, UpdateX, DeleteX --compare-and-set--> JetStream (KV_sluice)
//	                                                   |
//	Snapshot() <-- copy on write <-- watch <-----------+
//
// Secrets that must be given back are [Sealed]; secrets that are only checked
// are stored as hashes or SCRAM verifiers.
package control
