//go:build unix

package tunnel

import (
	"net"
	"syscall"
)

// ReceiveBuffer returns the bytes of receive buffer that the kernel has granted to c; 0 when it does not say.
func ReceiveBuffer(c *net.UDPConn) int {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	var size int
	if err := raw.Control(func(fd uintptr) {
		size, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
	}); err != nil {
		return 0
	}
	return size
}
