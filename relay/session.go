package relay

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

const (
	// configureTimeout is how long a connector has to take its rules: it only swaps a table.
	configureTimeout = 5 * time.Second
	// fullRetryAfter is the advice to a peer that found the relay full.
	fullRetryAfter = 10 * time.Second
	// maxClientSessions bounds the sessions of one service token: a proxy keeps one, so this is more proxies than share a token,
	// and a tenth of what defaultSessions leaves to connectors and to everybody else.
	maxClientSessions = 1000
	// maxCredential bounds what is looked at of a peer's identity: a client ID has 39 bytes, a tunnel's ID 36, a secret under 100.
	maxCredential = 256
)

// unauthenticated is the one answer to a peer whose credential is not good, whatever is wrong with it.
func unauthenticated() *tunnel.Refusal {
	return &tunnel.Refusal{Code: tunnelpb.Code_UNAUTHENTICATED, Message: "the credential is not valid"}
}

// tooManySessions answers a client whose service token has as many sessions as it may.
func tooManySessions() *tunnel.Refusal {
	return &tunnel.Refusal{Code: tunnelpb.Code_LIMITED, Message: "the service token has as many sessions as it may", RetryAfter: fullRetryAfter}
}

// authenticate decides on a peer's Hello.
func (r *Relay) authenticate(_ context.Context, peer tunnel.Peer, hello *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
	refusal := r.greet(peer, hello)
	r.metrics.hellos.WithLabelValues(role(hello), peer.Carrier.String(), result(asError(refusal))).Inc()
	if refusal != nil {
		r.log.Debug("peer refused", "remote", peer.Remote.String(), "role", role(hello), "err", refusal)
		return nil, refusal
	}
	return &tunnelpb.Welcome{RelayId: r.cfg.ID, Relays: r.announced(), ServerTimeUnixMs: time.Now().UnixMilli()}, nil
}

func (r *Relay) greet(peer tunnel.Peer, hello *tunnelpb.Hello) *tunnel.Refusal {
	for _, field := range []string{
		hello.GetTunnelId(), hello.GetSecret(), hello.GetClientId(), hello.GetClientSecret(), hello.GetPeerId(),
	} {
		if len(field) > maxCredential {
			return unauthenticated()
		}
	}
	switch {
	case r.draining.Load():
		return drainingRefusal()
	case r.registry.len()+r.clients.len() >= r.cfg.MaxSessions:
		return &tunnel.Refusal{Code: tunnelpb.Code_LIMITED, Message: "the relay has as many sessions as it takes", RetryAfter: fullRetryAfter}
	}
	snap := r.state.Now()
	switch hello.GetRole() {
	case tunnelpb.Role_CONNECTOR:
		return r.greetConnector(snap, peer, hello)
	case tunnelpb.Role_CLIENT:
		now := time.Now()
		d := identify(snap, hello.GetClientId(), hello.GetClientSecret(), peer.Remote, now)
		if d.Outcome == access.Unauthenticated {
			r.audit(snap, &ask{remote: peer.Remote.Addr().Unmap()}, d, "session.client")
			return unauthenticated()
		}
		if !r.clients.room(hello.GetClientId()) {
			return tooManySessions()
		}
		r.state.Seen(d.TokenID, now)
		return nil
	case tunnelpb.Role_RELAY:
		return r.greetRelay(peer, hello)
	}
	return &tunnel.Refusal{Code: tunnelpb.Code_DENIED, Message: "the relay does not know this role"}
}

func (r *Relay) greetConnector(snap snapshot, peer tunnel.Peer, hello *tunnelpb.Hello) *tunnel.Refusal {
	t, ok := snap.Tunnel(hello.GetTunnelId())
	if !ok {
		t = nil // SecretIs does the same work for a tunnel that is not there
	}
	record := control.AuditRecord{
		Time: time.Now(), Action: "session.connector", Outcome: "allowed", Reason: "tunnel secret", Remote: peer.Remote.String(),
	}
	if t != nil {
		record.Account, record.Actor, record.Target = t.AccountID, t.ID, t.ID
	}
	var refusal *tunnel.Refusal
	switch {
	case !t.SecretIs(hello.GetSecret()):
		record.Outcome, record.Reason = access.Unauthenticated.String(), "wrong tunnel secret"
		if t == nil {
			record.Reason = "unknown or deleted tunnel"
		}
		refusal = unauthenticated()
	case !r.registry.room(t.ID, hello.GetPeerId(), hello.GetSlot(), hello.GetMoving(), r.cfg.MaxTunnelSessions):
		record.Outcome, record.Reason = access.Denied.String(), "too many sessions of the tunnel"
		refusal = &tunnel.Refusal{Code: tunnelpb.Code_LIMITED, Message: "the tunnel has as many sessions as it may", RetryAfter: fullRetryAfter}
	}
	r.record(record)
	return refusal
}

// asError makes a nil *Refusal a nil error.
func asError(refusal *tunnel.Refusal) error {
	if refusal == nil {
		return nil
	}
	return refusal
}

func role(hello *tunnelpb.Hello) string {
	switch hello.GetRole() {
	case tunnelpb.Role_CONNECTOR:
		return "connector"
	case tunnelpb.Role_CLIENT:
		return "client"
	case tunnelpb.Role_RELAY:
		return "relay"
	}
	return "other"
}

// handle runs for a session's life.
func (r *Relay) handle(ctx context.Context, s *tunnel.Session) {
	gauge := r.metrics.sessions.WithLabelValues(role(s.Hello()), s.Carrier().String())
	gauge.Inc()
	defer gauge.Dec()
	if s.Hello().GetRole() == tunnelpb.Role_CONNECTOR {
		r.serveConnector(ctx, s)
		return
	}
	r.serveClient(ctx, s)
}

// serveConnector gives a connector its rules, lets streams go to it, and follows its tunnel, until the session ends.
func (r *Relay) serveConnector(ctx context.Context, s *tunnel.Session) {
	hello := s.Hello()
	b := &backend{
		session: s, tunnel: hello.GetTunnelId(), peer: hello.GetPeerId(), slot: hello.GetSlot(), moving: hello.GetMoving(), since: time.Now(),
	}
	log := r.log.With("tunnel", b.tunnel, "connector", b.peer, "slot", b.slot, "remote", s.RemoteAddr().String())
	var opens sync.WaitGroup
	defer opens.Wait()
	defer s.Close(stream.CodeClosed, "the session is over")
	opens.Go(func() { refuseOpens(ctx, s) })
	opens.Go(func() { s.Watch(ctx) })
	registered := false
	b.id = uuid.NewString()
	for {
		changed := r.state.Changed()
		t, ok := r.state.Now().Tunnel(b.tunnel)
		if !ok || !t.SecretIs(hello.GetSecret()) {
			log.Info("session is closed: its tunnel was deleted or has another secret")
			r.evict(b, stream.CodeRevoked, "the tunnel was deleted or has another secret")
			return
		}
		if err := r.configure(ctx, b, t); err != nil {
			log.Warn("connector does not take its rules", "err", err)
			s.Close(stream.CodeProtocol, "the ingress was not taken in time")
			return
		}
		if !registered {
			replaced, ok := r.registry.add(b, r.cfg.MaxTunnelSessions)
			if !ok {
				s.Close(stream.CodeLimited, "the tunnel has as many sessions as it may")
				return
			}
			defer r.moved(b.tunnel) // after the next has run
			defer r.registry.remove(b)
			registered = true
			r.moved(b.tunnel)
			log.Info("connector registered", "carrier", s.Carrier().String(), "version", hello.GetVersion())
			if replaced != nil {
				r.evict(replaced, stream.CodeReplaced, "the connector registered this slot again")
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			log.Info("connector left", "dur", time.Since(b.since), "err", s.Err())
			return
		}
	}
}

// configure sends the tunnel's rules, if they are not those that the connector has.
func (r *Relay) configure(ctx context.Context, b *backend, t *control.Tunnel) error {
	version := uint64(t.ConfigVersion)
	if b.version.Load() == version {
		return nil
	}
	msg := &tunnelpb.Configure{Version: version}
	if v := r.state.Verifier(); v != nil {
		msg.Issuer = v.Issuer
		for id, key := range v.Keys {
			msg.Keys = append(msg.Keys, &tunnelpb.Key{Id: id, Ed25519: key})
		}
	}
	for _, rule := range t.Ingress {
		msg.Ingress = append(msg.Ingress, &tunnelpb.IngressRule{Hostname: rule.Hostname, Service: rule.Service})
	}
	ctx, cancel := context.WithTimeout(ctx, configureTimeout)
	defer cancel()
	answer, err := b.session.Configure(ctx, msg)
	if err != nil {
		return err
	}
	if answer.GetError() != "" {
		// It goes on with the rules that it has; the operator sees why on both sides.
		r.log.Error("connector refuses its rules", "tunnel", b.tunnel, "connector", b.peer, "version", version, "err", printable(answer.GetError()))
	} else if has := answer.GetVersion(); has > version {
		// It may come from another relay that has seen a later change; or from before a restore of the state.
		r.log.Warn("connector has newer rules and keeps them", "tunnel", b.tunnel, "connector", b.peer, "version", version, "has", has)
	}
	b.version.Store(version)
	return nil
}

// refuseOpens answers a connector that asks for streams: it may not.
func refuseOpens(ctx context.Context, s *tunnel.Session) {
	for {
		in, err := s.Accept(ctx)
		if err != nil {
			return
		}
		if err := in.Refuse(&tunnel.Refusal{Code: tunnelpb.Code_DENIED, Message: "connectors may not open streams"}); err != nil {
			return
		}
	}
}

// serveClient joins the streams that a client opens, until the session ends.
func (r *Relay) serveClient(ctx context.Context, s *tunnel.Session) {
	if !r.clients.add(s) {
		s.Close(stream.CodeLimited, tooManySessions().Message)
		return
	}
	defer r.clients.remove(s)
	var streams sync.WaitGroup
	defer streams.Wait()
	defer s.Close(stream.CodeClosed, "the session is over")
	for {
		in, err := s.Accept(ctx)
		if err != nil {
			return
		}
		streams.Go(func() { r.join(ctx, s, in) })
	}
}

// join opens what a client asks for and copies both ways until both have ended.
func (r *Relay) join(ctx context.Context, s *tunnel.Session, in *tunnel.Incoming) {
	req := OpenRequest{
		Hostname: in.Request.GetHostname(), ClientID: in.Request.GetClientId(), ClientSecret: in.Request.GetClientSecret(),
		Remote: s.RemoteAddr().Addr(), Driver: printable(in.Request.GetRemote()), EarlyData: in.Request.GetEarlyData(),
	}
	if s.Hello().GetRole() == tunnelpb.Role_RELAY {
		// The other relay has decided and audited. It is decided here again, since this relay cuts what is not admitted any more;
		// who asks is what the other has seen.
		req.forwarded = true
		source, err := netip.ParseAddr(in.Request.GetSource())
		if err != nil {
			source = netip.Addr{}
		}
		req.Remote = source
	} else if req.ClientID == "" && req.ClientSecret == "" {
		req.ClientID, req.ClientSecret = s.Hello().GetClientId(), s.Hello().GetClientSecret()
	}
	l, err := r.open(in.Context(), &req)
	if err != nil {
		if err := in.Refuse(refusalOf(err)); err != nil {
			r.log.Debug("refusal not sent", "remote", s.RemoteAddr().String(), "err", err)
		}
		return
	}
	peer, err := in.Accept()
	if err != nil {
		l.Reset(stream.CodeCancelled)
		return
	}
	r.pipe(ctx, peer, l)
}

// pipe copies between a client and an admitted stream, and counts.
func (r *Relay) pipe(ctx context.Context, peer stream.Conn, l *liveStream) {
	start := time.Now()
	stats, err := stream.Pipe(ctx, peer, l)
	r.metrics.bytes.WithLabelValues("to_connector").Add(float64(stats.AToB))
	r.metrics.bytes.WithLabelValues("from_connector").Add(float64(stats.BToA))
	r.log.Debug("stream ended", "hostname", l.ask.hostname, "tunnel", l.ask.tunnel, "dur", time.Since(start), "err", err)
}

// refusalOf is what a client is told about an error.
func refusalOf(err error) *tunnel.Refusal {
	var refusal *tunnel.Refusal
	if errors.As(err, &refusal) {
		return refusal
	}
	return &tunnel.Refusal{Code: tunnelpb.Code_INTERNAL, Message: "the open was given up"}
}
