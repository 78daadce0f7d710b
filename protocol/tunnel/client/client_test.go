package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

// fakeRelay answers opens with an echo, or as its fields say.
type fakeRelay struct {
	secret   string
	relays   []string // that it tells of
	hellos   atomic.Int32
	sessions chan *tunnel.Session
	refuse   atomic.Pointer[tunnel.Refusal] // every open
}

func (f *fakeRelay) server() *tunnel.Server {
	f.sessions = make(chan *tunnel.Session, 100)
	return &tunnel.Server{
		Authenticate: func(_ context.Context, _ tunnel.Peer, h *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
			f.hellos.Add(1)
			if h.GetClientSecret() != f.secret {
				return nil, &tunnel.Refusal{Code: tunnelpb.Code_UNAUTHENTICATED, Message: "no"}
			}
			return &tunnelpb.Welcome{RelayId: "r", Relays: f.relays}, nil
		},
		Handle: func(ctx context.Context, s *tunnel.Session) {
			f.sessions <- s
			var streams sync.WaitGroup
			defer streams.Wait()
			for {
				in, err := s.Accept(ctx)
				if err != nil {
					return
				}
				streams.Go(func() { f.answer(in) })
			}
		},
	}
}

func (f *fakeRelay) answer(in *tunnel.Incoming) {
	if r := f.refuse.Load(); r != nil {
		in.Refuse(r)
		return
	}
	s, err := in.Accept()
	if err != nil {
		return
	}
	defer s.Close()
	s.Write(in.Request.GetEarlyData())
	io.Copy(s, s)
}

// newClient returns a client that runs until the test ends.
func newClient(t *testing.T, cert tunneltest.Certificate, relays ...string) *Client {
	c := &Client{Relays: relays, TLS: &tls.Config{RootCAs: cert.Pool}, PeerID: "p"}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return c
}

func echo(t *testing.T, c stream.Conn, text string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("read %q, %v, want %q", got, err, text)
	}
}

func TestClientSharesOneSessionAndMakesAnotherWhenItDies(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	relay := &fakeRelay{secret: "s"}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	c := newClient(t, cert, addr)
	target := Target{Hostname: "db.example", ClientID: "id", ClientSecret: "s", EarlyData: []byte("early")}

	var dials sync.WaitGroup
	for range 8 {
		dials.Go(func() {
			s, err := c.Dial(t.Context(), target)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			early := make([]byte, 5)
			if _, err := io.ReadFull(s, early); err != nil || string(early) != "early" {
				t.Errorf("early data came back as %q, %v", early, err)
			}
		})
	}
	dials.Wait()
	if n := relay.hellos.Load(); n != 1 {
		t.Fatalf("%d sessions were made for one credential, want 1", n)
	}
	(<-relay.sessions).Close(stream.CodeInternal, "killed by the test")
	target.EarlyData = nil
	s, err := c.Dial(t.Context(), target)
	if err != nil {
		t.Fatalf("dial after the session was lost: %v", err)
	}
	defer s.Close()
	echo(t, s, "again")
}

func TestClientMovesToTheNextRelayWhenOneDrains(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	first, second := &fakeRelay{secret: "s"}, &fakeRelay{secret: "s"}
	addr1, _ := tunneltest.Start(t, first.server(), cert, tunneltest.Passes)
	addr2, _ := tunneltest.Start(t, second.server(), cert, tunneltest.Passes)
	c := newClient(t, cert, addr1, addr2)
	target := Target{Hostname: "db.example", ClientID: "id", ClientSecret: "s"}
	old, err := c.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()

	first.refuse.Store(&tunnel.Refusal{Code: tunnelpb.Code_DRAINING})
	(<-first.sessions).SendGoAway(t.Context(), &tunnelpb.GoAway{})
	s, err := c.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	echo(t, s, "new")
	echo(t, old, "the old stream goes on")
}

func TestClientAnswersAtOnceWhileACredentialIsRefused(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	relay := &fakeRelay{secret: "s"}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	c := newClient(t, cert, addr)
	for range 50 {
		_, err := c.Dial(t.Context(), Target{Hostname: "db.example", ClientID: "id", ClientSecret: "wrong"})
		var refusal *tunnel.Refusal
		if !errors.As(err, &refusal) || refusal.Code != tunnelpb.Code_UNAUTHENTICATED {
			t.Fatalf("got %v, want unauthenticated", err)
		}
	}
	if n := relay.hellos.Load(); n > 10 { // a slow machine has time for more than one
		t.Errorf("50 dials took %d Hellos", n)
	}
}

func TestClientPassesARefusalOn(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	relay := &fakeRelay{secret: "s"}
	relay.refuse.Store(&tunnel.Refusal{Code: tunnelpb.Code_ORIGIN_REFUSED, Message: "the origin refused"})
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	c := newClient(t, cert, addr)
	_, err := c.Dial(t.Context(), Target{Hostname: "db.example", ClientID: "id", ClientSecret: "s"})
	var refusal *tunnel.Refusal
	if !errors.As(err, &refusal) || refusal.Code != tunnelpb.Code_ORIGIN_REFUSED || refusal.Message != "the origin refused" {
		t.Errorf("got %v", err)
	}
}

func TestClientWaitsForARelayAtMostItsContext(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	addr, stop := tunneltest.Start(t, (&fakeRelay{}).server(), cert, tunneltest.Passes)
	stop()
	c := newClient(t, cert, addr)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := c.Dial(ctx, Target{Hostname: "db.example", ClientID: "id", ClientSecret: "s"}); err == nil {
		t.Error("a relay that is not there was reached")
	}
	if took := time.Since(began); took >= openTimeout {
		t.Errorf("Dial took %v, its own time", took)
	}
}

// A relay whose host drops what comes is left, also by those who never wait until an attempt has failed.
func TestTunnel05ClientLeavesARelayThatIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := map[string]int{}
		c := &Client{Relays: []string{"hole:443", "good:443"}, PeerID: "p", Logger: slog.New(slog.DiscardHandler)}
		c.race = func(ctx context.Context, r *Racer) (*tunnel.Session, error) {
			asked[r.Dialer.Addr]++
			if r.Dialer.Addr == "hole:443" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return nil, &tunnel.Refusal{Code: tunnelpb.Code_UNAUTHENTICATED, Message: "reached"}
		}
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := c.Dial(ctx, Target{Hostname: "db.example", ClientID: "id", ClientSecret: "s"})
			if cancel(); err == nil {
				t.Fatal("a session with nobody")
			}
		}
		_, err := c.Dial(t.Context(), Target{Hostname: "db.example", ClientID: "id", ClientSecret: "s"})
		var refusal *tunnel.Refusal
		if !errors.As(err, &refusal) || asked["hole:443"] != 3 {
			t.Errorf("after %v: %v", asked, err)
		}
	})
}

func TestClientSweepsIdleSessions(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	relay := &fakeRelay{secret: "s"}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	c := newClient(t, cert, addr)
	s, err := c.Dial(t.Context(), Target{Hostname: "db.example", ClientID: "id", ClientSecret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	session := <-relay.sessions
	c.sweep(time.Now().Add(2 * idleAfter))
	echo(t, s, "a session with a stream is not idle")
	s.Close()
	for session.Err() == nil {
		c.sweep(time.Now().Add(2 * idleAfter))
		if t.Context().Err() != nil {
			t.Fatal("the idle session is still there")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.links) != 0 {
		t.Errorf("%d links are left", len(c.links))
	}
}

// TestClientForgetsSessionsThatHaveEnded: one whose service token is gone is not asked for again, and would keep its memory until the link is
// idle.
func TestClientForgetsSessionsThatHaveEnded(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	relay := &fakeRelay{secret: "s"}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	c := newClient(t, cert, addr)
	s, err := c.Dial(t.Context(), Target{Hostname: "db.example", ClientID: "id", ClientSecret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	(<-relay.sessions).Close(stream.CodeRevoked, "killed by the test")
	l, err := c.link(credential{id: "id", secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for held := 1; held > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the session that has ended is still there")
		}
		c.sweep(time.Now())
		l.mu.Lock()
		held = len(l.current) + len(l.retired)
		l.mu.Unlock()
	}
}

// TestClientUsesTheRelaysThatAWelcomeNames: one that was told of one relay finds others when that one is gone.
func TestClientUsesTheRelaysThatAWelcomeNames(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	second := &fakeRelay{secret: "s"}
	other, _ := tunneltest.Start(t, second.server(), cert, tunneltest.Passes)
	first := &fakeRelay{secret: "s", relays: []string{other}}
	addr, stop := tunneltest.Start(t, first.server(), cert, tunneltest.Passes)
	c := newClient(t, cert, addr)
	target := Target{Hostname: "db.example", ClientID: "id", ClientSecret: "s"}
	s, err := c.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	stop()
	s, err = c.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	echo(t, s, "elsewhere")
}
