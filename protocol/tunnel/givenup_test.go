package tunnel

import (
	"context"
	"errors"
	"testing"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// TestOpenGivenUpAtTheLastMoment ends an open's context when the peer has the stream's header, again and again: whoever asked takes
// the stream or the peer sees it end, whichever of the two comes first.
func TestOpenGivenUpAtTheLastMoment(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		dialled, served := r.dial(t, c)
		for range 20 {
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

// TestOpenBrokenAtOnce resets streams in the moment in which they are accepted, as a connector does whose origin breaks the connection: the
// opener has the stream, or hears that it was the origin.
func TestOpenBrokenAtOnce(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		dialled, served := r.dial(t, c)
		go served.Serve(testContext(t), func(in *Incoming) {
			if st, err := in.Accept(); err == nil {
				_ = st.Reset(stream.CodeAborted)
			}
		})
		for range 50 {
			st, err := dialled.Open(testContext(t), &tunnelpb.Open{Hostname: "db"})
			if err == nil {
				_, err = st.Read(make([]byte, 1))
				isReset(t, err)
				_ = st.Close()
				continue
			}
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Code != tunnelpb.Code_ORIGIN_REFUSED {
				t.Fatalf("Open = %v, want a stream or a refusal of the origin's", err)
			}
		}
	})
}
