package connector

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

// patience bounds every wait for what takes no time to speak of: a loaded machine takes long over it.
const patience = time.Minute

// fakeRelay configures every connector that registers and hands its sessions to the test.
type fakeRelay struct {
	id       string
	ingress  []*tunnelpb.IngressRule
	refuse   atomic.Pointer[tunnel.Refusal] // every Hello
	others   atomic.Pointer[[]string]       // that it announces
	hellos   atomic.Int32
	sessions chan *tunnel.Session
}

func (f *fakeRelay) server() *tunnel.Server {
	f.sessions = make(chan *tunnel.Session, 1000)
	return &tunnel.Server{
		Authenticate: func(_ context.Context, _ tunnel.Peer, h *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
			r := f.refuse.Load() // before the Hello is counted: a test that has seen it may refuse no more
			f.hellos.Add(1)
			if r != nil {
				return nil, r
			}
			welcome := &tunnelpb.Welcome{RelayId: f.id}
			if others := f.others.Load(); others != nil {
				welcome.Relays = *others
			}
			return welcome, nil
		},
		Handle: func(ctx context.Context, s *tunnel.Session) {
			if _, err := s.Configure(ctx, &tunnelpb.Configure{Version: 1, Ingress: f.ingress}); err != nil {
				return
			}
			f.sessions <- s
			<-ctx.Done()
		},
	}
}

// session returns the next session that registers.
func (f *fakeRelay) session(t *testing.T) *tunnel.Session {
	t.Helper()
	select {
	case s := <-f.sessions:
		return s
	case <-time.After(patience):
		t.Fatalf("no slot registered within %v", patience)
		return nil
	}
}

// logBuffer is a log that tests read.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func testConfig(cert tunneltest.Certificate, log *logBuffer, relays ...string) Config {
	return Config{
		Token: tunnel.Token{Account: "a", Tunnel: "t", Secret: "the-secret", Relays: relays, CA: cert.PEM},
		Slots: 1, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// start runs a connector until the test ends or stop is called; done is closed when Run has returned.
func start(t *testing.T, cfg Config) (c *Connector, stop context.CancelFunc, done <-chan struct{}) {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := c.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return c, cancel, ended
}

// origin is a TCP server on the loopback interface; its connections go to the test.
func origin(t *testing.T) (service string, conns <-chan *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan *net.TCPConn, 10)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- c.(*net.TCPConn)
		}
	}()
	t.Cleanup(func() { ln.Close() })
	return "tcp://" + ln.Addr().String(), accepted
}

func rule(hostname, service string) []*tunnelpb.IngressRule {
	return []*tunnelpb.IngressRule{{Hostname: hostname, Service: service}}
}

func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s within %v", what, patience)
		panic("unreachable")
	}
}

func wantRefusal(t *testing.T, err error, want tunnelpb.Code) {
	t.Helper()
	var refusal *tunnel.Refusal
	if !errors.As(err, &refusal) || refusal.Code != want {
		t.Errorf("got %v, want a refusal with %v", err, want)
	}
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v", what, patience)
		}
	}
}
