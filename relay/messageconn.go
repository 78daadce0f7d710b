package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/sluicedb/sluice/protocol/stream"
)

// messageConn is a WebSocket as a stream: the bytes of its messages, however they are split. WebSocket cannot half-close: when one
// side's data ends, a Close frame says so, and the other has five seconds to answer it. What a client still sends meanwhile the
// library throws away: such a client's end is a reset. A client that only closes its connection between two messages has ended as
// a TCP client does, with a FIN: an EOF. Anything else, in a message or by a RST, is a reset and never an EOF.
type messageConn struct {
	ws     *websocket.Conn
	remote net.Addr
	read   deadline
	write  deadline

	reading sync.Mutex // held by the one reader
	reader  readerContext
	message io.Reader // the rest of the message that is being read; nil between messages
	ended   error     // what reading has ended with

	once      sync.Once
	mu        sync.Mutex
	turn      *sync.Cond         // listening, hurried or reason has changed
	reason    *stream.ResetError // why this side aborted
	listening bool               // the library reads for the reader, which waits for a message or has the end
	hurried   bool               // CloseWrite has waited for the reader long enough
	closing   bool               // a Close frame of this side is under way
	lossy     bool               // something that the client sent may have been thrown away
}

// closeTimeout bounds the wait for a reader before a Close frame is sent. It is the library's own wait for the answer.
const closeTimeout = 5 * time.Second

// newMessageConn makes a stream of a WebSocket, and owns it.
func newMessageConn(ws *websocket.Conn, remote string) *messageConn {
	ws.SetReadLimit(-1) // a message is never held: it may be of any size
	c := &messageConn{ws: ws, remote: address(remote)}
	c.turn = sync.NewCond(&c.mu)
	c.read.init()
	c.write.init()
	c.reader = readerContext{Context: c.read.ctx, reads: c.listen}
	return c
}

// readerContext tells when the library begins to read under it: it asks for Done when it waits for the right to read, which Close takes
// as well, and again when it has that.
type readerContext struct {
	context.Context
	asked int
	reads func()
}

// Done implements context.Context.
func (r *readerContext) Done() <-chan struct{} {
	if r.asked++; r.asked == 2 {
		r.reads()
	}
	return r.Context.Done()
}

// keepAlive pings until ctx ends. A client that answers no ping gets no second one; TCP's keepalive finds those that are gone.
func (c *messageConn) keepAlive(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := c.ws.Ping(ctx); err != nil {
				return
			}
		}
	}
}

// Read implements stream.Conn.
func (c *messageConn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		if err := c.next(); err != nil {
			return 0, err
		}
		n, err := c.message.Read(p)
		switch {
		case errors.Is(err, io.EOF):
			c.message = nil
		case err != nil:
			c.ended = c.failure(err, &c.read)
		}
		if n > 0 {
			return n, nil
		}
		if err == nil && len(p) == 0 {
			return 0, nil
		}
	}
}

// WaitRead implements stream.Conn.
func (c *messageConn) WaitRead() error {
	c.reading.Lock()
	defer c.reading.Unlock()
	if err := c.next(); err != nil && err != io.EOF {
		return err
	}
	return nil
}

// next waits for a message, if none is being read.
func (c *messageConn) next() error {
	if c.ended != nil {
		return c.ended
	}
	if c.message != nil {
		return nil
	}
	c.reader.asked = 0
	_, message, err := c.ws.Reader(&c.reader)
	if lossy := c.heard(err == nil); err != nil {
		c.ended = c.failure(err, &c.read)
		switch status := websocket.CloseStatus(err); {
		case lossy:
			if errors.Is(c.ended, net.ErrClosed) {
				c.ended = &stream.ResetError{Code: stream.CodeAborted}
			}
		case status == websocket.StatusNormalClosure, status == websocket.StatusGoingAway, status == websocket.StatusNoStatusRcvd:
			c.ended = io.EOF
		case status == -1 && errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			c.ended = io.EOF // cloudflared ends so
		}
		return c.ended
	}
	c.message = message
	return nil
}

// listen says that the library reads for the reader: until that has a message, it reads nothing on its own account.
func (c *messageConn) listen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listening = true
	c.lossy = c.lossy || c.closing
	c.turn.Broadcast()
}

// heard notes that the reader has a message or the end, and reports whether something before it may have been thrown away. Between
// two messages the library's Close reads in the reader's place.
func (c *messageConn) heard(message bool) (lossy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lossy = c.lossy || c.closing && (message || !c.listening)
	c.listening = !message
	c.turn.Broadcast()
	return c.lossy
}

// awaitReader waits until the reader waits for a message, at most for closeTimeout: a Close frame that is sent before takes the
// reading over from it.
func (c *messageConn) awaitReader() {
	hurry := time.AfterFunc(closeTimeout, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.hurried = true
		c.turn.Broadcast()
	})
	defer hurry.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.listening && !c.hurried && c.reason == nil {
		c.turn.Wait()
	}
}

// Write implements stream.Conn: one binary message.
func (c *messageConn) Write(p []byte) (int, error) {
	if err := c.ws.Write(c.write.ctx, websocket.MessageBinary, p); err != nil {
		return 0, c.failure(err, &c.write)
	}
	return len(p), nil
}

// failure is what an error of the WebSocket means in a direction.
func (c *messageConn) failure(err error, d *deadline) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.reason != nil:
		return c.reason
	case d.ctx.Err() != nil:
		return os.ErrDeadlineExceeded
	case errors.Is(err, net.ErrClosed):
		return net.ErrClosed
	}
	return &stream.ResetError{Code: stream.CodeAborted, Remote: true}
}

// CloseWrite implements stream.Conn: it says that the data has ended, and waits for the client to say so too.
func (c *messageConn) CloseWrite() error {
	c.awaitReader()
	c.close(websocket.StatusNormalClosure, "")
	return nil
}

// Close implements stream.Conn.
func (c *messageConn) Close() error {
	c.close(websocket.StatusNormalClosure, "")
	c.read.stop()
	c.write.stop()
	return nil
}

// Reset implements stream.Conn. The client sees a Close frame that tells of an error, with the code's name.
func (c *messageConn) Reset(code stream.Code) error {
	c.mu.Lock()
	if c.reason == nil {
		c.reason = &stream.ResetError{Code: code}
		c.turn.Broadcast()
	}
	c.mu.Unlock()
	status := websocket.StatusInternalError
	switch code {
	case stream.CodeRevoked, stream.CodeLimited:
		status = websocket.StatusPolicyViolation
	case stream.CodeDraining:
		status = websocket.StatusServiceRestart
	case stream.CodeProtocol:
		status = websocket.StatusProtocolError
	}
	c.close(status, code.String())
	return nil
}

// close sends one Close frame, waits at most five seconds for the client's, and frees the WebSocket. A client that is gone, or
// does not answer, is no error of ours.
func (c *messageConn) close(status websocket.StatusCode, reason string) {
	c.once.Do(func() {
		c.mu.Lock()
		c.closing = true
		c.mu.Unlock()
		c.ws.Close(status, reason)
	})
}

// LocalAddr implements net.Conn.
func (c *messageConn) LocalAddr() net.Addr { return address("") }

// RemoteAddr implements net.Conn.
func (c *messageConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn. As with every WebSocket of this library, a deadline that passes ends the connection.
func (c *messageConn) SetDeadline(t time.Time) error {
	c.read.set(t)
	c.write.set(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *messageConn) SetReadDeadline(t time.Time) error {
	c.read.set(t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *messageConn) SetWriteDeadline(t time.Time) error {
	c.write.set(t)
	return nil
}

// address is a peer's address as text.
type address string

func (a address) Network() string { return "websocket" }
func (a address) String() string  { return string(a) }

// deadline ends its context at a time that can be moved while the context is in use.
type deadline struct {
	ctx    context.Context
	cancel context.CancelFunc
	mu     sync.Mutex
	timer  *time.Timer
}

func (d *deadline) init() { d.ctx, d.cancel = context.WithCancel(context.Background()) }

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), d.cancel)
	}
}

// stop frees the context and the timer.
func (d *deadline) stop() {
	d.set(time.Time{})
	d.cancel()
}
