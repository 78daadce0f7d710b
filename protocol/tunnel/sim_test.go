package tunnel

import (
	"context"
	"io"
	"math"
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

// path is a network between two hosts.
type path struct {
	delay time.Duration // one way
	rate  int           // bytes a second, each way; 0 is without limit
	loses int           // one packet in so many; 0 is none
}

// tcp is the path as a TCP connection over it has it: losses make it slower, to what the congestion avoidance of RFC 5681 gets on
// average when every loses-th segment is lost (Mathis et al., "The Macroscopic Behavior of the TCP Congestion Avoidance Algorithm").
func (p path) tcp() path {
	const segment = 1448 // bytes, on Ethernet with time stamps
	if p.loses > 0 {
		got := int(segment / (2 * p.delay.Seconds()) * math.Sqrt(1.5*float64(p.loses)))
		if p.rate == 0 || got < p.rate {
			p.rate = got
		}
	}
	return p
}

// turnstile lets bytes pass at a path's rate.
type turnstile struct {
	path
	mu   sync.Mutex
	free time.Time
}

// pass returns when n bytes that come now are at the other end.
func (t *turnstile) pass(n int) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.free.Before(now) {
		t.free = now
	}
	if t.rate > 0 {
		t.free = t.free.Add(time.Duration(n) * time.Second / time.Duration(t.rate))
	}
	return t.free.Add(t.delay)
}

// simulated is a session over a network of a known delay.
type simulated struct {
	dialled, served *Session
	block           func(bool) // stops and starts delivery, in both directions
	stop            func()     // ends everything, as synctest demands
	pulse           pulse
}

// pulse measures how long a network has been silent.
type pulse struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.last.IsZero() || now.After(p.last) {
		if !p.last.IsZero() {
			p.longest = max(p.longest, now.Sub(p.last))
		}
		p.last = now
	}
}

// silence is the longest time without a packet.
func (p *pulse) silence() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.longest, time.Since(p.last))
}

// simulate makes a session on carrier c over a path.
func simulate(t *testing.T, c Carrier, over path, server *Server) *simulated {
	t.Helper()
	sessions := make(chan *Session, 1)
	if server.Authenticate == nil {
		server.Authenticate = func(context.Context, Peer, *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
			return &tunnelpb.Welcome{}, nil
		}
	}
	server.Handle = func(ctx context.Context, s *Session) {
		sessions <- s
		<-ctx.Done()
	}
	d := &Dialer{Carrier: c, Hello: &tunnelpb.Hello{}, Limits: server.Limits}
	sim := &simulated{}
	var serving sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	var free func()
	if c == CarrierQUIC {
		free = sim.quic(t, ctx, d, server, over, &serving)
	} else {
		free = sim.websocket(t, ctx, d, server, over, &serving)
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
	pulse *pulse
	loses int // one packet in so many
	mu    sync.Mutex
	shut  bool
	came  int // packets
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
}

func (g *gate) SendPacket(p simnet.Packet) error {
	g.mu.Lock()
	g.came++
	lost := g.shut || g.loses > 0 && g.came%g.loses == 0
	g.mu.Unlock()
	if lost {
		return nil
	}
	g.pulse.beat()
	return g.PerfectRouter.SendPacket(p)
}

func (sim *simulated) quic(t *testing.T, ctx context.Context, d *Dialer, server *Server, over path, serving *sync.WaitGroup) func() {
	serverTLS, clientTLS := testTLS(t)
	router := &gate{pulse: &sim.pulse, loses: over.loses}
	sim.block = router.set
	n := &simnet.Simnet{Router: router}
	link := func() simnet.NodeBiDiLinkSettings {
		way := &turnstile{path: over}
		return simnet.NodeBiDiLinkSettings{LatencyFunc: func(p simnet.Packet) time.Duration { return time.Until(way.pass(len(p.Data))) }}
	}
	near := n.NewEndpoint(&net.UDPAddr{IP: net.IPv4(1, 0, 0, 1), Port: 9001}, link())
	far := n.NewEndpoint(&net.UDPAddr{IP: net.IPv4(1, 0, 0, 2), Port: 9002}, link())
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

func (sim *simulated) websocket(t *testing.T, ctx context.Context, d *Dialer, server *Server, over path, serving *sync.WaitGroup) func() {
	near, far := delayedPair(over.tcp(), &sim.pulse)
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

func delayedPair(over path, p *pulse) (a, b *delayed) {
	ab, ba := newDelayLine(over, p), newDelayLine(over, p)
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

// delayBuffer is how many bytes are on their way at most: what TCP's windows allow on a path that yamux is to fill.
const delayBuffer = 2 * maxYamuxWindow

// delayLine is one direction. It blocks the writer while its buffer is full.
type delayLine struct {
	way   turnstile
	pulse *pulse

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

func newDelayLine(over path, p *pulse) *delayLine {
	return &delayLine{way: turnstile{path: over}, pulse: p, changed: make(chan struct{})}
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
	for !l.closed && l.queued > delayBuffer {
		changed := l.changed
		l.mu.Unlock()
		<-changed
		l.mu.Lock()
	}
	if l.closed {
		return 0, net.ErrClosed
	}
	l.chunks = append(l.chunks, delayedChunk{l.way.pass(len(p)), append([]byte(nil), p...)})
	l.queued += len(p)
	l.pulse.beat()
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
