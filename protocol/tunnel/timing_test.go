package tunnel

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// inBubble runs a test on each carrier, with a session over a link of 50 ms each way.
func inBubble(t *testing.T, test func(*testing.T, *simulated)) {
	onCarriers(t, func(t *testing.T, c Carrier) { bubble(t, c, test) })
}

func bubble(t *testing.T, c Carrier, test func(*testing.T, *simulated)) {
	bubbleOver(t, c, path{delay: 50 * time.Millisecond}, test)
}

func bubbleOver(t *testing.T, c Carrier, over path, test func(*testing.T, *simulated)) {
	synctest.Test(t, func(t *testing.T) {
		sim := simulate(t, c, over, &Server{})
		defer sim.stop()
		test(t, sim)
	})
}

// TestTunnel21OneRoundTrip measures an Open over a link with a delay: the request with its early data is there after one way, and
// the answer with the first bytes after one round trip.
func TestTunnel21OneRoundTrip(t *testing.T) {
	inBubble(t, func(t *testing.T, sim *simulated) {
		for name, sides := range map[string][2]*Session{"by the relay": {sim.served, sim.dialled}, "by the peer": {sim.dialled, sim.served}} {
			from, to := sides[0], sides[1]
			start := time.Now()
			done := make(chan time.Duration, 1)
			go func() {
				in, err := to.Accept(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				done <- time.Since(start)
				st, err := in.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = st.Write([]byte("!"))
				_ = st.Close()
			}()
			st, err := from.Open(context.Background(), &tunnelpb.Open{Hostname: "db", EarlyData: make([]byte, MaxEarlyData)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(st, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			took := time.Since(start)
			_ = st.Close()
			// QUIC paces packets, and acknowledges some late: a few milliseconds.
			if oneWay := <-done; oneWay > 60*time.Millisecond {
				t.Errorf("opened %s: the request took %v over a link of 50 ms", name, oneWay)
			}
			if took < 100*time.Millisecond || took > 115*time.Millisecond {
				t.Errorf("opened %s: the first byte took %v, want one round trip of 100 ms", name, took)
			}
		}
	})
}

// TestTunnel27FromTheFirstPacket: a stranger's time is counted from its first packet on, so that a slow TLS handshake is in it.
func TestTunnel27FromTheFirstPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := path{delay: time.Second}
		began := time.Now()
		var until time.Time
		sim := simulate(t, CarrierQUIC, over, &Server{Authenticate: func(ctx context.Context, _ Peer, _ *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
			until, _ = ctx.Deadline()
			return &tunnelpb.Welcome{}, nil
		}})
		defer sim.stop()
		if got, want := until.Sub(began), over.delay+handshakeTimeout; got != want {
			t.Errorf("a Hello may take until %v after the dial, want %v", got, want)
		}
	})
}

// TestTunnel16ResetOneWay measures a reset over a link with a delay: it waits for nothing.
func TestTunnel16ResetOneWay(t *testing.T) {
	inBubble(t, func(t *testing.T, sim *simulated) {
		acc := acceptAll(sim.dialled)
		a, b := streamPair(t, sim.served, acc, "x")
		defer b.Close()
		start := time.Now()
		_ = a.Reset(stream.CodeRevoked)
		var reset *stream.ResetError
		if _, err := b.Read(make([]byte, 1)); !errors.As(err, &reset) || reset.Code != stream.CodeRevoked {
			t.Errorf("Read = %v, want the reset", err)
		}
		if took := time.Since(start); took > 80*time.Millisecond {
			t.Errorf("the reset took %v over a link of 50 ms", took)
		}
	})
}

// TestTunnel15HalfClosedForMinutes leaves a stream half-closed for an hour. hashicorp/yamux would reset it after five minutes.
func TestTunnel15HalfClosedForMinutes(t *testing.T) {
	inBubble(t, func(t *testing.T, sim *simulated) {
		acc := acceptAll(sim.dialled)
		a, b := streamPair(t, sim.served, acc, "x")
		_ = a.CloseWrite()
		if _, err := b.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("Read = %v, want EOF", err)
		}
		<-time.After(time.Hour) // of the bubble
		if _, err := b.Write([]byte("late")); err != nil {
			t.Fatal(err)
		}
		_ = b.Close()
		if got, err := io.ReadAll(a); err != nil || string(got) != "late" {
			t.Errorf("read %q, %v", got, err)
		}
		_ = a.Close()
	})
}

// TestSilentPeer stops the network: both sides notice within the carrier's time.
func TestSilentPeer(t *testing.T) {
	inBubble(t, func(t *testing.T, sim *simulated) {
		limit := 15 * time.Second
		if sim.served.Carrier() == CarrierWebSocket {
			limit = wsDead + 2*wsPing
		}
		start := time.Now()
		sim.block(true)
		<-sim.served.Done()
		<-sim.dialled.Done()
		if took := time.Since(start); took > limit {
			t.Errorf("the silence was noticed after %v, want %v", took, limit)
		}
		var se *SessionError
		if err := sim.served.Err(); !errors.As(err, &se) || se.Remote {
			t.Errorf("error = %v", err)
		}
	})
}

// TestTunnel20Blocked stops the network for 15 s under load: a WebSocket session survives, and loses nothing. A QUIC session is
// dead by then, which is its job: another takes over (TestSilentPeer).
func TestTunnel20Blocked(t *testing.T) {
	bubble(t, CarrierWebSocket, func(t *testing.T, sim *simulated) {
		acc := acceptAll(sim.dialled)
		a, b := streamPair(t, sim.served, acc, "x")
		defer b.Close()
		data := make([]byte, 1<<20)
		written := make(chan error, 1)
		go func() {
			_, err := a.Write(data)
			if err == nil {
				err = a.Close()
			}
			written <- err
		}()
		sim.block(true)
		<-time.After(15 * time.Second) // of the bubble

		// An Open obeys its deadline although it cannot even be written.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := sim.served.Open(ctx, &tunnelpb.Open{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Open = %v, want the deadline", err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("Open took %v, want 1 s", took)
		}
		sim.block(false)
		got, err := io.ReadAll(b)
		if err != nil || len(got) != len(data) {
			t.Errorf("read %d of %d bytes, %v", len(got), len(data), err)
		}
		if err := <-written; err != nil {
			t.Errorf("Write: %v", err)
		}
	})
}

// TestSilentOpener opens a stream and sends no header: it is dropped after five seconds.
func TestSilentOpener(t *testing.T) {
	inBubble(t, func(t *testing.T, sim *simulated) {
		ls, err := sim.dialled.link.open(context.Background(), []byte{0x20}) // a length, and nothing of it
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var reset *stream.ResetError
		if _, err := ls.Read(make([]byte, 1)); !errors.As(err, &reset) || reset.Code != stream.CodeProtocol {
			t.Errorf("Read = %v, want a reset for the protocol", err)
		}
		if took := time.Since(start); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("dropped after %v, want 5 s", took)
		}
		_ = ls.Close()
	})
}

// TestControlNotRead floods a session with resets of streams that are gone, and takes no answer: the session ends, and its queue
// is bounded.
func TestControlNotRead(t *testing.T) {
	bubble(t, CarrierWebSocket, func(t *testing.T, sim *simulated) {
		served := sim.served.link.(*yamuxLink)
		// Some queues fit the window of the control stream and the buffers below it.
		for n := 0; n < 100*maxOutbox && sim.served.Err() == nil && len(served.out.overflow) == 0; n++ {
			// What readControl does for each frame of the peer. The peer's reading is stopped, so that answers pile up.
			sim.block(true)
			served.control(&tunnelpb.Frame{Kind: &tunnelpb.Frame_ResetStream{ResetStream: &tunnelpb.Reset{Stream: 1}}})
		}
		start := time.Now()
		<-sim.served.Done()
		if took := time.Since(start); took > closeTimeout {
			t.Errorf("the session ended after %v, want %v", took, closeTimeout)
		}
		var se *SessionError
		if err := sim.served.Err(); !errors.As(err, &se) || se.Code != stream.CodeLimited {
			t.Errorf("error = %v, want limited", err)
		}
	})
}

// TestTunnel22ProbesSuspectASilentSession: three missed probes make it suspect within 10 s, and an answer makes it healthy again.
func TestTunnel22ProbesSuspectASilentSession(t *testing.T) {
	bubble(t, CarrierWebSocket, func(t *testing.T, sim *simulated) {
		watched := make(chan struct{})
		go func() { defer close(watched); sim.dialled.Watch(context.Background()) }()
		<-time.After(time.Minute) // of the bubble
		if at, rtt := sim.dialled.Answered(); time.Since(at) > probeEvery+time.Second || rtt < 100*time.Millisecond || rtt > 150*time.Millisecond {
			t.Errorf("the last probe passed %v ago and took %v", time.Since(at), rtt)
		}
		sim.block(true)
		start := time.Now()
		<-sim.dialled.Suspected()
		if took := time.Since(start); took > 6500*time.Millisecond { // four round trips of 100 ms are forgiven three times
			t.Errorf("the session was suspected after %v, want 6.5 s", took)
		}
		if sim.dialled.Healthy() {
			t.Error("a suspected session is healthy")
		}
		<-time.After(15*time.Second - time.Since(start))
		sim.block(false)
		<-time.After(probeEvery)
		if !sim.dialled.Healthy() || sim.dialled.Err() != nil {
			t.Errorf("after its return the session is healthy: %v, %v", sim.dialled.Healthy(), sim.dialled.Err())
		}
		if n := sim.dialled.Streams() + sim.served.Streams(); n != 0 {
			t.Errorf("%d streams are counted, and there were only probes", n)
		}
		_ = sim.dialled.Close(stream.CodeClosed, "")
		<-watched
	})
}

// TestTunnel22WedgedSessionIsClosed: a peer whose carrier lives and whose streams are dead.
func TestTunnel22WedgedSessionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := wedged(t)
		defer stop()
		start := time.Now()
		watched := make(chan struct{})
		go func() { defer close(watched); s.Watch(context.Background()) }()
		<-s.Suspected()
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("the session was suspected after %v, want 5 s", took)
		}
		<-s.Done()
		if took := time.Since(start); took < deadAfter || took > deadAfter+maxProbeWait {
			t.Errorf("the session was closed after %v, want %v", took, deadAfter)
		}
		var se *SessionError
		if err := s.Err(); !errors.As(err, &se) || se.Code != stream.CodeTimeout || se.Remote {
			t.Errorf("error = %v", err)
		}
		<-watched
		s.wait()
	})
}
