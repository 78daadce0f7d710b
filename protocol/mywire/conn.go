package mywire

import (
	"net"

	"github.com/sluicedb/sluice/protocol/stream/bufconn"
)

// BufferSize is the size in bytes of a Conn's read buffer.
const BufferSize = bufconn.BufferSize

// A Conn reads one side of a MySQL connection.
type Conn = bufconn.Conn

var framing = bufconn.Framing{Header: HeaderSize, More: func(header []byte) bool {
	n, _ := Header(header)
	return n > 0
}}

// NewConn wraps nc, which it does not close by itself. A thrifty Conn holds no
// buffer while it waits for the first byte of a packet, also where nc is TLS; its
// Release must be called between packets only.
func NewConn(nc net.Conn, thrifty bool) *Conn {
	if thrifty {
		return bufconn.New(nc, &framing)
	}
	return bufconn.New(nc, nil)
}
