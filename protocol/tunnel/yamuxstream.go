package tunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// yamuxStream makes a muxStream keep the contract of stream.Conn. It has no goroutine and no buffer of its own.
type yamuxStream struct {
	ys   *muxStream
	link *yamuxLink

	wmu sync.Mutex // held by Write and CloseWrite

	mu       sync.Mutex
	dead     *stream.ResetError // both directions were reset
	stopped  *stream.ResetError // the peer reads no more
	closed   bool               // by Close
	finished bool               // the FIN is sent or queued
	eof      bool               // the peer's FIN was read
	gone     bool               // one of the above but eof
	whenGone func()             // to be called then; nil when nobody asked
}

func (s *yamuxStream) Read(p []byte) (int, error) {
	if err := s.readable(); err != nil {
		return 0, err
	}
	n, err := s.ys.read(p)
	if rerr := s.readable(); rerr != nil {
		return 0, rerr
	}
	if err != nil {
		err = s.explain(err)
	}
	if err == io.EOF {
		s.mu.Lock()
		s.eof = true
		s.mu.Unlock()
	}
	return n, err
}

// WaitRead reads into nothing, which waits for something to read and takes none of it.
func (s *yamuxStream) WaitRead() error {
	if err := s.readable(); err != nil {
		return err
	}
	_, err := s.ys.read(nil)
	if rerr := s.readable(); rerr != nil {
		return rerr
	}
	if err == nil || err == io.EOF {
		return nil
	}
	return s.explain(err)
}

func (s *yamuxStream) Write(p []byte) (int, error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if err := s.writable(); err != nil {
		return 0, err
	}
	n, err := s.ys.write(p, false)
	if err != nil {
		if werr := s.writable(); werr != nil {
			return n, werr
		}
		return n, s.explain(err)
	}
	return n, nil
}

func (s *yamuxStream) CloseWrite() error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	s.mu.Lock()
	switch {
	case s.dead != nil:
		defer s.mu.Unlock()
		return s.dead
	case s.closed:
		s.mu.Unlock()
		return net.ErrClosed
	case s.finished:
		defer s.mu.Unlock()
		if s.stopped != nil {
			return s.stopped
		}
		return nil
	}
	s.finished = true
	s.mu.Unlock()
	s.ys.finish()
	s.link.sess.out.flush()
	return nil
}

func (s *yamuxStream) Close() error {
	// A Write that is stuck cannot be completed, and what it wrote must not look complete.
	if !s.wmu.TryLock() {
		return s.Reset(stream.CodeClosed)
	}
	defer s.wmu.Unlock()
	s.mu.Lock()
	if s.closed || s.dead != nil {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	finish, stop := !s.finished, !s.eof
	s.finished = true
	s.interrupt()
	s.mu.Unlock()

	s.link.forget(s.ys.id)
	var last []outgoing
	if finish {
		last = append(last, outgoing{finish: s.ys})
	}
	if stop {
		last = append(last, resetFrame(s.ys.id, stream.CodeClosed, tunnelpb.Reset_STOP))
	}
	s.link.out.put(last...)
	return nil
}

// Reset leaves the stream with the link until the peer has answered.
func (s *yamuxStream) Reset(code stream.Code) error {
	s.mu.Lock()
	if s.closed || s.dead != nil {
		s.mu.Unlock()
		return nil
	}
	s.dead = &stream.ResetError{Code: code}
	s.finished = true
	s.interrupt()
	s.mu.Unlock()
	s.link.out.put(resetFrame(s.ys.id, code, tunnelpb.Reset_ABORT))
	return nil
}

// abortedByPeer is called once at most for a stream that neither side has ended.
func (s *yamuxStream) abortedByPeer(code stream.Code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.dead != nil {
		return
	}
	s.dead = &stream.ResetError{Code: code, Remote: true}
	s.finished = true
	s.interrupt()
}

// stoppedByPeer reports whether a FIN has to be sent: the peer waits for one to free the stream.
func (s *yamuxStream) stoppedByPeer(code stream.Code) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.dead != nil || s.stopped != nil {
		return false
	}
	s.stopped = &stream.ResetError{Code: code, Remote: true}
	finish := !s.finished
	s.finished = true
	s.ys.setDeadline(writing, past)
	s.signalGone()
	return finish
}

// interrupt unblocks the stream's reader and writer, for good. Called with mu held.
func (s *yamuxStream) interrupt() {
	s.ys.setDeadline(reading, past)
	s.ys.setDeadline(writing, past)
	s.signalGone()
}

// signalGone is called with mu held.
func (s *yamuxStream) signalGone() {
	s.gone = true
	if s.whenGone != nil {
		go s.whenGone()
		s.whenGone = nil
	}
}

func (s *yamuxStream) whenAborted(f func()) (stop func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whenGone = f
	if s.gone {
		s.signalGone()
	}
	return s.forgetGone
}

func (s *yamuxStream) forgetGone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	waits := s.whenGone != nil
	s.whenGone = nil
	return waits
}

// readable returns why nothing can be read any more.
func (s *yamuxStream) readable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.dead != nil:
		return s.dead
	case s.closed:
		return net.ErrClosed
	}
	return nil
}

// writable returns why nothing can be written any more.
func (s *yamuxStream) writable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.dead != nil:
		return s.dead
	case s.stopped != nil:
		return s.stopped
	case s.closed, s.finished:
		return net.ErrClosed
	}
	return nil
}

// explain maps the mux's errors of a stream.
func (s *yamuxStream) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), err == io.EOF:
		return err
	case s.link.sess.closed():
		return s.link.err()
	case errors.Is(err, errMuxReset):
		// yamux itself resets what its backlog cannot hold.
		return &stream.ResetError{Code: stream.CodeLimited, Remote: true}
	}
	return &SessionError{Err: err}
}

func (s *yamuxStream) wasReset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead == nil || !s.dead.Remote {
		return nil
	}
	return s.dead
}

func (s *yamuxStream) LocalAddr() net.Addr  { return s.link.ws.local }
func (s *yamuxStream) RemoteAddr() net.Addr { return s.link.ws.remote }

func (s *yamuxStream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

func (s *yamuxStream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead != nil || s.closed {
		return net.ErrClosed // the deadline that interrupts must stay
	}
	s.ys.setDeadline(reading, t)
	return nil
}

func (s *yamuxStream) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead != nil || s.stopped != nil || s.closed {
		return net.ErrClosed
	}
	s.ys.setDeadline(writing, t)
	return nil
}
