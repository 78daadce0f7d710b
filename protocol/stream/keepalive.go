package stream

import (
	"net"
	"time"
)

// The keepalive probes of a connection to an origin.
const (
	// MaxIdle is half of what GiveUp waits for an answer.
	MaxIdle = 10 * time.Second
	// probeEvery leaves five probes to be lost before GiveUp's 20 s are over.
	probeEvery = 2 * time.Second
)

// KeepAlive is the KeepAliveConfig of a net.Dialer whose Control is GiveUp: the first probe is sent when the connection has been idle for
// so long, and after MaxIdle at the latest. Linux ends a connection that has been silent for TCP_USER_TIMEOUT as soon as one probe is without
// an answer (tcp_keepalive_timer of net/ipv4/tcp_timer.c): were the first sent after that, it must not be lost. The probes of thousands of
// connections fall into one tick of the kernel's, and into a queue of a thousand packets (net.core.netdev_max_backlog).
func KeepAlive(idle time.Duration) net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: min(idle, MaxIdle), Interval: probeEvery}
}
