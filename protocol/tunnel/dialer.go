package tunnel

import (
	"context"
	"crypto/tls"
	"log/slog"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// A Carrier is what a session runs over.
type Carrier int

// The carriers. The zero Carrier is QUIC.
const (
	CarrierQUIC      Carrier = iota
	CarrierWebSocket         // yamux on a WebSocket
)

// String returns the carrier's name, as it is used in logs and metrics.
func (c Carrier) String() string {
	if c == CarrierWebSocket {
		return "websocket"
	}
	return "quic"
}

// A Dialer makes sessions from the connector's or the client's side. It holds no state: it may be used again, and concurrently.
type Dialer struct {
	Addr    string      // host:port of the relay; resolved anew by each Dial
	Carrier Carrier     // QUIC unless set
	TLS     *tls.Config // RootCAs, ServerName (Addr's host unless set); the package sets ALPN and the minimum version

	// Hello introduces this peer. It is required.
	Hello *tunnelpb.Hello

	// Configure is called when the relay sends rules, one call at a time, and returns what is now in force. Nil refuses them.
	Configure func(context.Context, *tunnelpb.Configure) *tunnelpb.Configured

	// GoAway is called when the relay asks this peer to move, never at the same time as Configure. It may be nil.
	GoAway func(*tunnelpb.GoAway)

	Limits Limits       // what the relay may ask of this side
	Logger *slog.Logger // slog.Default unless set
}

// Dial connects, says Hello and waits for the Welcome, within ctx and at most 15 seconds. It returns a *Refusal when the relay
// said no. The session outlives ctx; the caller closes it.
func (d *Dialer) Dial(ctx context.Context) (*Session, error) { return nil, nil }
