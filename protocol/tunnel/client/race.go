package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
)

// Protocol says which carriers a Racer may use.
type Protocol string

// The protocols, as they are spelled on command lines. The empty Protocol is Auto.
const (
	Auto      Protocol = "auto"
	QUIC      Protocol = "quic"
	WebSocket Protocol = "websocket"
)

// ParseProtocol returns the protocol that s spells.
func ParseProtocol(s string) (Protocol, error) {
	switch p := Protocol(s); p {
	case Auto, QUIC, WebSocket:
		return p, nil
	}
	return "", fmt.Errorf("protocol %q is none of auto, quic, websocket", s)
}

// headStart is how long QUIC runs alone: longer than a handshake over any usable path, short enough that a network that drops
// UDP costs no more than a second.
const headStart = time.Second

// patience is how long a carrier that is ready waits for the Welcome of the one that said Hello first. With the head start and
// a handshake it keeps WebSocket within three seconds also when UDP dies between handshake and Welcome (docs/behaviours.md, Tunnel01).
const patience = 1500 * time.Millisecond

// Racer makes sessions over the carrier that registers first. It holds no state and may be used concurrently.
type Racer struct {
	// Dialer is the pattern for both carriers; its Carrier and Commit are the Racer's.
	Dialer   tunnel.Dialer
	Protocol Protocol // Auto unless set

	dial func(context.Context, *tunnel.Dialer) (*tunnel.Session, error) // tests; (*tunnel.Dialer).Dial unless set
}

type outcome struct {
	carrier tunnel.Carrier
	session *tunnel.Session
	err     error
}

// Dial returns a session with the relay at Dialer.Addr. QUIC starts at once, WebSocket a second later, or as soon as QUIC has failed. One of
// them says Hello at a time, so that the relay does not see two registrations of one peer. A refusal ends the race: the relay
// was reached. So does a host that says of both that nobody listens. It returns a *tunnel.Refusal, or an error that says what became of each carrier. The caller closes the session.
func (r *Racer) Dial(ctx context.Context) (*tunnel.Session, error) {
	switch r.Protocol {
	case QUIC:
		return r.dialOne(ctx, tunnel.CarrierQUIC, nil)
	case WebSocket:
		return r.dialOne(ctx, tunnel.CarrierWebSocket, nil)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	turn := make(chan struct{}, 1) // holds the one that says Hello
	results := make(chan outcome, 2)
	start := make(chan struct{})
	begin := sync.OnceFunc(func() { close(start) })
	var closed atomic.Bool // the host has no UDP socket there
	if r.dial == nil {
		var watch sync.WaitGroup
		defer watch.Wait()
		defer cancel()
		watch.Go(func() {
			if refused(ctx, r.Dialer.Addr) {
				closed.Store(true)
				begin()
			}
		})
	}
	go r.enter(ctx, tunnel.CarrierQUIC, turn, nil, results)
	go r.enter(ctx, tunnel.CarrierWebSocket, turn, start, results)

	var failed [2]error
	for range failed {
		got := <-results
		var refusal *tunnel.Refusal
		if got.err == nil || errors.As(got.err, &refusal) {
			cancel()
			r.discard(results, failed[0] != nil || failed[1] != nil)
			return got.session, got.err
		}
		failed[got.carrier] = got.err
		switch {
		case got.carrier == tunnel.CarrierQUIC:
			begin()
		case closed.Load() && errors.Is(got.err, syscall.ECONNREFUSED):
			cancel() // QUIC would wait for its handshake
		}
	}
	return nil, fmt.Errorf("reach relay %s: quic: %w; websocket: %w", r.Dialer.Addr, failed[tunnel.CarrierQUIC], failed[tunnel.CarrierWebSocket])
}

// refused reports, within the head start, that the host at addr has no UDP socket there. QUIC's own socket is not told of that: the
// kernel reports ICMP errors to connected sockets only. The datagram is too short for QUIC, so that a relay drops it.
func refused(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, headStart)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "udp", addr)
	if err != nil {
		return false // QUIC's own dial says why
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.Write([]byte{0}); err != nil {
		return ctx.Err() == nil
	}
	_, err = c.Read(make([]byte, 1))
	return errors.Is(err, syscall.ECONNREFUSED)
}

// discard waits for the loser, and closes what it may have brought. The loser's context has ended, so this is short.
func (r *Racer) discard(results <-chan outcome, alreadyLost bool) {
	if alreadyLost {
		return
	}
	if loser := <-results; loser.session != nil {
		loser.session.Close(stream.CodeCancelled, "another carrier was faster")
	}
}

// enter runs one carrier's part of the race. With a start it waits for that, or for the head start to pass.
func (r *Racer) enter(ctx context.Context, carrier tunnel.Carrier, turn chan struct{}, start <-chan struct{}, results chan<- outcome) {
	if start != nil {
		timer := time.NewTimer(headStart)
		defer timer.Stop()
		select {
		case <-start:
		case <-timer.C:
		case <-ctx.Done():
			results <- outcome{carrier: carrier, err: ctx.Err()}
			return
		}
	}
	session, err := r.dialOne(ctx, carrier, turn)
	results <- outcome{carrier: carrier, session: session, err: err}
}

// dialOne dials over one carrier. With a turn it takes that before the Hello, and gives it back when the dial has failed.
func (r *Racer) dialOne(ctx context.Context, carrier tunnel.Carrier, turn chan struct{}) (*tunnel.Session, error) {
	d := r.Dialer
	d.Carrier = carrier
	mine := false
	if turn != nil {
		d.Commit = func(ctx context.Context) error {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			select {
			case turn <- struct{}{}:
				mine = true
				return nil
			case <-timer.C:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	dial := r.dial
	if dial == nil {
		dial = func(ctx context.Context, d *tunnel.Dialer) (*tunnel.Session, error) { return d.Dial(ctx) }
	}
	session, err := dial(ctx, &d)
	if err != nil && mine {
		<-turn
	}
	return session, err
}
