package pooling

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/connector"
	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/client"
	"github.com/sluicedb/sluice/relay"
)

// originHostname is what the origin is called behind the tunnel.
const originHostname = "db.internal.example"

// stopGrace is how long a relay or a connector lets streams go on when it stops: a
// transaction of the tests is over within it, and what waits in line is not.
const stopGrace = 10 * time.Second

// A way leads to pg through two relays and a connector, all in this process.
type way struct {
	t         testing.TB
	control   *control.Control
	relays    [2]*relayRun
	connector *service
	token     tunnel.Token
	target    client.Target
	client    *client.Client
}

// A relayRun is a relay with its sockets, which another one takes the addresses of.
type relayRun struct {
	*service
	udp net.PacketConn
	tcp net.Listener
}

// A service runs until it is stopped.
type service struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // after done
}

func run(f func(context.Context) error) *service {
	ctx, cancel := context.WithCancel(context.Background())
	r := &service{cancel: cancel, done: make(chan struct{})}
	go func() { defer close(r.done); r.err = f(ctx) }()
	return r
}

// stop ends it in order, and waits.
func (r *service) stop() error {
	r.cancel()
	<-r.done
	return r.err
}

// newWay raises the way; it goes with the test.
func newWay(t testing.TB) *way {
	t.Helper()
	n := &way{t: t}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	n.control, err = control.Open(ctx, control.Config{DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	must(err)
	t.Cleanup(func() { n.control.Close() })
	n.during(run(n.control.Run))
	var addresses []string
	for i := range n.relays {
		n.relays[i], err = n.startRelay("127.0.0.1:0")
		must(err)
		addresses = append(addresses, n.relays[i].tcp.Addr().String())
		t.Cleanup(func() { n.stopped(n.relays[i].service) })
	}
	must(n.register(ctx, addresses))
	n.startConnector()
	t.Cleanup(func() { n.stopped(n.connector) })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(n.control.CA())
	n.client = &client.Client{Relays: addresses, TLS: &tls.Config{RootCAs: roots}, PeerID: "proxy", Logger: slog.New(slog.DiscardHandler)}
	n.during(run(n.client.Run))
	return n
}

// during stops r at the test's end.
func (n *way) during(r *service) { n.t.Cleanup(func() { n.stopped(r) }) }

func (n *way) stopped(r *service) {
	if err := r.stop(); err != nil && !errors.Is(err, net.ErrClosed) {
		n.t.Errorf("stop: %v", err)
	}
}

// register makes the tunnel, the service token and the application that admits it.
func (n *way) register(ctx context.Context, relays []string) error {
	c := n.control
	tun, err := c.CreateTunnel(ctx, control.DefaultAccountID, "vpc-1")
	if err != nil {
		return err
	}
	target := pg.Target()
	tun, err = c.UpdateTunnel(ctx, control.DefaultAccountID, tun.ID, func(tun *control.Tunnel) error {
		tun.Ingress = []control.Ingress{{Hostname: originHostname, Service: "tcp://" + net.JoinHostPort(target.Host, strconv.Itoa(target.Port))}}
		return nil
	})
	if err != nil {
		return err
	}
	secret, err := c.TunnelSecret(tun)
	if err != nil {
		return err
	}
	n.token = tunnel.Token{Tunnel: tun.ID, Secret: secret.Reveal(), Relays: relays, CA: string(c.CA())}
	token, clientSecret, err := c.CreateServiceToken(ctx, control.DefaultAccountID, "app", 0)
	if err != nil {
		return err
	}
	n.target = client.Target{Hostname: originHostname, ClientID: token.ClientID, ClientSecret: clientSecret.Reveal()}
	_, err = c.CreateApplication(ctx, &access.Application{
		AccountID: control.DefaultAccountID, Name: "db", Hostname: originHostname,
		Policies: []access.Policy{{Name: "app", Decision: access.NonIdentity, Include: []access.Rule{
			{Selector: access.SelectServiceToken, Value: token.ID},
		}}},
	})
	return err
}

// dial is a postgres.Config's.
func (n *way) dial(ctx context.Context) (net.Conn, error) { return n.client.Dial(ctx, n.target) }

// startRelay starts a relay on an address, for TCP and UDP; port 0 is one that is free for both.
func (n *way) startRelay(addr string) (*relayRun, error) {
	var r relayRun
	for try := 0; r.udp == nil; try++ {
		var err error
		if r.tcp, err = net.Listen("tcp", addr); err != nil {
			return nil, err
		}
		if r.udp, err = net.ListenPacket("udp", r.tcp.Addr().String()); err != nil {
			r.tcp.Close()
			if try == 20 {
				return nil, err
			}
		}
	}
	id := r.tcp.Addr().String()
	resetKey := [32]byte([]byte(fmt.Sprintf("%32s", id)))
	relay := relay.New(n.control, relay.Config{
		ID: id, TLS: n.control.ServerTLS(), Announce: []string{id}, Grace: stopGrace, StatelessResetKey: &resetKey, Logger: slog.New(slog.DiscardHandler),
	})
	r.service = run(func(ctx context.Context) error { return relay.Serve(ctx, r.udp, r.tcp) })
	return &r, nil
}

// restartRelay ends a relay and puts another one in its place. Unless it is killed
// it lets what runs come to its end.
func (n *way) restartRelay(i int, kill bool) error {
	old := n.relays[i]
	if kill {
		old.udp.Close()
		old.tcp.Close()
	} else {
		old.cancel()
	}
	if <-old.done; old.err != nil && !kill {
		return fmt.Errorf("a relay that was to stop: %w", old.err)
	}
	fresh, err := n.startRelay(old.tcp.Addr().String())
	if err == nil {
		n.relays[i] = fresh
	}
	return err
}

func (n *way) startConnector() {
	n.t.Helper()
	c, err := connector.New(connector.Config{Token: n.token, Grace: stopGrace, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		n.t.Error(err)
		return
	}
	n.connector = run(c.Run)
	eventually(n.t, "the connector is ready", c.Ready)
}

// restartConnector puts another connector in the place of the one, which comes to
// its end beside it.
func (n *way) restartConnector() error {
	old := n.connector
	n.startConnector()
	return old.stop()
}
