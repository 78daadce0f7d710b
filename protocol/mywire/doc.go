// Package mywire is the part of the MySQL protocol that a proxy needs on its hot
// path: framing without decoding, the shape of replies, the handshake,
// authentication both ways, and errors.
//
//	driver ── Login, passwords ──> Accept
//	driver ── commands ──────────> Conn.Fill / Conn.Bytes ──> written on as they are
//	origin ── packets ───────────> Reply.Next: what each is, and when the reply is over
//	origin <─ Login, passwords ─── Connect
//
// A Conn holds a read buffer only while bytes are in flight, so that an idle
// connection costs no more than its socket. Packets that are merely passed on are
// never decoded: the caller looks at headers and first bytes and forwards the rest.
//
// Constants bear the manual's names without their prefixes; their values are
// those of include/mysql_com.h and include/my_command.h of MySQL 9 and of
// include/mysql_com.h of MariaDB 10.11.
package mywire
