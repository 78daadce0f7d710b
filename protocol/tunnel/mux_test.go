package tunnel

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"
	"github.com/hashicorp/yamux"

	"github.com/sluicedb/sluice/protocol/stream"
)

// webSockets returns the two ends of a WebSocket over a pipe, on which a write waits for its reader.
func webSockets(t *testing.T) (dialled, served *websocket.Conn) {
	t.Helper()
	near, far := net.Pipe()
	ln := &oneListener{conns: make(chan net.Conn, 1), done: make(chan struct{})}
	ln.conns <- far
	accepted := make(chan *websocket.Conn, 1)
	hs := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = hs.Serve(ln) })
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return near, nil }, DisableKeepAlives: true}
	dialled, _, err := websocket.Dial(t.Context(), "http://relay.test/", &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = dialled.CloseNow()
		_ = hs.Close()
		serving.Wait()
	})
	return dialled, <-accepted
}

func newTestMux(c *websocket.Conn, dialled bool) *mux {
	addr := &net.TCPAddr{}
	return newMux(newWSConn(c, addr, addr), dialled, minYamuxWindow, 100, make(chan struct{}, 1))
}

// TestMuxGathersWhatWaits opens streams and writes to them while the connection is blocked: all of it is one message behind the one
// that is under way, and arrives.
func TestMuxGathersWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := webSockets(t)
		near := newTestMux(c, true)
		defer near.close()
		const n = 64
		var writers sync.WaitGroup
		for range n {
			var s *muxStream
			if err := near.open(t.Context(), []byte("header "), func(opened *muxStream) { s = opened }); err != nil {
				t.Fatal(err)
			}
			writers.Go(func() {
				if _, err := s.write([]byte("and data"), false); err != nil {
					t.Error(err)
				}
				s.finish()
			})
		}
		synctest.Wait()
		near.out.flush()
		far := newTestMux(peer, false)
		defer far.close()
		writers.Wait()
		for i := range n {
			s, err := far.accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if want := uint32(2*i + 1); s.id != want {
				t.Errorf("stream %d is accepted in the place of %d", s.id, want)
			}
			if got, err := io.ReadAll(yamuxControl{s}); string(got) != "header and data" || err != nil {
				t.Errorf("stream %d: read %q, %v", s.id, got, err)
			}
		}
		if sent := near.ws.messages.Load(); sent > 2 {
			t.Errorf("%d streams took %d messages, want 2", n, sent)
		}
	})
}

// muxEcho answers a stream of a mux with what has come, after its end.
func muxEcho(m *mux) error {
	s, err := m.accept(context.Background())
	if err != nil {
		return err
	}
	m.out.flush() // of the ACK, which waits for an answer: no opener sends a window before it has that
	b, err := io.ReadAll(yamuxControl{s})
	if err != nil {
		return err
	}
	_, err = s.write(b, false)
	s.finish()
	m.out.flush()
	return err
}

// yamuxEcho is muxEcho for the other implementation.
func yamuxEcho(s *yamux.Session) error {
	c, err := s.AcceptStream()
	if err != nil {
		return err
	}
	b, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	return writePieces(c, b)
}

// writePieces writes as peers of an older version do, which cap their frames, and ends the stream.
func writePieces(c *yamux.Stream, b []byte) error {
	for piece := range slices.Chunk(b, stream.MaxWrite) {
		if _, err := c.Write(piece); err != nil {
			return err
		}
	}
	return c.Close()
}

// TestTunnel43MuxSpeaksYamux joins it with hashicorp/yamux, which peers of an older version have, in either role and with more than a
// window of bytes in both directions.
func TestTunnel43MuxSpeaksYamux(t *testing.T) {
	sent := bytes.Repeat([]byte("0123456789abcdef"), 3*minYamuxWindow/16)
	for _, dials := range []bool{true, false} {
		for name, begins := range map[string]func(*mux, *yamux.Session) (got []byte, err, echo error){
			"opens": func(m *mux, y *yamux.Session) ([]byte, error, error) {
				echo := make(chan error, 1)
				go func() { echo <- yamuxEcho(y) }()
				var s *muxStream
				if err := m.open(t.Context(), sent[:100], func(opened *muxStream) { s = opened }); err != nil {
					return nil, err, <-echo
				}
				if _, err := s.write(sent[100:], false); err != nil {
					return nil, err, <-echo
				}
				s.finish()
				m.out.flush()
				got, err := io.ReadAll(yamuxControl{s})
				return got, err, <-echo
			},
			"accepts": func(m *mux, y *yamux.Session) ([]byte, error, error) {
				echo := make(chan error, 1)
				go func() { echo <- muxEcho(m) }()
				c, err := y.OpenStream()
				if err != nil {
					return nil, err, <-echo
				}
				if err := writePieces(c, sent); err != nil {
					return nil, err, <-echo
				}
				got, err := io.ReadAll(c)
				return got, err, <-echo
			},
		} {
			t.Run(map[bool]string{true: "dials and ", false: "is dialled and "}[dials]+name, func(t *testing.T) {
				ours, theirs := webSockets(t)
				start := yamux.Server
				if !dials {
					ours, theirs, start = theirs, ours, yamux.Client
				}
				m := newTestMux(ours, dials)
				defer m.close()
				theirs.SetReadLimit(maxMessage)
				conf := yamux.DefaultConfig()
				conf.LogOutput, conf.Logger = nil, log.New(t.Output(), "", 0)
				y, err := start(websocket.NetConn(t.Context(), theirs, websocket.MessageBinary), conf)
				if err != nil {
					t.Fatal(err)
				}
				defer y.Close()
				got, err, echo := begins(m, y)
				if err != nil || echo != nil || !bytes.Equal(got, sent) {
					t.Errorf("%d of %d bytes came back, %v, %v", len(got), len(sent), err, echo)
				}
				waitFor(t, "the stream to be forgotten", func() bool { return m.len() == 0 && y.NumStreams() == 0 })
			})
		}
	}
}

// TestMuxWritesWhatFillsIt: what was to go with something else does not keep that out.
func TestMuxWritesWhatFillsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := webSockets(t)
		near, far := newTestMux(c, true), newTestMux(peer, false)
		defer near.close()
		defer far.close()
		var s *muxStream
		if err := near.open(t.Context(), []byte("header"), func(opened *muxStream) { s = opened }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		fill := func() {
			for range fullOut/muxHeader + 1 {
				if err := near.out.put(frame{kind: muxPing, flags: muxACK}); err != nil {
					t.Fatal(err)
				}
			}
		}
		fill()
		if _, err := s.write([]byte("data"), false); err != nil {
			t.Error(err)
		}
		fill()
		if err := near.open(t.Context(), []byte("header"), func(*muxStream) {}); err != nil {
			t.Error(err)
		}
	})
}

// wire encodes frames.
func wire(frames ...frame) []byte {
	var b []byte
	for _, f := range frames {
		b = append(b, muxVersion, f.kind)
		b = binary.BigEndian.AppendUint16(b, f.flags)
		b = binary.BigEndian.AppendUint32(b, f.id)
		b = append(binary.BigEndian.AppendUint32(b, f.size), f.body...)
	}
	return b
}

// hear lets a mux without a connection handle bytes until they end or break its rules.
func hear(b []byte) (*mux, error) {
	m := &mux{
		window: minYamuxWindow, backlog: 2, streams: make(map[uint32]*muxStream), next: 2, arrived: make(chan struct{}, 1),
		done: make(chan struct{}), out: newMuxOut(nil, make(chan struct{}, 1)),
	}
	r := bufio.NewReader(bytes.NewReader(b))
	for {
		if err := m.handle(r); err != nil {
			return m, err
		}
	}
}

func TestMuxRefuses(t *testing.T) {
	begin := frame{kind: muxWindow, flags: muxSYN, id: 1}
	for _, tt := range []struct {
		name string
		sent []byte
		want string
	}{
		{"a stream and its end", wire(begin, frame{kind: muxData, flags: muxFIN, id: 1, size: 2, body: []byte("ab")}), "EOF"},
		{"frames of no stream", wire(frame{kind: muxData, id: 7, size: 2, body: []byte("ab")}, frame{kind: muxWindow, flags: muxFIN, id: 7}), "EOF"},
		{"half a header", wire(begin)[:7], "EOF"},
		{"half a body", wire(begin, frame{kind: muxData, id: 1, size: 9000, body: []byte("ab")}), "unexpected EOF"},
		{"another version", []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "yamux: version 1"},
		{"an unknown type", wire(frame{kind: 4}), "yamux: frame of type 4, value 0"},
		{"an error of the peer's", wire(frame{kind: muxGoAway, size: 1}), "yamux: frame of type 3, value 1"},
		{"a stream twice", wire(begin, begin), "yamux: stream 1 begins twice"},
		{"a stream of this side's", wire(frame{kind: muxWindow, flags: muxSYN, id: 2}), "yamux: stream 2 begins twice"},
		{"two FINs", wire(begin, frame{kind: muxWindow, flags: muxFIN, id: 1}, frame{kind: muxWindow, flags: muxFIN, id: 1}), "yamux: two FINs on one stream"},
		{"a window without bounds", wire(begin, frame{kind: muxWindow, id: 1, size: 1<<32 - 1}), "yamux: window without bounds"},
		{"more than the window", wire(begin, frame{kind: muxData, id: 1, size: minYamuxWindow + 1, body: make([]byte, minYamuxWindow+1)}), "yamux: more data than the window"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := hear(tt.sent); err == nil || err.Error() != tt.want {
				t.Errorf("error = %v, want %s", err, tt.want)
			}
		})
	}
}

// TestMuxAnswers looks at what it says by itself: to a ping, and to more streams than may wait.
func TestMuxAnswers(t *testing.T) {
	m, _ := hear(wire(
		frame{kind: muxPing, flags: muxSYN, size: 42}, frame{kind: muxPing, flags: muxACK, size: 1},
		frame{kind: muxWindow, flags: muxSYN, id: 1}, frame{kind: muxWindow, flags: muxSYN, id: 3}, frame{kind: muxWindow, flags: muxSYN, id: 5},
	))
	want := wire(frame{kind: muxPing, flags: muxACK, size: 42}, frame{kind: muxWindow, flags: muxRST, id: 5})
	if !bytes.Equal(m.out.queue, want) {
		t.Errorf("answers\n%x, want\n%x", m.out.queue, want)
	}
}

// FuzzMux handles anything without a panic, and holds no more than the windows of the streams that there are.
func FuzzMux(f *testing.F) {
	f.Add(wire(frame{kind: muxWindow, flags: muxSYN, id: 1}, frame{kind: muxData, id: 1, size: 3, body: []byte("abc")}, frame{kind: muxWindow, flags: muxFIN, id: 1}))
	f.Add(wire(frame{kind: muxPing, flags: muxSYN, size: 42}, frame{kind: muxGoAway}))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := hear(b)
		if err == nil {
			t.Error("the end is no error")
		}
		for id, s := range m.streams {
			if s.buf != nil && (s.buf.Len() > len(b) || s.buf.Len() > minYamuxWindow) {
				t.Errorf("stream %d holds %d of %d bytes", id, s.buf.Len(), len(b))
			}
		}
	})
}
