//go:build linux

package socket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// listenPacket opens a UDP socket with the calls of this package.
func listenPacket(t *testing.T, network, address string) *PacketConn {
	t.Helper()
	c, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return NewPacket(c).(*PacketConn)
}

// messages are n messages with room for a datagram each.
func messages(n int) []ipv4.Message {
	ms := make([]ipv4.Message, n)
	for i := range ms {
		ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, 1500)}, make([]byte, 128)
	}
	return ms
}

// Datagrams and what goes with them arrive whole, with the address of their sender, whatever the families of the two sockets.
func TestPacket(t *testing.T) {
	tests := []struct{ name, near, nearAt, far, farAt, to string }{
		{"IPv4", "udp4", "127.0.0.1:0", "udp4", "127.0.0.1:0", "127.0.0.1"},
		{"IPv6", "udp6", "[::1]:0", "udp6", "[::1]:0", "::1"},
		{"IPv4 to a socket of both", "udp4", "127.0.0.1:0", "udp", ":0", "127.0.0.1"},
		{"a socket of both to IPv4", "udp", ":0", "udp4", "127.0.0.1:0", "127.0.0.1"},
		{"a socket of both to IPv6", "udp", ":0", "udp6", "[::1]:0", "::1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			near, far := listenPacket(t, tt.near, tt.nearAt), listenPacket(t, tt.far, tt.farAt)
			raw, _ := far.SyscallConn()
			raw.Control(func(fd uintptr) { // one of the two is the socket's
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
			})
			to := &net.UDPAddr{IP: net.ParseIP(tt.to), Port: far.LocalAddr().(*net.UDPAddr).Port}
			var from net.Addr
			for round := range 3 {
				var sent [][]byte
				for i := range maxBatch + 3 {
					p := bytes.Repeat([]byte{byte(i + round)}, 100*i+1)
					if n, _, err := near.WriteMsgUDP(p, nil, to); n != len(p) || err != nil {
						t.Fatalf("WriteMsgUDP: %d, %v", n, err)
					}
					sent = append(sent, p)
				}
				ms := messages(maxBatch + 5)
				for len(sent) > 0 {
					n, err := far.ReadBatch(ms, 0)
					if err != nil {
						t.Fatal(err)
					}
					for _, m := range ms[:n] {
						if !bytes.Equal(m.Buffers[0][:m.N], sent[0]) {
							t.Fatalf("got %d bytes of %d, or others", m.N, len(sent[0]))
						}
						if m.NN == 0 {
							t.Error("its class of traffic was not told")
						}
						if from = m.Addr; m.Addr.(*net.UDPAddr).Port != near.LocalAddr().(*net.UDPAddr).Port || !m.Addr.(*net.UDPAddr).IP.Equal(to.IP) {
							t.Errorf("from %v, want %v", m.Addr, near.LocalAddr())
						}
						sent = sent[1:]
					}
				}
			}
			if _, _, err := far.WriteMsgUDP([]byte("back"), nil, from.(*net.UDPAddr)); err != nil {
				t.Fatal(err)
			}
			ms := messages(1)
			if n, err := near.ReadBatch(ms, 0); n != 1 || err != nil || string(ms[0].Buffers[0][:ms[0].N]) != "back" {
				t.Errorf("the way back: %d, %v", n, err)
			}
		})
	}
}

// What goes with a datagram reaches the system: a mark of congestion does, here.
func TestPacketControl(t *testing.T) {
	near, far := listenPacket(t, "udp4", "127.0.0.1:0"), listenPacket(t, "udp4", "127.0.0.1:0")
	raw, _ := far.SyscallConn()
	raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1) })
	oob := make([]byte, unix.CmsgSpace(4))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_TOS
	h.SetLen(unix.CmsgLen(4))
	oob[unix.CmsgLen(0)] = 1 // ECT(1)
	if _, _, err := near.WriteMsgUDP([]byte("x"), oob, far.LocalAddr().(*net.UDPAddr)); err != nil {
		t.Fatal(err)
	}
	ms := messages(1)
	if _, err := far.ReadBatch(ms, 0); err != nil {
		t.Fatal(err)
	}
	_, got, _, err := unix.ParseOneSocketControlMessage(ms[0].OOB[:ms[0].NN])
	if err != nil || len(got) != 1 || got[0] != 1 {
		t.Errorf("the mark arrived as %v, %v", got, err)
	}
}

// What a sender hands to the system as one is taken from it as one, and comes out as the datagrams it consists of, in their order among
// others, each with what goes with it.
func TestPacketJoined(t *testing.T) {
	near, far := listenPacket(t, "udp4", "127.0.0.1:0"), listenPacket(t, "udp4", "127.0.0.1:0")
	raw, _ := far.SyscallConn()
	raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1) })
	to := far.LocalAddr().(*net.UDPAddr)
	const size, count = 1200, 20
	segments := make([]byte, unix.CmsgSpace(2))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&segments[0]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(segments[unix.CmsgLen(0):], size)
	var want [][]byte
	send := func(oob []byte, datagrams ...[]byte) {
		t.Helper()
		want = append(want, datagrams...)
		if _, _, err := near.WriteMsgUDP(bytes.Join(datagrams, nil), oob, to); err != nil {
			t.Fatal(err)
		}
	}
	var many [][]byte
	for i := range count {
		many = append(many, bytes.Repeat([]byte{byte(i)}, size))
	}
	many[count-1] = many[count-1][:7] // the last may be shorter
	send(nil, []byte("before"))
	send(segments, many...)
	send(nil, []byte("between"))
	send(segments, many[:2]...)
	send(nil, bytes.Repeat([]byte{'x'}, 2000)) // longer than there is room for

	for range maxBatch { // room for all at once
		far.in.n = far.in.room
		far.grow()
	}
	far.in.n = 0
	ms := messages(maxBatch)
	var got [][]byte
	for len(got) < len(want) {
		n, err := far.ReadBatch(ms, 0)
		if err != nil {
			t.Fatal(err)
		}
		if far.in.n != 5 {
			t.Fatalf("%d messages were read at once, want 5: the system has joined nothing", far.in.n)
		}
		for _, m := range ms[:n] {
			got = append(got, bytes.Clone(m.Buffers[0][:m.N]))
			if m.NN == 0 {
				t.Error("its class of traffic was not told")
			}
			if cut := m.Flags&unix.MSG_TRUNC != 0; cut != (m.N == len(m.Buffers[0])) {
				t.Errorf("of %d bytes it is said that they were cut: %t", m.N, cut)
			}
			if !m.Addr.(*net.UDPAddr).IP.Equal(to.IP) {
				t.Errorf("from %v", m.Addr)
			}
		}
	}
	want[len(want)-1] = want[len(want)-1][:1500]
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("datagram %d has %d bytes, want the %d that were sent", i, len(got[i]), len(want[i]))
		}
	}
}

// Of a damaged description no length is made up.
func TestJoinedMalformed(t *testing.T) {
	header := func(length uint64, level, kind int32, value ...byte) []byte {
		b := binary.NativeEndian.AppendUint64(nil, length)
		b = binary.NativeEndian.AppendUint32(b, uint32(level))
		return append(binary.NativeEndian.AppendUint32(b, uint32(kind)), value...)
	}
	other := header(17, unix.IPPROTO_IP, unix.IP_TOS, 1, 0, 0, 0, 0, 0, 0, 0)
	right := header(20, unix.IPPROTO_UDP, unix.UDP_GRO, 0xb0, 4, 0, 0, 0, 0, 0, 0)
	for name, tt := range map[string]struct {
		control []byte
		want    int
	}{
		"nothing":           {nil, 0},
		"alone":             {right, 0x4b0},
		"behind another":    {append(bytes.Clone(other), right...), 0x4b0},
		"only another":      {other, 0},
		"cut":               {right[:18], 0},
		"no value":          {header(16, unix.IPPROTO_UDP, unix.UDP_GRO), 0},
		"a length of zero":  {header(0, unix.IPPROTO_IP, 0), 0},
		"a length too long": {header(1<<62, unix.IPPROTO_IP, 0), 0},
		"a negative length": {header(1<<63, unix.IPPROTO_IP, 0), 0},
	} {
		if got := joined(tt.control); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

// Errors are those that package net returns.
func TestPacketErrors(t *testing.T) {
	c := listenPacket(t, "udp", "127.0.0.1:0")
	self := c.LocalAddr().(*net.UDPAddr)
	_, _, err := c.WriteMsgUDP(make([]byte, 70_000), nil, self)
	_, _, want := c.UDPConn.WriteMsgUDP(make([]byte, 70_000), nil, self)
	if !errors.Is(err, syscall.EMSGSIZE) || err.Error() != want.Error() {
		t.Errorf("too long: %v, want %v", err, want)
	}
	if s, ok := errors.AsType[*os.SyscallError](err); !ok || s.Err != syscall.EMSGSIZE {
		t.Errorf("too long: %v is no os.SyscallError", err)
	}
	if _, _, err := c.WriteMsgUDP([]byte("x"), nil, &net.UDPAddr{IP: net.IPv6loopback, Port: 1}); err == nil {
		t.Error("an address of the other family is accepted")
	}
	c.SetReadDeadline(time.Unix(1, 0))
	if _, err := c.ReadBatch(messages(1), 0); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	c.SetReadDeadline(time.Time{})
	time.AfterFunc(time.Millisecond, func() { c.Close() })
	if _, err := c.ReadBatch(messages(1), 0); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read that Close ends: %v", err)
	}
	if _, _, err := c.WriteMsgUDP([]byte("x"), nil, self); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after Close: %v", err)
	}
}

// A datagram of one sender after the other allocates nothing.
func TestPacketAllocations(t *testing.T) {
	near, far := listenPacket(t, "udp4", "127.0.0.1:0"), listenPacket(t, "udp4", "127.0.0.1:0")
	p, ms, to := make([]byte, 100), messages(8), far.LocalAddr().(*net.UDPAddr)
	if n := testing.AllocsPerRun(100, func() {
		near.WriteMsgUDP(p, nil, to)
		far.ReadBatch(ms, 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The room for messages grows with what comes at once: a socket with little to read keeps little.
func TestPacketGrows(t *testing.T) {
	near, far := listenPacket(t, "udp4", "127.0.0.1:0"), listenPacket(t, "udp4", "127.0.0.1:0")
	to := far.LocalAddr().(*net.UDPAddr)
	receive := func(burst int) {
		t.Helper()
		for i := range burst {
			if _, _, err := near.WriteMsgUDP(make([]byte, 100*(burst-i)), nil, to); err != nil { // each shorter, so that none are joined
				t.Fatal(err)
			}
		}
		for ms := messages(maxBatch); burst > 0; {
			n, err := far.ReadBatch(ms, 0)
			if err != nil {
				t.Fatal(err)
			}
			burst -= n
		}
	}
	for range 3 {
		receive(1)
	}
	if far.in.room != 2 {
		t.Errorf("room for %d messages where one comes at a time", far.in.room)
	}
	for range maxBatch {
		receive(maxBatch)
	}
	if far.in.room != maxBatch {
		t.Errorf("room for %d messages where %d come at once", far.in.room, maxBatch)
	}
}
