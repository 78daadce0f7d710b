package stream

import (
	"net"
	"time"
)

// The keepalive probes of a connection to an origin.
const (
	// MaxIdle is half of what an origin has to answer.
	MaxIdle = 10 * time.Second
	// probeEvery leaves five probes to be lost before unanswered is over.
	probeEvery = 2 * time.Second
)

// Dialer returns what origins are dialled with. A TCP connection is probed when it has been idle for so long, and after MaxIdle at the
// latest; on Linux it fails when its peer has been silent for 20 s though it was to answer: Origin and Dialled keep it while its
// peer is merely slow to read. By itself Linux goes on for a quarter of an hour, and ends a connection that has been silent for
// TCP_USER_TIMEOUT as soon as one probe is without an answer (tcp_keepalive_timer of net/ipv4/tcp_timer.c): were the first sent after that,
// it must not be lost. The probes of thousands of connections fall into one tick of the kernel's, and into a queue of a thousand packets
// (net.core.netdev_max_backlog).
func Dialer(idle time.Duration) *net.Dialer { return dialer(min(idle, MaxIdle)) }
