package tunnel

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

var errSilent = errors.New("the peer is silent")

// A Session is an authenticated link between a relay and a peer, and is the same on both sides. Its methods may be called
// concurrently.
type Session struct {
	link    link
	carrier Carrier
	remote  netip.AddrPort
	hello   *tunnelpb.Hello
	welcome *tunnelpb.Welcome
	limits  Limits
	served  bool // by a Server
	log     *slog.Logger
	out     *outbox

	configure func(context.Context, *tunnelpb.Configure) *tunnelpb.Configured
	goAway    func(*tunnelpb.GoAway)
	events    chan *tunnelpb.Frame // for the two functions above
	gone      chan struct{}        // closed by readControl at the peer's first GoAway
	isGone    bool                 // owned by readControl
	leaving   leaving              // what the peer has said to end
	onLeaving func(via string)

	ctx      context.Context // the session's life, which no caller's context has
	cancel   context.CancelFunc
	incoming chan *Incoming
	serving  atomic.Pointer[serving] // takes what comes instead of incoming; nil until Serve
	ours     atomic.Int64            // streams that this side opened, from the request on
	theirs   atomic.Int64            // streams that the peer opened, from the header on
	probes   atomic.Int64            // streams that only ask for an answer
	health   health
	work     sync.WaitGroup

	mu      sync.Mutex
	callID  uint64
	pending map[uint64]chan *tunnelpb.Configured
}

// newSession starts a session on a link whose handshake is done. control is the control stream.
func newSession(s *Session, control io.ReadWriter) *Session {
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.incoming = make(chan *Incoming)
	s.pending = make(map[uint64]chan *tunnelpb.Configured)
	s.gone = make(chan struct{})
	s.health.suspected = make(chan struct{})
	// A few messages may wait while one is worked on; a relay sends the next Configure after the answer to the last.
	s.events = make(chan *tunnelpb.Frame, 8)

	if c, ok := control.(yamuxControl); ok {
		s.out.attach(c)
	}
	s.work.Go(func() { s.writeControl(control) })
	s.work.Go(func() { s.readControl(control) })
	s.work.Go(s.watchOutbox)
	s.work.Go(s.handleEvents)
	s.work.Go(s.acceptStreams)
	return s
}

// Hello returns what the dialling peer said. It must not be changed.
func (s *Session) Hello() *tunnelpb.Hello { return s.hello }

// Welcome returns what the relay answered. It must not be changed.
func (s *Session) Welcome() *tunnelpb.Welcome { return s.welcome }

// Carrier returns what the session runs over.
func (s *Session) Carrier() Carrier { return s.carrier }

// RemoteAddr returns the peer's address, or that of the HTTP proxy on the way to it.
func (s *Session) RemoteAddr() netip.AddrPort { return s.remote }

// Done returns a channel that is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.link.closed() }

// GoneAway returns a channel that is closed when the peer has asked this side to move: it takes no more streams.
func (s *Session) GoneAway() <-chan struct{} { return s.gone }

// Err returns nil until Done is closed, and then a *SessionError.
func (s *Session) Err() error {
	select {
	case <-s.link.closed():
		return s.link.err()
	default:
		return nil
	}
}

// Streams returns how many streams are open or being opened, by either side, without probes.
func (s *Session) Streams() int { return int(s.ours.Load() + s.theirs.Load()) }

// Close ends the session and resets its streams. The peer sees code and reason, which must be safe to show. It waits at most a
// second for the peer. Later calls do nothing. It may be called from Dialer.Configure and Dialer.GoAway.
func (s *Session) Close(code stream.Code, reason string) error {
	s.link.close(code, reason)
	s.cancel()
	return nil
}

// wait returns when everything that the session started has ended.
func (s *Session) wait() { s.work.Wait() }

// writeControl owns writing on the control stream.
func (s *Session) writeControl(w io.Writer) {
	if err := s.out.run(w, s.link.closed()); err != nil {
		s.link.close(stream.CodeInternal, "the control stream broke")
	}
}

// watchOutbox ends the session of a peer that does not read what it asks for.
func (s *Session) watchOutbox() {
	select {
	case <-s.ctx.Done():
	case <-s.out.overflow:
		s.link.close(stream.CodeLimited, "the control stream is not read")
	}
}

// readControl owns reading from the control stream, and ends the session when it ends.
func (s *Session) readControl(r io.Reader) {
	defer s.cancel()
	br := bufio.NewReaderSize(r, 1<<10) // frames are small; a Configure may be larger and is allocated then
	for {
		f := new(tunnelpb.Frame)
		if err := readMessage(br, f, maxFrame); err != nil {
			s.log.Debug("control stream ended", "err", err)
			s.link.close(stream.CodeProtocol, "the control stream ended")
			return
		}
		s.handleFrame(f)
	}
}

func (s *Session) handleFrame(f *tunnelpb.Frame) {
	switch k := f.GetKind().(type) {
	case *tunnelpb.Frame_Configure:
		select {
		case s.events <- f:
		default: // who gets no answer asks again; an error would be one of the rules
		}
	case *tunnelpb.Frame_GoAway:
		if !s.isGone {
			s.isGone = true
			close(s.gone)
		}
		select {
		case s.events <- f:
		default: // it was told already
		}
	case *tunnelpb.Frame_Leaving:
		via := k.Leaving.GetVia()
		if s.served || via == "" || len(via) > maxVia { // only what was dialled, a relay, has something behind it
			return
		}
		s.leaving.add(via)
		if s.onLeaving != nil {
			s.onLeaving(via)
		}
	case *tunnelpb.Frame_Configured:
		s.mu.Lock()
		answer := s.pending[f.GetId()]
		delete(s.pending, f.GetId())
		s.mu.Unlock()
		if answer != nil {
			answer <- k.Configured
		}
	default:
		// The link's own, or of a newer version: the link skips those.
		s.link.control(f)
	}
}

// handleEvents calls the functions of the Dialer, one at a time.
func (s *Session) handleEvents() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case f := <-s.events:
			switch k := f.GetKind().(type) {
			case *tunnelpb.Frame_Configure:
				answer := &tunnelpb.Configured{Error: "this peer takes no configuration"}
				if s.configure != nil {
					answer = s.configure(s.ctx, k.Configure)
				}
				s.answerConfigure(f.GetId(), answer)
			case *tunnelpb.Frame_GoAway:
				if s.goAway != nil {
					s.goAway(k.GoAway)
				}
			}
		}
	}
}

func (s *Session) answerConfigure(id uint64, answer *tunnelpb.Configured) {
	s.out.put(outgoing{frame: &tunnelpb.Frame{Id: id, Kind: &tunnelpb.Frame_Configured{Configured: answer}}})
}

// Configure sends rules to a connector and waits for its answer, at most 15 seconds. A configuration that the connector did not
// take is not an error of Configure's: the answer says so.
func (s *Session) Configure(ctx context.Context, c *tunnelpb.Configure) (*tunnelpb.Configured, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	answer := make(chan *tunnelpb.Configured, 1)
	s.mu.Lock()
	s.callID++
	id := s.callID
	s.pending[id] = answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.pending, id)
		s.mu.Unlock()
	}()

	s.out.put(outgoing{frame: &tunnelpb.Frame{Id: id, Kind: &tunnelpb.Frame_Configure{Configure: c}}})
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.link.closed():
		return nil, s.link.err()
	}
}

// SendGoAway asks the peer to move to another session. Streams go on, and so do Opens: refusing them is the caller's.
func (s *Session) SendGoAway(ctx context.Context, g *tunnelpb.GoAway) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.link.closed():
		return s.link.err()
	default:
	}
	s.out.put(outgoing{frame: &tunnelpb.Frame{Kind: &tunnelpb.Frame_GoAway{GoAway: g}}})
	return nil
}

// Probe measures a round trip through the peer's stream path: a stream is opened, answered by the peer's package, and closed.
func (s *Session) Probe(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	st, err := s.request(ctx, &tunnelpb.Header{Kind: &tunnelpb.Header_Probe{Probe: &tunnelpb.Probe{}}})
	if err != nil {
		return 0, err
	}
	now := time.Now()
	s.health.pass(now, now.Sub(start))
	return now.Sub(start), st.Close()
}
