package stream_test

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicedb/sluice/protocol/stream"
)

// An origin is being connected to, with its options set, before package net comes to it.
func TestDialerBegins(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			ln, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			d := stream.Dialer(time.Hour)
			then := d.Control
			d.Control = func(network, address string, c syscall.RawConn) error {
				err := then(network, address, c)
				return errors.Join(err, c.Control(func(fd uintptr) {
					p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
					if _, err := unix.Poll(p, 10_000); err != nil {
						t.Error(err)
					}
					if _, err := unix.Getpeername(int(fd)); err != nil {
						t.Errorf("the socket has no peer yet: %v", err)
					}
					for name, want := range map[int]int{unix.TCP_KEEPIDLE: 10, unix.TCP_KEEPINTVL: 2, unix.TCP_USER_TIMEOUT: 20_000} {
						if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, name); got != want || err != nil {
							t.Errorf("option %d is %d, %v; want %d", name, got, err, want)
						}
					}
					if on, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE); on != 1 || err != nil {
						t.Errorf("keepalive is %d, %v", on, err)
					}
				}))
			}
			c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got, want := c.RemoteAddr().String(), ln.Addr().String(); got != want {
				t.Errorf("connected to %s, want %s", got, want)
			}
		})
	}
}

// What refuses is told of as package net does.
func TestDialerRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	_, want := net.Dial("tcp", address)
	_, err = stream.Dialer(stream.MaxIdle).DialContext(t.Context(), "tcp", address)
	if !errors.Is(err, syscall.ECONNREFUSED) || err.Error() != want.Error() {
		t.Errorf("got %v, want %v", err, want)
	}
}
