package connector

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What is sent to an origin and not acknowledged is given up within half a minute, and an idle connection not because a probe was lost:
// several are sent before that, whatever the rule says.
func TestPooling74UserTimeout(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, idle := range []time.Duration{keepAlive, time.Second, time.Hour} {
		s := service{network: "tcp", address: ln.Addr().String(), connectTimeout: connectTimeout, keepAlive: idle}
		c, err := s.dialer().DialContext(t.Context(), s.network, s.address)
		if err != nil {
			t.Fatal(err)
		}
		timeout := option(t, c, unix.TCP_USER_TIMEOUT)
		if timeout < 5000 || timeout > 30000 {
			t.Errorf("TCP_USER_TIMEOUT is %d ms", timeout)
		}
		first, next := option(t, c, unix.TCP_KEEPIDLE), option(t, c, unix.TCP_KEEPINTVL)
		if first > int(idle.Seconds()) {
			t.Errorf("the first probe is sent after %d s, want %v at most", first, idle)
		}
		if probes := (timeout/1000 - first) / next; probes < 3 {
			t.Errorf("%d probes after %d s, one each %d s, are sent before the connection is given up after %d ms, want 3", probes, first, next, timeout)
		}
		c.Close()
	}
}

// option returns a TCP option of a connection.
func option(t *testing.T, c net.Conn, name int) (value int) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, name) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return value
}
