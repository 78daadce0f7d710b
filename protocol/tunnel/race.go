package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/stream/socket"
)

// How the addresses of one relay are tried.
const (
	raceDelay = 250 * time.Millisecond // between two attempts (RFC 8305 section 5, "Connection Attempt Delay")
	raceMax   = 4                      // addresses tried: two of each family for a name that has many
)

// raced is how one attempt came out.
type raced struct {
	link *quicLink
	err  error
}

// raceQUIC resolves addr and connects to the first of its addresses that answers. It returns when every attempt has ended.
func raceQUIC(ctx context.Context, addr string, prefer int, tlsConf *tls.Config, conf *quic.Config) (*quicLink, error) {
	targets, err := Resolve(ctx, addr, prefer)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan raced, len(targets))
	for i, target := range targets {
		go dialOne(ctx, time.Duration(i)*raceDelay, target, tlsConf, conf, results)
	}
	var won *quicLink
	var errs []error
	for range targets {
		switch r := <-results; {
		case r.err != nil:
			errs = append(errs, r.err)
		case won != nil:
			r.link.close(stream.CodeCancelled, "another address was faster")
		default:
			won = r.link
			cancel() // the handshake is done: ctx no longer matters to it
		}
	}
	if won == nil {
		return nil, errors.Join(errs...)
	}
	return won, nil
}

// dialOne waits, and connects over a socket of its own.
func dialOne(ctx context.Context, delay time.Duration, to netip.AddrPort, tlsConf *tls.Config, conf *quic.Config, result chan<- raced) {
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		result <- raced{err: ctx.Err()}
		return
	}
	network := "udp4"
	if to.Addr().Is6() {
		network = "udp6"
	}
	pc, err := net.ListenUDP(network, nil)
	if err != nil {
		result <- raced{err: err}
		return
	}
	tr := &quic.Transport{Conn: socket.NewPacket(pc)}
	free := func() {
		// Neither fails in a way that anything depends on.
		_ = tr.Close()
		_ = pc.Close()
	}
	conn, err := tr.Dial(ctx, net.UDPAddrFromAddrPort(to), tlsConf, conf)
	if err != nil {
		free()
		result <- raced{err: fmt.Errorf("%s: %w", to, err)}
		return
	}
	result <- raced{link: &quicLink{conn: conn, free: free, buffer: ReceiveBuffer(pc)}}
}

// Resolve returns the addresses that a Dialer tries for addr, host:port, in their order: from the one on that prefer counts to, as
// Dialer.Prefer does.
func Resolve(ctx context.Context, addr string, prefer int) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q is not a number", service)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	return preferred(ips, uint16(port), prefer), nil
}

// preferred sorts the addresses of each family, so that everybody counts alike, and keeps the family that the resolver prefers first.
func preferred(ips []netip.Addr, port uint16, prefer int) []netip.AddrPort {
	ips = slices.Clone(ips)
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	first := len(ips) > 0 && ips[0].Is4()
	slices.SortFunc(ips, func(a, b netip.Addr) int {
		if a.Is4() != b.Is4() {
			if a.Is4() == first {
				return -1
			}
			return 1
		}
		return a.Compare(b)
	})
	ips = slices.Compact(ips)
	n := len(ips) // of the preferred family: the others are for when it does not pass
	for i, ip := range ips {
		if ip.Is4() != first {
			n = i
			break
		}
	}
	var targets []netip.AddrPort
	for i := range n {
		targets = append(targets, netip.AddrPortFrom(ips[(i+prefer)%n], port))
	}
	for _, ip := range ips[n:] {
		targets = append(targets, netip.AddrPortFrom(ip, port))
	}
	if len(targets) > raceMax && n < len(targets) && n > raceMax/2 {
		targets = append(targets[:raceMax/2], targets[n:]...) // some of each family
	}
	return targets[:min(len(targets), raceMax)]
}
