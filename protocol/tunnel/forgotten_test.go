package tunnel

import (
	"errors"
	"io"
	"testing"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// TestTunnel37EndedStreamsAreForgotten opens far more streams than a session may have at a time, and ends each in one of the ways a pair
// of streams ends: a carrier that forgot but some of them would soon take no more.
func TestTunnel37EndedStreamsAreForgotten(t *testing.T) {
	ends := map[string]func(t *testing.T, one, other *Stream){
		"reset before a wait": func(t *testing.T, one, other *Stream) {
			_ = one.Reset(stream.CodeAborted)
			isReset(t, other.WaitRead())
		},
		"reset during a wait": func(t *testing.T, one, other *Stream) {
			waited := make(chan error)
			go func() { waited <- other.WaitRead() }()
			_ = one.Reset(stream.CodeAborted)
			isReset(t, <-waited)
		},
		"reset during a read": func(t *testing.T, one, other *Stream) {
			_ = one.Reset(stream.CodeAborted)
			_, err := other.Read(make([]byte, 1))
			isReset(t, err)
		},
		"reset during writes": func(t *testing.T, one, other *Stream) {
			_ = one.Reset(stream.CodeAborted)
			var err error
			for err == nil {
				_, err = other.Write([]byte("x"))
			}
			isReset(t, err)
		},
		"reset with bytes that nobody reads": func(t *testing.T, one, other *Stream) {
			if _, err := one.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			if err := other.WaitRead(); err != nil {
				t.Error(err)
			}
			_ = one.Reset(stream.CodeAborted)
		},
		"close during a wait": func(t *testing.T, one, other *Stream) {
			_ = one.Close()
			if err := other.WaitRead(); err != nil {
				t.Error(err)
			}
		},
		"close with bytes that nobody reads": func(t *testing.T, one, other *Stream) {
			if _, err := other.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			_ = one.Close()
		},
		"both directions to their ends": func(t *testing.T, one, other *Stream) {
			for _, st := range []*Stream{one, other} {
				if err := st.CloseWrite(); err != nil {
					t.Error(err)
				}
			}
			for _, st := range []*Stream{one, other} {
				if _, err := st.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("read: %v, want EOF", err)
				}
			}
		},
	}
	frees := map[string]func(*Stream){
		"close": func(st *Stream) { _ = st.Close() },
		"reset": func(st *Stream) { _ = st.Reset(stream.CodeAborted) },
	}
	const limit = 5
	onCarriers(t, func(t *testing.T, c Carrier) {
		for how, end := range ends {
			for what, free := range frees {
				t.Run(how+", "+what, func(t *testing.T) {
					r := startRelay(t, func(s *Server) { s.Limits.Streams = limit })
					dialled, served := r.dial(t, c)
					var names counter
					toDialled, toServed := acceptAll(dialled), acceptAll(served)
					for range limit + 70 { // more than the carrier itself lets the peer have
						a, b := streamPair(t, dialled, toServed, names.next())
						end(t, a, b)
						free(a)
						free(b)
						a, b = streamPair(t, served, toDialled, names.next())
						end(t, a, b)
						free(b)
						free(a)
						waitFor(t, "streams to be gone", func() bool { return dialled.Streams()+served.Streams() == 0 })
					}
				})
			}
		}
	})
}

// isReset checks that a call ended by the peer's reset.
func isReset(t *testing.T, err error) {
	t.Helper()
	var reset *stream.ResetError
	if !errors.As(err, &reset) || !reset.Remote {
		t.Errorf("ended with %v, want the peer's reset", err)
	}
}

// TestTunnel37EarlyResetsAreForgotten: the reset of a stream that was refused before it could be accepted goes when a later one is.
func TestTunnel37EarlyResetsAreForgotten(t *testing.T) {
	l := &yamuxLink{max: 8, odd: 1, streams: make(map[uint32]*yamuxStream), early: make(map[uint32]stream.Code), out: newOutbox()}
	abort := func(id uint64) {
		l.reset(&tunnelpb.Reset{Stream: id, Code: uint32(stream.CodeClosed), Kind: tunnelpb.Reset_ABORT})
	}
	for id := uint32(2); id < 200; id += 4 {
		abort(uint64(id)) // refused
		if !l.register(&yamuxStream{ys: &muxStream{id: id + 2}, link: l}) {
			t.Fatalf("stream %d is taken for an aborted one", id+2)
		}
	}
	abort(202)
	if abort(204); l.register(&yamuxStream{ys: &muxStream{id: 204}, link: l}) {
		t.Error("an aborted stream is accepted")
	}
	if len(l.early) != 0 {
		t.Errorf("%d resets are kept", len(l.early))
	}
}
