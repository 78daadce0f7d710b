package pgwire

import (
	"net"

	"github.com/sluicedb/sluice/protocol/stream/bufconn"
)

// BufferSize is the size in bytes of a Conn's read buffer.
const BufferSize = bufconn.BufferSize

// A Conn reads one side of a PostgreSQL connection.
type Conn = bufconn.Conn

var framing = bufconn.Framing{Header: HeaderSize, More: func(header []byte) bool {
	_, body, err := Header(header)
	return err == nil && body > 0 // what is wrong with it is the reader's to say
}}

// NewConn wraps nc, which it does not close by itself. A thrifty Conn holds no
// buffer while it waits for the first byte of a message, also where nc is TLS;
// its Release must be called between messages only.
func NewConn(nc net.Conn, thrifty bool) *Conn {
	if thrifty {
		return bufconn.New(nc, &framing)
	}
	return bufconn.New(nc, nil)
}
