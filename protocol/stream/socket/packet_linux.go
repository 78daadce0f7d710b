package socket

import (
	"encoding/binary"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// maxBatch is how many datagrams one ReadBatch takes at most: quic-go asks for 8.
const maxBatch = 8

// A PacketConn is a UDP socket with the calls of this package for WriteMsgUDP and ReadBatch, which are what quic-go uses. Its methods
// may be called concurrently.
type PacketConn struct {
	*net.UDPConn
	raw syscall.RawConn
	six bool // an IPv6 socket, which says IPv4 addresses in IPv6's form

	in struct {
		mu   sync.Mutex // held by the ReadBatch that is under way
		try  func(fd uintptr) bool
		msgs [maxBatch]mmsghdr
		iovs [maxBatch]unix.Iovec
		from [maxBatch]unix.RawSockaddrInet6
		last unix.RawSockaddrInet6 // the address of the datagram before, and
		addr *net.UDPAddr          // what was made of it: the next is likely to be the same's
		n    int                   // messages to be read, and then read
		errn syscall.Errno
	}
	out struct {
		mu   sync.Mutex // held by the WriteMsgUDP that is under way
		try  func(fd uintptr) bool
		msg  unix.Msghdr
		iov  unix.Iovec
		to   unix.RawSockaddrInet6
		errn syscall.Errno
	}
}

// mmsghdr is Linux's struct mmsghdr (recvmmsg(2)).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// NewPacket returns c with the calls of this package, and owns it. What is no UDP socket is returned as it is.
func NewPacket(c net.PacketConn) net.PacketConn {
	udp, ok := c.(*net.UDPConn)
	if !ok {
		return c
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return c
	}
	var domain int
	if cerr := raw.Control(func(fd uintptr) { domain, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN) }); cerr != nil || err != nil {
		return c
	}
	p := &PacketConn{UDPConn: udp, raw: raw, six: domain == unix.AF_INET6}
	p.in.try, p.out.try = p.receive, p.send
	return p
}

// ReadBatch reads at least one datagram, each into the first of a message's Buffers, and returns how many. No flags are known.
func (p *PacketConn) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	in := &p.in
	in.mu.Lock()
	defer in.mu.Unlock()
	in.n, in.errn = min(len(ms), maxBatch), 0
	for i := range in.n {
		h := &in.msgs[i].hdr
		in.iovs[i].Base = unsafe.SliceData(ms[i].Buffers[0])
		in.iovs[i].SetLen(len(ms[i].Buffers[0]))
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&in.from[i])), unix.SizeofSockaddrInet6
		h.Iov, h.Iovlen = &in.iovs[i], 1
		h.Control = unsafe.SliceData(ms[i].OOB)
		h.SetControllen(len(ms[i].OOB))
		h.Flags = 0
	}
	err := p.raw.Read(in.try)
	if err == nil && in.errn != 0 {
		err = os.NewSyscallError("recvmmsg", in.errn)
	}
	if err != nil {
		return 0, explain(p, "read", nil, err)
	}
	for i := range in.n {
		m := &in.msgs[i]
		ms[i].N, ms[i].NN, ms[i].Flags = int(m.n), int(m.hdr.Controllen), int(m.hdr.Flags)
		if in.addr == nil || in.from[i] != in.last {
			in.last, in.addr = in.from[i], udpAddr(&in.from[i])
		}
		ms[i].Addr = in.addr
	}
	return in.n, nil
}

// receive reports whether there is nothing more to wait for.
func (p *PacketConn) receive(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&p.in.msgs)), uintptr(p.in.n), 0, 0, 0)
		switch errno {
		case 0:
			p.in.n = int(n)
		case syscall.EINTR: // the runtime's own signals come at any time
			continue
		case syscall.EAGAIN:
			return false
		}
		p.in.errn = errno
		return true
	}
}

// WriteMsgUDP is that of net.UDPConn.
func (p *PacketConn) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	out := &p.out
	out.mu.Lock()
	defer out.mu.Unlock()
	size, ok := sockaddr(&out.to, addr, p.six)
	if !ok { // an address with a zone, or of the other family
		return p.UDPConn.WriteMsgUDP(b, oob, addr)
	}
	out.iov.Base = unsafe.SliceData(b)
	out.iov.SetLen(len(b))
	out.msg.Name, out.msg.Namelen = (*byte)(unsafe.Pointer(&out.to)), size
	out.msg.Iov, out.msg.Iovlen = &out.iov, 1
	out.msg.Control = nil
	if len(oob) > 0 {
		out.msg.Control = unsafe.SliceData(oob)
	}
	out.msg.SetControllen(len(oob))
	out.errn = 0
	err = p.raw.Write(out.try)
	out.iov.Base, out.msg.Control = nil, nil
	if err == nil && out.errn != 0 {
		err = os.NewSyscallError("sendmsg", out.errn)
	}
	if err != nil {
		return 0, 0, explain(p, "write", addr, err)
	}
	return len(b), len(oob), nil // a datagram goes out whole
}

// send reports whether there is nothing more to wait for.
func (p *PacketConn) send(fd uintptr) bool {
	for {
		_, _, errno := syscall.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&p.out.msg)), 0)
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		p.out.errn = errno
		return true
	}
}

// sockaddr puts an address into to for a socket of IPv6 or of IPv4, and returns its length; false if it does not fit.
func sockaddr(to *unix.RawSockaddrInet6, addr *net.UDPAddr, six bool) (uint32, bool) {
	if addr == nil || addr.Zone != "" {
		return 0, false
	}
	port := uint16(addr.Port)
	if v4 := addr.IP.To4(); !six {
		if v4 == nil {
			return 0, false
		}
		to4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(to))
		*to4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte(v4)}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&to4.Port))[:], port)
		return unix.SizeofSockaddrInet4, true
	}
	ip := addr.IP.To16()
	if ip == nil {
		return 0, false
	}
	*to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: [16]byte(ip)}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&to.Port))[:], port)
	return unix.SizeofSockaddrInet6, true
}

// udpAddr is the address that the system has said.
func udpAddr(from *unix.RawSockaddrInet6) *net.UDPAddr {
	port := int(binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&from.Port))[:])) // in the same place in both families
	if from.Family == unix.AF_INET {
		from4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(from))
		return &net.UDPAddr{IP: net.IP(from4.Addr[:]).To16(), Port: port}
	}
	a := &net.UDPAddr{IP: append(net.IP(nil), from.Addr[:]...), Port: port}
	if from.Scope_id != 0 {
		a.Zone = strconv.FormatUint(uint64(from.Scope_id), 10)
	}
	return a
}
