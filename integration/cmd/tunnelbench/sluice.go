package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/connector"
	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/stream/socket"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/client"
	"github.com/sluicedb/sluice/relay"
)

const (
	hostname = "target.internal.example"
	// plenty is above what is measured: the benchmark is about the carriers, and quotas have their tests.
	plenty = 1 << 20
)

// runRelay serves a relay with its own state, and a TCP entry that leads to the target.
func runRelay(ctx context.Context, s setup) error {
	host, _, err := net.SplitHostPort(s.Relay)
	if err != nil {
		return err
	}
	c, err := control.Open(ctx, control.Config{DataDir: s.Dir, PublicHosts: []string{host}, Logger: slog.Default()})
	if err != nil {
		return err
	}
	defer c.Close()
	found, err := furnish(ctx, c, s)
	if err != nil {
		return err
	}
	tcp, err := net.Listen("tcp", s.Relay)
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", s.Relay)
	if err != nil {
		return err
	}
	r := relay.New(c, relay.Config{
		ID: "bench", TLS: c.ServerTLS(), Grace: time.Second, MaxTokenStreams: plenty, MaxTunnelStreams: plenty, MaxTokenRate: plenty,
	})
	if err := writeJSON(s.Credentials, found); err != nil {
		return err
	}
	request := relay.OpenRequest{
		Hostname: hostname, ClientID: found.ClientID, ClientSecret: found.ClientSecret, Remote: netip.IPv6Loopback(),
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.Run(ctx) })
	g.Go(func() error { return r.Serve(ctx, udp, tcp) })
	g.Go(func() error {
		return serve(ctx, s, stream.Listening(), enter(func(ctx context.Context, first []byte) (stream.Conn, error) {
			request := request
			request.EarlyData = first
			return r.Open(ctx, request)
		}))
	})
	return g.Wait()
}

// enter joins a connection with a stream that dial opens. What has come by then travels with the open, as a driver's start-up packet
// does.
func enter(dial func(context.Context, []byte) (stream.Conn, error)) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		near := stream.TCP(c)
		far, err := dial(context.Background(), arrived(c))
		if err != nil {
			slog.Error("stream not opened", "err", err)
			near.Reset(stream.CodeAborted)
			return
		}
		// As relay and connector do. How it ends is what load and target see.
		stream.Join(context.Background(), near, far, func(stream.Stats, error) {})
	}
}

// arrived returns what can be read without waiting.
func arrived(c *net.TCPConn) []byte {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	buf := make([]byte, 512)
	n := 0
	// What goes wrong here shows when the connection is read.
	_ = raw.Control(func(fd uintptr) { n, _ = socket.Read(fd, buf) })
	return buf[:n]
}

// furnish makes a tunnel to the target, and a service token that is admitted to it.
func furnish(ctx context.Context, c *control.Control, s setup) (found credentials, err error) {
	t, err := c.CreateTunnel(ctx, control.DefaultAccountID, "bench")
	if err != nil {
		return found, err
	}
	if t, err = c.UpdateTunnel(ctx, control.DefaultAccountID, t.ID, func(t *control.Tunnel) error {
		t.Ingress = []control.Ingress{{Hostname: hostname, Service: "tcp://" + s.To}}
		return nil
	}); err != nil {
		return found, err
	}
	secret, err := c.TunnelSecret(t)
	if err != nil {
		return found, err
	}
	token, tokenSecret, err := c.CreateServiceToken(ctx, control.DefaultAccountID, "bench", 0)
	if err != nil {
		return found, err
	}
	_, err = c.CreateApplication(ctx, &access.Application{
		AccountID: control.DefaultAccountID, Name: "target", Hostname: hostname,
		Policies: []access.Policy{{Name: "bench", Decision: access.NonIdentity, Include: []access.Rule{
			{Selector: access.SelectServiceToken, Value: token.ID},
		}}},
	})
	return credentials{
		Tunnel:   tunnel.Token{Tunnel: t.ID, Secret: secret.Reveal(), Relays: []string{s.Relay}, CA: string(c.CA())}.Encode(),
		ClientID: token.ClientID, ClientSecret: tokenSecret.Reveal(), CA: c.CA(),
	}, err
}

// runConnector serves the relay's tunnel.
func runConnector(ctx context.Context, s setup) error {
	var known credentials
	if err := readJSON(s.Credentials, &known); err != nil {
		return err
	}
	token, err := tunnel.ParseToken(known.Tunnel)
	if err != nil {
		return err
	}
	c, err := connector.New(connector.Config{Token: token, Protocol: client.Protocol(s.Protocol), Slots: s.Slots, Grace: time.Second})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.Run(ctx) })
	g.Go(func() error {
		for !c.Ready() {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(10 * time.Millisecond):
			}
		}
		return s.ready()
	})
	return g.Wait()
}

// runClient is a TCP entry in a process of its own, as a proxy apart from the relay is.
func runClient(ctx context.Context, s setup) error {
	var known credentials
	if err := readJSON(s.Credentials, &known); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(known.CA) {
		return errors.New("the authority is not PEM")
	}
	c := &client.Client{
		Relays: []string{s.Relay}, TLS: &tls.Config{RootCAs: roots}, Protocol: client.Protocol(s.Protocol), PeerID: "bench",
	}
	target := client.Target{Hostname: hostname, ClientID: known.ClientID, ClientSecret: known.ClientSecret}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.Run(ctx) })
	g.Go(func() error {
		return serve(ctx, s, stream.Listening(), enter(func(ctx context.Context, first []byte) (stream.Conn, error) {
			target := target
			target.EarlyData = first
			return c.Dial(ctx, target)
		}))
	})
	return g.Wait()
}
