package stream

import (
	"net"
	"syscall"
	"time"
)

// idleAccepted is package net's keepalive of what is accepted (defaultTCPKeepAliveIdle of net/tcpsockopt_unix.go).
const idleAccepted = 15 * time.Second

// listening sets the listener's options: Linux gives them to each connection (tcp_create_openreq_child of net/ipv4/tcp_minisocks.c). A
// listener of Multipath TCP, which package net makes by itself, refuses some of them before Linux 6.11, and drivers speak none.
func listening() net.ListenConfig {
	config := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = keepAlive(fd, idleAccepted, idleAccepted) })
		if err != nil {
			return err
		}
		return failed
	}}
	config.SetMultipathTCP(false)
	return config
}
