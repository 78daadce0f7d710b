package stream_test

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluicedb/sluice/protocol/stream"
)

// What is accepted has the keepalive of package net's, which nobody set on it.
func TestListeningInherited(t *testing.T) {
	config := stream.Listening()
	if config.KeepAlive >= 0 {
		t.Error("package net sets a keepalive on each connection")
	}
	ln, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	far, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		for _, o := range []struct{ level, name, want int }{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		} {
			if got, err := unix.GetsockoptInt(int(fd), o.level, o.name); got != o.want || err != nil {
				t.Errorf("option %d is %d, %v; want %d", o.name, got, err, o.want)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
}
