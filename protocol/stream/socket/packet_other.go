//go:build !linux

package socket

import "net"

// NewPacket returns c as it is.
func NewPacket(c net.PacketConn) net.PacketConn { return c }
