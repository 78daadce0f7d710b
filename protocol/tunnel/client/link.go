package client

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// link holds the sessions of one credential: the current one, and those that wait for their last stream to end.
type link struct {
	client *Client
	key    credential
	used   time.Time // guarded by client.mu

	// turn is held by the one that dials; the others wait for it with their own contexts. It guards the fields below it.
	turn    chan struct{}
	backoff Backoff
	notTill time.Time // no attempt before
	lastErr error     // why not before

	mu      sync.Mutex
	relay   int // counts relays that were left; chooses the one to dial
	current *tunnel.Session
	addr    string    // of current's relay
	better  time.Time // when something better than current is looked for
	retired []*tunnel.Session
	closed  bool
	over    chan struct{} // closed with closed
}

// session returns the link's session, and dials one when there is none.
func (l *link) session(ctx context.Context) (*tunnel.Session, error) {
	if s := l.live(); s != nil {
		return s, nil
	}
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a session with a relay: %w", ctx.Err())
	}
	for {
		if s := l.live(); s != nil {
			return s, nil
		}
		if wait := time.Until(l.notTill); wait > 0 {
			if deadline, ok := ctx.Deadline(); Permanent(l.lastErr) || ok && time.Until(deadline) < wait {
				return nil, l.lastErr
			}
			if err := sleep(ctx, wait); err != nil {
				return nil, l.lastErr
			}
		}
		s, err := l.dial(ctx)
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil || Permanent(err) || l.isClosed() {
			return nil, err
		}
	}
}

// dial makes one attempt at the next relay.
func (l *link) dial(asked context.Context) (*tunnel.Session, error) {
	ctx, cancel := context.WithTimeout(asked, dialTimeout)
	defer cancel()
	relay := l.next(0)
	addr := l.client.Relays[relay%len(l.client.Relays)]
	session, err := l.reach(ctx, addr, l.client.Protocol)
	if err != nil {
		err = fmt.Errorf("reach a relay: %w", err)
		if asked.Err() != nil {
			return nil, err // who asked gave up: it says nothing about the relay
		}
		// The others are tried at once, and then it is waited.
		if l.next(1)%len(l.client.Relays) == 0 || Permanent(err) {
			l.lastErr, l.notTill = err, time.Now().Add(l.backoff.Next(err))
		}
		return nil, err
	}
	l.backoff.Reset()
	l.lastErr, l.notTill = nil, time.Time{}
	if !l.adopt(session, addr, nil) {
		session.Close(stream.CodeDraining, "the client is shutting down")
		return nil, &tunnel.Refusal{Code: tunnelpb.Code_DRAINING, Message: "this process is shutting down"}
	}
	l.logger().Debug("session with relay", "relay", addr, "carrier", session.Carrier().String(), "client", l.key.id)
	return session, nil
}

func (l *link) logger() *slog.Logger {
	if l.client.Logger != nil {
		return l.client.Logger
	}
	return slog.Default()
}

// reach makes a session with the relay at addr.
func (l *link) reach(ctx context.Context, addr string, protocol Protocol) (*tunnel.Session, error) {
	hello := &tunnelpb.Hello{
		Role: tunnelpb.Role_CLIENT, ClientId: l.key.id, ClientSecret: l.key.secret, PeerId: l.client.PeerID, Version: l.client.Version,
	}
	want := l.client.RelayID
	if want != "" {
		hello.Role = tunnelpb.Role_RELAY
	}
	racer := &Racer{Protocol: protocol, Dialer: tunnel.Dialer{Addr: addr, TLS: l.client.TLS, Hello: hello, Logger: l.client.Logger}}
	if l.client.race != nil {
		return l.client.race(ctx, racer)
	}
	session, err := racer.Dial(ctx)
	if err == nil && want != "" && session.Welcome().GetRelayId() != want {
		session.Close(stream.CodeCancelled, "another relay was meant")
		return nil, fmt.Errorf("relay %s is not %s but %s", addr, want, session.Welcome().GetRelayId())
	}
	return session, err
}

// adopt makes s the current session in place of instead, and watches it. It reports false when the link is closed or has another
// session by now.
func (l *link) adopt(s *tunnel.Session, addr string, instead *tunnel.Session) bool {
	l.mu.Lock()
	wanted := !l.closed && l.current == instead
	if wanted {
		if instead != nil {
			l.retired = append(l.retired, instead)
		}
		l.current, l.addr, l.better = s, addr, time.Now().Add(BetterAfter())
	}
	l.mu.Unlock()
	if wanted {
		l.client.begin(func() { s.Watch(context.Background()) }) // until the session ends
	}
	return wanted
}

// improve replaces a session over WebSocket by one over QUIC, if that is to be had.
func (l *link) improve(old *tunnel.Session, addr string) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout) // nobody waits for it
	defer cancel()
	go func() {
		select {
		case <-l.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	session, err := l.reach(ctx, addr, QUIC)
	if err != nil {
		l.logger().Debug("session stays on websocket", "relay", addr, "err", err)
		return
	}
	if !l.adopt(session, addr, old) {
		session.Close(stream.CodeCancelled, "it is not needed any more")
	}
}

func (l *link) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// live returns the current session if it takes new streams.
func (l *link) live() *tunnel.Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == nil {
		return nil
	}
	select {
	case <-l.current.Done():
		l.current = nil
	case <-l.current.GoneAway():
		l.retired = append(l.retired, l.current)
		l.current = nil
		l.relay++
	default:
		if !l.current.Healthy() {
			l.retired = append(l.retired, l.current)
			l.current = nil
			l.relay++
		}
	}
	return l.current
}

// next adds to the count of relays that were left, and returns it.
func (l *link) next(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.relay += n
	return l.relay
}

// retire takes s out of use; its streams go on. Another relay is next when this one is leaving.
func (l *link) retire(s *tunnel.Session, leaving bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != s {
		return
	}
	l.retired = append(l.retired, s)
	l.current = nil
	if leaving {
		l.relay++
	}
}

func (l *link) streams() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range l.retired {
		n += s.Streams()
	}
	if l.current != nil {
		n += l.current.Streams()
	}
	return n
}

// sweep takes out what has no streams: retired sessions, and the current one too when the link is idle. It returns them for
// closing, and whether none is left. In its time it looks for something better than WebSocket.
func (l *link) sweep(now time.Time, idle bool) (unused []*tunnel.Session, empty bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retired = slices.DeleteFunc(l.retired, func(s *tunnel.Session) bool {
		if s.Err() == nil && s.Streams() > 0 {
			return false
		}
		unused = append(unused, s)
		return true
	})
	if l.current != nil && idle && l.current.Streams() == 0 {
		unused = append(unused, l.current)
		l.current = nil
	}
	auto := l.client.Protocol == Auto || l.client.Protocol == ""
	if s := l.current; s != nil && auto && s.Carrier() == tunnel.CarrierWebSocket && now.After(l.better) {
		l.better = now.Add(BetterAfter())
		addr := l.addr
		l.client.work.Go(func() { l.improve(s, addr) })
	}
	return unused, l.current == nil && len(l.retired) == 0
}

func (l *link) closeAll() {
	l.mu.Lock()
	sessions := l.retired
	if l.current != nil {
		sessions = append(sessions, l.current)
	}
	if !l.closed {
		close(l.over)
	}
	l.retired, l.current, l.closed = nil, nil, true
	l.mu.Unlock()
	for _, s := range sessions {
		s.Close(stream.CodeDraining, "the client is shutting down")
	}
}
