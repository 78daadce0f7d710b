package stream

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/sluicedb/sluice/protocol/stream/socket"
)

// TCP returns c as a Conn, and owns it. Reset sends an RST, which carries no code: the peer reads CodeAborted.
func TCP(c *net.TCPConn) Conn { return tcp(c, socket.New(c)) }

// Origin is TCP for what Dialer has connected.
func Origin(c *net.TCPConn) Conn { return tcp(c, Dialled(c)) }

func tcp(c *net.TCPConn, calls net.Conn) Conn {
	s := newPlain(c, calls, c.CloseWrite, nil)
	s.abort = func() error {
		// It fails only on a socket that is closed already.
		_ = s.wait.abort(c)
		return calls.Close()
	}
	return s
}

// Unix returns c as a Conn, and owns it. Unix sockets know no RST: after Reset the peer's writes fail, and its reads fail only if
// it had sent what this side had not read.
func Unix(c *net.UnixConn) Conn {
	return newPlain(c, socket.New(c), c.CloseWrite, c.Close)
}

// plain is a TCP or unix socket. It hides ReadFrom and WriteTo: their splice holds a pipe, two more descriptors, for each
// direction for as long as a copy runs.
type plain struct {
	net.Conn
	closeWrite func() error
	abort      func() error
	wait       waiter
	code       atomic.Uint32 // of the local Reset; 0: none
	broken     atomic.Bool   // a call has seen the peer's reset
	finished   atomic.Bool   // CloseWrite was called
}

// newPlain makes a stream of c, whose system calls are those of calls.
func newPlain(c, calls net.Conn, closeWrite, abort func() error) *plain {
	s := &plain{Conn: calls, closeWrite: closeWrite, abort: abort}
	s.wait.init(c)
	return s
}

func (s *plain) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	switch {
	case err == io.EOF && s.wasReset():
		return n, &ResetError{Code: CodeAborted, Remote: true}
	case err != nil && err != io.EOF:
		err = s.explain(err)
	}
	return n, err
}

// wasReset reports whether the EOF that was read is none. The system tells of a reset once, be it to a Write, and then reads as
// EOF. A socket that has an EOF from its peer and has not sent its own is still connected. The order matters: CloseWrite notes
// that it was called before the system can say that the socket is no longer connected on its account.
func (s *plain) wasReset() bool {
	return s.broken.Load() || !s.wait.connected() && !s.finished.Load()
}

func (s *plain) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	if err != nil {
		err = s.explain(err)
	}
	return n, err
}

func (s *plain) WaitRead() error {
	if err := s.wait.read(); err != nil {
		return s.explain(err)
	}
	return nil
}

func (s *plain) CloseWrite() error {
	s.finished.Store(true)
	err := s.closeWrite()
	switch {
	case err == nil, errors.Is(err, syscall.ENOTCONN):
		// Not connected any more: the peer has reset the socket, which the reader learns. No byte is lost by this call.
		return nil
	}
	return s.explain(err)
}

func (s *plain) Reset(code Code) error {
	if !s.code.CompareAndSwap(0, uint32(code)) {
		return nil
	}
	if err := s.abort(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// explain turns what the system says about an aborted socket into a ResetError.
func (s *plain) explain(err error) error {
	switch {
	case errors.Is(err, net.ErrClosed):
		if code := s.code.Load(); code != 0 {
			return &ResetError{Code: Code(code)}
		}
	case errors.Is(err, syscall.EPIPE) && s.finished.Load():
		return net.ErrClosed // a Write after CloseWrite
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ENOTCONN):
		s.broken.Store(true)
		return &ResetError{Code: CodeAborted, Remote: true}
	}
	return err
}
