package tunnel

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// strangerRelay has little patience.
func strangerRelay(t *testing.T, authenticated *atomic.Int64) *relay {
	return startRelay(t, func(s *Server) {
		s.HandshakeTimeout = 300 * time.Millisecond
		s.MaxHandshakes = 4
		s.Authenticate = func(context.Context, Peer, *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
			authenticated.Add(1)
			return &tunnelpb.Welcome{}, nil
		}
	})
}

func (r *relay) rawQUIC(t *testing.T) *quic.Conn {
	t.Helper()
	conf := r.tls.Clone()
	conf.NextProtos = []string{Protocol}
	conf.ServerName = "127.0.0.1"
	conn, err := quic.DialAddr(testContext(t), r.addr[CarrierQUIC], conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseWithError(0, "") })
	return conn
}

// rawWebSocket makes the upgrade by hand, from an address of this machine.
func (r *relay) rawWebSocket(t *testing.T, from string) (net.Conn, *http.Response) {
	t.Helper()
	conf := r.tls.Clone()
	conf.ServerName = "127.0.0.1"
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := tls.DialWithDialer(d, "tcp", r.addr[CarrierWebSocket], conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(conn, "GET "+WebSocketPath+" HTTP/1.1\r\nHost: relay.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: "+Protocol+"\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	return conn, resp
}

// TestTunnel27SilentStranger connects and says nothing, or half of something.
func TestTunnel27SilentStranger(t *testing.T) {
	var authenticated atomic.Int64
	r := strangerRelay(t, &authenticated)
	hello, err := encode(&tunnelpb.Frame{Kind: &tunnelpb.Frame_Hello{Hello: &tunnelpb.Hello{TunnelId: "t"}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, say := range map[string][]byte{"nothing": nil, "half a hello": hello[:len(hello)/2], "a length": {0xff, 0x7f}} {
		t.Run("quic/"+name, func(t *testing.T) {
			conn := r.rawQUIC(t)
			if say != nil {
				st, err := conn.OpenStreamSync(testContext(t))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := st.Write(say); err != nil {
					t.Fatal(err)
				}
			}
			<-conn.Context().Done()
			var app *quic.ApplicationError
			if err := context.Cause(conn.Context()); !errors.As(err, &app) {
				t.Errorf("ended by %v, want the relay's close", err)
			}
		})
		t.Run("websocket/"+name, func(t *testing.T) {
			conn, resp := r.rawWebSocket(t, "127.0.0.1")
			if resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("status = %s", resp.Status)
			}
			if say != nil {
				if _, err := conn.Write(append([]byte{0x82, 0x80 | byte(len(say)), 0, 0, 0, 0}, say...)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the stranger stays")
			}
		})
	}
	if n := authenticated.Load(); n != 0 {
		t.Errorf("%d strangers reached authentication", n)
	}
}

// TestTunnel27Flood sends megabytes before the Hello, on the control stream and beside it.
func TestTunnel27Flood(t *testing.T) {
	var authenticated atomic.Int64
	r := startRelay(t, func(s *Server) { s.HandshakeTimeout = 2 * patience }) // the cap must act before
	for _, streams := range []int{1, 20} {
		conn := r.rawQUIC(t)
		for range streams {
			st, err := conn.OpenStreamSync(testContext(t))
			if err != nil {
				break
			}
			// A length that is allowed, and no message for it.
			_, _ = st.Write([]byte{0xff, 0x7f})
			go func() { _, _ = io.Copy(st, zeros{}) }()
		}
		select {
		case <-conn.Context().Done():
		case <-time.After(patience):
			t.Fatalf("%d streams: the stranger stays", streams)
		}
		var app *quic.ApplicationError
		if err := context.Cause(conn.Context()); !errors.As(err, &app) {
			t.Errorf("%d streams: ended by %v, want the relay's close", streams, err)
		}
	}
	if n := authenticated.Load(); n != 0 {
		t.Errorf("%d strangers reached authentication", n)
	}
}

// TestTunnel27StreamsBeforeTheWelcome opens more than the control stream, behind a Hello that is being checked and without one.
// The relay must not wait for the end of its patience: each stream costs memory.
func TestTunnel27StreamsBeforeTheWelcome(t *testing.T) {
	hello, err := encode(&tunnelpb.Frame{Kind: &tunnelpb.Frame_Hello{Hello: &tunnelpb.Hello{TunnelId: "t"}}})
	if err != nil {
		t.Fatal(err)
	}
	r := startRelay(t, func(s *Server) {
		s.HandshakeTimeout = 2 * patience
		s.Authenticate = func(ctx context.Context, _ Peer, _ *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
			<-ctx.Done() // a check that is slow
			return nil, ctx.Err()
		}
	})
	for name, say := range map[string][]byte{"without a hello": {0xff}, "behind a hello": hello} {
		t.Run(name, func(t *testing.T) {
			conn := r.rawQUIC(t)
			control, err := conn.OpenStreamSync(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := control.Write(say); err != nil {
				t.Fatal(err)
			}
			var last *quic.Stream
			for {
				st, err := conn.OpenStream()
				if err != nil {
					break // the limit: the last one opens all below it
				}
				last = st
			}
			if _, err := last.Write([]byte{0}); err != nil {
				t.Fatal(err)
			}
			<-conn.Context().Done()
			var app *quic.ApplicationError
			// At once, that is: at the end of the handshake's time the code is another.
			if err := context.Cause(conn.Context()); !errors.As(err, &app) || stream.Code(app.ErrorCode) != stream.CodeProtocol {
				t.Errorf("ended by %v, want the relay's close for breaking the protocol", err)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestTunnel27Places fills the places that an address may have, and sees a peer of it turned away and later let in, and one of another
// address let in meanwhile.
func TestTunnel27Places(t *testing.T) {
	hold := make(chan struct{})
	var waiting atomic.Int64
	r := startRelay(t, func(s *Server) {
		s.MaxHandshakes, s.HandshakeTimeout = 3, 2*patience
		s.Authenticate = func(ctx context.Context, _ Peer, h *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
			if h.GetPeerId() == "slow" {
				waiting.Add(1)
				select {
				case <-hold:
				case <-ctx.Done():
				}
			}
			return &tunnelpb.Welcome{}, nil
		}
	})
	slow := make(chan *Session, 2)
	for _, c := range carriers {
		d := r.dialer(c)
		d.Hello = &tunnelpb.Hello{PeerId: "slow"}
		go func() {
			s, err := d.Dial(testContext(t))
			if err != nil {
				t.Errorf("slow peer: %v", err)
			}
			slow <- s
		}()
	}
	waitFor(t, "both places to be taken", func() bool { return waiting.Load() == 2 })
	for _, c := range carriers {
		if s, err := r.dialer(c).Dial(testContext(t)); err == nil {
			t.Errorf("%v: a third stranger was let in", c)
			s.Close(stream.CodeClosed, "")
		}
	}
	if _, resp := r.rawWebSocket(t, "127.0.0.1"); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("status = %s, Retry-After = %q", resp.Status, resp.Header.Get("Retry-After"))
	}
	if _, resp := r.rawWebSocket(t, "127.0.0.2"); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("another address: status = %s", resp.Status)
	}
	close(hold)
	for range carriers {
		if s := <-slow; s != nil {
			<-r.sessions
			defer s.Close(stream.CodeClosed, "")
		}
	}
	for _, c := range carriers {
		r.dial(t, c)
	}
}

// TestTunnel36HTTPSProxy dials through an HTTP CONNECT proxy, by a name that only the proxy can resolve.
func TestTunnel36HTTPSProxy(t *testing.T) {
	r := startRelay(t, nil)
	asked := make(chan string, 4)
	proxy := listenLocal(t)
	go func() {
		for {
			c, err := proxy.Accept()
			if err != nil {
				return
			}
			go connectProxy(c, r.addr[CarrierWebSocket], asked)
		}
	}()
	t.Setenv("HTTPS_PROXY", "http://"+proxy.Addr().String())
	d := r.dialer(CarrierWebSocket)
	d.Addr = "relay.test:7844"
	dialled, _ := r.dialWith(t, d)
	if got := <-asked; got != "relay.test:7844" {
		t.Errorf("the proxy was asked for %q", got)
	}
	if _, err := dialled.Probe(testContext(t)); err != nil {
		t.Errorf("Probe: %v", err)
	}
}

func listenLocal(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func connectProxy(c net.Conn, target string, asked chan<- string) {
	defer c.Close()
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil || req.Method != http.MethodConnect {
		return
	}
	asked <- req.Host
	up, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	_, _ = stream.Pipe(context.Background(), stream.TCP(c.(*net.TCPConn)), stream.TCP(up.(*net.TCPConn)))
}

// TestWrongPeers dials what is no relay, with each carrier.
func TestWrongPeers(t *testing.T) {
	r := startRelay(t, nil)
	d := r.dialer(CarrierQUIC)
	d.TLS = &tls.Config{} // trusts nobody who signed the relay's certificate
	if _, err := d.Dial(testContext(t)); err == nil {
		t.Error("an unknown authority was trusted over quic")
	}
	d = r.dialer(CarrierWebSocket)
	d.TLS = &tls.Config{}
	if _, err := d.Dial(testContext(t)); err == nil {
		t.Error("an unknown authority was trusted over websocket")
	}
	d = r.dialer(CarrierQUIC)
	d.Addr = "no port"
	if _, err := d.Dial(testContext(t)); err == nil || !strings.Contains(err.Error(), "address") {
		t.Errorf("Dial = %v, want a complaint about the address", err)
	}
	plain := listenLocal(t)
	go func() {
		for {
			c, err := plain.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	d = r.dialer(CarrierWebSocket)
	d.Addr = plain.Addr().String()
	if _, err := d.Dial(testContext(t)); err == nil {
		t.Error("a server that hangs up is a relay")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	d = r.dialer(CarrierQUIC)
	d.Addr = silent.LocalAddr().String()
	if _, err := d.Dial(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial = %v, want the deadline", err)
	}
}
