package tunnel

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// TestTunnel19StreamFillsItsPath sends over a path of 100 Mbit/s with a round trip of 100 ms, which either carrier's window is wider
// than. Where it is not, a stream gets less than a window each round trip: quic-go tells of freed window when a quarter of it is
// free, yamux when half is.
func TestTunnel19StreamFillsItsPath(t *testing.T) {
	over := path{delay: 50 * time.Millisecond, rate: 100e6 / 8}
	onCarriers(t, func(t *testing.T, c Carrier) {
		bubbleOver(t, c, over, func(t *testing.T, sim *simulated) {
			acc := acceptAll(sim.dialled)
			a, b := streamPair(t, sim.served, acc, "x")
			sent := make(chan error, 1)
			const part = 5 << 20 // four times what the path holds
			go func() {
				_, err := a.Write(make([]byte, 2*part))
				sent <- err
			}()
			if _, err := io.CopyN(io.Discard, b, part); err != nil { // slow start is over
				t.Fatal(err)
			}
			began := time.Now()
			if _, err := io.CopyN(io.Discard, b, part); err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			if share := part / took.Seconds() / float64(over.rate); share < .8 {
				t.Errorf("a stream fills %.0f %% of its path, want 80 %%", 100*share)
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			_ = a.Close()
			_ = b.Close()
		})
	})
}

// TestTunnel20Loss: where one packet in a hundred is lost, sixteen streams together get at least as much over QUIC as over
// WebSocket. The kernel's own TCP is beside it in make bench-tunnel ("distance").
func TestTunnel20Loss(t *testing.T) {
	over := path{delay: 10 * time.Millisecond, rate: 100e6 / 8, loses: 100}
	goodput := make(map[Carrier]float64) // bytes a second
	onCarriers(t, func(t *testing.T, c Carrier) {
		bubbleOver(t, c, over, func(t *testing.T, sim *simulated) {
			const streams, each = 16, 512 << 10
			acc := acceptAll(sim.dialled)
			began := time.Now()
			var work sync.WaitGroup
			for i := range streams {
				near, far := streamPair(t, sim.served, acc, strconv.Itoa(i))
				work.Go(func() {
					_, err := io.CopyN(near, zeros{}, each)
					if err = errors.Join(err, near.Close()); err != nil {
						t.Error(err)
					}
				})
				work.Go(func() {
					if n, err := io.Copy(io.Discard, far); err != nil || n != each {
						t.Errorf("a stream brought %d bytes, %v", n, err)
					}
					_ = far.Close()
				})
			}
			work.Wait()
			goodput[c] = streams * each / time.Since(began).Seconds()
		})
	})
	t.Logf("QUIC %.0f bytes/s, WebSocket %.0f", goodput[CarrierQUIC], goodput[CarrierWebSocket])
	// It has 1.04 to 1.1 times as much: losses fall on other packets from run to run.
	if goodput[CarrierQUIC] < .9*goodput[CarrierWebSocket] {
		t.Error("QUIC is slower than WebSocket where packets are lost")
	}
}

// TestTunnel23IdleStreamsAreKept lets streams be idle for an hour. The network is never silent for long, so that no NAT on the way
// forgets the session, and every stream works afterwards. That a session bears 2500 of them, a slot's share of 10,000, is measured by
// make bench.
func TestTunnel23IdleStreamsAreKept(t *testing.T) {
	const streams, forgets = 250, 30 * time.Second // the latter of the impatient NATs
	inBubble(t, func(t *testing.T, sim *simulated) {
		watched := make(chan struct{})
		go func() { defer close(watched); sim.dialled.Watch(context.Background()) }()
		echoing := make(chan struct{})
		go func() { defer close(echoing); echoAll(sim.dialled) }()
		open := make([]*Stream, streams)
		for i := range open {
			var err error
			if open[i], err = sim.served.Open(context.Background(), &tunnelpb.Open{Hostname: "db"}); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Hour) // of the bubble
		if silence := sim.pulse.silence(); silence > forgets/2 {
			t.Errorf("the session was silent for %v: a NAT may have forgotten it", silence)
		}
		for i, s := range open {
			want := strconv.Itoa(i)
			if _, err := io.WriteString(s, want); err != nil {
				t.Fatalf("stream %d: %v", i, err)
			}
			_ = s.CloseWrite()
			if got, err := io.ReadAll(s); err != nil || string(got) != want {
				t.Fatalf("stream %d: %q, %v", i, got, err)
			}
			_ = s.Close()
		}
		_ = sim.dialled.Close(stream.CodeClosed, "")
		<-watched
		<-echoing
	})
}

// echoAll sends back what comes on every stream, until the session ends.
func echoAll(s *Session) {
	for {
		in, err := s.Accept(context.Background())
		if err != nil {
			return
		}
		go func() {
			st, err := in.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(st, st)
			_ = st.Close()
		}()
	}
}
