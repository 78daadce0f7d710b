package tunnel

import (
	"context"

	"github.com/sluicedb/sluice/protocol/stream"
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

// link is one carrier's connection: a source of streams. Its methods may be called concurrently.
type link interface {
	// open makes a stream and sends header on it. It waits for nothing from the peer.
	open(ctx context.Context, header []byte) (linkStream, error)

	// accept calls each for every stream of the peer's, one at a time, until the connection has ended; or, over QUIC, ctx has. each
	// does not block. accept is called once.
	accept(ctx context.Context, each func(linkStream))

	// closed is closed when the connection has ended, for whatever reason.
	closed() <-chan struct{}

	// err is a *SessionError once closed is closed.
	err() error

	// close tells the peer and frees everything, within closeTimeout.
	close(code stream.Code, reason string)

	stats() Stats

	// control handles the frames that are about the link: Reset and Close.
	control(*tunnelpb.Frame)
}

// linkStream is a stream of a link.
type linkStream interface {
	stream.Conn

	// whenAborted calls f, in a goroutine of its own, when the peer has reset the stream, or reads it no more, or either side has
	// ended it. stop lets it be, and reports whether it came in time. There is one f for a stream.
	whenAborted(f func()) (stop func() bool)

	// wasReset returns the peer's reset, or the session's end, in a call of whenAborted's f; nil when that came for another reason.
	wasReset() error
}
