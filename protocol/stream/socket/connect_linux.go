package socket

import (
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Connect begins to connect a non-blocking TCP socket, of IPv6 or of IPv4. Its errors are syscall.Errno: EINPROGRESS where it has begun.
func Connect(fd uintptr, to netip.AddrPort, six bool) error {
	var name unix.RawSockaddrInet6
	size, ok := sockaddr(&name, net.UDPAddrFromAddrPort(to), six)
	if !ok {
		return syscall.EAFNOSUPPORT
	}
	if _, _, errno := syscall.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&name)), uintptr(size)); errno != 0 {
		return errno
	}
	return nil
}
