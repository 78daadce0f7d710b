package relay

import (
	"context"
	"errors"
	"math/rand/v2"
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
	// crowdRetryAfter is the least advice to a connector that comes with too many others, and the most is twice that: they spread.
	crowdRetryAfter = time.Second
	// maxClientSessions bounds the sessions of one service token: a proxy keeps one to four, so this is more proxies than share a token,
	// and a tenth of what defaultSessions leaves to connectors and to everybody else.
	maxClientSessions = 1000
	// maxRelaySessions bounds those of another relay, which has one for each tunnel that its clients ask for here: it has no more
	// clients than sessions.
	maxRelaySessions = defaultSessions
	// maxCredential bounds what is looked at of a peer's identity: a client ID has 39 bytes, a tunnel's ID 36, a secret under 100.
	maxCredential = 256
	// connectorSession is what audit records call a connector's registration.
	connectorSession = "session.connector"
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
	case hello.GetRole() != tunnelpb.Role_RELAY && r.registry.len()+r.clients.ofTokens() >= r.cfg.MaxSessions:
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
		if !r.clients.room(hello) {
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
		Time: time.Now(), Action: connectorSession, Outcome: "allowed", Reason: "tunnel secret", Remote: peer.Remote.String(),
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
	case !r.registrations.allow(t.ID, record.Time):
		// Counted for good credentials only: nobody else can keep connectors away.
		record.Outcome, record.Reason = access.Denied.String(), "too many registrations at once"
		refusal = &tunnel.Refusal{
			Code: tunnelpb.Code_LIMITED, Message: "too many connectors register at once", RetryAfter: crowdRetryAfter + rand.N(crowdRetryAfter),
		}
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
	opens.Go(func() { r.watchLeaving(ctx, b) })
	for {
		changed := r.state.Changed()
		t, ok := r.state.Now().Tunnel(b.tunnel)
		if !ok || !t.SecretIs(hello.GetSecret()) {
			log.Info("session is closed: its tunnel was deleted or has another secret")
			r.evict(b, stream.CodeRevoked, "the tunnel was deleted or has another secret")
			return
		}
		if err := r.configure(ctx, b, t); err != nil {
			if registered && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
				// Its carrier may be blocked, which its streams survive. It is asked again; Watch ends a session that is dead.
				log.Warn("connector is slow to take its rules, and goes on with those that it has", "version", t.ConfigVersion)
				continue
			}
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
			r.tellLate(ctx, s)
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

// configure sends the tunnel's rules, if they or the keys of assertions are not those that the connector has.
func (r *Relay) configure(ctx context.Context, b *backend, t *control.Tunnel) error {
	version, v := uint64(t.ConfigVersion), r.state.Verifier()
	if b.version.Load() == version && b.verifier == v {
		return nil
	}
	msg := &tunnelpb.Configure{Version: version}
	if v != nil {
		msg.Issuer = v.Issuer
		for id, key := range v.Keys {
			msg.Keys = append(msg.Keys, &tunnelpb.Key{Id: id, Ed25519: key})
		}
	}
	for _, rule := range t.Ingress {
		msg.Ingress = append(msg.Ingress, ingressRule(rule))
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
	b.verifier = v
	return nil
}

// ingressRule is a rule as a connector takes it.
func ingressRule(in control.Ingress) *tunnelpb.IngressRule {
	rule := &tunnelpb.IngressRule{
		Hostname: in.Hostname, Service: in.Service, ConnectTimeoutMs: uint64(in.ConnectTimeout) * 1000, KeepAliveMs: uint64(in.KeepAlive) * 1000,
		AccessRequired: len(in.Audiences) > 0, Audiences: in.Audiences,
	}
	if in.ProxyProtocol == control.ProxyProtocolV2 {
		rule.ProxyProtocol = 2
	}
	return rule
}

// watchLeaving tells clients when the connector asks this side to take no more streams to it.
func (r *Relay) watchLeaving(ctx context.Context, b *backend) {
	select {
	case <-ctx.Done():
	case <-b.session.GoneAway():
		r.leaving(b.id)
	}
}

// refuseOpens answers a connector that asks for streams: it may not.
func refuseOpens(ctx context.Context, s *tunnel.Session) {
	for {
		in, err := s.Accept(ctx)
		if err != nil {
			return
		}
		// It fails when the connector has given up, or has ended the session.
		_ = in.Refuse(&tunnel.Refusal{Code: tunnelpb.Code_DENIED, Message: "connectors may not open streams"})
	}
}

// serveClient joins the streams that a client opens, until the session ends.
func (r *Relay) serveClient(ctx context.Context, s *tunnel.Session) {
	if !r.clients.add(s) {
		s.Close(stream.CodeLimited, tooManySessions().Message)
		return
	}
	defer r.clients.remove(s)
	r.tellLate(ctx, s)
	var streams sync.WaitGroup
	defer streams.Wait()
	defer s.Close(stream.CodeClosed, "the session is over")
	s.Serve(ctx, func(in *tunnel.Incoming) {
		if peer, l := r.join(s, in); l != nil {
			streams.Add(1)
			start := time.Now()
			end := r.stalls.add(peer, l)
			stream.Join(ctx, peer, end, func(stats stream.Stats, err error) {
				defer streams.Done()
				r.ended(end, start, stats, err)
			})
		}
	})
}

// join opens what a client asks for and accepts it. It returns nil when it has refused.
func (r *Relay) join(s *tunnel.Session, in *tunnel.Incoming) (*tunnel.Stream, *liveStream) {
	req := OpenRequest{
		Hostname: in.Request.GetHostname(), ClientID: in.Request.GetClientId(), ClientSecret: in.Request.GetClientSecret(),
		Remote: s.RemoteAddr().Addr(), Driver: printable(in.Request.GetRemote()), EarlyData: in.Request.GetEarlyData(), client: s,
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
		return nil, nil
	}
	peer, err := in.AcceptVia(l.via())
	if err != nil {
		l.Reset(stream.CodeCancelled)
		return nil, nil
	}
	return peer, l
}

// pipe copies between a client and an admitted stream until both ways have ended.
func (r *Relay) pipe(ctx context.Context, peer stream.Conn, l *liveStream) {
	start := time.Now()
	end := r.stalls.add(peer, l)
	stats, err := stream.Pipe(ctx, peer, end)
	r.ended(end, start, stats, err)
}

// ended counts and logs.
func (r *Relay) ended(end *pipeEnd, start time.Time, stats stream.Stats, err error) {
	r.stalls.remove(end)
	r.metrics.bytes.WithLabelValues("to_connector").Add(float64(stats.AToB))
	r.metrics.bytes.WithLabelValues("from_connector").Add(float64(stats.BToA))
	r.log.Debug("stream ended", "hostname", end.ask.hostname, "tunnel", end.ask.tunnel, "dur", time.Since(start), "err", err)
}

// refusalOf is what a client is told about an error.
func refusalOf(err error) *tunnel.Refusal {
	var refusal *tunnel.Refusal
	if errors.As(err, &refusal) {
		return refusal
	}
	return &tunnel.Refusal{Code: tunnelpb.Code_INTERNAL, Message: "the open was given up"}
}
