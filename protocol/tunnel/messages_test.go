package tunnel

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// TestTunnel21OpenIsOneMessageEachWay counts the WebSocket messages of a stream: the SYN travels with the header, the ACK with the
// answer and the first bytes, and a FIN with what tells of it. A keepalive may come between, so the least of many streams counts.
func TestTunnel21OpenIsOneMessageEachWay(t *testing.T) {
	r := startRelay(t, nil)
	dialled, served := r.dial(t, CarrierWebSocket)
	var serving sync.WaitGroup
	defer serving.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	serving.Go(func() {
		dialled.Serve(ctx, func(in *Incoming) {
			st, err := in.AcceptWith([]byte("first"))
			if err == nil {
				_, err = io.Copy(io.Discard, struct{ io.Reader }{st})
				st.Close()
			}
			ended <- err
		})
	})
	asked, answered := &served.link.(*yamuxLink).ws.messages, &dialled.link.(*yamuxLink).ws.messages
	opened, closed := [2]int64{99, 99}, int64(99)
	for range 20 {
		out, in := asked.Load(), answered.Load()
		st, err := served.Open(testContext(t), &tunnelpb.Open{Hostname: "db", EarlyData: []byte("early")})
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, len("first"))
		if _, err := io.ReadFull(st, first); err != nil || string(first) != "first" {
			t.Fatalf("read %q, %v", first, err)
		}
		opened = [2]int64{min(opened[0], asked.Load()-out), min(opened[1], answered.Load()-in)}
		out = asked.Load()
		st.Close()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		closed = min(closed, asked.Load()-out)
	}
	if opened != [2]int64{1, 1} {
		t.Errorf("an open takes %d messages and its answer %d, want one each", opened[0], opened[1])
	}
	if closed != 1 {
		t.Errorf("a close takes %d messages, want one", closed)
	}
}

// TestTunnel21ResetIsOneMessage counts the WebSocket messages of streams that their opener resets, one after the other: what is said so
// that the other side may forget them goes with the next open and its answer. The least of many counts.
func TestTunnel21ResetIsOneMessage(t *testing.T) {
	r := startRelay(t, nil)
	dialled, served := r.dial(t, CarrierWebSocket)
	acc := acceptAll(dialled)
	asked, answered := &served.link.(*yamuxLink).ws.messages, &dialled.link.(*yamuxLink).ws.messages
	least := [2]int64{99, 99}
	for range 20 {
		out, in := asked.Load(), answered.Load()
		st, peer := streamPair(t, served, acc, "db")
		if err := st.Reset(stream.CodeCancelled); err != nil {
			t.Fatal(err)
		}
		var reset *stream.ResetError
		if _, err := peer.Read(make([]byte, 1)); !errors.As(err, &reset) || reset.Code != stream.CodeCancelled {
			t.Fatalf("read %v, want a reset", err)
		}
		least = [2]int64{min(least[0], asked.Load()-out), min(least[1], answered.Load()-in)}
	}
	if least != [2]int64{2, 1} {
		t.Errorf("a stream and its reset take %d messages and the answers %d, want 2 and 1", least[0], least[1])
	}
	// Nothing follows the last one. It is forgotten all the same.
	for _, s := range []*Session{dialled, served} {
		waitFor(t, "both sides to forget the streams", func() bool { return s.link.(*yamuxLink).sess.len() == 1 })
	}
}

// TestServeCallsBesideEachOther: each Open has a goroutine, those that wait do not hold up others, and Serve returns after all of them.
func TestServeCallsBesideEachOther(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		dialled, served := r.dial(t, c)
		const n = 10
		var begun sync.WaitGroup
		begun.Add(n)
		var calls atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		over := make(chan struct{})
		go func() {
			defer close(over)
			dialled.Serve(ctx, func(in *Incoming) {
				begun.Done()
				begun.Wait() // all are here
				if st, err := in.Accept(); err == nil {
					st.Close()
				}
				calls.Add(1)
			})
		}()
		var opens sync.WaitGroup
		for range n {
			opens.Go(func() {
				st, err := served.Open(testContext(t), &tunnelpb.Open{Hostname: "db"})
				if err != nil {
					t.Error(err)
					return
				}
				st.Reset(stream.CodeCancelled)
			})
		}
		opens.Wait()
		cancel()
		<-over
		if got := calls.Load(); got != n {
			t.Errorf("%d calls had ended when Serve returned, want %d", got, n)
		}
		if _, err := served.Open(testContext(t), &tunnelpb.Open{Hostname: "db"}); err == nil {
			t.Error("a stream was opened after Serve")
		}
	})
}
