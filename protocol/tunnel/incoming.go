package tunnel

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// errAnswered says that an Incoming was answered before: by the caller, or by its deadline.
var errAnswered = errors.New("the open has been answered already")

// An Incoming is an Open that waits for an answer. It must be answered once, by Accept or Refuse; one that is not is refused
// when its deadline passes.
type Incoming struct {
	// Request is what the peer asked for. Request.EarlyData are the stream's first bytes: the Stream does not return them again.
	Request *tunnelpb.Open

	ctx    context.Context // until the answer is due; made for this request
	cancel context.CancelFunc
	stream *Stream

	mu       sync.Mutex
	answered bool
	done     chan struct{} // closed when answered
}

// Context is done when the opener has given up, the request's deadline has passed, the session has ended, or after the answer.
func (in *Incoming) Context() context.Context { return in.ctx }

// Accept answers yes. The caller ends the stream. It returns an error when the request has ended before.
func (in *Incoming) Accept() (*Stream, error) {
	// When Context has ended, the refusal is watch's to send, even if it has not come to it yet.
	if in.ctx.Err() != nil || !in.claim() {
		return nil, errAnswered
	}
	if err := in.stream.answer(&tunnelpb.Answer{Kind: &tunnelpb.Answer_Opened{Opened: &tunnelpb.Opened{}}}); err != nil {
		_ = in.stream.Reset(stream.CodeCancelled)
		return nil, err
	}
	return in.stream, nil
}

// Refuse answers no.
func (in *Incoming) Refuse(r *Refusal) error {
	if !in.claim() {
		return errAnswered
	}
	return in.stream.refuse(r)
}

func (in *Incoming) claim() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.answered {
		return false
	}
	in.answered = true
	close(in.done)
	return true
}

// watch ends the request when it is answered, when the opener has given up and when its time is over.
func (in *Incoming) watch() {
	defer in.cancel()
	select {
	case <-in.done:
	case <-in.stream.conn.aborted():
		if in.claim() {
			_ = in.stream.Reset(stream.CodeCancelled)
		}
	case <-in.ctx.Done():
		// It fails if it was answered in this moment, or if there is nobody left to tell.
		_ = in.Refuse(&Refusal{Code: tunnelpb.Code_ORIGIN_TIMEOUT, Message: "no answer within the request's time"})
	}
}

func (s *Stream) answer(a *tunnelpb.Answer) error {
	_ = s.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	err := writeMessage(s, a)
	// It fails on a stream that the peer has ended already, which its user learns.
	_ = s.SetWriteDeadline(time.Time{})
	return err
}

func (s *Stream) refuse(r *Refusal) error {
	err := s.answer(&tunnelpb.Answer{Kind: &tunnelpb.Answer_Refused{Refused: r.proto()}})
	if err != nil {
		_ = s.Reset(stream.CodeCancelled)
		return err
	}
	return s.Close()
}

// Accept waits for the peer's next Open. It returns a *SessionError when the session has ended, or ctx's error.
func (s *Session) Accept(ctx context.Context) (*Incoming, error) {
	select {
	case in := <-s.incoming:
		return in, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.link.closed():
		return nil, s.link.err()
	}
}

// acceptStreams owns accepting streams from the link.
func (s *Session) acceptStreams() {
	var receivers sync.WaitGroup
	defer receivers.Wait()
	for {
		ls, err := s.link.accept(s.ctx)
		if err != nil {
			return
		}
		st := newStream(s, ls, &s.theirs)
		receivers.Go(func() { s.receive(st) })
	}
}

// receive reads a stream's header and sees to it that it is answered. It ends with the answer.
func (s *Session) receive(st *Stream) {
	var h tunnelpb.Header
	_ = st.SetReadDeadline(time.Now().Add(handshakeTimeout))
	if err := readMessage(st, &h, maxHeader+MaxEarlyData); err != nil {
		s.log.Debug("stream without a header", "err", err)
		_ = st.Reset(stream.CodeProtocol)
		return
	}
	_ = st.SetReadDeadline(time.Time{})

	switch k := h.Kind.(type) {
	case *tunnelpb.Header_Probe:
		st.end() // it takes nobody's place
		if err := st.answer(&tunnelpb.Answer{Kind: &tunnelpb.Answer_Opened{Opened: &tunnelpb.Opened{}}}); err != nil {
			_ = st.Reset(stream.CodeCancelled)
			return
		}
		_ = st.Close()
	case *tunnelpb.Header_Open:
		s.receiveOpen(st, k.Open)
	default:
		_ = st.refuse(&Refusal{Code: tunnelpb.Code_INTERNAL, Message: "this version does not know the request"})
	}
}

func (s *Session) receiveOpen(st *Stream, open *tunnelpb.Open) {
	if s.theirs.Load() > int64(s.limits.Streams) {
		_ = st.refuse(&Refusal{Code: tunnelpb.Code_LIMITED, Message: "too many streams are open in this session"})
		return
	}
	wait := openTimeout
	if ms := open.GetDeadlineMs(); ms > 0 && ms < uint64(maxOpenTimeout/time.Millisecond) {
		wait = time.Duration(ms) * time.Millisecond
	}
	in := &Incoming{Request: open, stream: st, done: make(chan struct{})}
	in.ctx, in.cancel = context.WithTimeout(s.ctx, wait)
	select {
	case s.incoming <- in:
	case <-st.conn.aborted():
	case <-in.ctx.Done():
	}
	in.watch()
}
