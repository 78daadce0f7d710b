package client

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// link holds the sessions of one credential: those that take streams, one over QUIC or up to maxParallel over WebSocket, and those
// that wait for their last stream to end.
type link struct {
	client *Client
	key    credential
	used   time.Time // guarded by client.mu

	// turn is held by the one that dials; the others wait for it with their own contexts. It guards the fields below it.
	turn    chan struct{}
	backoff Backoff
	unheard time.Duration // of attempts at the next relay that were given up
	notTill time.Time     // no attempt before
	lastErr error         // why not before

	mu      sync.Mutex
	relay   int // counts relays that were left; chooses the one to dial
	current []*tunnel.Session
	addr    string    // of their relay
	better  time.Time // when something better than they is looked for
	growing bool      // another is being made beside them
	notMore time.Time // and none is before this
	retired []*tunnel.Session
	closed  bool
	over    chan struct{} // closed with closed
}

// session returns a session of the link's, and dials one when there is none.
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
			if deadline, ok := ctx.Deadline(); tunnel.IsUnadmitted(l.lastErr) || ok && time.Until(deadline) < wait {
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
		if ctx.Err() != nil || tunnel.IsUnadmitted(err) || l.isClosed() {
			return nil, err
		}
	}
}

// dial makes one attempt at the next relay.
func (l *link) dial(asked context.Context) (*tunnel.Session, error) {
	ctx, cancel := context.WithTimeout(asked, dialTimeout)
	defer cancel()
	relay, began := l.next(0), time.Now()
	addr := l.client.known.At(relay)
	session, err := l.reach(ctx, addr, l.client.Protocol)
	if err != nil {
		err = fmt.Errorf("reach a relay: %w", err)
		if asked.Err() != nil {
			// Who asked gave up, which says nothing about the relay unless there was time enough for both carriers.
			if l.unheard += time.Since(began); l.unheard > headStart+patience {
				l.unheard = 0
				l.next(1)
			}
			return nil, err
		}
		l.unheard = 0
		// The others are tried at once, and then it is waited.
		if l.next(1)%l.client.known.Len() == 0 || tunnel.IsUnadmitted(err) {
			l.lastErr, l.notTill = err, time.Now().Add(l.backoff.Next(err))
		}
		return nil, err
	}
	if l.client.RelayID == "" { // another relay is the one that is meant, whomever it knows
		l.client.known.Learn(session.Welcome().GetRelays())
	}
	l.backoff.Reset()
	l.lastErr, l.notTill, l.unheard = nil, time.Time{}, 0
	if !l.begin(session, addr) {
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
	racer := &Racer{Protocol: protocol, Dialer: tunnel.Dialer{Addr: addr, TLS: l.client.TLS, Hello: hello, Leaving: l.client.Leaving, Logger: l.client.Logger}}
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

func (l *link) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// next adds to the count of relays that were left, and returns it.
func (l *link) next(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.relay += n
	return l.relay
}
