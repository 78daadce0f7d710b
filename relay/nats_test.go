package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/connector"
	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/client"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

// fleet is three relays, each with its own node of the state, on one NATS server.
type fleet struct {
	t      *testing.T
	nodes  []*control.Control
	relays []*rig
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(testWait) {
		t.Fatal("the NATS server does not start")
	}
	f := &fleet{t: t}
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		c, err := control.Open(t.Context(), control.Config{
			DataDir: filepath.Join(dir, name), StoreURL: srv.ClientURL(), KeysetFile: filepath.Join(dir, "keyset.json"),
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		during(t, c.Run)
		f.nodes = append(f.nodes, c)
		f.relays = append(f.relays, f.relay(c, name))
	}
	return f
}

// relay starts a relay on a node.
func (f *fleet) relay(c *control.Control, name string) *rig {
	f.t.Helper()
	g := &rig{t: f.t, gate: &tunneltest.Gate{}}
	udp, tcp := tunneltest.Listen(f.t)
	g.gate.PacketConn, g.tcp, g.addr = udp, tcp, tcp.Addr().String()
	g.Relay = New(c, Config{
		ID: name, TLS: c.ServerTLS(), Announce: []string{g.addr}, Logger: slog.New(slog.DiscardHandler), Grace: 1,
		Peering: Peering{Address: g.addr, TLS: c.RelayTLS(), Verify: c.VerifyRelay},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := g.Serve(ctx, g.gate, tcp); err != nil && !g.killed.Load() {
			f.t.Errorf("Serve: %v", err)
		}
	})
	f.t.Cleanup(func() { cancel(); running.Wait() })
	return g
}

// path makes a tunnel with a connector at each of relays, and returns who may reach its origin.
func (f *fleet) path(relays ...*rig) client.Target {
	t, c := f.t, f.nodes[0]
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tun, err := c.CreateTunnel(t.Context(), control.DefaultAccountID, "vpc-1")
	must(err)
	tun, err = c.UpdateTunnel(t.Context(), control.DefaultAccountID, tun.ID, func(tun *control.Tunnel) error {
		tun.Ingress = []control.Ingress{{Hostname: host, Service: "tcp://" + echoOrigin(t)}}
		return nil
	})
	must(err)
	token, secret, err := c.CreateServiceToken(t.Context(), control.DefaultAccountID, "app", 0)
	must(err)
	_, err = c.CreateApplication(t.Context(), &access.Application{
		AccountID: control.DefaultAccountID, Name: "db", Hostname: host,
		Policies: []access.Policy{{Name: "app", Decision: access.NonIdentity, Include: []access.Rule{
			{Selector: access.SelectServiceToken, Value: token.ID},
		}}},
	})
	must(err)
	tunnelSecret, err := c.TunnelSecret(tun)
	must(err)
	for _, r := range relays {
		conn, err := connector.New(connector.Config{
			Slots: 1, Relays: []string{r.addr}, Logger: slog.New(slog.DiscardHandler), Grace: 1,
			Token: tunnel.Token{Tunnel: tun.ID, Secret: tunnelSecret.Reveal(), CA: string(c.CA())},
		})
		must(err)
		during(t, conn.Run)
	}
	eventually(t, "presence of the slots on every node", func() bool {
		for _, node := range f.nodes {
			if len(node.Presence().Connections(tun.ID)) < len(relays) {
				return false
			}
		}
		return true
	})
	return client.Target{Hostname: host, ClientID: token.ClientID, ClientSecret: secret.Reveal()}
}

// TestTunnel35KilledRelayOfThree: the proxy knows a relay that holds no session of the tunnel. Of the two that do one is killed
// under load; no open fails.
func TestTunnel35KilledRelayOfThree(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, b, c := f.relays[0], f.relays[1], f.relays[2]
	target := f.path(a, b)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(f.nodes[0].CA())
	proxy := &client.Client{Relays: []string{c.addr}, TLS: &tls.Config{RootCAs: roots}, PeerID: "proxy", Logger: slog.New(slog.DiscardHandler)}
	during(t, proxy.Run)
	load := openLoop{killing: true}
	load.during(t, proxy, target, func() {
		eventually(t, "load", func() bool { return load.done.Load() > 20 })
		a.kill()
		eventually(t, "the killed relay's absence", func() bool { _, up := f.nodes[2].Presence().Relay("a"); return !up })
		n := load.done.Load()
		eventually(t, "load on the others", func() bool { return load.done.Load() > n+20 })
	})
	if n := a.registry.len() + b.registry.len(); n == 0 || c.registry.len() > 1 {
		t.Errorf("%d sessions at the holders, %d at the relay that forwards", n, c.registry.len())
	}
}
