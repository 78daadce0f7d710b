package tunnel

import (
	"context"
	"errors"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// Limits of yamux.
const (
	// maxYamuxWindow bounds a stream's throughput to window / round trip: 480 Mbit/s at 100 ms. yamux has no window for the whole
	// connection, so that a stalled reader costs this much memory and stops nobody.
	maxYamuxWindow = 6 << 20

	// minYamuxWindow is for peers that are near. What one stream may have on the way is what its neighbours stand behind when the
	// reading side is the slow one: with maxYamuxWindow their 99th percentile beside one bulk stream grew eightfold (make
	// bench-tunnel, "beside").
	minYamuxWindow = 1 << 20

	// yamuxRate is what a window lets one stream have in each second, at the round trip of the handshake: 1 Gbit/s.
	yamuxRate = 125 << 20

	// yamuxWriteTimeout is how long the connection may be blocked. hashicorp/yamux's default of 10 s kills sessions that are merely
	// congested (its issue 142).
	yamuxWriteTimeout = 60 * time.Second
)

// yamuxWindow is a stream's window for a round trip. One that was measured too long costs memory, and no throughput.
func yamuxWindow(rtt time.Duration) uint32 {
	return uint32(min(max(rtt.Seconds()*yamuxRate, minYamuxWindow), maxYamuxWindow))
}

// yamuxLink is a yamux session on a WebSocket. yamux has no reset with a code; this and yamuxStream make one, of control frames:
//
//	ABORT -->            this side is dead; it sends no FIN yet
//	      <-- DONE, FIN  the peer's stream fails with the code from here on, so that no FIN can look like a clean end
//	FIN   -->            both yamux streams are closed, and freed
type yamuxLink struct {
	sess   *mux
	ws     *wsConn
	out    *outbox
	max    int    // streams of the peer
	window int    // bytes, of each stream of the peer's
	odd    uint32 // parity of the ids that this side makes: yamux clients have the odd ones

	mu      sync.Mutex
	streams map[uint32]*yamuxStream // those that neither side has ended
	early   map[uint32]stream.Code  // ABORTs that overtook accept
	newest  uint32                  // the last accepted id: the peer's ids grow
	why     *SessionError           // why the session was closed, if it was

	keeper sync.WaitGroup
}

// newYamuxLink starts yamux on a WebSocket with a round trip of rtt.
func newYamuxLink(ws *wsConn, out *outbox, dialled bool, l Limits, rtt time.Duration) *yamuxLink {
	odd := uint32(0)
	if dialled {
		odd = 1
	}
	if ws.below != nil {
		ws.below.readAhead()
	}
	window := yamuxWindow(rtt)
	y := &yamuxLink{
		ws: ws, out: out, max: l.Streams, window: int(window), odd: odd,
		streams: make(map[uint32]*yamuxStream),
		early:   make(map[uint32]stream.Code),
		sess:    newMux(ws, dialled, window, l.Streams, out.overflow),
	}
	y.keeper.Go(y.keepAlive)
	return y
}

// maxQuiet bounds frames of the control stream that wait for the outbox to flush, in bytes: Resets have 20.
const maxQuiet = 1 << 10

// yamuxControl is the control stream of a WebSocket session.
type yamuxControl struct{ *muxStream }

// Read implements io.Reader.
func (c yamuxControl) Read(p []byte) (int, error) { return c.read(p) }

// Write implements io.Writer. What is small goes with what follows it, or when the outbox flushes.
func (c yamuxControl) Write(p []byte) (int, error) {
	quiet := len(p) <= maxQuiet
	if !quiet || !c.fits(len(p)) {
		c.m.out.flush() // the peer makes room when it has read what came before
	}
	return c.write(p, quiet)
}

func (l *yamuxLink) open(ctx context.Context, header []byte) (linkStream, error) {
	var s *yamuxStream
	err := l.sess.open(ctx, header, func(ms *muxStream) {
		s = &yamuxStream{ys: ms, link: l}
		l.mu.Lock()
		l.streams[ms.id] = s
		l.mu.Unlock()
	})
	if err != nil {
		return nil, l.explain(err)
	}
	return s, nil
}

func (l *yamuxLink) accept(_ context.Context, each func(linkStream)) {
	crowded := make(chan struct{}, 1)
	l.sess.serve(func(ys *muxStream) {
		// Streams that the program has ended and the peer has not are in yamux's count only, and those whose reset the peer has
		// not answered, though yamux's reset has ended them, in the link's. A peer that keeps them would fill this side's memory.
		if max(l.sess.len(), l.len()) > 2*l.max+64 {
			l.sess.forget(ys.id) // until the session has ended there may be any number more
			signal(crowded)
			return
		}
		if s := (&yamuxStream{ys: ys, link: l}); l.register(s) {
			each(s)
		}
	})
	select {
	case <-l.sess.done:
	case <-crowded:
		l.close(stream.CodeLimited, "too many streams are open in this session")
	}
	l.sess.work.Wait() // each is not called any more
}

// register adds an accepted stream, unless its ABORT was there first.
func (l *yamuxLink) register(s *yamuxStream) bool {
	id := s.ys.id
	l.mu.Lock()
	l.newest = max(l.newest, id)
	_, aborted := l.early[id]
	if aborted {
		delete(l.early, id)
	} else {
		l.streams[id] = s
	}
	if len(l.early) > 0 { // what was refused below is not accepted any more: streams come in order
		maps.DeleteFunc(l.early, func(early uint32, _ stream.Code) bool { return early < id })
	}
	l.mu.Unlock()
	if aborted {
		l.out.putLazily(resetFrame(id, 0, tunnelpb.Reset_DONE), outgoing{finish: s.ys})
	}
	return !aborted
}

// len returns how many streams neither side has ended.
func (l *yamuxLink) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.streams)
}

// forget drops a stream that the program has ended.
func (l *yamuxLink) forget(id uint32) {
	l.mu.Lock()
	delete(l.streams, id)
	l.mu.Unlock()
}

// resetFrame is a Reset for the outbox.
func resetFrame(id uint32, code stream.Code, kind tunnelpb.Reset_Kind) outgoing {
	return outgoing{frame: &tunnelpb.Frame{Kind: &tunnelpb.Frame_ResetStream{
		ResetStream: &tunnelpb.Reset{Stream: uint64(id), Code: uint32(code), Kind: kind},
	}}}
}

// finish queues the FIN of a stream that the peer has ended, behind the Resets that were queued before it. It only lets the peer forget
// the stream.
func (l *yamuxLink) finish(s *yamuxStream) { l.out.putLazily(outgoing{finish: s.ys}) }

// control handles the frames that are about this link.
func (l *yamuxLink) control(f *tunnelpb.Frame) {
	switch k := f.GetKind().(type) {
	case *tunnelpb.Frame_ResetStream:
		l.reset(k.ResetStream)
	case *tunnelpb.Frame_Close:
		l.because(&SessionError{Code: stream.Code(k.Close.GetCode()), Reason: k.Close.GetReason(), Remote: true})
		l.drop()
	}
}

func (l *yamuxLink) reset(r *tunnelpb.Reset) {
	id, code := uint32(r.GetStream()), stream.Code(r.GetCode())
	l.mu.Lock()
	s := l.streams[id]
	// The peer's ids have the parity that this side's have not, and it uses them in order.
	coming := s == nil && id > l.newest && id%2 != l.odd
	overflow := false
	switch {
	case coming && r.GetKind() == tunnelpb.Reset_ABORT:
		overflow = len(l.early) >= l.max
		l.early[id] = code
	case s != nil && r.GetKind() != tunnelpb.Reset_STOP:
		delete(l.streams, id)
	}
	l.mu.Unlock()
	switch {
	case overflow:
		l.close(stream.CodeProtocol, "too many resets of streams that do not exist")
		return
	case coming:
		return
	}

	switch r.GetKind() {
	case tunnelpb.Reset_ABORT:
		if s != nil {
			s.abortedByPeer(code)
		}
		answer := []outgoing{resetFrame(id, code, tunnelpb.Reset_DONE)}
		if s != nil {
			answer = append(answer, outgoing{finish: s.ys})
		}
		l.out.putLazily(answer...) // the peer's side has failed already
	case tunnelpb.Reset_STOP:
		if s != nil && s.stoppedByPeer(code) {
			l.finish(s)
		}
	case tunnelpb.Reset_DONE:
		if s != nil {
			l.finish(s)
		}
	}
}

func (l *yamuxLink) closed() <-chan struct{} { return l.sess.done }

func (l *yamuxLink) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why != nil {
		return l.why
	}
	err := l.ws.readErr()
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return &SessionError{Err: err}
}

// because notes why the session ends. The first reason stays.
func (l *yamuxLink) because(why *SessionError) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil {
		l.why = why
	}
}

func (l *yamuxLink) close(code stream.Code, reason string) {
	l.because(&SessionError{Code: code, Reason: reason})
	l.out.put(outgoing{frame: &tunnelpb.Frame{Kind: &tunnelpb.Frame_Close{
		Close: &tunnelpb.Close{Code: uint32(code), Reason: reason},
	}}})
	// The peer drops the connection when it has read why.
	t := time.NewTimer(closeTimeout)
	defer t.Stop()
	select {
	case <-l.closed():
	case <-t.C:
	}
	l.drop()
}

// drop ends the session without a word.
func (l *yamuxLink) drop() {
	l.sess.close()
	l.keeper.Wait()
}

// explain maps yamux's errors. Whatever it says, a session that is closed says more.
func (l *yamuxLink) explain(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case l.sess.closed():
		return l.err()
	}
	return &SessionError{Err: err}
}

// keepAlive says something, drops a session that is dead, and frees the receive buffers of streams that are idle.
func (l *yamuxLink) keepAlive() {
	tick := time.NewTicker(wsPing)
	defer tick.Stop()
	heard, since := int64(0), time.Now()
	for {
		select {
		case <-l.closed():
			return
		case now := <-tick.C:
			if n := l.ws.received.Load(); n != heard {
				heard, since = n, now
			}
			if now.Sub(since) >= wsDead || l.sess.out.blocked(now) >= yamuxWriteTimeout {
				l.because(&SessionError{Err: errSilent})
				l.sess.end()
				return
			}
			// An empty frame is skipped by the peer. What is queued already says as much.
			l.out.putIfEmpty(outgoing{frame: &tunnelpb.Frame{}})
			l.shrink()
		}
	}
}

// shrink frees the receive buffers that are empty, which keep their largest size.
func (l *yamuxLink) shrink() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.streams {
		s.ys.shrink()
	}
}
