package tunnel

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// Protocol is the ALPN of QUIC sessions and the sub-protocol of WebSocket sessions.
const Protocol = "sluice/1"

// A Peer is where a Hello came from.
type Peer struct {
	Carrier Carrier
	Remote  netip.AddrPort
}

// A Server is the relay's side. Its fields must not change while it serves; its methods may be called concurrently.
type Server struct {
	// TLS has the relay's certificate. It is used for QUIC; on the WebSocket path the HTTP server has its own.
	TLS *tls.Config

	// Authenticate decides on a Hello. It returns a *Refusal to refuse; any other error is logged and refused as internal. Its
	// context ends with the handshake's time.
	Authenticate func(context.Context, Peer, *tunnelpb.Hello) (*tunnelpb.Welcome, error)

	// Handle runs for the session's life. When it returns the session is closed; when the session or the Server's context ends,
	// its context is done.
	Handle func(context.Context, *Session)

	// HandshakeTimeout bounds the time from a connection's first byte to its Welcome; 5 seconds unless set.
	HandshakeTimeout time.Duration

	// MaxHandshakes bounds the peers that have not been welcomed yet; 256 unless set. More are turned away.
	MaxHandshakes int

	// StatelessResetKey lets peers learn within a round trip that the relay has restarted, if it is the same as before.
	// Derive it from a secret of the relay's. Nil sends no resets.
	StatelessResetKey *[32]byte

	Limits Limits       // what each peer may ask of this side
	Logger *slog.Logger // slog.Default unless set
}

// ServeQUIC serves sessions on pc until ctx ends, and returns when all of them have ended. It closes pc.
func (s *Server) ServeQUIC(ctx context.Context, pc net.PacketConn) error { return nil }

// ServeWebSocket serves one session, and returns when it has ended. The relay's mux calls it for requests whose
// Sec-WebSocket-Protocol names Protocol; the session ends with the request's context.
func (s *Server) ServeWebSocket(w http.ResponseWriter, r *http.Request) {}
