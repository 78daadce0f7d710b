package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Conditions are what a Link does to each direction.
type Conditions struct {
	Delay time.Duration // one way
	Loss  float64       // share of packets dropped, 0 to 1
	Rate  float64       // Mbit/s; 0 is without limit
	// Queue is how many bytes wait for their turn at Rate before packets are dropped. 0 is 20,000 packets, which is deep: a
	// quarter of a second at 1 Gbit/s.
	Queue int
	Down  bool // nothing passes
	NoUDP bool // no UDP passes
}

const (
	linkMTU     = 1500   // bytes: Ethernet's
	linkPackets = 20_000 // that a link holds in each direction, at most
	linkSlab    = 256 << 10
	linkDevice  = "link%d" // the system counts them in each namespace
)

// Link is a wire between two namespaces that delays, loses and slows down IP packets. It stands in for tc-netem where the kernel has
// none: this process moves the packets between two TUN devices. It lasts until the stage is closed.
type Link struct {
	conditions atomic.Pointer[Conditions]
}

// NewLink joins two namespaces, one link for each of them. a and b are their addresses, and share a prefix.
func (s *Stage) NewLink(a *Namespace, addrA netip.Prefix, b *Namespace, addrB netip.Prefix, c Conditions) (*Link, error) {
	l := &Link{}
	l.Set(c)
	near, err := a.openTUN(addrA)
	if err != nil {
		return nil, err
	}
	s.onClose(near.Close)
	far, err := b.openTUN(addrB)
	if err != nil {
		return nil, err
	}
	s.onClose(far.Close)
	go l.pump(near, far)
	go l.pump(far, near)
	return l, nil
}

// Set changes the conditions, for packets that are yet to come.
func (l *Link) Set(c Conditions) { l.conditions.Store(&c) }

// openTUN makes a TUN device in the namespace, which is gone when the file is closed.
func (ns *Namespace) openTUN(addr netip.Prefix) (*os.File, error) {
	fd, name := -1, ""
	err := ns.thread.do(func() (err error) {
		// A device is made in the namespace of the thread that asks.
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return err
		}
		req, err := unix.NewIfreq(linkDevice)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		name = req.Name()
		return err
	})
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("make a TUN device: %w", err)
	}
	f := os.NewFile(uintptr(fd), "/dev/net/tun")
	for _, args := range [][]string{
		{"addr", "add", addr.String(), "dev", name},
		{"link", "set", name, "mtu", fmt.Sprint(linkMTU), "txqueuelen", "10000", "up"},
	} {
		if err := ns.ip(args...); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// packet is due at the far end.
type packet struct {
	due  time.Time
	data []byte
}

// pump moves packets one way until the devices are closed.
func (l *Link) pump(from, to *os.File) {
	queue := make(chan packet, linkPackets)
	defer close(queue)
	go deliver(queue, to)
	var free, last time.Time // when the wire is free, and the last packet due
	var slab []byte
	for {
		if len(slab) < linkMTU {
			slab = make([]byte, linkSlab)
		}
		n, err := from.Read(slab)
		if err != nil {
			return
		}
		c := l.conditions.Load()
		if c.Down || c.NoUDP && slab[ipv4Protocol] == protocolUDP || c.Loss > 0 && rand.Float64() < c.Loss {
			continue
		}
		due := time.Now()
		if c.Rate > 0 {
			wait := max(0, free.Sub(due))
			if c.Queue > 0 && wait.Seconds()*c.Rate*1e6/8 > float64(c.Queue) {
				continue
			}
			due = due.Add(wait + time.Duration(float64(n)*8000/c.Rate))
			free = due
		}
		if due = due.Add(c.Delay); due.Before(last) {
			due = last
		}
		last = due
		select {
		case queue <- packet{due, slab[:n:n]}:
			slab = slab[n:]
		default: // the link holds no more
		}
	}
}

// deliver writes packets when they are due. The thread sleeps by itself: the runtime's timers are a millisecond coarse.
func deliver(queue <-chan packet, to *os.File) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for p := range queue {
		for wait := time.Until(p.due); wait > 0; wait = time.Until(p.due) {
			ts := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&ts, nil) // a signal is no harm: it is looked at again
		}
		// It fails when the device is down or closed: the packet is lost, as on a wire.
		_, _ = to.Write(p.data)
	}
}
