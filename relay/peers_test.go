package relay

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

// peering lets relays with the same certificate forward to each other.
func peering(cert tunneltest.Certificate) func(*Config) {
	return func(c *Config) {
		c.Peering = Peering{
			TLS: &tls.Config{RootCAs: cert.Pool, Certificates: cert.TLS.Certificates},
			Verify: func(certs []*x509.Certificate) error {
				if len(certs) == 0 || !certs[0].Equal(mustParse(cert)) {
					return errors.New("not a relay's")
				}
				return nil
			},
		}
	}
}

func mustParse(cert tunneltest.Certificate) *x509.Certificate {
	leaf, err := x509.ParseCertificate(cert.TLS.Certificates[0].Certificate[0])
	if err != nil {
		panic(err)
	}
	return leaf
}

// relays starts relays of one installation that forward to each other.
func relays(t *testing.T, names ...string) []*rig {
	t.Helper()
	cert := tunneltest.NewCertificate(t)
	first := newRig(t, func(c *Config) { c.ID = names[0]; peering(cert)(c) }, func(g *rig) { g.cert = cert })
	all := []*rig{first}
	for _, name := range names[1:] {
		all = append(all, newRig(t, func(c *Config) { c.ID = name; peering(cert)(c) }, func(g *rig) {
			g.state, g.cert, g.token, g.secret = first.state, cert, first.token, first.secret
		}))
	}
	return all
}

// known waits until r is known to hold n sessions of the tunnel.
func (g *rig) known(n int) {
	g.t.Helper()
	eventually(g.t, "presence of "+g.cfg.ID, func() bool {
		here := 0
		for _, c := range g.state.Presence().Connections(tunnelID) {
			if c.Relay == g.cfg.ID {
				here++
			}
		}
		return here == n
	})
}

// TestTunnel35RelayWithoutASessionForwards: a stream through two relays is like one through one.
func TestTunnel35RelayWithoutASessionForwards(t *testing.T) {
	all := relays(t, "a", "b")
	a, b := all[0], all[1]
	requests := make(chan *tunnelpb.Open, 10)
	b.connector("c1", 0, func(in *tunnel.Incoming) { requests <- in.Request; echo(in) })
	b.known(1)
	req := a.request()
	req.EarlyData, req.Driver = []byte("early"), "192.0.2.7:5000"
	c, err := a.Open(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := make([]byte, 5)
	c.SetReadDeadline(time.Now().Add(testWait))
	if _, err := c.Read(got); err != nil || string(got) != "early" {
		t.Errorf("early data came back as %q, %v", got, err)
	}
	exchange(t, c, "through two relays")
	if asked := receive(t, "open at the connector", requests); asked.GetRemote() != "192.0.2.7:5000" || asked.GetAssertion() == "" || asked.GetClientSecret() != "" {
		t.Errorf("the connector was asked %v", asked)
	}
	if n := len(a.state.audited("access.decide")); n != 1 {
		t.Errorf("%d decisions were audited for one stream, want 1", n)
	}
	// The client's own session, and a second stream over the same session between the relays.
	st, err := a.client(tunnel.CarrierWebSocket).Open(t.Context(), &tunnelpb.Open{Hostname: host})
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, st, "and from a client")
	if n := b.clients.len(); n != 1 {
		t.Errorf("%d sessions between the relays, want 1", n)
	}
	if n := b.clients.ofTokens(); n != 0 {
		t.Errorf("%d sessions of tokens at the other relay, want none: they count against what connectors may have", n)
	}
	if err := st.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := st.Read(got); n != 0 || err == nil {
		t.Errorf("after the half close: %d, %v", n, err)
	}
	st.Close()
	// Access that is withdrawn cuts on both relays.
	a.state.change(func() { delete(a.state.apps, host) })
	wantReset(t, c, stream.CodeRevoked)
	eventually(t, "end of the streams", func() bool { return a.live.len() == 0 && b.live.len() == 0 })
}

// TestTunnel35OneHopAtMost: relays that each believe that the other has a session do not send an open back and forth.
func TestTunnel35OneHopAtMost(t *testing.T) {
	all := relays(t, "a", "b")
	session := all[1].connector("c1", 0, echo)
	all[1].known(1)
	all[0].connector("c2", 0, refusing(tunnelpb.Code_DRAINING))
	all[0].known(1)
	// What is known stays behind what is.
	all[1].state.mu.Lock()
	all[1].state.others.connections["b"] = map[string][]control.Connection{tunnelID: {{ID: "stale", Connector: "c1"}}}
	all[1].state.mu.Unlock()
	session.Close(stream.CodeClosed, "gone")
	eventually(t, "end of the session", func() bool { return len(all[1].registry.candidates(tunnelID, nil)) == 0 })
	_, err := all[0].Open(t.Context(), all[0].request())
	wantRefusal(t, err, tunnelpb.Code_NO_CONNECTOR) // and not that an open took too long
}

// TestTunnel35SourceDecides: the address that policies see is that of who asked the first relay.
func TestTunnel35SourceDecides(t *testing.T) {
	all := relays(t, "a", "b")
	all[1].connector("c1", 0, echo)
	all[1].known(1)
	all[0].state.change(func() {
		app := application(host, account, access.Rule{Selector: access.SelectServiceToken, Value: all[0].token.ID})
		app.Policies[0].Require = []access.Rule{{Selector: access.SelectIP, Value: "192.0.2.0/24"}}
		all[0].state.apps[host] = app
	})
	c, err := all[0].Open(t.Context(), all[0].request())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	req := all[0].request()
	req.Remote = netip.MustParseAddr("198.51.100.1")
	_, err = all[0].Open(t.Context(), req)
	wantRefusal(t, err, tunnelpb.Code_DENIED)
}

// TestTunnel35OnlyRelaysForward: without the installation's certificate nobody is a relay.
func TestTunnel35OnlyRelaysForward(t *testing.T) {
	g := relays(t, "a")[0]
	other := tunneltest.NewCertificate(t)
	for name, certs := range map[string][]tls.Certificate{"no certificate": nil, "another certificate": other.TLS.Certificates} {
		for _, carrier := range []tunnel.Carrier{tunnel.CarrierQUIC, tunnel.CarrierWebSocket} {
			d := tunnel.Dialer{
				Addr: g.addr, Carrier: carrier, TLS: &tls.Config{RootCAs: g.cert.Pool, Certificates: certs},
				Hello: &tunnelpb.Hello{Role: tunnelpb.Role_RELAY, PeerId: "evil"},
			}
			s, err := d.Dial(t.Context())
			if err == nil {
				s.Close(stream.CodeClosed, "")
			}
			t.Run(name+" over "+carrier.String(), func(t *testing.T) { wantRefusal(t, err, tunnelpb.Code_UNAUTHENTICATED) })
		}
	}
	// The right certificate is good over both.
	for _, carrier := range []tunnel.Carrier{tunnel.CarrierQUIC, tunnel.CarrierWebSocket} {
		d := tunnel.Dialer{
			Addr: g.addr, Carrier: carrier, TLS: &tls.Config{RootCAs: g.cert.Pool, Certificates: g.cert.TLS.Certificates},
			Hello: &tunnelpb.Hello{Role: tunnelpb.Role_RELAY, PeerId: "b"},
		}
		s, err := d.Dial(t.Context())
		if err != nil {
			t.Fatalf("over %v: %v", carrier, err)
		}
		s.Close(stream.CodeClosed, "")
	}
}

// TestTunnel35RelayWhoseStateLags: what another relay does not admit, since it has not heard of a change, the next one is asked for.
func TestTunnel35RelayWhoseStateLags(t *testing.T) {
	all := relays(t, "a", "c")
	a, c := all[0], all[1]
	lags := newRig(t, func(cfg *Config) { cfg.ID = "b"; peering(a.cert)(cfg) }, func(g *rig) { g.cert = a.cert })
	session := c.connector("c1", 0, echo)
	c.known(1)
	a.state.mu.Lock()
	a.state.others.relays["b"] = control.Relay{ID: "b", Peer: lags.addr}
	// It is asked first, for it has more sessions.
	a.state.others.connections["b"] = map[string][]control.Connection{tunnelID: {{ID: "1", Connector: "c2"}, {ID: "2", Connector: "c2"}}}
	a.state.mu.Unlock()
	st, err := a.Open(t.Context(), a.request())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	exchange(t, st, "through the relay that knows")
	if n := len(lags.state.audited("access.decide")); n != 1 {
		t.Errorf("the relay that lags was asked %d times, want 1", n)
	}
	// Where no other relay is left to ask, the refusal stays.
	session.Close(stream.CodeClosed, "gone")
	c.known(0)
	_, err = a.Open(t.Context(), a.request())
	wantRefusal(t, err, tunnelpb.Code_UNAUTHENTICATED)
}
