package tunnel

import (
	"context"
	"net/netip"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// A Session is an authenticated link between a relay and a peer, and is the same on both sides. Its methods may be called
// concurrently.
type Session struct{}

// Hello returns what the dialling peer said. It must not be changed.
func (s *Session) Hello() *tunnelpb.Hello { return nil }

// Welcome returns what the relay answered. It must not be changed.
func (s *Session) Welcome() *tunnelpb.Welcome { return nil }

// Carrier returns what the session runs over.
func (s *Session) Carrier() Carrier { return 0 }

// RemoteAddr returns the peer's address.
func (s *Session) RemoteAddr() netip.AddrPort { return netip.AddrPort{} }

// Done returns a channel that is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return nil }

// Err returns nil until Done is closed, and then a *SessionError.
func (s *Session) Err() error { return nil }

// Streams returns how many streams are open, in both directions of opening.
func (s *Session) Streams() int { return 0 }

// Close ends the session and resets its streams. The peer sees code and reason, which must be safe to show. It waits at most a
// second for the peer. Later calls do nothing.
func (s *Session) Close(code stream.Code, reason string) error { return nil }

// Open asks the peer for a stream and waits for its answer: one round trip. It returns a *Refusal when the peer said no, a
// *SessionError when the session has ended, and ctx's error; in each case no byte of early data has reached an origin through
// this call's result, and the stream is gone. Open fills DeadlineMs from ctx when it is zero.
func (s *Session) Open(ctx context.Context, open *tunnelpb.Open) (*Stream, error) { return nil, nil }

// Accept waits for the peer's next Open. It returns a *SessionError when the session has ended.
func (s *Session) Accept(ctx context.Context) (*Incoming, error) { return nil, nil }

// Configure sends rules to a connector and waits for its answer.
func (s *Session) Configure(ctx context.Context, c *tunnelpb.Configure) (*tunnelpb.Configured, error) {
	return nil, nil
}

// Probe measures a round trip through the peer's stream path: a stream is opened, answered by the peer's package, and closed.
func (s *Session) Probe(ctx context.Context) (time.Duration, error) { return 0, nil }

// SendGoAway asks the peer to move to another session. Streams go on.
func (s *Session) SendGoAway(ctx context.Context, g *tunnelpb.GoAway) error { return nil }

// An Incoming is an Open that waits for an answer. It must be answered once, by Accept or Refuse; one that is not is refused
// when its deadline passes.
type Incoming struct {
	// Request is what the peer asked for. Request.EarlyData are the stream's first bytes: the Stream does not return them again.
	Request *tunnelpb.Open
}

// Context is done when the opener has given up, the request's deadline has passed, or the session has ended.
func (in *Incoming) Context() context.Context { return nil }

// Accept answers yes. The caller ends the stream.
func (in *Incoming) Accept() (*Stream, error) { return nil, nil }

// Refuse answers no.
func (in *Incoming) Refuse(r *Refusal) error { return nil }

// A Stream is one duplex flow of a Session. It implements stream.Conn.
type Stream struct {
	stream.Conn
}
