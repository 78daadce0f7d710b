// Package tunnel carries streams between a relay and the peers that dial it: connectors and clients.
//
//	Dialer --Hello-->  Server        one session over QUIC, or over yamux on a WebSocket
//	       <-Welcome-
//	either --Open----> either        one stream for each; raw bytes follow the Opened
//	       <-Opened--
//
// The relay is the Server. A [Session] is the same on both sides: Open makes a stream, Accept answers one. Opening costs one round
// trip. PROTOCOL.md describes the wire, byte by byte.
package tunnel
