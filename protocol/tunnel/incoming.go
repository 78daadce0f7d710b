package tunnel

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
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
	unwatch  [3]func() bool // what ends the request without an answer; set by watch and watchOpener
}

// openerAfter is when it begins to matter that an opener has given up: nearly all have their answer before. Over QUIC the watch leaves
// 400 bytes in the stream for as long as that lives.
const openerAfter = 100 * time.Millisecond

// Context is done when the opener has given up, which is noticed 100 ms after the open at the earliest, the request's deadline has
// passed, the session has ended, or after the answer.
func (in *Incoming) Context() context.Context { return in.ctx }

// Accept answers yes. The caller ends the stream. It returns an error when the request has ended before.
func (in *Incoming) Accept() (*Stream, error) { return in.AcceptVia("") }

// AcceptVia is Accept, and names what carries the stream beyond this side: see Session.SendLeaving.
func (in *Incoming) AcceptVia(via string) (*Stream, error) { return in.accept(via, nil) }

// AcceptWith is Accept, and sends first, the stream's first bytes from this side, in the same packet.
func (in *Incoming) AcceptWith(first []byte) (*Stream, error) { return in.accept("", first) }

func (in *Incoming) accept(via string, first []byte) (*Stream, error) {
	// When Context has ended, the refusal is expire's to send, even if it has not come to it yet.
	if in.ctx.Err() != nil || !in.claim() {
		return nil, errAnswered
	}
	if err := in.stream.answer(&tunnelpb.Answer{Kind: &tunnelpb.Answer_Opened{Opened: &tunnelpb.Opened{Via: via}}}, first); err != nil {
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

// claim reports whether the answer is the caller's to give, who then does so.
func (in *Incoming) claim() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.answered {
		return false
	}
	in.answered = true
	for _, stop := range in.unwatch {
		if stop != nil {
			stop()
		}
	}
	in.cancel()
	return true
}

// watch ends the request when its time is over, and later when the opener has given up. No goroutine waits for either.
func (in *Incoming) watch() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.unwatch[0] = context.AfterFunc(in.ctx, in.expire)
	in.unwatch[1] = time.AfterFunc(openerAfter, in.watchOpener).Stop
}

// watchOpener ends the request when the opener has given up.
func (in *Incoming) watchOpener() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.answered {
		in.unwatch[2] = in.stream.conn.whenAborted(in.abandon)
	}
}

// expire refuses a request that was not answered in time. It fails if there is nobody left to tell.
func (in *Incoming) expire() {
	_ = in.Refuse(&Refusal{Code: tunnelpb.Code_ORIGIN_TIMEOUT, Message: "no answer within the request's time"})
}

// abandon drops a request whose opener has given up.
func (in *Incoming) abandon() {
	if in.claim() {
		_ = in.stream.Reset(stream.CodeCancelled)
	}
}

// answer sends a, and what follows it, at once.
func (s *Stream) answer(a *tunnelpb.Answer, first []byte) error {
	b, err := encode(a)
	if err != nil {
		return err
	}
	_ = s.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	_, err = s.Write(append(b, first...))
	// It fails on a stream that the peer has ended already, which its user learns.
	_ = s.SetWriteDeadline(time.Time{})
	return err
}

func (s *Stream) refuse(r *Refusal) error {
	err := s.answer(&tunnelpb.Answer{Kind: &tunnelpb.Answer_Refused{Refused: r.proto()}}, nil)
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

// restingReceivers is how many goroutines that have received a stream wait for the next. What a handler does, dialling above all, has grown
// their stacks, which a new goroutine does again: with 16 opens at a time that was 7 % of a connector's processor time.
const restingReceivers = 4

// acceptStreams owns accepting streams from the link.
func (s *Session) acceptStreams() {
	var receivers sync.WaitGroup
	defer receivers.Wait()
	r := &receiving{session: s, next: make(chan *Stream)}
	defer close(r.next)
	s.link.accept(s.ctx, func(ls linkStream) {
		st := newStream(s, ls, &s.theirs)
		select {
		case r.next <- st:
		default:
			receivers.Go(func() { r.run(st) })
		}
	})
}

// receiving is what the goroutines that receive a session's streams share.
type receiving struct {
	session *Session
	next    chan *Stream // closed when no more come
	resting atomic.Int32 // goroutines that wait for next
}

// run receives st, and what comes after it while few others wait for that.
func (r *receiving) run(st *Stream) {
	for more := true; more; {
		r.session.receive(st)
		if r.resting.Add(1) > restingReceivers {
			more = false
		} else {
			st, more = <-r.next
		}
		r.resting.Add(-1)
	}
}

// receive reads a stream's header and sees to it that it is answered.
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
		if err := st.answer(&tunnelpb.Answer{Kind: &tunnelpb.Answer_Opened{Opened: &tunnelpb.Opened{}}}, nil); err != nil {
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
	in := &Incoming{Request: open, stream: st}
	in.ctx, in.cancel = context.WithTimeout(s.ctx, wait)
	in.watch()
	if v := s.serving.Load(); v != nil {
		if !v.run(in) {
			_ = in.Refuse(&Refusal{Code: tunnelpb.Code_DRAINING, Message: "the session takes no more streams"})
		}
		return
	}
	select {
	case s.incoming <- in:
	case <-in.ctx.Done():
	}
}

// serving is a handler of incoming requests, and the calls of it that run.
type serving struct {
	handle func(*Incoming)

	mu    sync.Mutex
	over  bool
	calls sync.WaitGroup
}

// run calls the handler, and reports whether it did.
func (v *serving) run(in *Incoming) bool {
	v.mu.Lock()
	if v.over {
		v.mu.Unlock()
		return false
	}
	v.calls.Add(1)
	v.mu.Unlock()
	defer v.calls.Done()
	v.handle(in)
	return true
}

// end waits for the calls that run, and lets no more begin.
func (v *serving) end() {
	v.mu.Lock()
	v.over = true
	v.mu.Unlock()
	v.calls.Wait()
}

// Serve calls handle for each of the peer's Opens, in the goroutine that has received it, until the session or ctx has ended, and
// returns when no call runs any more. It takes the place of Accept, costs a goroutine less for each stream, and is called once. handle
// answers, and does not keep its goroutine for as long as the stream lives: its stack may have grown.
func (s *Session) Serve(ctx context.Context, handle func(*Incoming)) {
	v := &serving{handle: handle}
	defer v.end()
	s.serving.Store(v)
	var early sync.WaitGroup // what came before
	defer early.Wait()
	for {
		in, err := s.Accept(ctx)
		if err != nil {
			return
		}
		early.Go(func() { v.run(in) })
	}
}
