// Package pgwire is the part of the PostgreSQL protocol that a proxy needs on
// its hot path: framing without decoding, the start-up packets, SCRAM as a
// server, and errors.
//
//	driver ── start-up, SCRAM ──> ReadStartup, SCRAMServer
//	driver ── messages ─────────> Conn.Fill / Conn.Bytes ──> written on as they are
//
// A Conn holds a read buffer only while bytes are in flight, so that an idle
// connection costs no more than its socket. Messages that are merely passed on
// are never decoded: the caller looks at headers and forwards the bytes.
//
// Cold messages (authentication, errors) use the types of pgx's pgproto3.
package pgwire
