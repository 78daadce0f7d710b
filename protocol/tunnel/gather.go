package tunnel

import (
	"bufio"
	"crypto/tls"
	"net"
	"sync"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/stream/socket"
)

const (
	// maxGathered holds a message of a WebSocket session when TLS has made records of it: 29 bytes for each of the 4 KiB that
	// coder/websocket masks at a time, and room.
	maxGathered = maxMessage + 4<<10
	// gatheredRead is how much is read at once: a frame of full length, or very many small ones.
	gatheredRead = stream.MaxWrite + 4<<10
)

// Gathering returns a listener whose connections can gather the records of a WebSocket session, if TLS runs directly on them.
func Gathering(ln net.Listener) net.Listener { return gathering{ln} }

type gathering struct{ net.Listener }

func (g gathering) Accept() (net.Conn, error) {
	c, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &gatherer{Conn: socket.New(c)}, nil
}

// gatherer is a TCP connection below TLS. TLS writes each record by itself, and a session's message has up to seventeen of them: what is
// written between hold and release goes out in one system call.
type gatherer struct {
	net.Conn
	ahead *bufio.Reader // once readAhead was called; owned by the reader

	mu   sync.Mutex // held while the connection is written to
	held *[maxGathered]byte
	n    int // bytes in held
}

// gathered has the buffers of gatherers that hold.
var gathered = sync.Pool{New: func() any { return new([maxGathered]byte) }}

// gathererOf finds the gatherer below a connection's TLS; nil when there is none.
func gathererOf(c net.Conn) *gatherer {
	for {
		switch below := c.(type) {
		case *tls.Conn:
			c = below.NetConn()
		case *gatherer:
			return below
		default:
			return nil
		}
	}
}

// readAhead makes reads take more than TLS asks for. It is called while nobody reads.
func (g *gatherer) readAhead() { g.ahead = bufio.NewReaderSize(g.Conn, gatheredRead) }

// Read implements net.Conn.
func (g *gatherer) Read(p []byte) (int, error) {
	if g.ahead != nil {
		return g.ahead.Read(p)
	}
	return g.Conn.Read(p)
}

// hold begins to gather.
func (g *gatherer) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = gathered.Get().(*[maxGathered]byte)
}

// release writes what was gathered.
func (g *gatherer) release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.flush()
	gathered.Put(g.held)
	g.held = nil
	return err
}

// flush is called with mu held.
func (g *gatherer) flush() error {
	out := g.held[:g.n]
	g.n = 0
	if len(out) == 0 {
		return nil
	}
	_, err := g.Conn.Write(out)
	return err
}

// Write implements net.Conn.
func (g *gatherer) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil {
		return g.Conn.Write(p)
	}
	if g.n+len(p) > maxGathered {
		if err := g.flush(); err != nil {
			return 0, err
		}
		if len(p) > maxGathered {
			return g.Conn.Write(p)
		}
	}
	g.n += copy(g.held[g.n:], p)
	return len(p), nil
}

// drop closes the connection below TLS if a write may be stuck: TLS would wait for it, to say good-bye.
func (g *gatherer) drop() {
	if g.mu.TryLock() {
		g.mu.Unlock()
		return
	}
	_ = g.Conn.Close()
}
