package tunnel

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// Time in these tests is that of a synctest bubble: it passes only while everybody waits.

// simulated is a session over a network of a known delay.
type simulated struct {
	dialled, served *Session
	block           func(bool) // stops and starts delivery, in both directions
	stop            func()     // ends everything, as synctest demands
}

// simulate makes a session on carrier c over a link with the given one-way delay.
func simulate(t *testing.T, c Carrier, delay time.Duration, server *Server) *simulated {
	t.Helper()
	sessions := make(chan *Session, 1)
	server.Authenticate = func(context.Context, Peer, *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
		return &tunnelpb.Welcome{}, nil
	}
	server.Handle = func(ctx context.Context, s *Session) {
		sessions <- s
		<-ctx.Done()
	}
	d := &Dialer{Carrier: c, Hello: &tunnelpb.Hello{}}
	sim := &simulated{}
	var serving sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	var free func()
	if c == CarrierQUIC {
		free = sim.quic(t, ctx, d, server, delay, &serving)
	} else {
		free = sim.websocket(t, ctx, d, server, delay, &serving)
	}
	sim.served = <-sessions
	sim.stop = func() {
		sim.block(false)
		_ = sim.dialled.Close(stream.CodeClosed, "")
		sim.dialled.wait()
		cancel()
		free()
		serving.Wait()
	}
	return sim
}

// gate drops packets while it is shut.
type gate struct {
	simnet.PerfectRouter
	mu   sync.Mutex
	shut bool
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
}

func (g *gate) SendPacket(p simnet.Packet) error {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut {
		return nil
	}
	return g.PerfectRouter.SendPacket(p)
}

func (sim *simulated) quic(t *testing.T, ctx context.Context, d *Dialer, server *Server, delay time.Duration, serving *sync.WaitGroup) func() {
	serverTLS, clientTLS := testTLS(t)
	router := &gate{}
	sim.block = router.set
	n := &simnet.Simnet{Router: router}
	link := simnet.NodeBiDiLinkSettings{Latency: delay}
	near := n.NewEndpoint(&net.UDPAddr{IP: net.IPv4(1, 0, 0, 1), Port: 9001}, link)
	far := n.NewEndpoint(&net.UDPAddr{IP: net.IPv4(1, 0, 0, 2), Port: 9002}, link)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	server.TLS = serverTLS
	serving.Go(func() { _ = server.ServeQUIC(ctx, far) })

	conf := clientTLS.Clone()
	conf.NextProtos, conf.ServerName = []string{Protocol}, "relay.test"
	tr := &quic.Transport{Conn: near}
	conn, err := tr.Dial(ctx, far.LocalAddr(), conf, quicConfig(d.Limits.withDefaults()))
	if err != nil {
		t.Fatal(err)
	}
	if sim.dialled, err = d.overQUIC(ctx, &quicLink{conn: conn}); err != nil {
		t.Fatal(err)
	}
	return func() {
		serving.Wait()
		_ = tr.Close()
		_ = near.Close()
		_ = n.Close()
	}
}

func (sim *simulated) websocket(t *testing.T, ctx context.Context, d *Dialer, server *Server, delay time.Duration, serving *sync.WaitGroup) func() {
	near, far := delayedPair(delay)
	sim.block = func(shut bool) {
		near.block(shut)
		far.block(shut)
	}
	ln := &oneListener{conns: make(chan net.Conn, 1), done: make(chan struct{})}
	ln.conns <- far
	var handler sync.WaitGroup
	handler.Add(1)
	hs := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer handler.Done()
			server.ServeWebSocket(w, r)
		}),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	serving.Go(func() { _ = hs.Serve(ln) })
	tr := &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return near, nil },
		DisableKeepAlives: true,
	}
	c, _, err := websocket.Dial(ctx, "http://relay.test"+WebSocketPath, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: tr}, Subprotocols: []string{Protocol},
	})
	if err != nil {
		t.Fatal(err)
	}
	if sim.dialled, err = d.overWebSocket(ctx, newWSConn(c, near.LocalAddr(), near.RemoteAddr())); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = hs.Close()
		handler.Wait()
	}
}

// oneListener accepts what is sent to it.
type oneListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *oneListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *oneListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *oneListener) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("1.0.0.2:443"))
}

// delayed is one end of a connection that delivers what is written after a delay, and not at all while it is blocked.
type delayed struct {
	in, out *delayLine
	local   netip.AddrPort
	remote  netip.AddrPort
}

func delayedPair(delay time.Duration) (a, b *delayed) {
	ab, ba := newDelayLine(delay), newDelayLine(delay)
	x, y := netip.MustParseAddrPort("1.0.0.1:1000"), netip.MustParseAddrPort("1.0.0.2:443")
	return &delayed{in: ba, out: ab, local: x, remote: y}, &delayed{in: ab, out: ba, local: y, remote: x}
}

func (d *delayed) block(shut bool)                    { d.out.block(shut) }
func (d *delayed) Read(p []byte) (int, error)         { return d.in.read(p) }
func (d *delayed) Write(p []byte) (int, error)        { return d.out.write(p) }
func (d *delayed) LocalAddr() net.Addr                { return net.TCPAddrFromAddrPort(d.local) }
func (d *delayed) RemoteAddr() net.Addr               { return net.TCPAddrFromAddrPort(d.remote) }
func (d *delayed) SetDeadline(t time.Time) error      { return d.SetReadDeadline(t) }
func (d *delayed) SetWriteDeadline(t time.Time) error { return nil }

func (d *delayed) SetReadDeadline(t time.Time) error {
	d.in.setDeadline(t)
	return nil
}

func (d *delayed) Close() error {
	d.in.close()
	d.out.close()
	return nil
}

// delayLine is one direction. A send buffer of 64 KiB blocks the writer while it is full.
type delayLine struct {
	delay time.Duration

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at each change
	chunks   []delayedChunk
	queued   int
	blocked  bool
	closed   bool
	deadline time.Time
}

type delayedChunk struct {
	due  time.Time
	data []byte
}

func newDelayLine(delay time.Duration) *delayLine {
	return &delayLine{delay: delay, changed: make(chan struct{})}
}

// change wakes everybody. Called with mu held.
func (l *delayLine) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *delayLine) block(shut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocked = shut
	l.change()
}

func (l *delayLine) setDeadline(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deadline = t
	l.change()
}

func (l *delayLine) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.change()
}

func (l *delayLine) write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed && l.queued > 64<<10 {
		changed := l.changed
		l.mu.Unlock()
		<-changed
		l.mu.Lock()
	}
	if l.closed {
		return 0, net.ErrClosed
	}
	l.chunks = append(l.chunks, delayedChunk{time.Now().Add(l.delay), append([]byte(nil), p...)})
	l.queued += len(p)
	l.change()
	return len(p), nil
}

func (l *delayLine) read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		wait := time.Duration(-1)
		switch {
		case l.closed:
			return 0, io.EOF
		case !l.deadline.IsZero() && !time.Now().Before(l.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(l.chunks) > 0 && !l.blocked:
			if wait = time.Until(l.chunks[0].due); wait <= 0 {
				return l.take(p), nil
			}
		}
		if !l.deadline.IsZero() && (wait < 0 || time.Until(l.deadline) < wait) {
			wait = time.Until(l.deadline)
		}
		l.sleep(wait)
	}
}

// take is called with mu held, and something due.
func (l *delayLine) take(p []byte) int {
	n := copy(p, l.chunks[0].data)
	if l.chunks[0].data = l.chunks[0].data[n:]; len(l.chunks[0].data) == 0 {
		l.chunks = l.chunks[1:]
	}
	l.queued -= n
	l.change()
	return n
}

// sleep waits for a change, or for d when it is not negative. Called with mu held.
func (l *delayLine) sleep(d time.Duration) {
	changed := l.changed
	l.mu.Unlock()
	defer l.mu.Lock()
	var due <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-changed:
	case <-due:
	}
}
