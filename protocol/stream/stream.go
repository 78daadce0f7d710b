package stream

import (
	"fmt"
	"net"
)

// A Code says why a direction was aborted. The numbers are those of the tunnel's Reset message and of QUIC's application error
// codes, so a code keeps its number once it has been released. TCP carries none: a reset socket reads as CodeAborted.
type Code uint32

// The reset codes. Zero is not one of them, so that a forgotten code shows.
const (
	CodeAborted   Code = 1 // the other end of a joined pair was reset or broke
	CodeCancelled Code = 2 // the one who asked gave up
	CodeTimeout   Code = 3 // a deadline passed
	CodeRevoked   Code = 4 // access was withdrawn
	CodeDraining  Code = 5 // the process is shutting down and its grace period has ended
	CodeReplaced  Code = 6 // a newer registration took this one's place
	CodeProtocol  Code = 7 // the peer broke the protocol
	CodeLimited   Code = 8 // a limit was exceeded
	CodeClosed    Code = 9 // the peer closed and reads no more; sent to stop a sender
	CodeInternal  Code = 10
)

// String returns the code's name, as it is used in logs and metrics.
func (c Code) String() string {
	switch c {
	case CodeAborted:
		return "aborted"
	case CodeCancelled:
		return "cancelled"
	case CodeTimeout:
		return "timeout"
	case CodeRevoked:
		return "revoked"
	case CodeDraining:
		return "draining"
	case CodeReplaced:
		return "replaced"
	case CodeProtocol:
		return "protocol"
	case CodeLimited:
		return "limited"
	case CodeClosed:
		return "closed"
	case CodeInternal:
		return "internal"
	}
	return fmt.Sprintf("code %d", uint32(c))
}

// A Conn is a duplex byte stream whose two directions end independently.
//
// One goroutine may read (Read, WaitRead) while another writes (Write, CloseWrite); Reset, Close and the deadlines may be called
// at any time from anywhere. The owner must end every Conn with Close or Reset.
type Conn interface {
	// Read returns io.EOF after the peer's CloseWrite, and a *ResetError after a Reset by either side.
	//
	// Close delivers what was written, then EOF, and frees both directions. A peer that goes on sending is told to stop: its
	// writes fail with a *ResetError. Close does not wait for the peer.
	net.Conn

	// CloseWrite sends EOF to the peer. Reads go on. It must not run at the same time as a Write.
	CloseWrite() error

	// Reset aborts both directions and frees them: pending and later calls on this side and on the peer's fail with a
	// *ResetError, and bytes that were not yet delivered are dropped. The peer never sees a clean EOF that it had not seen
	// before. Reset after Close or Reset does nothing.
	Reset(code Code) error

	// WaitRead blocks until a Read would not block (data, EOF or error), without holding a buffer. It returns nil for data and
	// EOF, obeys the read deadline and may return nil too early.
	WaitRead() error
}

// Leaving reports whether c, or the stream that a TLS connection runs over, is one whose way is about to end: a peer on it has asked
// to use another. What runs on it may go on for a while; what only waits should be made anew. Such a stream has a method Leaving.
func Leaving(c net.Conn) bool {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	l, ok := c.(interface{ Leaving() bool })
	return ok && l.Leaving()
}

// A ResetError is what a call returns on a direction that was aborted.
type ResetError struct {
	Code   Code
	Remote bool // the peer did it
}

func (e *ResetError) Error() string {
	if e.Remote {
		return "stream reset by peer: " + e.Code.String()
	}
	return "stream reset: " + e.Code.String()
}
