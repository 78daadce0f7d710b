package connector

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// What is sent to an origin and not acknowledged is given up within half a minute.
func TestPooling74UserTimeout(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := service{network: "tcp", address: ln.Addr().String(), connectTimeout: connectTimeout, keepAlive: keepAlive}
	c, err := s.dialer().DialContext(t.Context(), s.network, s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ms int
	if e := raw.Control(func(fd uintptr) { ms, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	if ms < 5000 || ms > 30000 {
		t.Errorf("TCP_USER_TIMEOUT is %d ms", ms)
	}
}
