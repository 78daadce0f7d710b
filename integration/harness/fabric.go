package harness

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Fabric joins namespaces as the machines of one subnet. Like a Link it carries their packets in this process, and between any two of
// them as a test wants it.
type Fabric struct {
	prefix  netip.Prefix
	readers sync.WaitGroup // of ports
	writers sync.WaitGroup // of wires

	mu         sync.RWMutex
	ports      map[netip.Addr]*os.File
	conditions map[between]Conditions
	wires      map[between]chan packet // from one to the other; only the one's reader sends
}

// between is two addresses; the zero Addr stands for every one.
type between struct{ from, to netip.Addr }

// NewFabric makes a fabric whose namespaces have addresses of prefix, an IPv4 subnet. It ends with the stage.
func (s *Stage) NewFabric(prefix netip.Prefix) *Fabric {
	f := &Fabric{
		prefix: prefix, ports: make(map[netip.Addr]*os.File), conditions: make(map[between]Conditions), wires: make(map[between]chan packet),
	}
	s.onClose(f.close)
	return f
}

// Attach gives a namespace an address of the fabric. It takes root and /dev/net/tun.
func (f *Fabric) Attach(ns *Namespace, addr netip.Addr) error {
	port, err := ns.openTUN(netip.PrefixFrom(addr, f.prefix.Bits()))
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.ports[addr] = port
	f.mu.Unlock()
	f.readers.Go(func() { f.carry(port) })
	return nil
}

// Set says how packets fare between two addresses, both ways, until it is said anew. The zero Addr stands for every other one, in
// addition to what is said of one alone. A Fabric knows no Rate.
func (f *Fabric) Set(a, b netip.Addr, c Conditions) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conditions[between{a, b}], f.conditions[between{b, a}] = c, c
}

// carry passes on what a namespace sends.
func (f *Fabric) carry(from *os.File) {
	b := make([]byte, linkMTU)
	for {
		n, err := from.Read(b)
		if err != nil {
			return // closed, or the namespace is gone
		}
		f.pass(b[:n])
	}
}

// Offsets in the header of IPv4 (RFC 791 section 3.1), and the number of UDP.
const (
	ipv4Header      = 20
	ipv4Protocol    = 9
	ipv4Source      = 12
	ipv4Destination = 16
	protocolUDP     = 17
)

func (f *Fabric) pass(b []byte) {
	if len(b) < ipv4Header || b[0]>>4 != 4 {
		return // neighbour discovery of IPv6
	}
	from, to := netip.AddrFrom4([4]byte(b[ipv4Source:])), netip.AddrFrom4([4]byte(b[ipv4Destination:]))
	f.mu.RLock()
	port := f.ports[to]
	w := f.wires[between{from, to}]
	var c Conditions
	for _, pair := range []between{{from, to}, {from, netip.Addr{}}, {netip.Addr{}, to}} {
		c = c.and(f.conditions[pair])
	}
	f.mu.RUnlock()
	if port == nil || c.Down || c.NoUDP && b[ipv4Protocol] == protocolUDP || c.Loss > 0 && rand.Float64() < c.Loss {
		return
	}
	if w == nil && c.Delay == 0 {
		_, _ = port.Write(b) // what the other side does not take is lost, as on a wire
		return
	}
	if w == nil {
		w = f.wire(from, to, port)
	}
	select {
	case w <- packet{time.Now().Add(c.Delay), append([]byte(nil), b...)}:
	default: // the wire holds no more
	}
}

// and is what both conditions together do.
func (c Conditions) and(d Conditions) Conditions {
	return Conditions{Delay: c.Delay + d.Delay, Loss: 1 - (1-c.Loss)*(1-d.Loss), NoUDP: c.NoUDP || d.NoUDP, Down: c.Down || d.Down}
}

// wire makes what delays packets from one address to another. Once there is one every packet goes through it, so that none overtakes
// another.
func (f *Fabric) wire(from, to netip.Addr, port *os.File) chan packet {
	w := make(chan packet, linkPackets)
	f.mu.Lock()
	f.wires[between{from, to}] = w
	f.mu.Unlock()
	f.writers.Go(func() { deliver(w, port) })
	return w
}

// close ends what carries packets, and returns when it has.
func (f *Fabric) close() error {
	var errs []error
	f.mu.RLock()
	for _, port := range f.ports {
		errs = append(errs, port.Close())
	}
	f.mu.RUnlock()
	f.readers.Wait()
	for _, w := range f.wires {
		close(w)
	}
	f.writers.Wait()
	return errors.Join(errs...)
}
