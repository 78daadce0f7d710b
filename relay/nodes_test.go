package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/connector"
	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/client"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

// nodes are a control of its own and two relays on one NATS server, with a connector that is connected to both.
type nodes struct {
	*control.Control // the one that changes are made at
	t                *testing.T
	relays           []*Relay
	tunnel           *control.Tunnel
	app              *access.Application
	shared           *access.ReusablePolicy
	token            *access.ServiceToken
	secret           string
}

func newNodes(t *testing.T) *nodes {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		ServerName: "node", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(testWait) {
		t.Fatal("the NATS server does not start")
	}
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	open := func(name string) *control.Control {
		c, err := control.Open(t.Context(), control.Config{
			DataDir: filepath.Join(dir, name), StoreURL: srv.ClientURL(), KeysetFile: filepath.Join(dir, "keyset.json"), Logger: quiet,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		during(t, c.Run)
		return c
	}
	n := &nodes{Control: open("control"), t: t}
	n.make()
	var addresses []string
	for i := range 2 {
		c := open(fmt.Sprintf("relay-%d", i))
		r := New(c, Config{ID: fmt.Sprintf("relay-%d", i), TLS: c.ServerTLS(), Logger: quiet})
		udp, tcp := tunneltest.Listen(t)
		during(t, func(ctx context.Context) error { return r.Serve(ctx, udp, tcp) })
		n.relays, addresses = append(n.relays, r), append(addresses, tcp.Addr().String())
	}
	n.connect(addresses)
	eventually(t, "the connector is at both relays", func() bool { return n.relays[0].registry.len() > 0 && n.relays[1].registry.len() > 0 })
	return n
}

// make makes everything that a stream needs, with a reusable policy that admits.
func (n *nodes) make() {
	n.t.Helper()
	ctx := n.t.Context()
	check := func(err error) {
		n.t.Helper()
		if err != nil {
			n.t.Fatal(err)
		}
	}
	var err error
	n.tunnel, err = n.CreateTunnel(ctx, control.DefaultAccountID, "vpc-1")
	check(err)
	n.route("tcp://" + echoOrigin(n.t))
	token, secret, err := n.CreateServiceToken(ctx, control.DefaultAccountID, "app", 0)
	check(err)
	n.token, n.secret = token, secret.Reveal()
	n.shared, err = n.CreatePolicy(ctx, control.DefaultAccountID, access.Policy{
		Name: "app", Decision: access.NonIdentity, Include: []access.Rule{{Selector: access.SelectServiceToken, Value: token.ID}},
	})
	check(err)
	n.app, err = n.CreateApplication(ctx, &access.Application{
		AccountID: control.DefaultAccountID, Name: "db", Hostname: host, Policies: []access.Policy{{ID: n.shared.ID, Reusable: true}},
	})
	check(err)
}

// route leads the hostname to a service, or nowhere.
func (n *nodes) route(service string) {
	n.t.Helper()
	_, err := n.UpdateTunnel(n.t.Context(), control.DefaultAccountID, n.tunnel.ID, func(t *control.Tunnel) error {
		t.Ingress = nil
		if service != "" {
			t.Ingress = []control.Ingress{{Hostname: host, Service: service}}
		}
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// connect starts a connector with the token that the tunnel has now.
func (n *nodes) connect(relays []string) {
	n.t.Helper()
	now, _ := n.Snapshot().Tunnel(n.tunnel.ID)
	secret, err := n.TunnelSecret(now)
	if err != nil {
		n.t.Fatal(err)
	}
	conn, err := connector.New(connector.Config{Protocol: client.Auto, Logger: slog.New(slog.DiscardHandler), Token: tunnel.Token{
		Tunnel: n.tunnel.ID, Secret: secret.Reveal(), Relays: relays, CA: string(n.CA()),
	}})
	if err != nil {
		n.t.Fatal(err)
	}
	during(n.t, conn.Run)
}

func (n *nodes) open(r *Relay) (stream.Conn, error) {
	return r.Open(n.t.Context(), OpenRequest{Hostname: host, ClientID: n.token.ClientID, ClientSecret: n.secret, Remote: netip.IPv6Loopback()})
}

// TestTunnel31ChangesReachEveryRelay: each kind of change that ends an admission, made at a process of its own, cuts the live stream of
// every relay and refuses the next, and what undoes it admits again. How long that took is logged.
func TestTunnel31ChangesReachEveryRelay(t *testing.T) {
	n := newNodes(t)
	ctx, account := t.Context(), control.DefaultAccountID
	setToken := func(change func(*access.ServiceToken)) error {
		_, err := n.UpdateServiceToken(ctx, account, n.token.ID, func(t *access.ServiceToken) error { change(t); return nil })
		return err
	}
	setPolicy := func(change func(*access.Policy)) error {
		_, err := n.UpdatePolicy(ctx, account, n.shared.ID, func(p *access.Policy) error { change(p); return nil })
		return err
	}
	setApp := func(change func(*access.Application)) error {
		_, err := n.UpdateApplication(ctx, account, n.app.ID, func(a *access.Application) error { change(a); return nil })
		return err
	}
	_, ingress, _ := n.Snapshot().TunnelByHostname(host)
	tests := []struct {
		name      string
		end, mend func() error
		want      tunnelpb.Code
	}{
		{"service token disabled", func() error { return setToken(func(t *access.ServiceToken) { t.Disabled = true }) },
			func() error { return setToken(func(t *access.ServiceToken) { t.Disabled = false }) }, tunnelpb.Code_UNAUTHENTICATED},
		{"client secret rotated without a grace", func() error {
			_, secret, err := n.RotateServiceToken(ctx, account, n.token.ID, 0, time.Time{})
			n.secret = secret.Reveal() // which is admitted: what was opened with the old one is not
			return err
		}, func() error { return nil }, tunnelpb.Code_CODE_UNSPECIFIED},
		{"reusable policy blocks", func() error { return setPolicy(func(p *access.Policy) { p.Decision = access.Block }) },
			func() error { return setPolicy(func(p *access.Policy) { p.Decision = access.NonIdentity }) }, tunnelpb.Code_DENIED},
		{"reusable policy narrowed", func() error {
			return setPolicy(func(p *access.Policy) { p.Require = []access.Rule{{Selector: access.SelectIP, Value: "192.0.2.0/24"}} })
		}, func() error { return setPolicy(func(p *access.Policy) { p.Require = nil }) }, tunnelpb.Code_DENIED},
		{"policy taken from the application", func() error { return setApp(func(a *access.Application) { a.Policies = nil }) },
			func() error {
				return setApp(func(a *access.Application) { a.Policies = []access.Policy{{ID: n.shared.ID, Reusable: true}} })
			}, tunnelpb.Code_DENIED},
		{"application guards another hostname", func() error { return setApp(func(a *access.Application) { a.Hostname = "other.example" }) },
			func() error { return setApp(func(a *access.Application) { a.Hostname = host }) }, tunnelpb.Code_DENIED},
		{"hostname leads nowhere", func() error { n.route(""); return nil }, func() error { n.route(ingress.Service); return nil }, tunnelpb.Code_DENIED},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var live []stream.Conn
			for i, r := range n.relays {
				var c stream.Conn
				eventually(t, fmt.Sprintf("relay %d admits", i), func() (ok bool) {
					var err error
					c, err = n.open(r)
					return err == nil
				})
				defer c.Close()
				exchange(t, c, "before")
				live = append(live, c)
			}
			began := time.Now()
			if err := tt.end(); err != nil {
				t.Fatal(err)
			}
			if tt.want != tunnelpb.Code_CODE_UNSPECIFIED {
				for i, r := range n.relays {
					eventually(t, fmt.Sprintf("relay %d refuses", i), func() bool {
						c, err := n.open(r)
						if err == nil {
							c.Close()
							return false
						}
						// An open that the change overtook is refused in other words.
						var refusal *tunnel.Refusal
						return errors.As(err, &refusal) && refusal.Code == tt.want
					})
				}
				t.Logf("every relay refuses after %v", time.Since(began))
			}
			for _, c := range live {
				wantReset(t, c, stream.CodeRevoked)
			}
			t.Logf("every live stream is cut after %v", time.Since(began))
			if err := tt.mend(); err != nil {
				t.Fatal(err)
			}
		})
	}

	t.Run("ingress is pushed to live connectors", func(t *testing.T) {
		n.route("tcp://127.0.0.1:1")
		now, _ := n.Snapshot().Tunnel(n.tunnel.ID)
		began := time.Now()
		for i, r := range n.relays {
			eventually(t, fmt.Sprintf("every connector at relay %d has it", i), func() bool {
				all := r.registry.all()
				return len(all) > 0 && !slices.ContainsFunc(all, func(b *backend) bool { return b.version.Load() != uint64(now.ConfigVersion) })
			})
		}
		t.Logf("every connector has it after %v", time.Since(began))
		eventually(t, "control knows that they have it", func() bool {
			connections := n.Presence().Connections(n.tunnel.ID)
			return len(connections) > 0 && !slices.ContainsFunc(connections, func(c control.Connection) bool { return c.ConfigVersion != now.ConfigVersion })
		})
	})

	t.Run("tunnel token rotated", func(t *testing.T) {
		if _, err := n.RotateTunnelSecret(ctx, account, n.tunnel.ID, "", func(*control.Tunnel) error { return nil }); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		eventually(t, "no session at any relay", func() bool { return n.relays[0].registry.len() == 0 && n.relays[1].registry.len() == 0 })
		t.Logf("every session has ended after %v", time.Since(began))
		eventually(t, "nobody is present", func() bool { return len(n.Presence().Connections(n.tunnel.ID)) == 0 })
	})
}
