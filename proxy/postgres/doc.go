// Package postgres is the PostgreSQL dialect of the proxy: it logs drivers in by
// itself and runs their transactions on pooled origin connections.
//
//	driver ──> client ── takeRequests ──> origin        requests, names of statements mapped
//	       <──        <── takeReplies ──                replies, checked off against the ledger
//
// A client holds an origin connection from the first message that needs one
// until the ledger says that every reply has come and the origin says that no
// transaction is open. What a message needs of the client (its statements, its
// start-up parameters) travels in the same write as the message itself.
//
// One goroutine serves a client. It alternates: a batch of requests is written,
// then its replies are read and passed on. Where that could block both ends (a
// batch larger than a buffer, COPY FROM STDIN) a second goroutine reads replies
// for as long as the batch lasts.
package postgres
