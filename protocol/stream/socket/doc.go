// Package socket connects, sets, reads and writes the sockets that bytes pass through without telling Go's scheduler of each call.
//
// Package net announces every system call to the scheduler, in case it blocks. Calls on these sockets never do: they are
// non-blocking, and the wait for readiness is the poller's, here as in package net. But the announcement wakes the runtime's
// monitor thread whenever the process was idle before, which then looks every 20 µs until it is idle again: with one client at a time
// that was a quarter of the proxy's processor time or more, and a part of each query's latency (docs/postgresql.md, "Speed").
package socket
