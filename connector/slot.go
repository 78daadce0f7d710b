package connector

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/client"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// registerTimeout bounds one attempt over both carriers: the WebSocket's head start, and the 5 s that a relay gives a handshake,
// twice.
const registerTimeout = 12 * time.Second

// slot keeps one session with a relay. It belongs to the goroutine in run.
type slot struct {
	c       *Connector
	index   int
	relay   int    // counts the relays that were left; chooses the next
	addr    string // the relay of the last attempt
	log     *slog.Logger
	backoff client.Backoff
	seeker  seeker
	links   sync.WaitGroup
}

// run registers and serves until ctx ends, and returns when the slot's streams have ended.
func (s *slot) run(ctx context.Context) {
	defer s.links.Wait()
	for ctx.Err() == nil {
		l, err := s.register(ctx, s.c.cfg.Protocol, false)
		if err == nil {
			err = s.hold(ctx, l)
		}
		if l == nil || left(err) {
			s.relay++
		}
		if ctx.Err() != nil {
			return
		}
		wait := s.backoff.Next(err)
		s.report(err, wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// left reports whether a session has ended because its relay ends.
func left(err error) bool {
	var lost *tunnel.SessionError
	return errors.As(err, &lost) && lost.Remote && lost.Code == stream.CodeDraining
}

// register makes one attempt at a session with the slot's relay. A slot that is moving has a session whose streams must go on.
func (s *slot) register(ctx context.Context, protocol client.Protocol, moving bool) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	c := s.c
	addr, token := c.relays.At(s.relay), c.token.Load()
	s.addr = addr
	l := newLink(c, s.log.With("relay", addr), addr)
	racer := client.Racer{Protocol: protocol, Dialer: tunnel.Dialer{
		Addr:   addr,
		Prefer: s.relay,
		TLS:    token.tls,
		Hello: &tunnelpb.Hello{
			Role: tunnelpb.Role_CONNECTOR, TunnelId: token.tunnel, Secret: token.secret,
			PeerId: c.id, Slot: uint32(s.index), Version: c.cfg.Version, Moving: moving,
		},
		Configure: c.configure,
		GoAway:    l.asked,
		Logger:    s.log,
	}}
	session, err := racer.Dial(ctx)
	c.metrics.registrations.WithLabelValues(result(err)).Inc()
	if err != nil {
		return nil, err
	}
	l.session = session
	c.relays.Learn(session.Welcome().GetRelays())
	return l, nil
}

// hold serves l, and what replaces it, until the slot has no session any more, and returns why.
func (s *slot) hold(ctx context.Context, l *link) error {
	s.adopt(ctx, l)
	defer s.c.current[s.index].Store(nil)
	since := time.Now()
	better := time.NewTimer(s.c.better())
	defer better.Stop()
	for {
		var next *link
		grace, why := time.Duration(0), "the slot has moved"
		select {
		case <-l.session.Done():
			if time.Since(since) >= client.StableAfter {
				s.backoff.Reset()
			}
			return l.session.Err()
		case <-ctx.Done():
			l.drain(ctx, 0, "the connector is shutting down") // ctx has ended: the connector's own grace counts
			return ctx.Err()
		case g := <-l.goAway:
			l.log.Info("relay asked the slot to move", "message", g.GetMessage())
			grace = time.Duration(g.GetDeadlineMs()) * time.Millisecond
			next = s.leave(ctx, l, time.Duration(g.GetRetryAfterMs())*time.Millisecond)
		case <-l.suspected():
			l.log.Warn("the relay answers no probe on this slot, which gets another session")
			next = s.leave(ctx, l, 0)
		case <-better.C:
			next = s.improve(ctx, l)
			better.Reset(s.c.better())
		}
		if next == nil {
			continue // what ended the attempt is seen above
		}
		old := l
		s.links.Go(func() { old.drain(ctx, grace, why) })
		l, since = next, time.Now()
		s.adopt(ctx, l)
	}
}

// adopt makes l the slot's session, and serves it.
func (s *slot) adopt(ctx context.Context, l *link) {
	s.c.current[s.index].Store(l)
	l.log.Info("slot registered", "carrier", l.session.Carrier().String(), "instance", l.session.Welcome().GetRelayId())
	s.links.Go(l.serve)
	s.links.Go(func() { l.session.Watch(context.WithoutCancel(ctx)) }) // until the session ends
	s.c.checkSpread()
}

// leave registers the slot at another relay, or at the same one after retryAfter when there is no other, while old serves on. It
// returns nil when old or ctx has ended first.
func (s *slot) leave(ctx context.Context, old *link, retryAfter time.Duration) *link {
	old.left = true
	s.relay++
	wait := time.Duration(0)
	if s.c.relays.At(s.relay) == old.addr {
		wait = s.backoff.Next(&tunnel.Refusal{Code: tunnelpb.Code_DRAINING, RetryAfter: retryAfter})
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-old.session.Done():
			return nil
		case <-time.After(wait):
		}
		l, err := s.register(ctx, s.c.cfg.Protocol, true)
		if err == nil {
			return l
		}
		if ctx.Err() != nil {
			return nil
		}
		s.relay++
		wait = s.backoff.Next(err)
		s.report(err, wait)
	}
}

// improve registers a slot that is on WebSocket over QUIC, and one of a connector whose slots all meet in one relay at another.
// It returns nil when there is nothing better.
func (s *slot) improve(ctx context.Context, old *link) *link {
	c := s.c
	protocol, seeking := c.cfg.Protocol, false
	switch {
	case old.session.Carrier() == tunnel.CarrierWebSocket && (protocol == client.Auto || protocol == ""):
		protocol = client.QUIC
	case c.crowded(s.index) && !s.seeker.rest():
		resolving, cancel := context.WithTimeout(ctx, registerTimeout)
		seeking = s.elsewhere(resolving, old)
		cancel()
		if !seeking {
			return nil
		}
	default:
		return nil
	}
	l, err := s.register(ctx, protocol, true)
	if err != nil {
		s.log.Debug("slot stays where it is", "err", err)
		return nil
	}
	if seeking {
		s.seeker.found(l.session.Welcome().GetRelayId() != old.session.Welcome().GetRelayId())
	}
	return l
}

// report says why the slot has no session. What will not mend itself is said once a minute, for all slots together.
func (s *slot) report(err error, wait time.Duration) {
	addr := s.addr
	var name *net.DNSError
	var refusal *tunnel.Refusal
	switch {
	case errors.As(err, &refusal) && refusal.Code == tunnelpb.Code_DRAINING:
		s.log.Debug("relay is shutting down", "relay", addr, "retry", wait.Round(time.Millisecond)) // it has said so once
	case tunnel.IsUnadmitted(err):
		if s.c.mayReport(time.Now()) {
			s.log.Error("the relay does not accept this tunnel token", "err", err,
				"mend", "was the tunnel deleted? take a new token with: sluice tunnel token <tunnel>")
		}
	case errors.As(err, &name):
		s.log.Warn("the relay's name does not resolve", "relay", addr, "err", err, "retry", wait.Round(time.Millisecond),
			"mend", "mend DNS here, start sluice server with --public-host and take a new token, or use --relay host:port")
	default:
		s.log.Warn("slot has no session", "relay", addr, "err", err, "retry", wait.Round(time.Millisecond))
	}
}

// result is err as a metric's label: ok, error, or the refusal's code.
func result(err error) string {
	if err == nil {
		return "ok"
	}
	var refusal *tunnel.Refusal
	if errors.As(err, &refusal) {
		return strings.ToLower(refusal.Code.String())
	}
	return "error"
}
