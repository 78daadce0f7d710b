package relay

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

func TestTunnel28CredentialsThatAreNotGoodGetOneAnswer(t *testing.T) {
	g := newRig(t, nil)
	origin := make(chan struct{}, 100)
	g.connector("c1", 0, func(in *tunnel.Incoming) { origin <- struct{}{}; echo(in) })
	expired, expiredSecret := g.addToken(func(t *access.ServiceToken) { t.ExpiresAt = time.Now().Add(-time.Minute) })
	disabled, disabledSecret := g.addToken(func(t *access.ServiceToken) { t.Disabled = true })
	other, otherSecret := g.addToken(nil) // good, and no policy admits it
	id, secret := g.token.ClientID, g.secret
	tests := []struct {
		name, id, secret string
		status           int
		code             tunnelpb.Code
		reason           access.Reason
	}{
		{"unknown", "0123456789abcdef0123456789abcdef.access", secret, 401, tunnelpb.Code_UNAUTHENTICATED, access.ReasonUnknownToken},
		{"wrong secret", id, otherSecret, 401, tunnelpb.Code_UNAUTHENTICATED, access.ReasonWrongSecret},
		{"expired", expired.ClientID, expiredSecret, 401, tunnelpb.Code_UNAUTHENTICATED, access.ReasonExpired},
		{"disabled", disabled.ClientID, disabledSecret, 401, tunnelpb.Code_UNAUTHENTICATED, access.ReasonDisabled},
		{"none", "", "", 401, tunnelpb.Code_UNAUTHENTICATED, access.ReasonNoCredentials},
		{"no policy", other.ClientID, otherSecret, 403, tunnelpb.Code_DENIED, access.ReasonNoPolicy},
	}
	var first *answered
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := len(g.state.audited("access.decide"))
			got := g.upgrade(t, host, http.Header{headerClientID: keep(tt.id), headerClientSecret: keep(tt.secret)})
			if got.status != tt.status || got.location != "" {
				t.Errorf("answered %d, location %q, want %d", got.status, got.location, tt.status)
			}
			if tt.status == 401 {
				if first == nil {
					first = &got
				}
				if got != *first {
					t.Errorf("answered %+v, others %+v", got, *first)
				}
			}
			req := g.request()
			req.ClientID, req.ClientSecret = tt.id, tt.secret
			_, err := g.Open(t.Context(), req)
			wantRefusal(t, err, tt.code)
			records := g.state.audited("access.decide")[before:]
			if len(records) != 2 {
				t.Fatalf("%d decisions are recorded, want 2", len(records))
			}
			for _, r := range records {
				if r.Reason != string(tt.reason) || r.Target != host || r.Outcome == "allowed" {
					t.Errorf("recorded %+v, want reason %q", r, tt.reason)
				}
			}
		})
	}
	if len(origin) > 0 {
		t.Errorf("the origin saw %d connections", len(origin))
	}
}

// keep makes no header of an empty value.
func keep(v string) []string {
	if v == "" {
		return nil
	}
	return []string{v}
}

func TestTunnel28DuplicateAndIncompleteHeadersAreRefused(t *testing.T) {
	g := newRig(t, nil)
	g.connector("c1", 0, echo)
	id, secret := g.token.ClientID, g.secret
	for name, h := range map[string]http.Header{
		"two IDs":         {headerClientID: {id, id}, headerClientSecret: {secret}},
		"two secrets":     {headerClientID: {id}, headerClientSecret: {secret, secret}},
		"joined":          {headerClientID: {id + ", " + id}, headerClientSecret: {secret}},
		"no secret":       {headerClientID: {id}},
		"no ID":           {headerClientSecret: {secret}},
		"an empty secret": {headerClientID: {id}, headerClientSecret: {""}},
	} {
		if got := g.upgrade(t, host, h); got.status != 401 {
			t.Errorf("%s: answered %d, want 401", name, got.status)
		}
	}
	for _, r := range g.state.audited("access.decide") {
		if r.Outcome != "unauthenticated" {
			t.Errorf("recorded %+v", r)
		}
	}
}

func TestTunnel28HelloOfAClient(t *testing.T) {
	g := newRig(t, nil)
	for _, cred := range [][2]string{{g.token.ClientID, "wrong"}, {"unknown", g.secret}, {"", ""}} {
		_, err := g.dial(tunnel.CarrierQUIC, tunnel.Dialer{Hello: &tunnelpb.Hello{
			Role: tunnelpb.Role_CLIENT, ClientId: cred[0], ClientSecret: cred[1], PeerId: "p",
		}})
		wantRefusal(t, err, tunnelpb.Code_UNAUTHENTICATED)
	}
	if n := len(g.state.audited("session.client")); n != 3 {
		t.Errorf("%d refusals are recorded, want 3", n)
	}
	// A session may open with another credential than its own, which is decided on by itself.
	other, secret := g.addToken(nil)
	g.connector("c1", 0, echo)
	_, err := g.client(tunnel.CarrierQUIC).Open(t.Context(), &tunnelpb.Open{Hostname: host, ClientId: other.ClientID, ClientSecret: secret})
	wantRefusal(t, err, tunnelpb.Code_DENIED)
}

// A stranger's failures are recorded, but cannot push everything else out of the log.
func TestTunnel27FailuresOfStrangersAreRecordedWithinABudget(t *testing.T) {
	g := newRig(t, nil)
	g.connector("c1", 0, echo)
	wrong := g.request()
	wrong.ClientSecret = "wrong"
	for range strangerBurst + 500 {
		_, err := g.Open(t.Context(), wrong)
		wantRefusal(t, err, tunnelpb.Code_UNAUTHENTICATED)
	}
	// At most one more comes in every strangerEvery, and the loop takes far less than a minute.
	if n := len(g.state.audited("access.decide")); n < strangerBurst || n > strangerBurst+120 {
		t.Errorf("%d failures are recorded, want %d and few more", n, strangerBurst)
	}
	before := len(g.state.audited("access.decide"))
	c, err := g.Open(t.Context(), g.request())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if n := len(g.state.audited("access.decide")); n != before+1 {
		t.Errorf("%d records after one open that was admitted, want %d: it has no budget", n, before+1)
	}
}

// One service token must not take the places of everybody else's sessions.
func TestTunnel26SessionsOfAServiceTokenAreLimited(t *testing.T) {
	g := newRig(t, nil)
	s := g.client(tunnel.CarrierQUIC)
	eventually(t, "the session in the set", func() bool { return g.clients.len() == 1 })
	g.clients.mu.Lock()
	g.clients.count[owner{id: g.token.ClientID}] = maxClientSessions
	g.clients.mu.Unlock()
	hello := &tunnelpb.Hello{Role: tunnelpb.Role_CLIENT, ClientId: g.token.ClientID, ClientSecret: g.secret, PeerId: "p"}
	_, err := g.dial(tunnel.CarrierQUIC, tunnel.Dialer{Hello: hello})
	wantRefusal(t, err, tunnelpb.Code_LIMITED)
	other, secret := g.addToken(nil)
	g.session(tunnel.CarrierQUIC, tunnel.Dialer{Hello: &tunnelpb.Hello{
		Role: tunnelpb.Role_CLIENT, ClientId: other.ClientID, ClientSecret: secret, PeerId: "p",
	}})
	s.Close(stream.CodeClosed, "")
	eventually(t, "a place again", func() bool { return g.clients.room(hello) })
	g.session(tunnel.CarrierQUIC, tunnel.Dialer{Hello: hello})
}

// TestTunnel26SessionsOfARelayAreCountedApart: what another relay forwards for many tunnels leaves connectors their places, and is bounded
// by itself.
func TestTunnel26SessionsOfARelayAreCountedApart(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	g := newRig(t, func(c *Config) { c.ID, c.MaxSessions = "a", 1; peering(cert)(c) }, func(g *rig) { g.cert = cert })
	hello := &tunnelpb.Hello{Role: tunnelpb.Role_RELAY, PeerId: "b"}
	dial := func() error {
		d := tunnel.Dialer{Addr: g.addr, Carrier: tunnel.CarrierQUIC, TLS: &tls.Config{RootCAs: cert.Pool, Certificates: cert.TLS.Certificates}, Hello: hello}
		s, err := d.Dial(t.Context())
		if err == nil {
			t.Cleanup(func() { s.Close(stream.CodeClosed, "") })
		}
		return err
	}
	for range 2 {
		if err := dial(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both sessions in the set", func() bool { return g.clients.len() == 2 })
	g.connector("c1", 0, echo)
	if err := dial(); err != nil {
		t.Errorf("another relay is kept out by a connector: %v", err)
	}
	g.clients.mu.Lock()
	g.clients.count[ownerOf(hello)] += maxRelaySessions
	g.clients.mu.Unlock()
	wantRefusal(t, dial(), tunnelpb.Code_LIMITED)
	g.clients.mu.Lock()
	g.clients.count[ownerOf(hello)] -= maxRelaySessions
	g.clients.mu.Unlock()
}

func TestHostnameWithoutTunnelIsToldToWhoIsAdmittedOnly(t *testing.T) {
	g := newRig(t, nil)
	g.state.change(func() {
		g.state.apps["free.example"] = application("free.example", account, access.Rule{Selector: access.SelectServiceToken, Value: g.token.ID})
	})
	req := g.request()
	req.Hostname = "free.example"
	_, err := g.Open(t.Context(), req)
	wantRefusal(t, err, tunnelpb.Code_NO_TUNNEL)
	req.Hostname = "unheard-of.example"
	_, err = g.Open(t.Context(), req)
	wantRefusal(t, err, tunnelpb.Code_DENIED)
}

func TestTunnel34ApplicationOpensItsOwnAccountsHostnamesOnly(t *testing.T) {
	g := newRig(t, nil)
	g.connector("c1", 0, echo)
	g.state.change(func() {
		stranger := *g.state.tokens[g.token.ClientID]
		stranger.AccountID = "stranger"
		g.state.tokens[g.token.ClientID] = &stranger
		g.state.apps[host] = application(host, "stranger", access.Rule{Selector: access.SelectServiceToken, Value: g.token.ID})
	})
	_, err := g.Open(t.Context(), g.request())
	wantRefusal(t, err, tunnelpb.Code_NO_TUNNEL)
}

func TestTunnel34ConnectorOfAnotherOrADeletedTunnel(t *testing.T) {
	g := newRig(t, nil)
	const otherID = "22222222-2222-2222-2222-222222222222"
	g.state.change(func() {
		g.state.tunnels[otherID] = &control.Tunnel{ID: otherID, AccountID: account, SecretHash: access.HashSecret("other"), ConfigVersion: 1}
	})
	hello := func(id, secret string) error {
		s, err := g.dial(tunnel.CarrierQUIC, tunnel.Dialer{
			Hello: &tunnelpb.Hello{Role: tunnelpb.Role_CONNECTOR, TunnelId: id, Secret: secret, PeerId: "p"},
			Configure: func(_ context.Context, c *tunnelpb.Configure) *tunnelpb.Configured {
				if len(c.GetIngress()) > 0 {
					t.Errorf("the other tunnel's connector is told %v", c.GetIngress())
				}
				return &tunnelpb.Configured{Version: c.GetVersion()}
			},
		})
		if err == nil {
			t.Cleanup(func() { s.Close(stream.CodeClosed, "") })
		}
		return err
	}
	wantRefusal(t, hello(tunnelID, "other"), tunnelpb.Code_UNAUTHENTICATED)
	wantRefusal(t, hello("33333333-3333-3333-3333-333333333333", "other"), tunnelpb.Code_UNAUTHENTICATED)
	if err := hello(otherID, "other"); err != nil {
		t.Fatal(err)
	}
	_, err := g.Open(t.Context(), g.request())
	wantRefusal(t, err, tunnelpb.Code_NO_CONNECTOR)
	if n := len(g.state.audited("session.connector")); n != 3 {
		t.Errorf("%d registrations are recorded, want 3", n)
	}
}

// TestTunnel33KeysAreToldWithoutNewRules: a connector learns of another key of assertions as soon as the relay does.
func TestTunnel33KeysAreToldWithoutNewRules(t *testing.T) {
	g := newRig(t, nil)
	told := make(chan *tunnelpb.Configure, 16)
	g.session(tunnel.CarrierQUIC, tunnel.Dialer{
		Hello: &tunnelpb.Hello{Role: tunnelpb.Role_CONNECTOR, TunnelId: tunnelID, Secret: tunnelSecret, PeerId: "p"},
		Configure: func(_ context.Context, c *tunnelpb.Configure) *tunnelpb.Configured {
			told <- c
			return &tunnelpb.Configured{Version: c.GetVersion()}
		},
	})
	first := receive(t, "Configure", told)
	key := ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)
	g.state.change(func() {
		g.state.verifier = &access.Verifier{Issuer: "sluice", Keys: map[string]ed25519.PublicKey{"k1": key}}
	})
	second := receive(t, "Configure", told)
	if second.GetVersion() != first.GetVersion() || len(second.GetKeys()) != 1 || second.GetKeys()[0].GetId() != "k1" || second.GetIssuer() != "sluice" {
		t.Errorf("told %v", second)
	}
	g.state.change(func() {}) // something else
	g.state.change(func() {
		g.state.verifier = &access.Verifier{Issuer: "sluice", Keys: map[string]ed25519.PublicKey{"k1": key, "k2": key}}
	})
	if third := receive(t, "Configure", told); len(third.GetKeys()) != 2 {
		t.Errorf("told %v", third)
	}
}

func TestTunnel31ChangesCutLiveStreams(t *testing.T) {
	changes := map[string]func(*rig){
		"token deleted": func(g *rig) { delete(g.state.tokens, g.token.ClientID) },
		"token disabled": func(g *rig) {
			token := *g.state.tokens[g.token.ClientID]
			token.Disabled = true
			g.state.tokens[token.ClientID] = &token
		},
		"policy gone": func(g *rig) { g.state.apps[host] = application(host, account) },
		"app gone":    func(g *rig) { delete(g.state.apps, host) },
		"hostname moved": func(g *rig) {
			tun := *g.state.tunnels[tunnelID]
			tun.Ingress, tun.ConfigVersion = nil, 2
			g.state.tunnels[tunnelID] = &tun
		},
		"tunnel deleted": func(g *rig) { delete(g.state.tunnels, tunnelID) },
		"token expires": func(g *rig) {
			token := *g.state.tokens[g.token.ClientID]
			token.ExpiresAt = time.Now().Add(500 * time.Millisecond)
			g.state.tokens[token.ClientID] = &token
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t, nil)
			g.connector("c1", 0, echo)
			near, err := g.Open(t.Context(), g.request())
			if err != nil {
				t.Fatal(err)
			}
			defer near.Close()
			far, err := g.client(tunnel.CarrierQUIC).Open(t.Context(), &tunnelpb.Open{Hostname: host})
			if err != nil {
				t.Fatal(err)
			}
			defer far.Close()
			exchange(t, near, "hello")
			exchange(t, far, "hello")
			g.state.change(func() { change(g) })
			if name != "token expires" {
				if c, err := g.Open(t.Context(), g.request()); err == nil {
					c.Close()
					t.Error("a new open is admitted")
				}
			}
			for _, c := range []stream.Conn{near, far} {
				c.SetReadDeadline(time.Now().Add(testWait))
				_, err := io.Copy(io.Discard, c)
				var reset *stream.ResetError
				var lost *tunnel.SessionError // of a client whose token is gone
				if !(errors.As(err, &reset) && reset.Code == stream.CodeRevoked) && !(errors.As(err, &lost) && lost.Code == stream.CodeRevoked) {
					t.Errorf("the stream ended with %v, want it revoked", err)
				}
			}
		})
	}
}

func TestChangesThatAdmitStillCutNothing(t *testing.T) {
	g := newRig(t, nil)
	g.connector("c1", 0, echo)
	c, err := g.Open(t.Context(), g.request())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	g.state.change(func() { g.state.apps[host] = application(host, account, access.Rule{Selector: access.SelectEveryone}) })
	g.sweep(time.Now())
	g.state.change(func() {
		tun := *g.state.tunnels[tunnelID]
		tun.Ingress, tun.ConfigVersion = []control.Ingress{{Hostname: host, Service: "tcp://10.0.0.6:5432"}}, 2
		g.state.tunnels[tunnelID] = &tun
	})
	g.sweep(time.Now())
	g.tasks.Wait()
	exchange(t, c, "still here")
	eventually(t, "new rules at the connector", func() bool { return g.backend("c1").version.Load() == 2 })
}

func TestTunnel31DeletedTunnelEndsItsSessions(t *testing.T) {
	g := newRig(t, nil)
	s := g.connector("c1", 0, echo)
	g.state.change(func() { delete(g.state.tunnels, tunnelID) })
	receive(t, "end of the session", s.Done())
	var ended *tunnel.SessionError
	if !errors.As(s.Err(), &ended) || ended.Code != stream.CodeRevoked {
		t.Errorf("the session ended with %v", s.Err())
	}
}

func TestTunnel31ClientSessionOfARevokedTokenEnds(t *testing.T) {
	g := newRig(t, nil)
	s := g.client(tunnel.CarrierQUIC)
	g.state.change(func() { delete(g.state.tokens, g.token.ClientID) })
	receive(t, "end of the session", s.Done())
}
