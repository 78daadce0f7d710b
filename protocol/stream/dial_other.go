//go:build !linux

package stream

import (
	"net"
	"time"

	"github.com/sluicedb/sluice/protocol/stream/socket"
)

// Dialled returns what Dialer has connected with the calls of package socket, and owns it.
func Dialled(c net.Conn) net.Conn { return socket.New(c) }

// dialer gives a connection up when the system does.
func dialer(idle time.Duration) *net.Dialer {
	return &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: idle, Interval: probeEvery}}
}
