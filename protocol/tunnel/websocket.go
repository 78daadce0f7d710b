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

// gatherFrom is the length from which a message is more than one TLS record: coder/websocket flushes each 4 KiB (bufio's default).
const gatherFrom = 4000

// The parts of yamux's header that the connection below it looks at (spec.md of hashicorp/yamux, "Framing").
const (
	yamuxHeader     = 12 // bytes: version 1, type 1, flags 2, stream 4, length 4
	yamuxTypeData   = 0
	yamuxTypeWindow = 1
	yamuxSYN        = 1
	yamuxACK        = 2
	yamuxControlID  = 1 // the stream whose SYN and ACK nothing need follow
)

// maxWaiting bounds the frames that wait for the next one, in bytes.
const maxWaiting = 1 << 10

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
	below         *gatherer // below TLS, nil when there is none

	// Owned by the reader.
	msg io.Reader // what remains of the current message, or nil

	wmu     sync.Mutex // held by Write and cork
	held    bool       // hdr waits for its body
	hdr     [yamuxHeader]byte
	corked  bool   // small frames wait
	waiting []byte // whole frames that go with the next one

	received atomic.Int64 // bytes read
	sent     atomic.Int64 // bytes written
	messages atomic.Int64 // written
	mu       sync.Mutex
	err      error // the first read error
}

// wsBodies are the buffers in which frames and a body become one message: one TLS record and one system call.
var wsBodies = sync.Pool{New: func() any { return new([maxWaiting + yamuxHeader + stream.MaxWrite]byte) }}

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

// Write sends p as one message, but for a yamux header that announces a body, which yamux writes next, and for frames that may wait.
func (w *wsConn) Write(p []byte) (int, error) {
	w.sent.Add(int64(len(p)))
	w.wmu.Lock()
	defer w.wmu.Unlock()
	var err error
	switch {
	case w.held:
		w.held = false
		err = w.frame(w.hdr[:], p)
	case len(p) == yamuxHeader && p[1] == yamuxTypeData && binary.BigEndian.Uint32(p[8:]) > 0:
		copy(w.hdr[:], p)
		w.held = true
	default:
		err = w.frame(p, nil)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// frame sends a frame, behind those that wait, or lets it wait as well.
func (w *wsConn) frame(head, body []byte) error {
	n := len(w.waiting) + len(head) + len(body)
	if (w.corked || begins(head)) && n <= maxWaiting {
		w.waiting = append(append(w.waiting, head...), body...)
		return nil
	}
	buf := wsBodies.Get().(*[maxWaiting + yamuxHeader + stream.MaxWrite]byte)
	defer wsBodies.Put(buf)
	if n > len(buf) {
		return errors.Join(w.flush(), w.send(head), w.send(body))
	}
	message := append(append(append(buf[:0], w.waiting...), head...), body...)
	w.waiting = w.waiting[:0]
	return w.send(message)
}

// begins reports whether a frame is the SYN or the ACK of a stream, behind which the stream's Header or Answer comes. Nobody waits
// for it alone.
func begins(frame []byte) bool {
	return len(frame) == yamuxHeader && frame[0] == 0 && frame[1] == yamuxTypeWindow &&
		binary.BigEndian.Uint16(frame[2:])&^(yamuxSYN|yamuxACK) == 0 && binary.BigEndian.Uint16(frame[2:]) != 0 &&
		binary.BigEndian.Uint32(frame[4:]) != yamuxControlID
}

// cork lets small frames wait, or sends those that do.
func (w *wsConn) cork(on bool) error {
	w.wmu.Lock()
	defer w.wmu.Unlock()
	w.corked = on
	if on {
		return nil
	}
	return w.flush()
}

// flush is called with wmu held.
func (w *wsConn) flush() error {
	if len(w.waiting) == 0 {
		return nil
	}
	err := w.send(w.waiting)
	w.waiting = w.waiting[:0]
	return err
}

// send sends a message, in one system call where it can.
func (w *wsConn) send(message []byte) error {
	if len(message) == 0 {
		return nil
	}
	w.messages.Add(1)
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
