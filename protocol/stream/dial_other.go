//go:build !linux

package stream

import (
	"net"
	"time"
)

// dialer gives a connection up when the system does.
func dialer(idle time.Duration) *net.Dialer {
	return &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: idle, Interval: probeEvery}}
}
