// Package mysql is the MySQL dialect of the proxy: it logs drivers in by itself
// and runs their transactions on pooled origin connections.
//
//	driver ──> client ── command ──> origin        one at a time, ids of statements mapped
//	       <──        <── reply ────               passed on packet by packet
//
// A client holds an origin connection from the first command that needs one until
// the origin says that no transaction is open, and nothing else is left of the
// client's that cannot be moved. What a command needs of the client (its settings,
// its statements) travels in the same write as the command itself. What a command
// has changed the origin tells by itself, by its session trackers.
//
// Origin connections are the same for all clients (CapDeprecateEOF,
// CapSessionTrack): what a driver has not agreed on is translated while a reply is
// passed on. Only CapFoundRows cannot be: it has a pool of its own.
//
// One goroutine serves a client: the protocol has one command under way at a time.
package mysql
