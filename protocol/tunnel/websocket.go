package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/sluicedb/sluice/protocol/stream"
)

// The parts of yamux's header that the connection below it looks at (spec.md of hashicorp/yamux, "Framing").
const (
	yamuxHeader   = 12 // bytes: version 1, type 1, flags 2, stream 4, length 4
	yamuxTypeData = 0
)

// Timing of WebSocket sessions. yamux's own keepalive is off: its deadline is its write timeout, which must be long.
const (
	// wsPing is below the shortest idle time of proxies on the way, 60 s for common HTTP proxies and 30 s for NAT.
	wsPing = 10 * time.Second
	// wsDead is how long a session lives without a byte from the peer, who pings as often. A carrier that is blocked for 15 s
	// survives (TestTunnel20).
	wsDead = 30 * time.Second
)

// wsConn is a WebSocket as one byte stream: binary messages have no meaning beyond their bytes. It is what yamux runs on, and
// what the handshake runs on before there is a yamux.
type wsConn struct {
	c             *websocket.Conn
	local, remote net.Addr

	// Owned by the reader.
	msg io.Reader // what remains of the current message, or nil

	// Owned by the writer.
	held bool // hdr waits for its body
	hdr  [yamuxHeader]byte

	received atomic.Int64 // bytes read
	sent     atomic.Int64 // bytes written
	mu       sync.Mutex
	err      error // the first read error
}

// wsBodies are the buffers in which a yamux header and its body become one message: one TLS record and one system call.
var wsBodies = sync.Pool{New: func() any { return new([yamuxHeader + stream.MaxWrite]byte) }}

func newWSConn(c *websocket.Conn, local, remote net.Addr) *wsConn {
	// A message is one yamux frame of at most MaxWrite bytes and its header. Reading is in pieces whatever its length says.
	c.SetReadLimit(yamuxHeader + 2*stream.MaxWrite)
	return &wsConn{c: c, local: local, remote: remote}
}

// bound closes the connection when ctx is done, until stop, which reports whether it came in time. Reads and writes themselves
// have no context: what would remain of a message keeps the one it was begun with.
func (w *wsConn) bound(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = w.Close() })
}

func (w *wsConn) Read(p []byte) (int, error) {
	for {
		if w.msg == nil {
			kind, msg, err := w.c.Reader(context.Background())
			if err != nil {
				return 0, w.fail(err)
			}
			if kind != websocket.MessageBinary {
				return 0, w.fail(errors.New("the peer sent a text message"))
			}
			w.msg = msg
		}
		n, err := w.msg.Read(p)
		w.received.Add(int64(n))
		if err == io.EOF {
			w.msg, err = nil, nil
		}
		if err != nil {
			return n, w.fail(err)
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
}

func (w *wsConn) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	return err
}

func (w *wsConn) readErr() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Write sends p as one message, but for a yamux header that announces a body: it waits for the body, which yamux writes next.
func (w *wsConn) Write(p []byte) (int, error) {
	w.sent.Add(int64(len(p)))
	switch {
	case !w.held && len(p) == yamuxHeader && p[1] == yamuxTypeData && binary.BigEndian.Uint32(p[8:]) > 0:
		copy(w.hdr[:], p)
		w.held = true
		return len(p), nil
	case w.held && len(p) <= stream.MaxWrite:
		w.held = false
		buf := wsBodies.Get().(*[yamuxHeader + stream.MaxWrite]byte)
		defer wsBodies.Put(buf)
		copy(buf[:], w.hdr[:])
		n := copy(buf[yamuxHeader:], p)
		return n, w.c.Write(context.Background(), websocket.MessageBinary, buf[:yamuxHeader+n])
	case w.held:
		w.held = false
		if err := w.c.Write(context.Background(), websocket.MessageBinary, w.hdr[:]); err != nil {
			return 0, err
		}
	}
	if err := w.c.Write(context.Background(), websocket.MessageBinary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close drops the connection. Whoever wants to tell the peer has done so before.
func (w *wsConn) Close() error { return w.c.CloseNow() }

// LocalAddr and RemoteAddr let yamux name the connection.
func (w *wsConn) LocalAddr() net.Addr  { return w.local }
func (w *wsConn) RemoteAddr() net.Addr { return w.remote }
