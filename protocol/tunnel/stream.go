package tunnel

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
)

// A Stream is one duplex flow of a Session. It implements stream.Conn; its errors are *stream.ResetError, *SessionError when the
// session has ended, and os.ErrDeadlineExceeded. It counts as open until Close or Reset.
//
// On a WebSocket session a Write may overrun its deadline while the connection itself is blocked.
type Stream struct {
	conn    linkStream
	session *Session
	count   *atomic.Int64 // where it counts as open
	via     string        // what carries it beyond the peer; set before anybody has the stream
	ended   atomic.Bool
}

var _ stream.Conn = (*Stream)(nil)

// newStream counts a stream as open in count, which is one of the session's.
func newStream(s *Session, conn linkStream, count *atomic.Int64) *Stream {
	count.Add(1)
	return &Stream{conn: conn, session: s, count: count}
}

// end gives the stream's place back.
func (s *Stream) end() {
	if s.ended.CompareAndSwap(false, true) {
		s.count.Add(-1)
	}
}

// Session returns the session that carries the stream.
func (s *Stream) Session() *Session { return s.session }

// Window returns how many bytes the peer may send ahead of this side's reader.
func (s *Stream) Window() int {
	if l, ok := s.session.link.(*yamuxLink); ok {
		return l.window
	}
	return s.session.limits.StreamWindow
}

// Via names what carries a stream that this side has opened beyond the peer; it is empty when the peer did not tell.
func (s *Stream) Via() string { return s.via }

// Leaving reports whether the session's peer has asked this side to move, or has said that what carries the stream beyond it will
// end: see stream.Leaving.
func (s *Stream) Leaving() bool {
	select {
	case <-s.session.GoneAway():
		return true
	default:
		return s.session.leaving.has(s.via)
	}
}

// Read implements stream.Conn.
func (s *Stream) Read(p []byte) (int, error) { return s.conn.Read(p) }

// Write implements stream.Conn.
func (s *Stream) Write(p []byte) (int, error) { return s.conn.Write(p) }

// WaitRead implements stream.Conn.
func (s *Stream) WaitRead() error { return s.conn.WaitRead() }

// WhenReset calls f, in a goroutine of its own, with the error that reading fails with once the peer has reset the stream, though nobody
// reads. stop lets it be. A reset that comes after this side's CloseWrite may be passed over. It is called once.
func (s *Stream) WhenReset(f func(error)) (stop func() bool) {
	return s.conn.whenAborted(func() {
		if err := s.conn.wasReset(); err != nil {
			f(err)
		}
	})
}

// CloseWrite implements stream.Conn.
func (s *Stream) CloseWrite() error { return s.conn.CloseWrite() }

// Close implements stream.Conn.
func (s *Stream) Close() error {
	defer s.end()
	return s.conn.Close()
}

// Reset implements stream.Conn.
func (s *Stream) Reset(code stream.Code) error {
	defer s.end()
	return s.conn.Reset(code)
}

// LocalAddr returns the session's local address.
func (s *Stream) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr returns the session's peer's address.
func (s *Stream) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// SetDeadline implements net.Conn.
func (s *Stream) SetDeadline(t time.Time) error { return s.conn.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.conn.SetWriteDeadline(t) }
