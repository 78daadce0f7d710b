package stream

import (
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unanswered is how long a TCP connection to an origin lives on while what was sent, a
// keepalive probe included, is not acknowledged: a driver that waits for an origin whose
// machine or network is gone is to know within 30 s (docs/behaviours.md, Pooling74), and
// the system looks again only when it sends again.
const unanswered = 20 * time.Second

// GiveUp is a net.Dialer's Control: the connection fails when its peer has been silent
// for 20 s though it was to answer. By itself Linux goes on for a quarter of an hour.
func GiveUp(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unanswered/time.Millisecond))
	})
	if err != nil {
		return err
	}
	return failed
}
