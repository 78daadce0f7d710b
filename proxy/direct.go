package proxy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/sluicedb/sluice/protocol/stream"
)

// DirectOrigins says which origins a proxy reaches without a tunnel.
type DirectOrigins string

// The values of DirectOrigins; the zero value is DirectPublic.
const (
	DirectPublic DirectOrigins = "public" // at public addresses
	DirectAny    DirectOrigins = "any"    // wherever this machine can reach
	DirectNone   DirectOrigins = "none"
)

// A notAdmittedError is a direct origin that DirectOrigins does not admit.
type notAdmittedError struct {
	addr   netip.Addr // the zero value: none is admitted
	policy DirectOrigins
}

func (e *notAdmittedError) Error() string {
	if e.policy == DirectNone {
		return "direct origins are turned off"
	}
	return fmt.Sprintf("%s is not a public address", e.addr)
}

// Reason is what drivers are told.
func (e *notAdmittedError) Reason() string { return "address_not_admitted" }

// dialDirect connects to a direct origin. The address is judged after the name
// is resolved, each time: a name that leads elsewhere later leads nowhere.
func (p *Proxy) dialDirect(ctx context.Context, address string) (net.Conn, error) {
	policy := p.cfg.DirectOrigins
	if policy == DirectNone {
		return nil, &notAdmittedError{policy: policy}
	}
	d := stream.Dialer(stream.MaxIdle)
	then := d.Control
	d.Control = func(network, address string, c syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if policy != DirectAny && !isPublic(at.Addr()) {
			return &notAdmittedError{addr: at.Addr(), policy: policy}
		}
		if then == nil {
			return nil
		}
		return then(network, address, c)
	}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return stream.Dialled(c), nil
}

// notPublic are the blocks that IANA's special-purpose address registries
// (RFC 6890) say are not globally reachable, and those that hold an IPv4 address
// that may be one of them; netip knows the others.
var notPublic = prefixes(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10",
)

func prefixes(texts ...string) []netip.Prefix {
	parsed := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		parsed[i] = netip.MustParsePrefix(text)
	}
	return parsed
}

// isPublic reports whether an address is one of the public internet's.
func isPublic(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if !addr.IsGlobalUnicast() || addr.IsPrivate() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}
