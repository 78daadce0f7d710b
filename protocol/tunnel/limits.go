package tunnel

import "time"

// Limits bounds what one peer can make this side hold. The zero value has the defaults.
type Limits struct {
	Streams      int   // streams that the peer may have open at once; 4096 unless set
	StreamWindow int   // bytes the peer may send ahead of the reader on one QUIC stream; 4 MiB unless set
	Memory       int64 // bytes the peer may send ahead of all readers of a QUIC session; 512 MiB unless set
}

// The defaults of Limits. They are permission, not allocation: a window costs memory only while its reader stalls.
const (
	// defaultStreams is a quarter of 10,000 idle streams for each of a connector's four slots (TestTunnel23), with room.
	defaultStreams = 4096

	// defaultStreamWindow lets one stream fill 250 Mbit/s at 100 ms: three quarters of it are on the way when quic-go tells the
	// sender of more (WindowUpdateThreshold of its internal/protocol/params.go).
	defaultStreamWindow = 4 << 20

	// defaultMemory is the budget behind the connection's window: 128 readers stall with a full window each before they slow
	// their neighbours. quic-go's own default, 768 KiB to 15 MiB, lets two to seven do so.
	defaultMemory = 512 << 20
)

func (l Limits) withDefaults() Limits {
	if l.Streams <= 0 {
		l.Streams = defaultStreams
	}
	if l.StreamWindow <= 0 {
		l.StreamWindow = defaultStreamWindow
	}
	if l.Memory <= 0 {
		l.Memory = defaultMemory
	}
	return l
}

// connectionWindow is enough for every stream's window, within the budget.
func (l Limits) connectionWindow() uint64 {
	return uint64(max(int64(l.StreamWindow), min(int64(l.Streams)*int64(l.StreamWindow), l.Memory)))
}

// Bounds on messages, in bytes on the wire.
const (
	// MaxEarlyData is the most that an Open carries. A TLS ClientHello with a post-quantum key share has 1.8 KiB, a PostgreSQL
	// start-up with a first query less; header and early data together stay within QUIC's initial congestion window
	// (32 packets in quic-go) and never cost a second round trip.
	MaxEarlyData = 4 << 10

	// maxHeader bounds an Open without its early data: hostname 253, assertion about 1 KiB, credentials about 150.
	maxHeader = 4 << 10

	// maxHello bounds every frame before the Welcome, and the Welcome: far below what reference peers allow to be allocated on a
	// declared length (64 KiB), far above a Hello with features and labels.
	maxHello = 16 << 10

	// maxFrame bounds frames of the control stream between peers that know each other: a Configure with some 10,000 rules.
	maxFrame = 1 << 20

	// maxUnauthenticated is what a peer may have sent over QUIC before its Welcome. A ClientHello, the handshake and the largest
	// Hello take less than 32 KiB.
	maxUnauthenticated = 128 << 10

	// maxSkipped is how many unknown frames a peer may send before its Hello or Welcome.
	maxSkipped = 8
)

// Bounds on waits.
const (
	dialTimeout      = 15 * time.Second // for Dial where ctx allows more
	handshakeTimeout = 5 * time.Second  // from the first byte to the Welcome; also the header of a stream
	openTimeout      = 15 * time.Second // for Open and other requests where ctx allows more
	maxOpenTimeout   = 60 * time.Second // whatever the opener asks for
	closeTimeout     = time.Second      // for the peer to see why a session ends
)
