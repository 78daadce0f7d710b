// Package stream is the byte contract that every duplex flow in Sluice keeps, and the one loop that joins two of them.
//
//	driver's socket --Read--> [32 KiB, only while bytes are in flight] --Write--> origin's socket
//	                <-Write-- [32 KiB, only while bytes are in flight] <--Read--
//
// A [Conn] is a TCP or unix socket, a QUIC stream or a yamux stream; all pass the suite in streamtest. CloseWrite is EOF, Reset
// is abort, Close frees both directions. An abort is never seen as a clean EOF by the peer.
package stream
