// Package client dials relays: it races the carriers of a session, spaces attempts out, and keeps sessions for clients that open
// streams through relays of another process.
//
//	Racer.Dial --- QUIC -------------------> first to register wins
//	          \--- 1 s --- WebSocket -----/
//
// Connectors use [Racer] and [Backoff]; a proxy apart from its relays uses [Client].
package client
