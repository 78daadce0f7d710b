package tunnel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/stream/socket"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// Protocol is the ALPN of QUIC sessions and the sub-protocol of WebSocket sessions.
const Protocol = "sluice/1"

// defaultHandshakes is how many peers may be unauthenticated at once: with 10 ms of handshake on each, 25,000 arrive a second,
// and at maxUnauthenticated each they hold 32 MiB.
const defaultHandshakes = 256

// A Peer is where a Hello came from.
type Peer struct {
	Carrier      Carrier
	Remote       netip.AddrPort
	Certificates []*x509.Certificate // that the peer has proved to own, leaf first; nobody has verified who issued them
}

// A Server is the relay's side. Its fields must not change while it serves, and it must not be copied; its methods may be called
// concurrently.
type Server struct {
	// TLS has the relay's certificate. It is used for QUIC; on the WebSocket path the HTTP server has its own.
	TLS *tls.Config

	// Authenticate decides on a Hello. It returns a *Refusal to refuse; any other error is logged and refused as internal. Its
	// context ends with the handshake's time. It is required.
	Authenticate func(context.Context, Peer, *tunnelpb.Hello) (*tunnelpb.Welcome, error)

	// Handle runs for the session's life. When it returns the session is closed; when the session or the serving context ends,
	// its context is done. It is required.
	Handle func(context.Context, *Session)

	// HandshakeTimeout bounds the time from a connection's first byte to its Welcome; 5 seconds unless set.
	HandshakeTimeout time.Duration

	// MaxHandshakes bounds the peers that have not been welcomed yet; 256 unless set. More are turned away, and of one address before it
	// leaves none to others: see Places.
	MaxHandshakes int

	// StatelessResetKey lets peers learn within a round trip that the relay has restarted, if it is the same as before.
	// Derive it from a secret of the relay's. Nil sends no resets.
	StatelessResetKey *[32]byte

	Limits Limits       // what each peer may ask of this side
	Logger *slog.Logger // discards unless set

	once   sync.Once
	places *Places // of peers that have not been welcomed
}

func (s *Server) logger() *slog.Logger {
	if s.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Logger
}

func (s *Server) handshakeTimeout() time.Duration {
	if s.HandshakeTimeout <= 0 {
		return handshakeTimeout
	}
	return s.HandshakeTimeout
}

// admission is the place of one peer that has not been welcomed.
type admission struct {
	once   sync.Once
	places *Places
	peer   netip.Addr
	until  time.Time // it has at the most
}

var errBusy = errors.New("too many handshakes are under way")

// strangers returns the places of peers that have not been welcomed.
func (s *Server) strangers() *Places {
	s.once.Do(func() {
		n := s.MaxHandshakes
		if n <= 0 {
			n = defaultHandshakes
		}
		s.places = NewPlaces(n)
	})
	return s.places
}

// admit takes a place, or returns nil when there is none. Peers that have not proved their address share the places of the zero one,
// since they may say anybody's.
func (s *Server) admit(peer netip.Addr) *admission {
	places := s.strangers()
	if !places.Take(peer) {
		return nil
	}
	return &admission{places: places, peer: peer, until: time.Now().Add(s.handshakeTimeout())}
}

func (a *admission) release() { a.once.Do(func() { a.places.Give(a.peer) }) }

// authenticate turns Authenticate's answer into a Welcome or a Refusal.
func (s *Server) authenticate(ctx context.Context, peer Peer, hello *tunnelpb.Hello) (*tunnelpb.Welcome, *Refusal) {
	welcome, err := s.Authenticate(ctx, peer, hello)
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		return nil, refusal
	case err != nil:
		s.logger().Error("authentication broke", "remote", peer.Remote, "err", err)
		return nil, &Refusal{Code: tunnelpb.Code_INTERNAL, Message: "the relay cannot check credentials now", RetryAfter: time.Second}
	case welcome == nil:
		welcome = &tunnelpb.Welcome{}
	}
	return welcome, nil
}

// session is what both carriers of a Server fill alike.
func (s *Server) session(peer Peer, hello *tunnelpb.Hello, welcome *tunnelpb.Welcome) *Session {
	return &Session{
		carrier: peer.Carrier, remote: peer.Remote,
		hello: hello, welcome: welcome,
		limits: s.Limits.withDefaults(), served: true, log: s.logger(),
		out: newOutbox(),
	}
}

// handle runs Handle for a session's life.
func (s *Server) handle(ctx context.Context, sess *Session) {
	hctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(sess.ctx, cancel)
	s.Handle(hctx, sess)
	stop()
	cancel()
	if ctx.Err() != nil {
		_ = sess.Close(stream.CodeDraining, "the relay is shutting down")
	} else {
		_ = sess.Close(stream.CodeClosed, "the session is over")
	}
	sess.wait()
}

// admissionKey finds the admission in a QUIC connection's context.
type admissionKey struct{}

// ServeQUIC serves sessions on pc until ctx ends, and returns when all of them have ended. It closes pc.
func (s *Server) ServeQUIC(ctx context.Context, pc net.PacketConn) error {
	conf := &tls.Config{}
	if s.TLS != nil {
		conf = s.TLS.Clone()
	}
	conf.NextProtos = []string{Protocol}
	conf.MinVersion = tls.VersionTLS13
	conf.ClientAuth = max(conf.ClientAuth, tls.RequestClientCert) // relays have one

	tr := &quic.Transport{
		Conn:                socket.NewPacket(pc),
		ConnContext:         s.admitQUIC,
		VerifySourceAddress: func(net.Addr) bool { return !s.strangers().Room(netip.Addr{}) },
	}
	if s.StatelessResetKey != nil {
		key := quic.StatelessResetKey(*s.StatelessResetKey)
		tr.StatelessResetKey = &key
	}
	qc := quicConfig(s.Limits.withDefaults())
	qc.HandshakeIdleTimeout = s.handshakeTimeout() / 2 // quic-go lets the TLS handshake as a whole take twice as long
	ln, err := tr.Listen(conf, qc)
	if err != nil {
		return errors.Join(err, pc.Close())
	}
	var conns sync.WaitGroup
	for {
		conn, aerr := ln.Accept(ctx)
		if aerr != nil {
			err = aerr
			break
		}
		conns.Go(func() { s.serveQUICConn(ctx, conn) })
	}
	if ctx.Err() != nil {
		err = nil // it ended as it was told to
	}
	return errors.Join(err, s.stopQUIC(ln, &conns, tr, pc))
}

func (s *Server) stopQUIC(ln *quic.Listener, conns *sync.WaitGroup, tr *quic.Transport, pc net.PacketConn) error {
	err := ln.Close()
	conns.Wait()
	return errors.Join(err, tr.Close(), pc.Close())
}

// admitQUIC takes a place for a connection from its first packet on.
func (s *Server) admitQUIC(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	var peer netip.Addr
	if info.AddrVerified {
		peer = addrPort(info.RemoteAddr).Addr()
	}
	a := s.admit(peer)
	if a == nil {
		return nil, errBusy
	}
	context.AfterFunc(ctx, a.release)
	return context.WithValue(ctx, admissionKey{}, a), nil
}

// serveQUICConn serves one connection, from its TLS handshake's end to its own.
func (s *Server) serveQUICConn(ctx context.Context, conn *quic.Conn) {
	link := &quicLink{conn: conn}
	peer := Peer{
		Carrier: CarrierQUIC, Remote: addrPort(conn.RemoteAddr()), Certificates: conn.ConnectionState().TLS.PeerCertificates,
	}
	place := conn.Context().Value(admissionKey{}).(*admission)
	hctx, cancel := context.WithDeadline(ctx, place.until)
	defer cancel()

	var watch sync.WaitGroup
	watch.Go(func() { capUnauthenticated(hctx, conn) })
	control, sess, err := s.welcomeQUIC(hctx, link, peer)
	cancel()
	watch.Wait()
	if err != nil {
		s.logger().Debug("session not established", "remote", peer.Remote, "carrier", peer.Carrier, "err", err)
		link.close(stream.CodeTimeout, "no session was established")
		return
	}
	place.release()
	s.handle(ctx, newSession(sess, control))
}

func (s *Server) welcomeQUIC(ctx context.Context, link *quicLink, peer Peer) (*quic.Stream, *Session, error) {
	control, err := link.conn.AcceptStream(ctx)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = control.SetDeadline(past) })
	defer stop()
	var watch sync.WaitGroup
	defer watch.Wait()
	strange, welcomed := context.WithCancel(ctx)
	defer welcomed()
	watch.Go(func() { refuseStreams(strange, link.conn) })
	hello, err := hearHello(control)
	if err != nil {
		return nil, nil, err
	}
	welcome, refusal := s.authenticate(ctx, peer, hello)
	if refusal == nil {
		// What the peer opens from the Welcome on is the session's.
		welcomed()
		watch.Wait()
	}
	if err := answerHello(control, welcome, refusal); err != nil {
		return nil, nil, err
	}
	if refusal != nil {
		// Closing now would drop the answer. The peer closes when it has read it.
		_ = control.Close()
		select {
		case <-link.closed():
		case <-time.After(closeTimeout):
		}
		return nil, nil, refusal
	}
	if !stop() {
		return nil, nil, ctx.Err()
	}
	sess := s.session(peer, hello, welcome)
	sess.link = link
	return control, sess, nil
}

// refuseStreams closes a connection that opens another stream than the control stream, until ctx ends. A frame for the highest
// stream opens all below it, and quic-go holds 1.6 KiB for each: one packet of a stranger would cost 6.6 MiB for as long as a
// handshake may take.
func refuseStreams(ctx context.Context, conn *quic.Conn) {
	if _, err := conn.AcceptStream(ctx); err == nil {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(stream.CodeProtocol), "a stream was opened before the welcome")
	}
}

// capUnauthenticated closes a connection that sends more than a handshake takes. QUIC's windows are the same before and after
// the Welcome, so that they do not do it.
func capUnauthenticated(ctx context.Context, conn *quic.Conn) {
	// 10 ms at 1 Gbit/s are 1.2 MB, which is what all strangers together can send beyond the cap.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-conn.Context().Done():
			return
		case <-tick.C:
			if conn.ConnectionStats().BytesReceived > maxUnauthenticated {
				_ = conn.CloseWithError(quic.ApplicationErrorCode(stream.CodeLimited), "too much was sent before the welcome")
				return
			}
		}
	}
}
