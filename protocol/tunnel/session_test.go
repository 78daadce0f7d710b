package tunnel

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// onCarriers runs a test on each carrier.
func onCarriers(t *testing.T, test func(*testing.T, Carrier)) {
	for _, c := range carriers {
		t.Run(c.String(), func(t *testing.T) { test(t, c) })
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestHandshake(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		peers := make(chan Peer, 1)
		hellos := make(chan *tunnelpb.Hello, 1)
		r := startRelay(t, func(s *Server) {
			s.Authenticate = func(_ context.Context, p Peer, h *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
				peers <- p
				hellos <- h
				return &tunnelpb.Welcome{RelayId: "r1", Relays: []string{"a:1", "b:2"}}, nil
			}
		})
		d := r.dialer(c)
		d.Hello = &tunnelpb.Hello{Role: tunnelpb.Role_CLIENT, ClientId: "id", ClientSecret: "secret", Slot: 3}
		dialled, served := r.dialWith(t, d)
		if p := <-peers; p.Carrier != c || !p.Remote.Addr().IsLoopback() {
			t.Errorf("peer = %+v", p)
		}
		if h := <-hellos; h.GetClientSecret() != "secret" || h.GetSlot() != 3 {
			t.Errorf("hello = %v", h)
		}
		if got := dialled.Welcome().GetRelays(); len(got) != 2 {
			t.Errorf("relays = %v, want two", got)
		}
		if dialled.Carrier() != c || served.Carrier() != c {
			t.Errorf("carriers = %v and %v, want %v", dialled.Carrier(), served.Carrier(), c)
		}
		if !dialled.RemoteAddr().IsValid() || !served.RemoteAddr().IsValid() {
			t.Errorf("addresses = %v and %v", dialled.RemoteAddr(), served.RemoteAddr())
		}
		if dialled.Err() != nil || served.Err() != nil {
			t.Errorf("errors of a live session: %v, %v", dialled.Err(), served.Err())
		}
	})
}

func TestHelloRefused(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, func(s *Server) {
			s.Authenticate = func(context.Context, Peer, *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
				return nil, &Refusal{Code: tunnelpb.Code_UNAUTHENTICATED, Message: "no", RetryAfter: 1500 * time.Millisecond}
			}
		})
		_, err := r.dialer(c).Dial(testContext(t))
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			t.Fatalf("Dial = %v, want a refusal", err)
		}
		if refusal.Code != tunnelpb.Code_UNAUTHENTICATED || refusal.Message != "no" || refusal.RetryAfter != 1500*time.Millisecond {
			t.Errorf("refusal = %+v", refusal)
		}
	})
}

// TestHelloInternal checks that an error of the relay's own is not shown to strangers.
func TestHelloInternal(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, func(s *Server) {
			s.Authenticate = func(context.Context, Peer, *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
				return nil, errors.New("store at 10.1.2.3 is away")
			}
		})
		_, err := r.dialer(c).Dial(testContext(t))
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Code != tunnelpb.Code_INTERNAL || strings.Contains(refusal.Message, "10.1.2.3") {
			t.Errorf("Dial = %v, want an internal refusal that tells nothing", err)
		}
	})
}

// TestTunnel21OpenEarlyData checks that early data travels with the Open, and that raw bytes follow the answer in both directions.
func TestTunnel21OpenEarlyData(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		dialled, served := r.dial(t, c)
		early := strings.Repeat("e", MaxEarlyData)
		answered := make(chan error, 1)
		go func() {
			in, err := dialled.Accept(testContext(t))
			if err != nil {
				answered <- err
				return
			}
			if got := in.Request; string(got.GetEarlyData()) != early || got.GetHostname() != "db" || got.GetDeadlineMs() == 0 {
				answered <- errors.New("request: " + got.GetHostname())
				return
			}
			st, err := in.Accept()
			if err == nil {
				_, err = st.Write([]byte("first bytes"))
			}
			if err == nil {
				err = st.Close()
			}
			answered <- err
		}()
		request := &tunnelpb.Open{Hostname: "db", EarlyData: []byte(early)}
		st, err := served.Open(testContext(t), request)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		if request.GetDeadlineMs() != 0 {
			t.Error("Open changed its argument")
		}
		got := make([]byte, len("first bytes"))
		if _, err := io.ReadFull(st, got); err != nil || string(got) != "first bytes" {
			t.Errorf("read %q, %v", got, err)
		}
		if err := <-answered; err != nil {
			t.Error(err)
		}
		if _, err := served.Open(testContext(t), &tunnelpb.Open{EarlyData: make([]byte, MaxEarlyData+1)}); err == nil {
			t.Error("too much early data was accepted")
		}
	})
}

func TestOpenRefused(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		dialled, served := r.dial(t, c)
		for code := range tunnelpb.Code_name {
			code := tunnelpb.Code(code)
			if code == tunnelpb.Code_CODE_UNSPECIFIED {
				continue
			}
			go func() {
				in, err := served.Accept(testContext(t))
				if err == nil {
					err = in.Refuse(&Refusal{Code: code, Message: "because", RetryAfter: time.Second})
				}
				if err != nil {
					t.Errorf("refuse: %v", err)
				}
			}()
			_, err := dialled.Open(testContext(t), &tunnelpb.Open{Hostname: "db"})
			var refusal *Refusal
			if !errors.As(err, &refusal) {
				t.Fatalf("Open = %v, want a refusal", err)
			}
			if *refusal != (Refusal{Code: code, Message: "because", RetryAfter: time.Second}) {
				t.Errorf("refusal = %+v, want %v", refusal, code)
			}
		}
		waitFor(t, "streams to be gone", func() bool { return dialled.Streams()+served.Streams() == 0 })
	})
}

// TestOpenUnanswered has nobody accept, and somebody who accepts and does not answer. Neither may hold the opener.
func TestOpenUnanswered(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		dialled, served := r.dial(t, c)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		// Both sides count the same time: the peer's word may come first.
		var refusal *Refusal
		began := time.Now()
		if _, err := served.Open(ctx, &tunnelpb.Open{}); !errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &refusal) {
			t.Errorf("Open = %v, want the deadline", err)
		}
		if took := time.Since(began); took >= openTimeout {
			t.Errorf("Open took %v, its own time", took)
		}

		ctx, cancel = context.WithCancel(context.Background())
		go func() {
			in, err := dialled.Accept(testContext(t))
			if err != nil {
				t.Error(err)
				return
			}
			cancel()
			// The opener's giving up must reach the one who works on it.
			<-in.Context().Done()
			if _, err := in.Accept(); err == nil {
				t.Error("an open that was given up can be accepted")
			}
		}()
		if _, err := served.Open(ctx, &tunnelpb.Open{}); !errors.Is(err, context.Canceled) {
			t.Errorf("Open = %v, want the cancellation", err)
		}

		// The answerer's time is bounded by the opener's word.
		_, err := served.Open(testContext(t), &tunnelpb.Open{DeadlineMs: 50})
		if !errors.As(err, &refusal) || refusal.Code != tunnelpb.Code_ORIGIN_TIMEOUT {
			t.Errorf("Open = %v, want a refusal for the time", err)
		}
		waitFor(t, "streams to be gone", func() bool { return dialled.Streams()+served.Streams() == 0 })
	})
}

// TestAcceptAfterTheDeadline has an Incoming accepted in the instant of its deadline, again and again: once its context has
// ended it is refused, whoever comes first.
func TestAcceptAfterTheDeadline(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		dialled, served := r.dial(t, c)
		for range 50 {
			answered := make(chan error, 1)
			go func() {
				_, err := served.Open(testContext(t), &tunnelpb.Open{DeadlineMs: 2})
				answered <- err
			}()
			// One that nobody takes before its deadline is refused without this side.
			select {
			case in := <-dialled.incoming:
				<-in.Context().Done()
				if _, err := in.Accept(); err == nil {
					t.Fatal("an open was accepted after its deadline")
				}
				<-answered
			case <-answered:
			}
		}
		waitFor(t, "streams to be gone", func() bool { return dialled.Streams()+served.Streams() == 0 })
	})
}

func TestOpenLimited(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, func(s *Server) { s.Limits.Streams = 5 })
		dialled, served := r.dial(t, c)
		acc := acceptAll(served)
		var names counter
		var open []*Stream
		for range 5 {
			a, b := streamPair(t, dialled, acc, names.next())
			open = append(open, a, b)
		}
		_, err := dialled.Open(testContext(t), &tunnelpb.Open{})
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Code != tunnelpb.Code_LIMITED {
			t.Errorf("sixth Open = %v, want limited", err)
		}
		for _, st := range open[:2] {
			st.Close()
		}
		waitFor(t, "a place", func() bool { return served.Streams() == 4 })
		a, b := streamPair(t, dialled, acc, names.next())
		for _, st := range append(open, a, b) {
			st.Close()
		}
	})
}

func TestProbe(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		dialled, served := r.dial(t, c)
		for _, s := range []*Session{dialled, served} {
			// Nobody accepts: the package itself answers.
			if rtt, err := s.Probe(testContext(t)); err != nil || rtt <= 0 {
				t.Errorf("Probe = %v, %v", rtt, err)
			}
		}
		waitFor(t, "probes to be gone", func() bool { return dialled.Streams()+served.Streams() == 0 })
	})
}

func TestConfigureGoAway(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		d := r.dialer(c)
		away := make(chan *tunnelpb.GoAway, 1)
		d.Configure = func(_ context.Context, c *tunnelpb.Configure) *tunnelpb.Configured {
			if len(c.GetIngress()) == 0 {
				return &tunnelpb.Configured{Version: 6, Error: "no rules"}
			}
			return &tunnelpb.Configured{Version: c.GetVersion()}
		}
		d.GoAway = func(g *tunnelpb.GoAway) { away <- g }
		dialled, served := r.dialWith(t, d)

		rule := &tunnelpb.IngressRule{Hostname: strings.Repeat("h", 200), Service: "tcp://10.0.0.5:5432"}
		var rules []*tunnelpb.IngressRule
		for range 1000 { // larger than any buffer on the way
			rules = append(rules, rule)
		}
		got, err := served.Configure(testContext(t), &tunnelpb.Configure{Version: 7, Ingress: rules})
		if err != nil || got.GetVersion() != 7 || got.GetError() != "" {
			t.Errorf("Configure = %v, %v", got, err)
		}
		got, err = served.Configure(testContext(t), &tunnelpb.Configure{Version: 8})
		if err != nil || got.GetVersion() != 6 || got.GetError() != "no rules" {
			t.Errorf("Configure = %v, %v", got, err)
		}
		got, err = dialled.Configure(testContext(t), &tunnelpb.Configure{Version: 8})
		if err != nil || got.GetError() == "" {
			t.Errorf("a relay took a configuration: %v, %v", got, err)
		}
		if err := served.SendGoAway(testContext(t), &tunnelpb.GoAway{DeadlineMs: 9}); err != nil {
			t.Fatal(err)
		}
		if g := <-away; g.GetDeadlineMs() != 9 {
			t.Errorf("GoAway = %v", g)
		}
		<-dialled.GoneAway()
	})
}

// TestConfigureBusy: of more configurations than wait for a slow one the others are not answered, as if they had not been taken.
func TestConfigureBusy(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		d := r.dialer(c)
		release := make(chan struct{})
		d.Configure = func(context.Context, *tunnelpb.Configure) *tunnelpb.Configured {
			<-release
			return &tunnelpb.Configured{}
		}
		_, served := r.dialWith(t, d)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		var asking sync.WaitGroup
		for range 20 {
			asking.Go(func() {
				if got, err := served.Configure(ctx, &tunnelpb.Configure{Version: 1}); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Configure = %v, %v", got, err)
				}
			})
		}
		asking.Wait()
		close(release)
	})
}

// TestTunnel26LeavingIsTheRelaysToSay: nobody fills a relay's memory with names, nor a relay a peer's with long ones.
func TestTunnel26LeavingIsTheRelaysToSay(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		d := r.dialer(c)
		d.Configure = func(context.Context, *tunnelpb.Configure) *tunnelpb.Configured { return &tunnelpb.Configured{} }
		dialled, served := r.dialWith(t, d)
		long, via := strings.Repeat("v", maxVia+1), strings.Repeat("v", maxVia)
		for _, name := range []string{long, "", via} {
			dialled.SendLeaving(name)
			served.SendLeaving(name)
		}
		for _, s := range []*Session{dialled, served} { // the answer comes behind what was said before
			if _, err := s.Configure(testContext(t), &tunnelpb.Configure{Version: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(served.leaving.vias); n != 0 {
			t.Errorf("the relay remembers %d names of its peer", n)
		}
		if !dialled.leaving.has(via) || len(dialled.leaving.vias) != 1 {
			t.Errorf("the peer remembers %d names, want one", len(dialled.leaving.vias))
		}
	})
}

// TestTunnel37SessionClose checks that both sides learn why a session ended, and that its streams end with an error, never with EOF.
func TestTunnel37SessionClose(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		for _, closer := range []string{"relay", "peer"} {
			dialled, served := r.dial(t, c)
			acc := acceptAll(dialled)
			a, b := streamPair(t, served, acc, "x")
			if _, err := a.Write([]byte("data")); err != nil {
				t.Fatal(err)
			}
			one, other := served, dialled
			if closer == "peer" {
				one, other = dialled, served
			}
			if err := one.Close(stream.CodeReplaced, "a newer session is here"); err != nil {
				t.Errorf("Close: %v", err)
			}
			<-other.Done()
			var se *SessionError
			if err := other.Err(); !errors.As(err, &se) || se.Code != stream.CodeReplaced || !se.Remote || se.Reason != "a newer session is here" {
				t.Errorf("the other side's error = %v", err)
			}
			if err := one.Err(); !errors.As(err, &se) || se.Code != stream.CodeReplaced || se.Remote {
				t.Errorf("own error = %v", err)
			}
			for _, st := range []*Stream{a, b} {
				if _, err := io.Copy(io.Discard, st); !errors.As(err, &se) {
					t.Errorf("a stream's reader saw %v, want the session's error", err)
				}
				if _, err := st.Write([]byte("x")); !errors.As(err, &se) {
					t.Errorf("a stream's writer saw %v, want the session's error", err)
				}
				st.Close()
			}
			if _, err := other.Open(testContext(t), &tunnelpb.Open{}); !errors.As(err, &se) {
				t.Errorf("Open = %v, want the session's error", err)
			}
			if _, err := other.Accept(testContext(t)); !errors.As(err, &se) {
				t.Errorf("Accept = %v, want the session's error", err)
			}
			if _, err := other.Configure(testContext(t), &tunnelpb.Configure{}); !errors.As(err, &se) {
				t.Errorf("Configure = %v, want the session's error", err)
			}
			one.wait()
			other.wait()
		}
	})
}

// TestServerStops checks that the peers are told, and that serving returns.
func TestServerStops(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		dialled, _ := r.dial(t, c)
		r.stop()
		<-dialled.Done()
		var se *SessionError
		if err := dialled.Err(); !errors.As(err, &se) || se.Code != stream.CodeDraining || !se.Remote {
			t.Errorf("error = %v, want draining", err)
		}
	})
}
