package tunnel

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/coder/websocket"
)

// ServeWebSocket serves one session, and returns when it has ended. The relay's mux calls it for requests whose
// Sec-WebSocket-Protocol names Protocol. The session ends with the request's context, which is done for no reason of the
// connection's once it is a WebSocket: give the http.Server a BaseContext that ends. The server must offer HTTP/1.1.
func (s *Server) ServeWebSocket(w http.ResponseWriter, r *http.Request) {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		remote = netip.AddrPort{} // a listener without addresses
	}
	a := s.admit(remote.Addr())
	if a == nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, errBusy.Error(), http.StatusServiceUnavailable)
		return
	}
	defer a.release()
	hctx, cancel := context.WithDeadline(r.Context(), a.until)
	defer cancel()

	peer := Peer{Carrier: CarrierWebSocket, Remote: unmap(remote)}
	if r.TLS != nil {
		peer.Certificates = r.TLS.PeerCertificates
	}
	log := s.logger().With("remote", peer.Remote, "carrier", peer.Carrier)
	taken := &takeover{ResponseWriter: w}
	c, err := websocket.Accept(taken, r, &websocket.AcceptOptions{
		Subprotocols:    []string{Protocol},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		log.Debug("session not established", "err", err)
		return
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	ws := newWSConn(c, local, net.TCPAddrFromAddrPort(peer.Remote))
	ws.below = gathererOf(taken.conn)
	control, sess, err := s.welcomeWS(hctx, ws, peer)
	if err != nil {
		log.Debug("session not established", "err", err)
		_ = ws.Close()
		return
	}
	a.release()
	s.handle(r.Context(), newSession(sess, control))
}

// welcomeWS does the handshake on the bare byte stream. There is no yamux, with its buffers and windows, for a peer that is not
// welcome.
func (s *Server) welcomeWS(ctx context.Context, ws *wsConn, peer Peer) (io.ReadWriter, *Session, error) {
	stop := ws.bound(ctx)
	defer stop()
	upgraded := time.Now()
	hello, err := hearHello(io.LimitReader(ws, maxUnauthenticated))
	rtt := time.Since(upgraded) // the peer says Hello when it has read of the upgrade
	if err != nil {
		return nil, nil, err
	}
	welcome, refusal := s.authenticate(ctx, peer, hello)
	if err := answerHello(ws, welcome, refusal); err != nil {
		return nil, nil, err
	}
	if refusal != nil {
		// The peer closes when it has read the answer. Anything else is as good.
		cctx, cancel := context.WithTimeout(ctx, closeTimeout)
		defer cancel()
		defer ws.bound(cctx)()
		_, _ = ws.Read(make([]byte, 1))
		return nil, nil, refusal
	}
	sess := s.session(peer, hello, welcome)
	link := newYamuxLink(ws, sess.out, false, sess.limits, rtt)
	control, err := link.sess.accept(ctx)
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		link.drop()
		return nil, nil, err
	}
	sess.link = link
	link.newest = control.id
	return yamuxControl{control}, sess, nil
}

// takeover notes the connection that a WebSocket takes over.
type takeover struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements http.Hijacker.
func (t *takeover) Hijack() (c net.Conn, rw *bufio.ReadWriter, err error) {
	t.conn, rw, err = http.NewResponseController(t.ResponseWriter).Hijack()
	return t.conn, rw, err
}
