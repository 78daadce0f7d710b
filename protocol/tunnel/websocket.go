package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// gatherFrom is the length from which a message is more than one TLS record: coder/websocket flushes each 4 KiB (bufio's default).
const gatherFrom = 4000

// Timing of WebSocket sessions. There are no pings of yamux: a frame of the control stream does as well.
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
	below         *gatherer // below TLS, nil when there is none

	// Owned by the reader.
	msg io.Reader // what remains of the current message, or nil

	received atomic.Int64 // bytes read
	sent     atomic.Int64 // bytes written
	messages atomic.Int64 // written
	mu       sync.Mutex
	err      error // the first read error
}

func newWSConn(c *websocket.Conn, local, remote net.Addr) *wsConn {
	c.SetReadLimit(maxMessage) // reading is in pieces whatever a message's length says
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

// Write sends p as one message.
func (w *wsConn) Write(p []byte) (int, error) {
	if err := w.send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// send sends a message, in one system call where it can. One goroutine at a time calls it.
func (w *wsConn) send(message []byte) error {
	w.messages.Add(1)
	w.sent.Add(int64(len(message)))
	if w.below == nil || len(message) < gatherFrom {
		return w.c.Write(context.Background(), websocket.MessageBinary, message)
	}
	w.below.hold()
	err := w.c.Write(context.Background(), websocket.MessageBinary, message)
	return errors.Join(err, w.below.release())
}

// Close drops the connection. Whoever wants to tell the peer has done so before.
func (w *wsConn) Close() error {
	if w.below != nil {
		w.below.drop()
	}
	return w.c.CloseNow()
}

// LocalAddr and RemoteAddr let yamux name the connection.
func (w *wsConn) LocalAddr() net.Addr  { return w.local }
func (w *wsConn) RemoteAddr() net.Addr { return w.remote }
