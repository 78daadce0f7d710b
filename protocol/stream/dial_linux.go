package stream

import (
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicedb/sluice/protocol/stream/socket"
)

// unanswered is how long a TCP connection to an origin lives on while what was sent, a
// keepalive probe included, is not acknowledged: a driver that waits for an origin whose
// machine or network is gone is to know within 30 s (docs/behaviours.md, Pooling74), and
// the system looks again only when it sends again.
const unanswered = 20 * time.Second

// Dialled returns what Dialer has connected with the calls of package socket, and owns it.
func Dialled(c net.Conn) net.Conn { return socket.NewPatient(c, unanswered) }

// dialer sets a socket's options itself: package net takes twice as many calls, and announces each.
func dialer(idle time.Duration) *net.Dialer {
	return &net.Dialer{KeepAlive: -1, Control: func(network, address string, c syscall.RawConn) error {
		if !strings.HasPrefix(network, "tcp") {
			return nil
		}
		var failed error
		err := c.Control(func(fd uintptr) {
			if failed = prepare(fd, idle); failed == nil {
				begin(fd, network, address)
			}
		})
		if err != nil {
			return err
		}
		return failed
	}}
}

func prepare(fd uintptr, idle time.Duration) error {
	if err := keepAlive(fd, idle, probeEvery); err != nil {
		return err
	}
	return socket.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unanswered/time.Millisecond))
}

// keepAlive has a socket probed when it has been idle for so long, and then as often as every says.
func keepAlive(fd uintptr, idle, every time.Duration) error {
	if err := socket.SetInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1); err != nil {
		return err
	}
	if err := socket.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(idle)); err != nil {
		return err
	}
	return socket.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(every))
}

// seconds rounds up, as package net does: the system refuses 0.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// begin connects before package net does. An origin on this machine has accepted by then: package net finds the socket connected, and
// neither registers a wait nor asks how it ended. Where this fails, or takes longer, package net learns it from its own connect.
func begin(fd uintptr, network, address string) {
	if to, err := netip.ParseAddrPort(address); err == nil {
		_ = socket.Connect(fd, to, network == "tcp6")
	}
}
