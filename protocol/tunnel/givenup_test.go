package tunnel

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// TestOpenGivenUpAtTheLastMoment ends an open's context when the peer has the stream's header, again and again: whoever asked takes
// the stream or the peer sees it end, whichever of the two comes first.
func TestOpenGivenUpAtTheLastMoment(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		dialled, served := r.dial(t, c)
		for range 50 {
			ctx, cancel := context.WithCancel(testContext(t))
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				in, err := served.Accept(testContext(t))
				if err != nil {
					t.Error(err)
					return
				}
				cancel()
				<-in.Context().Done()
				_ = in.Refuse(&Refusal{Code: tunnelpb.Code_INTERNAL}) // nobody hears it
			}()
			if _, err := dialled.Open(ctx, &tunnelpb.Open{Hostname: "db"}); !errors.Is(err, context.Canceled) {
				t.Fatalf("Open = %v, want its context's end", err)
			}
			<-ended
		}
	})
}

// TestYamuxStreamThatNobodyTakesIsReset opens a stream whose opener leaves after the header was sent and before the stream was
// handed over.
func TestYamuxStreamThatNobodyTakesIsReset(t *testing.T) {
	r := startRelay(t, nil)
	dialled, served := r.dial(t, CarrierWebSocket)
	link := dialled.link.(*yamuxLink)
	header, err := encode(&tunnelpb.Header{Kind: &tunnelpb.Header_Open{Open: &tunnelpb.Open{Hostname: "db", DeadlineMs: 60_000}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	link.opening <- struct{}{}
	left := make(chan struct{})
	go func() {
		defer close(left)
		link.openStream(ctx, header, make(chan opened))
	}()
	in, err := served.Accept(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-left
	select {
	case <-in.Context().Done():
	case <-time.After(patience):
		t.Error("the peer was not told that nobody has the stream")
	}
	_ = in.Refuse(&Refusal{Code: tunnelpb.Code_INTERNAL})
	waitFor(t, "the stream to be forgotten", func() bool {
		link.mu.Lock()
		defer link.mu.Unlock()
		return len(link.streams) == 0
	})
}
