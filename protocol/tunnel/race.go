package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sluicedb/sluice/protocol/stream"
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
func raceQUIC(ctx context.Context, addr string, tlsConf *tls.Config, conf *quic.Config) (*quicLink, error) {
	targets, err := resolve(ctx, addr)
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
	tr := &quic.Transport{Conn: pc}
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

// resolve returns the addresses to try, in the resolver's order of preference.
func resolve(ctx context.Context, addr string) ([]netip.AddrPort, error) {
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
	var targets []netip.AddrPort
	for _, ip := range ips[:min(len(ips), raceMax)] {
		targets = append(targets, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	return targets, nil
}
