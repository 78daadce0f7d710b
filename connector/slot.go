package connector

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

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
	relay   int    // counts attempts; chooses the relay
	addr    string // the relay of the last attempt
	log     *slog.Logger
	backoff client.Backoff
	links   sync.WaitGroup
}

// run registers and serves until ctx ends, and returns when the slot's streams have ended.
func (s *slot) run(ctx context.Context) {
	defer s.links.Wait()
	for ctx.Err() == nil {
		l, err := s.register(ctx)
		if err == nil {
			err = s.hold(ctx, l)
		}
		if err == nil {
			continue // moved to make room for a replacement
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

// register makes a session with the next relay.
func (s *slot) register(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	c := s.c
	addr := c.cfg.Relays[s.relay%len(c.cfg.Relays)]
	s.addr = addr
	l := newLink(c, s.log.With("relay", addr))
	racer := client.Racer{Protocol: c.cfg.Protocol, Dialer: tunnel.Dialer{
		Addr: addr,
		TLS:  c.tls,
		Hello: &tunnelpb.Hello{
			Role: tunnelpb.Role_CONNECTOR, TunnelId: c.cfg.Token.Tunnel, Secret: c.cfg.Token.Secret,
			PeerId: c.id, Slot: uint32(s.index), Version: c.cfg.Version,
		},
		Configure: c.configure,
		GoAway:    l.asked,
		Logger:    s.log,
	}}
	session, err := racer.Dial(ctx)
	c.metrics.registrations.WithLabelValues(result(err)).Inc()
	if err != nil {
		s.relay++
		return nil, err
	}
	l.session = session
	return l, nil
}

// hold serves l until it ends, and returns why; nil when the relay asked the slot to move and l drains beside its replacement.
func (s *slot) hold(ctx context.Context, l *link) error {
	c, carrier := s.c, l.session.Carrier().String()
	gauge := c.metrics.registered.WithLabelValues(label(s.index), carrier)
	gauge.Set(1)
	c.registered.Add(1)
	defer func() {
		gauge.Set(0)
		c.registered.Add(-1)
	}()
	since := time.Now()
	l.log.Info("slot registered", "carrier", carrier, "instance", l.session.Welcome().GetRelayId())
	s.links.Go(l.serve)
	select {
	case <-l.session.Done():
		if time.Since(since) >= client.StableAfter {
			s.backoff.Reset()
		}
		return l.session.Err()
	case <-ctx.Done():
		l.drain(ctx, 0, true) // ctx has ended: the connector's own grace counts
		return ctx.Err()
	case g := <-l.goAway:
		l.log.Info("relay asked the slot to move", "message", g.GetMessage())
		s.links.Go(func() { l.drain(ctx, time.Duration(g.GetDeadlineMs())*time.Millisecond, false) })
		s.relay++
		if len(c.cfg.Relays) > 1 {
			return nil
		}
		return &tunnel.Refusal{
			Code: tunnelpb.Code_DRAINING, Message: "the only relay is shutting down",
			RetryAfter: time.Duration(g.GetRetryAfterMs()) * time.Millisecond,
		}
	}
}

// report says why the slot has no session. What will not mend itself is said once a minute, for all slots together.
func (s *slot) report(err error, wait time.Duration) {
	addr := s.addr
	var name *net.DNSError
	var refusal *tunnel.Refusal
	switch {
	case errors.As(err, &refusal) && refusal.Code == tunnelpb.Code_DRAINING:
		s.log.Debug("relay is shutting down", "relay", addr, "retry", wait.Round(time.Millisecond)) // it has said so once
	case client.Permanent(err):
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
