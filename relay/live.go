package relay

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

const (
	// sweepEvery is how often live streams are decided on again without a change of the state: tokens expire, and graces end,
	// by the clock alone. Streams must be cut within five seconds (docs/behaviours.md, Tunnel31).
	sweepEvery = 3 * time.Second
	// sweepPause keeps a storm of changes from deciding all the time.
	sweepPause = 200 * time.Millisecond
)

// liveStream is an admitted stream to a connector, and what it was admitted for. It is the connector's stream to its owner.
type liveStream struct {
	stream.Conn
	relay   *Relay
	backend *backend        // nil for a stream to another relay
	client  *tunnel.Session // that asked for it; nil for a proxy in this process and for generic clients
	ask     ask

	release sync.Once
}

// ask is what a stream was asked for, and what is decided on again while it lives.
type ask struct {
	hostname     string
	clientID     string
	clientSecret string
	remote       netip.Addr
	tunnel       string // ID that the hostname led to; empty before that is decided
}

// payer is whose quota a stream counts against: the service token's, or, where a policy admits without one, the hostname's.
func (a *ask) payer() string {
	if a.clientID == "" {
		return "hostname " + a.hostname
	}
	return a.clientID
}

// Close implements stream.Conn.
func (l *liveStream) Close() error {
	l.end()
	return l.Conn.Close()
}

// Reset implements stream.Conn.
func (l *liveStream) Reset(code stream.Code) error {
	l.end()
	return l.Conn.Reset(code)
}

// Leaving reports whether the connector, or this relay, is shutting down: see stream.Leaving.
func (l *liveStream) Leaving() bool {
	return l.relay.draining.Load() || l.backend != nil && l.backend.left() || stream.Leaving(l.Conn)
}

// WhenReset tells of the reset of a stream whose reader is stuck elsewhere: see tunnel.Stream.WhenReset. A conn of another kind tells of none.
func (l *liveStream) WhenReset(f func(error)) (stop func() bool) {
	if s, ok := l.Conn.(*tunnel.Stream); ok {
		return s.WhenReset(f)
	}
	return func() bool { return true }
}

// via names what carries the stream beyond this relay: see tunnel.Session.SendLeaving. Every relay on the way calls it the same.
func (l *liveStream) via() string {
	if l.backend != nil {
		return l.backend.id
	}
	if s, ok := l.Conn.(*tunnel.Stream); ok {
		return s.Via()
	}
	return ""
}

// leaving tells the clients whose streams via carries that it will end, so that they move what only waits.
func (r *Relay) leaving(via string) {
	told := make(map[*tunnel.Session]bool)
	for _, l := range r.live.all() {
		if l.client != nil && !told[l.client] && l.via() == via {
			told[l.client] = true
			l.client.SendLeaving(via)
		}
	}
}

// end gives the stream's place back.
func (l *liveStream) end() {
	l.release.Do(func() {
		if l.backend != nil {
			l.backend.load.end()
		}
		l.relay.quotas.give(l.ask.payer(), l.ask.tunnel)
		l.relay.live.remove(l)
	})
}

// cut aborts a stream. The pipe that joins it passes the code on to the client.
func (r *Relay) cut(l *liveStream, code stream.Code) {
	r.metrics.cuts.WithLabelValues(code.String()).Inc()
	l.Reset(code)
}

// evict cuts a session's streams and closes it. The streams come first, so that their clients hear the code and not of a lost
// session.
func (r *Relay) evict(b *backend, code stream.Code, reason string) {
	for _, l := range r.live.all() {
		if l.backend == b {
			r.cut(l, code)
		}
	}
	b.session.Close(code, reason)
}

// live is the set of live streams.
type live struct {
	mu      sync.Mutex
	streams map[*liveStream]struct{}
	waiting chan struct{} // closed when the last stream ends; nil when nobody waits
}

func (v *live) add(l *liveStream) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.streams == nil {
		v.streams = make(map[*liveStream]struct{})
	}
	v.streams[l] = struct{}{}
}

func (v *live) remove(l *liveStream) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.streams, l)
	if len(v.streams) == 0 && v.waiting != nil {
		close(v.waiting)
		v.waiting = nil
	}
}

// drained returns a channel that is closed when no stream is live.
func (v *live) drained() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	done := make(chan struct{})
	if len(v.streams) == 0 {
		close(done)
		return done
	}
	v.waiting = done
	return done
}

func (v *live) len() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.streams)
}

func (v *live) all() []*liveStream {
	v.mu.Lock()
	defer v.mu.Unlock()
	list := make([]*liveStream, 0, len(v.streams))
	for l := range v.streams {
		list = append(list, l)
	}
	return list
}

// watch decides again on everything that lives, at each change of the state and every sweepEvery, until ctx ends.
func (r *Relay) watch(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		changed := r.state.Changed()
		r.sweep(time.Now())
		pause := time.NewTimer(sweepPause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
	}
}

// sweep cuts the streams that would not be admitted now, and closes the sessions of clients that could not authenticate now.
// Each distinct ask is decided on once.
func (r *Relay) sweep(now time.Time) {
	snap := r.state.Now()
	verdicts := make(map[ask]bool)
	for _, l := range r.live.all() {
		ok, known := verdicts[l.ask]
		if !known {
			d, tunnelID, refusal := decide(snap, &l.ask, now)
			ok = d.Outcome == access.Allowed && refusal == nil && tunnelID == l.ask.tunnel
			verdicts[l.ask] = ok
			if !ok {
				r.audit(snap, &l.ask, d, "access.cut")
			}
		}
		if !ok {
			r.log.Info("stream is cut: it is not admitted any more", "hostname", l.ask.hostname, "client", l.ask.clientID, "tunnel", l.ask.tunnel)
			r.tasks.Go(func() { r.cut(l, stream.CodeRevoked) })
		}
	}
	for _, s := range r.clients.sessions() {
		hello := s.Hello()
		if hello.GetRole() == tunnelpb.Role_RELAY {
			continue // its certificate was good; its opens are decided on one by one
		}
		if identify(snap, hello.GetClientId(), hello.GetClientSecret(), s.RemoteAddr(), now).Outcome == access.Unauthenticated {
			r.tasks.Go(func() { s.Close(stream.CodeRevoked, "the service token is not valid any more") })
		}
	}
}
