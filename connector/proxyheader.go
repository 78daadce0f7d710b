package connector

import (
	"encoding/binary"
	"net/netip"

	"github.com/sluicedb/sluice/protocol/stream"
)

// The PROXY protocol, version 2 (HAProxy's proxy-protocol.txt, section 2.2).
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyLocal     = 0x20 // version 2, command LOCAL: the addresses are not known
	proxyProxy     = 0x21 // version 2, command PROXY
	proxyTCP4      = 0x11
	proxyTCP6      = 0x21
)

// proxyHeader tells an origin who is behind its connection: remote, the driver's ip:port as far as the relay knows it, and the
// origin's own address. When one of them is not known it says so.
func proxyHeader(remote string, origin stream.Conn) []byte {
	h := []byte(proxySignature)
	from, err := netip.ParseAddrPort(remote)
	to, err2 := netip.ParseAddrPort(origin.RemoteAddr().String())
	if err != nil || err2 != nil {
		return append(h, proxyLocal, 0, 0, 0)
	}
	from, to = netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if from.Addr().Is4() && to.Addr().Is4() {
		h = append(h, proxyProxy, proxyTCP4, 0, 12)
		h = append(h, from.Addr().AsSlice()...)
		h = append(h, to.Addr().AsSlice()...)
	} else {
		h = append(h, proxyProxy, proxyTCP6, 0, 36)
		a, b := from.Addr().As16(), to.Addr().As16() // an IPv4 address is mapped
		h = append(append(h, a[:]...), b[:]...)
	}
	h = binary.BigEndian.AppendUint16(h, from.Port())
	return binary.BigEndian.AppendUint16(h, to.Port())
}
