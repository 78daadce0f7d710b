package relay

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/connector"
	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

// TestTunnel26QuotasOfATokenAndATunnel: what one token has used up another still has, and what ended is there again.
func TestTunnel26QuotasOfATokenAndATunnel(t *testing.T) {
	g := newRig(t, func(c *Config) { c.MaxTokenStreams, c.MaxTunnelStreams = 3, 5 })
	g.connector("c1", 0, echo)
	neighbour, secret := g.addToken(nil)
	g.state.change(func() {
		g.state.apps[host] = application(host, account, access.Rule{Selector: access.SelectAnyServiceToken})
	})
	greedy, other := g.request(), g.request()
	other.ClientID, other.ClientSecret = neighbour.ClientID, secret
	open := func(req OpenRequest, want bool) stream.Conn {
		t.Helper()
		c, err := g.Open(t.Context(), req)
		if !want {
			wantRefusal(t, err, tunnelpb.Code_LIMITED)
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	first := open(greedy, true)
	open(greedy, true)
	open(greedy, true)
	open(greedy, false) // the token's
	open(other, true)
	open(other, true)
	open(other, false) // the tunnel's
	first.Close()
	open(other, true)
	for _, c := range g.live.all() {
		c.Close()
	}
	if len(g.quotas.tunnels) != 0 {
		t.Errorf("%v is counted after the end of all streams", g.quotas.tunnels)
	}
	// An open that fails gives its place back.
	g.state.change(func() { delete(g.state.tunnels, tunnelID) })
	if _, err := g.Open(t.Context(), greedy); err == nil {
		t.Error("a tunnel that is gone was reached")
	}
	if n := g.quotas.tokens[g.token.ClientID].streams; n != 0 {
		t.Errorf("%d streams are counted after one that was not opened", n)
	}
}

// TestTunnel26RateOfATokensOpens needs no clock: time is what the test says.
func TestTunnel26RateOfATokensOpens(t *testing.T) {
	q := &quotas{tokenStreams: 1 << 20, tunnelStreams: 1 << 20, tokenRate: 10}
	now := time.Now()
	taken := func(id string, at time.Time, n int) (ok int) {
		for range n {
			if q.take(id, "t", at) == nil {
				q.give(id, "t")
				ok++
			}
		}
		return ok
	}
	if n := taken("a", now, 50); n != 10 {
		t.Errorf("%d of 50 opens at once, want 10", n)
	}
	if r := q.take("a", "t", now); r == nil || r.Code != tunnelpb.Code_LIMITED || r.RetryAfter <= 0 {
		t.Errorf("the refusal is %v", r)
	}
	if n := taken("b", now, 5); n != 5 {
		t.Errorf("the neighbour has %d of 5 opens", n)
	}
	if n := taken("a", now.Add(500*time.Millisecond), 50); n != 5 {
		t.Errorf("%d opens after half a second, want 5", n)
	}
	taken("b", now.Add(3*time.Minute), 1)
	if _, ok := q.tokens["a"]; ok || len(q.tunnels) != 0 {
		t.Errorf("an idle token is remembered: %v, %v", q.tokens, q.tunnels)
	}
}

// TestTunnel26ForwardedStreamsOfATunnel: one tunnel's streams between two relays leave those of another alone.
func TestTunnel26ForwardedStreamsOfATunnel(t *testing.T) {
	const other, otherHost, limit = "22222222-2222-2222-2222-222222222222", "other.example", 8
	cert := tunneltest.NewCertificate(t)
	b := newRig(t, func(c *Config) { c.ID, c.Limits.Streams = "b", limit; peering(cert)(c) }, func(g *rig) { g.cert = cert })
	a := newRig(t, func(c *Config) { c.ID = "a"; peering(cert)(c) }, func(g *rig) {
		g.state, g.cert, g.token, g.secret = b.state, cert, b.token, b.secret
	})
	b.state.change(func() {
		b.state.tunnels[other] = &control.Tunnel{
			ID: other, AccountID: account, SecretHash: access.HashSecret(tunnelSecret), ConfigVersion: 1,
			Ingress: []control.Ingress{{Hostname: otherHost, Service: "tcp://10.0.0.6:5432"}},
		}
		b.state.apps[otherHost] = application(otherHost, account, access.Rule{Selector: access.SelectServiceToken, Value: b.token.ID})
	})
	for _, id := range []string{tunnelID, other} {
		s := b.session(tunnel.CarrierQUIC, tunnel.Dialer{
			Hello: &tunnelpb.Hello{Role: tunnelpb.Role_CONNECTOR, TunnelId: id, Secret: tunnelSecret, PeerId: "c"},
			Configure: func(_ context.Context, c *tunnelpb.Configure) *tunnelpb.Configured {
				return &tunnelpb.Configured{Version: c.GetVersion()}
			},
		})
		go answerAll(s, echo)
		eventually(t, "presence", func() bool { return len(a.state.Presence().Connections(id)) == 1 })
	}
	open := func(hostname string) error {
		req := a.request()
		req.Hostname = hostname
		c, err := a.Open(t.Context(), req)
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		return err
	}
	n, err := 0, error(nil)
	for ; err == nil && n <= limit; n++ {
		err = open(host)
	}
	if wantRefusal(t, err, tunnelpb.Code_LIMITED); n < limit-1 { // a probe takes a place for a moment
		t.Errorf("the tunnel has %d streams, the limit is %d", n-1, limit)
	}
	if err := open(otherHost); err != nil {
		t.Errorf("the other tunnel: %v", err)
	}
}

// TestTunnel06RegistrationsAreSpread lets connectors come all at once: no more are taken a second than the relay admits, the others
// are told when to come back, and all have their slots soon.
func TestTunnel06RegistrationsAreSpread(t *testing.T) {
	t.Parallel()
	const limit, connectors, slots = 5, 8, 4 // below the rate at which a busy machine can make them
	g := newRig(t, func(c *Config) { c.MaxRegistrations = limit })
	began := time.Now()
	for range connectors {
		c, err := connector.New(connector.Config{Slots: slots, Logger: slog.New(slog.DiscardHandler), Token: tunnel.Token{
			Tunnel: tunnelID, Secret: tunnelSecret, Relays: []string{g.addr}, CA: g.cert.PEM,
		}})
		if err != nil {
			t.Fatal(err)
		}
		during(t, c.Run)
	}
	eventually(t, "session of every slot", func() bool { return g.registry.len() == connectors*slots })
	var admitted []time.Time
	refused := 0
	for _, r := range g.state.audited("session.connector") {
		if r.Outcome == "allowed" {
			admitted = append(admitted, r.Time)
		} else {
			refused++
		}
	}
	if refused == 0 {
		t.Errorf("nobody was told to come back, though %d came at once", connectors*slots)
	}
	slices.SortFunc(admitted, time.Time.Compare)
	for i, at := range admitted { // each of which is written down some time after it was admitted
		if took := at.Sub(began); float64(i+1) > limit+limit*took.Seconds() { // what had been saved up, and what has come since
			t.Errorf("%d registrations within %v, the limit is %d a second and as many at once", i+1, took, limit)
		}
	}
}
