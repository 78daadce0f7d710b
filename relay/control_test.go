package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/connector"
	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/client"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

// path is control, relay and connector in one process, with an origin that echoes.
type path struct {
	control *control.Control
	relay   *Relay
	tunnel  *control.Tunnel
	token   *access.ServiceToken
	request OpenRequest
	secret  string // the tunnel's
	addr    string // the relay's
}

func newPath(t testing.TB, protocol client.Protocol) *path {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	c, err := control.Open(t.Context(), control.Config{DataDir: t.TempDir(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	during(t, c.Run)
	p := &path{control: c}
	p.tunnel, err = c.CreateTunnel(t.Context(), control.DefaultAccountID, "vpc-1")
	if err != nil {
		t.Fatal(err)
	}
	p.tunnel, err = c.UpdateTunnel(t.Context(), control.DefaultAccountID, p.tunnel.ID, func(tun *control.Tunnel) error {
		tun.Ingress = []control.Ingress{{Hostname: host, Service: "tcp://" + echoOrigin(t)}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	token, secret, err := c.CreateServiceToken(t.Context(), control.DefaultAccountID, "app", 0)
	if err != nil {
		t.Fatal(err)
	}
	p.token = token
	_, err = c.CreateApplication(t.Context(), &access.Application{
		AccountID: control.DefaultAccountID, Name: "db", Hostname: host,
		Policies: []access.Policy{{Name: "app", Decision: access.NonIdentity, Include: []access.Rule{
			{Selector: access.SelectServiceToken, Value: token.ID},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.relay = New(c, Config{ID: "r1", TLS: c.ServerTLS(), Logger: quiet})
	udp, tcp := tunneltest.Listen(t)
	during(t, func(ctx context.Context) error { return p.relay.Serve(ctx, udp, tcp) })
	tunnelSecret, err := c.TunnelSecret(p.tunnel)
	if err != nil {
		t.Fatal(err)
	}
	p.secret, p.addr = tunnelSecret.Reveal(), tcp.Addr().String()
	conn, err := connector.New(connector.Config{Protocol: protocol, Logger: quiet, Token: tunnel.Token{
		Tunnel: p.tunnel.ID, Secret: tunnelSecret.Reveal(), Relays: []string{tcp.Addr().String()}, CA: string(c.CA()),
	}})
	if err != nil {
		t.Fatal(err)
	}
	during(t, conn.Run)
	for deadline := time.Now().Add(testWait); p.relay.registry.len() < 4; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d of 4 slots registered", p.relay.registry.len())
		}
	}
	p.request = OpenRequest{Hostname: host, ClientID: token.ClientID, ClientSecret: secret.Reveal(), Remote: netip.IPv6Loopback()}
	return p
}

// during runs f until the test ends.
func during(t testing.TB, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// echoOrigin is a TCP server that sends everything back.
func echoOrigin(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return ln.Addr().String()
}

func TestRelayWithControlAndConnector(t *testing.T) {
	p := newPath(t, client.Auto)
	c, err := p.relay.Open(t.Context(), p.request)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	exchange(t, c, "through relay and connector")
	eventually(t, "record of the decision", func() bool {
		records, _, err := p.control.AuditRecords(t.Context(), control.AuditFilter{Action: "access.decide", Target: host})
		return err == nil && len(records) == 1 && records[0].Outcome == "allowed" && records[0].Actor == p.token.ClientID
	})
	if err := p.control.DeleteServiceToken(t.Context(), control.DefaultAccountID, p.token.ID); err != nil {
		t.Fatal(err)
	}
	wantReset(t, c, stream.CodeRevoked)
	if _, err := p.relay.Open(t.Context(), p.request); err == nil {
		t.Error("a deleted token is admitted")
	}
	if err := p.control.DeleteTunnel(t.Context(), control.DefaultAccountID, p.tunnel.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "end of the deleted tunnel's sessions", func() bool { return p.relay.registry.len() == 0 })
}

func TestTunnel16NothingIsLeftOfStreams(t *testing.T) {
	p := newPath(t, client.QUIC)
	cycle := func() {
		c, err := p.relay.Open(t.Context(), p.request)
		if err != nil {
			t.Fatal(err)
		}
		exchange(t, c, "x")
		c.Close()
	}
	cycle()
	before := runtime.NumGoroutine()
	for range 100 {
		cycle()
	}
	eventually(t, "end of every stream's goroutines", func() bool {
		return p.relay.live.len() == 0 && runtime.NumGoroutine() <= before+10
	})
}

func BenchmarkOpen(b *testing.B) {
	for _, protocol := range []client.Protocol{client.QUIC, client.WebSocket} {
		b.Run(string(protocol), func(b *testing.B) {
			p := newPath(b, protocol)
			one := make([]byte, 1)
			for b.Loop() {
				c, err := p.relay.Open(b.Context(), p.request)
				if err != nil {
					b.Fatal(err)
				}
				c.Write(one)
				if _, err := io.ReadFull(c, one); err != nil {
					b.Fatal(err)
				}
				c.Close()
			}
		})
	}
}

func BenchmarkPingPong(b *testing.B) {
	for _, protocol := range []client.Protocol{client.QUIC, client.WebSocket} {
		b.Run(string(protocol), func(b *testing.B) {
			p := newPath(b, protocol)
			c, err := p.relay.Open(b.Context(), p.request)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			message := make([]byte, 100)
			for b.Loop() {
				c.Write(message)
				if _, err := io.ReadFull(c, message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEcho(b *testing.B) {
	for _, protocol := range []client.Protocol{client.QUIC, client.WebSocket} {
		b.Run(string(protocol), func(b *testing.B) {
			p := newPath(b, protocol)
			c, err := p.relay.Open(b.Context(), p.request)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			block := make([]byte, 32<<10)
			b.SetBytes(int64(len(block)))
			go func() {
				for {
					if _, err := c.Write(block); err != nil {
						return
					}
				}
			}()
			got := make([]byte, len(block))
			for b.Loop() {
				if _, err := io.ReadFull(c, got); err != nil {
					b.Fatal(err)
				}
			}
			c.Reset(stream.CodeCancelled)
		})
	}
}

// TestOptionsOfARuleReachTheConnector: what control has about a hostname is what its connector does, and what it refuses, a moment
// later.
func TestOptionsOfARuleReachTheConnector(t *testing.T) {
	n := newNodes(t)
	r := n.relays[0]
	set := func(change func(*control.Ingress)) {
		t.Helper()
		updated, err := n.UpdateTunnel(t.Context(), control.DefaultAccountID, n.tunnel.ID, func(tun *control.Tunnel) error {
			change(&tun.Ingress[0])
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the connector has the rules", func() bool {
			all := r.registry.all()
			return !slices.ContainsFunc(all, func(b *backend) bool { return b.version.Load() != uint64(updated.ConfigVersion) })
		})
	}
	set(func(in *control.Ingress) {
		in.ConnectTimeout, in.KeepAlive, in.ProxyProtocol, in.Audiences = 3, 60, control.ProxyProtocolV2, []string{n.app.ID}
	})
	c, err := n.open(r)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	header := make([]byte, 13) // the signature, and the version with the command
	c.SetDeadline(time.Now().Add(testWait))
	if _, err := io.ReadFull(c, header); err != nil || string(header[:12]) != "\r\n\r\n\x00\r\nQUIT\n" || header[12]>>4 != 2 {
		t.Errorf("the origin was sent %q, %v, want a PROXY header of version 2", header, err)
	}
	set(func(in *control.Ingress) {
		in.ProxyProtocol, in.Audiences = "", []string{"8f0c2f3a-6d1c-4f4e-9a53-0e4a3c1b2d5e"}
	})
	var refusal *tunnel.Refusal
	if _, err := n.open(r); !errors.As(err, &refusal) || refusal.Code != tunnelpb.Code_DENIED {
		t.Errorf("a stream that another application admitted: %v, want denied", err)
	}
	set(func(in *control.Ingress) { in.Audiences = nil })
	c, err = n.open(r)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	exchange(t, c, "no header")
}

// TestTunnel44ClocksThatDiffer: a connector whose clock is ten minutes away from that of an installation that was made this moment
// registers, over either carrier.
func TestTunnel44ClocksThatDiffer(t *testing.T) {
	p := newPath(t, client.QUIC)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.control.CA())
	for _, skew := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		for _, carrier := range []tunnel.Carrier{tunnel.CarrierQUIC, tunnel.CarrierWebSocket} {
			d := tunnel.Dialer{
				Addr: p.addr, Carrier: carrier, TLS: &tls.Config{RootCAs: roots, Time: func() time.Time { return time.Now().Add(skew) }},
				Hello: &tunnelpb.Hello{Role: tunnelpb.Role_CONNECTOR, TunnelId: p.tunnel.ID, Secret: p.secret, PeerId: "skewed"},
			}
			s, err := d.Dial(t.Context())
			if err != nil {
				t.Errorf("%v over %v: %v", skew, carrier, err)
				continue
			}
			s.Close(stream.CodeClosed, "end of test")
		}
	}
}
