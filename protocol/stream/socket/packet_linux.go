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

// maxBatch is how many messages are taken from the system at once: one at first, and one more whenever all have come that there is room for.
const maxBatch = 8

const (
	maxDatagrams = 1 << 16 // bytes of a message: what the system joins is one packet of IP for it
	maxControl   = 128     // bytes that go with one; addresses, class of traffic and size take less than 100
)

// A PacketConn is a UDP socket with the calls of this package for WriteMsgUDP and ReadBatch, which are what quic-go uses. Datagrams of
// the same length that have come from one sender in a row are taken from the system as one message (UDP_GRO of udp(7)), which is one call
// for up to 64, and lets what another process of the machine has sent as one pass as one. Its methods may be called concurrently.
type PacketConn struct {
	*net.UDPConn
	raw syscall.RawConn
	six bool // an IPv6 socket, which says IPv4 addresses in IPv6's form

	in struct {
		mu      sync.Mutex // held by the ReadBatch that is under way
		try     func(fd uintptr) bool
		msgs    [maxBatch]mmsghdr
		iovs    [maxBatch]unix.Iovec
		from    [maxBatch]unix.RawSockaddrInet6
		control [maxBatch][maxControl]byte
		data    [maxBatch][]byte
		room    int                   // of them there are
		last    unix.RawSockaddrInet6 // the address of the message before, and
		addr    *net.UDPAddr          // what was made of it: the next is likely to be the same's
		n       int                   // messages that were read,
		at      int                   // the first that was not handed out whole,
		rest    []byte                // and what is left of it,
		size    int                   // in datagrams of this length but for the last
		errn    syscall.Errno
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
	p.grow()
	// A system that cannot join datagrams hands them out one by one.
	_ = raw.Control(func(fd uintptr) { _ = SetInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) })
	return p
}

// grow makes room for one more message, if that is wanted.
func (p *PacketConn) grow() {
	if in := &p.in; in.n == in.room && in.room < maxBatch {
		in.data[in.room] = make([]byte, maxDatagrams) // of which only what is used becomes resident
		in.room++
	}
}

// ReadBatch reads at least one datagram, each into the first of a message's Buffers, and returns how many. They keep their order. No flags
// are known.
func (p *PacketConn) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	in := &p.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.at == in.n {
		if err := p.fill(); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(ms) && in.at < in.n {
		p.handOut(&ms[n])
		n++
	}
	return n, nil
}

// fill waits for messages, and takes those that have come.
func (p *PacketConn) fill() error {
	in := &p.in
	for i := range in.room {
		h := &in.msgs[i].hdr
		in.iovs[i].Base = unsafe.SliceData(in.data[i])
		in.iovs[i].SetLen(len(in.data[i]))
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&in.from[i])), unix.SizeofSockaddrInet6
		h.Iov, h.Iovlen = &in.iovs[i], 1
		h.Control = &in.control[i][0]
		h.SetControllen(maxControl)
	}
	in.n, in.at, in.errn = 0, 0, 0
	err := p.raw.Read(in.try)
	if err == nil && in.errn != 0 {
		err = os.NewSyscallError("recvmmsg", in.errn)
	}
	if err != nil {
		return explain(p, "read", nil, err)
	}
	p.grow()
	p.begin()
	return nil
}

// begin makes the message at in.at the one that is handed out, if there is one.
func (p *PacketConn) begin() {
	in := &p.in
	if in.at == in.n {
		return
	}
	m := &in.msgs[in.at]
	in.rest = in.data[in.at][:m.n]
	in.size = joined(in.control[in.at][:m.hdr.Controllen])
	if in.addr == nil || in.from[in.at] != in.last {
		in.last, in.addr = in.from[in.at], udpAddr(&in.from[in.at])
	}
}

// handOut puts the next datagram into m.
func (p *PacketConn) handOut(m *ipv4.Message) {
	in := &p.in
	h := &in.msgs[in.at].hdr
	d := in.rest
	if in.size > 0 && in.size < len(d) {
		d = d[:in.size]
	}
	m.N = copy(m.Buffers[0], d)
	m.NN = copy(m.OOB, in.control[in.at][:h.Controllen])
	m.Flags, m.Addr = int(h.Flags), in.addr
	if m.N < len(d) {
		m.Flags |= unix.MSG_TRUNC
	}
	if in.rest = in.rest[len(d):]; len(in.rest) == 0 {
		in.at++
		p.begin()
	}
}

// joined is the length of the datagrams that a message consists of; 0 if it is a single one.
func joined(control []byte) int {
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(control)))
		n := int(h.Len)
		if n < unix.SizeofCmsghdr || n > len(control) {
			break
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && n >= unix.CmsgLen(4) {
			return int(binary.NativeEndian.Uint32(control[unix.CmsgLen(0):]))
		}
		control = control[min(unix.CmsgSpace(n-unix.CmsgLen(0)), len(control)):]
	}
	return 0
}

// receive reports whether there is nothing more to wait for.
func (p *PacketConn) receive(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&p.in.msgs)), uintptr(p.in.room), 0, 0, 0)
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
