package relay

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

func TestStreamThroughARelay(t *testing.T) {
	for _, carrier := range []tunnel.Carrier{tunnel.CarrierQUIC, tunnel.CarrierWebSocket} {
		t.Run(carrier.String(), func(t *testing.T) {
			g := newRig(t, nil)
			g.connector("c1", 0, echo)
			st, err := g.client(carrier).Open(t.Context(), &tunnelpb.Open{Hostname: "DB.example.", EarlyData: []byte("early ")})
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(st, "late")
			if err := st.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(st); err != nil || string(got) != "early late" {
				t.Errorf("read %q, %v", got, err)
			}
			st.Close()
			eventually(t, "end of the stream", func() bool { return g.live.len() == 0 })
		})
	}
}

func TestStreamOfAProxyInTheSameProcess(t *testing.T) {
	g := newRig(t, nil)
	g.connector("c1", 0, echo)
	c, err := g.Open(t.Context(), g.request())
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, c, "hello")
	if n := g.live.len(); n != 1 {
		t.Errorf("%d streams are live, want 1", n)
	}
	c.Close()
	c.Close()
	if n := g.live.len(); n != 0 {
		t.Errorf("%d streams are live after Close", n)
	}
	if streams, _ := g.registry.candidates(tunnelID, nil)[0].load.read(time.Now()); streams != 0 {
		t.Errorf("the session counts %d streams", streams)
	}
}

func TestConnectorSeesTheAssertion(t *testing.T) {
	g := newRig(t, nil)
	got := make(chan *tunnelpb.Open, 1)
	g.connector("c1", 0, func(in *tunnel.Incoming) { got <- in.Request; echo(in) })
	c, err := g.Open(t.Context(), g.request())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	open := receive(t, "open", got)
	v := &access.Verifier{Issuer: "sluice", Keys: map[string]ed25519.PublicKey{
		"k1": ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey),
	}}
	a, err := v.Verify(open.GetAssertion(), "app-"+host, host, time.Now())
	if err != nil || a.ClientID != g.token.ClientID {
		t.Errorf("assertion is %+v, %v", a, err)
	}
	if open.GetClientSecret() != "" || open.GetClientId() != "" {
		t.Error("the connector was told the client's credential")
	}
	if open.GetRemote() != "192.0.2.1" || open.GetDeadlineMs() == 0 {
		t.Errorf("remote is %q, deadline %d ms", open.GetRemote(), open.GetDeadlineMs())
	}
}

func TestTunnel03OpenIsTriedOnAnotherSession(t *testing.T) {
	for _, tt := range []struct {
		name   string
		broken func(*rig) func(*tunnel.Incoming)
	}{
		{"draining", func(*rig) func(*tunnel.Incoming) { return refusing(tunnelpb.Code_DRAINING) }},
		{"full", func(*rig) func(*tunnel.Incoming) { return refusing(tunnelpb.Code_LIMITED) }},
		{"other rules", func(*rig) func(*tunnel.Incoming) { return refusing(tunnelpb.Code_UNKNOWN_HOST) }},
		{"lost meanwhile", func(g *rig) func(*tunnel.Incoming) {
			return func(*tunnel.Incoming) {
				for _, b := range g.registry.candidates(tunnelID, nil) {
					if b.peer == "broken" {
						b.session.Close(stream.CodeInternal, "killed by the test")
					}
				}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, nil)
			g.connector("broken", 0, tt.broken(g))
			g.connector("good", 0, echo)
			for range 10 {
				c, err := g.Open(t.Context(), g.request())
				if err != nil {
					t.Fatal(err)
				}
				exchange(t, c, "hello")
				c.Close()
			}
		})
	}
}

func TestTunnel22WedgedSessionIsNotSeenByTheClient(t *testing.T) {
	g := newRig(t, nil)
	g.connector("wedged", 0, silent)
	g.connector("good", 0, echo)
	for range 4 {
		req := g.request()
		req.EarlyData = []byte("first")
		c, err := g.Open(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "first" {
			t.Errorf("early data came back as %q, %v", got, err)
		}
		c.Close()
	}
	eventually(t, "end of the attempts that lost", func() bool { s, _ := g.backend("wedged").load.read(time.Now()); return s == 0 })
	if _, latency := g.backend("wedged").load.read(time.Now()); latency < 1 && latency != 0 {
		t.Errorf("the wedged session counts %.1f s", latency)
	}
}

func (g *rig) backend(peer string) *backend {
	g.t.Helper()
	for _, b := range g.registry.candidates(tunnelID, nil) {
		if b.peer == peer {
			return b
		}
	}
	g.t.Fatalf("connector %s is not registered", peer)
	return nil
}

func TestOpenEndsWithItsContext(t *testing.T) {
	g := newRig(t, nil)
	g.connector("wedged", 0, silent)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := g.Open(ctx, g.request())
	wantRefusal(t, err, tunnelpb.Code_ORIGIN_TIMEOUT)
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := g.Open(ctx, g.request()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cancellation", err)
	}
	eventually(t, "end of the attempts", func() bool { s, _ := g.backend("wedged").load.read(time.Now()); return s == 0 })
}

func TestTunnel24VerdictsOfTheOriginReachTheClient(t *testing.T) {
	for _, code := range []tunnelpb.Code{
		tunnelpb.Code_ORIGIN_REFUSED, tunnelpb.Code_ORIGIN_TIMEOUT, tunnelpb.Code_ORIGIN_UNREACHABLE, tunnelpb.Code_UNKNOWN_HOST,
	} {
		t.Run(code.String(), func(t *testing.T) {
			g := newRig(t, nil)
			g.connector("c1", 0, refusing(code))
			_, err := g.client(tunnel.CarrierQUIC).Open(t.Context(), &tunnelpb.Open{Hostname: host})
			wantRefusal(t, err, code)
		})
	}
}

func TestOriginThatOneConnectorDoesNotReachIsAskedForElsewhere(t *testing.T) {
	g := newRig(t, nil)
	var asked atomic.Int32
	for slot := range uint32(3) {
		g.connector("astray", slot, func(in *tunnel.Incoming) {
			asked.Add(1)
			refusing(tunnelpb.Code_ORIGIN_UNREACHABLE)(in)
		})
	}
	_, err := g.Open(t.Context(), g.request())
	wantRefusal(t, err, tunnelpb.Code_ORIGIN_UNREACHABLE)
	if n := asked.Load(); n != 1 {
		t.Errorf("%d sessions of one connector were asked, want 1: they would say the same", n)
	}
	g.connector("home", 0, echo)
	for range 20 {
		c, err := g.Open(t.Context(), g.request())
		if err != nil {
			t.Fatalf("with a connector that reaches the origin: %v", err)
		}
		exchange(t, c, "x")
		c.Close()
	}
}

func TestNoConnector(t *testing.T) {
	g := newRig(t, nil)
	_, err := g.Open(t.Context(), g.request())
	wantRefusal(t, err, tunnelpb.Code_NO_CONNECTOR)
	s := g.connector("c1", 0, echo)
	s.SendGoAway(t.Context(), &tunnelpb.GoAway{})
	eventually(t, "end of the choice of a connector that stops", func() bool {
		c, err := g.Open(t.Context(), g.request())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

func TestTunnel10RegistrationReplacesTheOlderOne(t *testing.T) {
	g := newRig(t, nil)
	older := g.connector("c1", 2, echo)
	other := g.connector("c1", 3, echo)
	var streams []stream.Conn
	for range 8 { // some of them on the older one
		c, err := g.Open(t.Context(), g.request())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		streams = append(streams, c)
	}
	g.connector("c1", 2, echo)
	receive(t, "end of the older session", older.Done())
	var ended *tunnel.SessionError
	if !errors.As(older.Err(), &ended) || ended.Code != stream.CodeReplaced {
		t.Errorf("the older session ended with %v", older.Err())
	}
	if other.Err() != nil {
		t.Errorf("another slot's session ended with %v", other.Err())
	}
	if n := g.registry.len(); n != 2 {
		t.Errorf("%d sessions are registered, want 2", n)
	}
	cut := 0
	for _, c := range streams {
		l := c.(*liveStream)
		if l.backend.slot == 2 {
			cut++
			wantReset(t, c, stream.CodeReplaced)
		} else {
			exchange(t, c, "undisturbed")
		}
	}
	if cut == 0 {
		t.Error("no stream was on the older session")
	}
}

func TestTunnel25StreamsSpread(t *testing.T) {
	var all []*backend
	for range 8 {
		all = append(all, &backend{})
	}
	now := time.Now()
	for i, b := range all {
		b.load.observe(time.Duration(1+i%3)*time.Millisecond, now) // noise
	}
	for range 200 {
		pick(all, now).load.begin()
	}
	for i, b := range all {
		if n, _ := b.load.read(now); float64(n) > 1.3*200/8 {
			t.Errorf("session %d has %d of 200 streams, mean 25", i, n)
		}
	}
}

func TestTunnel25SlowSessionsGetLessAndNewOnesTheirShare(t *testing.T) {
	now := time.Now()
	slow, fast, fresh := &backend{}, &backend{}, &backend{}
	slow.load.observe(200*time.Millisecond, now)
	fast.load.observe(20*time.Millisecond, now)
	for range 200 {
		pick([]*backend{slow, fast, fresh}, now).load.begin()
	}
	count := func(b *backend) int { n, _ := b.load.read(now); return n }
	if s, f, n := count(slow), count(fast), count(fresh); s*3 > f || n < 60 {
		t.Errorf("slow has %d streams, fast %d, new %d", s, f, n)
	}
	if _, latency := slow.load.read(now.Add(time.Minute)); latency > 0.005 {
		t.Errorf("after a minute the slow one's latency still counts as %.3f s", latency)
	}
}

func TestTunnel26SessionsOfATunnelAreLimited(t *testing.T) {
	g := newRig(t, func(c *Config) { c.MaxTunnelSessions = 2 })
	g.connector("c1", 0, echo)
	g.connector("c1", 1, echo)
	hello := func(slot uint32) error {
		s, err := g.dial(tunnel.CarrierQUIC, tunnel.Dialer{Hello: &tunnelpb.Hello{
			Role: tunnelpb.Role_CONNECTOR, TunnelId: tunnelID, Secret: tunnelSecret, PeerId: "c1", Slot: slot,
		}})
		if err == nil {
			s.Close(stream.CodeClosed, "")
		}
		return err
	}
	wantRefusal(t, hello(2), tunnelpb.Code_LIMITED)
	if err := hello(1); err != nil {
		t.Errorf("a slot that registers again is refused: %v", err)
	}
}

func TestTunnel26StreamsOfASessionAreLimited(t *testing.T) {
	g := newRig(t, func(c *Config) { c.Limits.Streams = 3 })
	g.connector("c1", 0, echo)
	greedy, neighbour := g.client(tunnel.CarrierQUIC), g.client(tunnel.CarrierQUIC)
	for i := range 3 {
		st, err := greedy.Open(t.Context(), &tunnelpb.Open{Hostname: host})
		if err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		defer st.Close()
	}
	_, err := greedy.Open(t.Context(), &tunnelpb.Open{Hostname: host})
	wantRefusal(t, err, tunnelpb.Code_LIMITED)
	st, err := neighbour.Open(t.Context(), &tunnelpb.Open{Hostname: host})
	if err != nil {
		t.Fatalf("the neighbour: %v", err)
	}
	st.Close()
}

func TestConnectorMayNotOpen(t *testing.T) {
	g := newRig(t, nil)
	_, err := g.connector("c1", 0, echo).Open(t.Context(), &tunnelpb.Open{Hostname: host})
	wantRefusal(t, err, tunnelpb.Code_DENIED)
}

// TestTunnel16ResetByTheConnectorIsTold: who copies a stream to a reader that is stuck learns of its reset though it reads nothing.
func TestTunnel16ResetByTheConnectorIsTold(t *testing.T) {
	g := newRig(t, nil)
	streams := make(chan *tunnel.Stream, 1)
	g.connector("c1", 0, held(streams))
	c, err := g.Open(t.Context(), g.request())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	told := make(chan error, 1)
	end := stream.Conn(&pipeEnd{liveStream: c.(*liveStream)})
	defer end.(interface {
		WhenReset(f func(error)) (stop func() bool)
	}).WhenReset(func(err error) { told <- err })()
	receive(t, "stream at the connector", streams).Reset(stream.CodeCancelled)
	var reset *stream.ResetError
	if err := receive(t, "reset", told); !errors.As(err, &reset) || reset.Code != stream.CodeCancelled {
		t.Errorf("told of %v, want the connector's reset", err)
	}
}
