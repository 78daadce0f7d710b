package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// past is a deadline that has passed: setting it unblocks whoever waits.
var past = time.Unix(1, 0)

// quicConfig is both sides' configuration. quic-go itself asks for UDP buffers of 7 MiB, with SO_RCVBUFFORCE where it may.
func quicConfig(l Limits) *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout: handshakeTimeout,
		// A dead peer or path is known after 10 s; three keepalives may be lost before that.
		MaxIdleTimeout:  10 * time.Second,
		KeepAlivePeriod: 3 * time.Second,
		// Initial and maximum are the same: quic-go grows windows only while data is read, so that a few stalled readers on a
		// fresh connection would stop all others.
		InitialStreamReceiveWindow:     uint64(l.StreamWindow),
		MaxStreamReceiveWindow:         uint64(l.StreamWindow),
		InitialConnectionReceiveWindow: l.connectionWindow(),
		MaxConnectionReceiveWindow:     l.connectionWindow(),
		// A few more than the limit, and the control stream, so that one too many gets an answer.
		MaxIncomingStreams:    int64(l.Streams) + 64,
		MaxIncomingUniStreams: -1,
	}
}

// quicLink is a QUIC connection.
type quicLink struct {
	conn   *quic.Conn
	free   func() // closes the dialling side's socket
	buffer int    // bytes that the dialling side's socket was granted
	once   sync.Once
}

func (l *quicLink) open(ctx context.Context, header []byte) (linkStream, error) {
	qs, err := l.conn.OpenStream()
	if err != nil {
		var limit *quic.StreamLimitReachedError
		if errors.As(err, &limit) {
			return nil, &Refusal{Code: tunnelpb.Code_LIMITED, Message: "too many streams are open in this session"}
		}
		return nil, quicSessionError(err)
	}
	s := &quicStream{qs: qs, conn: l.conn}
	stop := context.AfterFunc(ctx, func() { _ = qs.SetWriteDeadline(past) })
	_, err = s.Write(header)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		_ = s.Reset(stream.CodeCancelled)
		return nil, err
	}
	return s, nil
}

func (l *quicLink) accept(ctx context.Context, each func(linkStream)) {
	for {
		qs, err := l.conn.AcceptStream(ctx)
		if err != nil {
			return
		}
		each(&quicStream{qs: qs, conn: l.conn})
	}
}

func (l *quicLink) closed() <-chan struct{} { return l.conn.Context().Done() }

func (l *quicLink) err() error { return quicSessionError(context.Cause(l.conn.Context())) }

func (l *quicLink) close(code stream.Code, reason string) {
	l.once.Do(func() {
		// It cannot fail in a way that matters: the connection is gone in any case.
		_ = l.conn.CloseWithError(quic.ApplicationErrorCode(code), reason)
		if l.free != nil {
			l.free()
		}
	})
}

// control has nothing to do: QUIC resets and closes by itself.
func (l *quicLink) control(*tunnelpb.Frame) {}

// quicSessionError explains the end of a connection.
func quicSessionError(err error) error {
	var app *quic.ApplicationError
	if errors.As(err, &app) {
		return &SessionError{Code: stream.Code(app.ErrorCode), Reason: app.ErrorMessage, Remote: app.Remote}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &SessionError{Err: err}
}

// quicStream makes a quic.Stream keep the contract of stream.Conn.
type quicStream struct {
	qs    *quic.Stream
	conn  *quic.Conn                        // for the addresses
	wmu   sync.Mutex                        // held by Write: quic.Stream.Close must not run at the same time
	ended atomic.Pointer[stream.ResetError] // the Reset made by this side or read of the peer's, closed after a Close, nil before any
	peek  [1]byte
}

// closed is what quicStream.ended holds after a Close.
var closed = new(stream.ResetError)

func (s *quicStream) Read(p []byte) (int, error) {
	n, err := s.qs.Read(p)
	if err != nil {
		err = s.cannotRead(err)
	}
	return n, err
}

// cannotRead explains an error of reading. A reset by the peer is one of both directions: its
// STOP_SENDING may come a moment after the RESET_STREAM, and no Write may succeed in between.
// Reading is given up as well: quic-go forgets no stream whose reset nobody has read, and Peek, which WaitRead is made of, does not count.
func (s *quicStream) cannotRead(err error) error {
	err = s.explain(err)
	var reset *stream.ResetError
	if errors.As(err, &reset) && reset.Remote && s.ended.CompareAndSwap(nil, reset) {
		s.qs.CancelWrite(quic.StreamErrorCode(reset.Code))
		s.qs.CancelRead(quic.StreamErrorCode(reset.Code))
	}
	return err
}

func (s *quicStream) WaitRead() error {
	_, err := s.qs.Peek(s.peek[:])
	if err == nil {
		return nil
	}
	if err = s.cannotRead(err); err == io.EOF {
		return nil
	}
	return err
}

func (s *quicStream) Write(p []byte) (int, error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	n, err := s.qs.Write(p)
	if err != nil {
		err = s.explain(err)
	}
	return n, err
}

func (s *quicStream) CloseWrite() error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.ended.Load() != nil {
		return s.explain(net.ErrClosed)
	}
	if err := s.qs.Close(); err != nil {
		// The peer reads no more; the cause of the stream's context says with which code.
		return s.explain(context.Cause(s.qs.Context()))
	}
	return nil
}

func (s *quicStream) Close() error {
	if !s.ended.CompareAndSwap(nil, closed) {
		return nil
	}
	if s.wmu.TryLock() {
		// It fails when the peer reads no more, which the closer does not want to know.
		_ = s.qs.Close()
		s.wmu.Unlock()
	} else {
		// A Write is stuck: what it has not written cannot be delivered, and must not look complete.
		s.qs.CancelWrite(quic.StreamErrorCode(stream.CodeClosed))
	}
	s.qs.CancelRead(quic.StreamErrorCode(stream.CodeClosed))
	return nil
}

func (s *quicStream) Reset(code stream.Code) error {
	if !s.ended.CompareAndSwap(nil, &stream.ResetError{Code: code}) {
		return nil
	}
	s.qs.CancelWrite(quic.StreamErrorCode(code))
	s.qs.CancelRead(quic.StreamErrorCode(code))
	return nil
}

func (s *quicStream) explain(err error) error {
	var reset *quic.StreamError
	ended := s.ended.Load()
	switch {
	case ended != nil && ended != closed: // whatever the peer, or the session's end, made of it meanwhile
		return ended
	case err == io.EOF, errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case ended == closed, errors.Is(err, quic.ErrStreamClosed):
		return net.ErrClosed
	case errors.As(err, &reset):
		return &stream.ResetError{Code: stream.Code(reset.ErrorCode), Remote: reset.Remote}
	}
	return quicSessionError(err)
}

func (s *quicStream) whenAborted(f func()) (stop func() bool) {
	return context.AfterFunc(s.qs.Context(), f)
}

// wasReset goes by what the peer asks this side's writing to stop with: a Reset ends both directions. A Close does so as well, and what was
// sent before it stands.
func (s *quicStream) wasReset() error {
	cause := context.Cause(s.qs.Context())
	var reset *quic.StreamError
	switch {
	case errors.Is(cause, quic.ErrStreamClosed), errors.As(cause, &reset) && (!reset.Remote || stream.Code(reset.ErrorCode) == stream.CodeClosed):
		return nil
	}
	return s.explain(cause)
}

func (s *quicStream) LocalAddr() net.Addr                { return s.conn.LocalAddr() }
func (s *quicStream) RemoteAddr() net.Addr               { return s.conn.RemoteAddr() }
func (s *quicStream) SetDeadline(t time.Time) error      { return s.qs.SetDeadline(t) }
func (s *quicStream) SetReadDeadline(t time.Time) error  { return s.qs.SetReadDeadline(t) }
func (s *quicStream) SetWriteDeadline(t time.Time) error { return s.qs.SetWriteDeadline(t) }
