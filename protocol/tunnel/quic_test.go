package tunnel

import (
	"errors"
	"testing"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// TestTunnel37AnswerOvertakesReset has the peer's end of a stream arrive between a Reset on this side and the reader that it
// interrupts. The reader must hear of the reset: an EOF would be passed on as the clean end of a stream that was cut.
func TestTunnel37AnswerOvertakesReset(t *testing.T) {
	r := startRelay(t, nil)
	dialled, served := r.dial(t, CarrierQUIC)
	for name, end := range map[string]func(*Stream) error{
		"by EOF":   (*Stream).CloseWrite,
		"by reset": func(st *Stream) error { return st.Reset(stream.CodeAborted) },
	} {
		t.Run(name, func(t *testing.T) {
			accepted := make(chan *Stream, 1)
			go func() {
				defer close(accepted)
				in, err := dialled.Accept(testContext(t))
				if err != nil {
					return
				}
				if st, err := in.Accept(); err == nil {
					accepted <- st
				}
			}()
			st, err := served.Open(testContext(t), &tunnelpb.Open{Hostname: "db"})
			if err != nil {
				t.Fatal(err)
			}
			peer := <-accepted
			if peer == nil {
				t.Fatal("the stream was not accepted")
			}
			qs := st.conn.(*quicStream)
			qs.ended.Store(&stream.ResetError{Code: stream.CodeRevoked}) // the first step of Reset
			if err := end(peer); err != nil {
				t.Fatal(err)
			}
			want := func(what string, err error) {
				t.Helper()
				var reset *stream.ResetError
				if !errors.As(err, &reset) || reset.Remote || reset.Code != stream.CodeRevoked {
					t.Errorf("%s: %v, want the reset that was made here", what, err)
				}
			}
			want("WaitRead", st.WaitRead())
			_, err = st.Read(make([]byte, 1))
			want("Read", err)
			want("CloseWrite", st.CloseWrite())
			// The rest of Reset.
			qs.qs.CancelWrite(0)
			qs.qs.CancelRead(0)
			peer.Reset(stream.CodeAborted)
			st.end()
		})
	}
}
