package connector

import (
	"errors"
	"fmt"
	"net"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// maxRules bounds an ingress: far more than the hostnames of one private network, and a lookup table of well under 1 MiB.
const maxRules = 4096

// service is what a rule leads to, as the arguments of net.Dialer.DialContext, and how.
type service struct {
	network string // "tcp" or "unix"
	address string

	connectTimeout time.Duration // how long the origin has to accept
	keepAlive      time.Duration // of TCP: see stream.Dialer; more than 0
	proxyHeader    bool          // a PROXY header of version 2 goes first
	access         []string      // audiences of the assertion that is required; nil when none is
}

// The bounds of a rule's times.
const (
	maxConnectTimeout = time.Minute // of an open, whatever its opener asks for
	maxKeepAlive      = 2 * time.Hour
)

// parseService reads tcp://host:port and unix:/absolute/path.
func parseService(s string) (service, error) {
	if p, ok := strings.CutPrefix(s, "unix:"); ok {
		if !path.IsAbs(p) || path.Clean(p) != p {
			return service{}, fmt.Errorf("service %q: the path of a unix socket must be absolute and clean", s)
		}
		return service{network: "unix", address: p}, nil
	}
	address, ok := strings.CutPrefix(s, "tcp://")
	if !ok {
		return service{}, fmt.Errorf("service %q: want tcp://host:port or unix:/path", s)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || strings.ContainsAny(host, "/@ \t\r\n") {
		return service{}, fmt.Errorf("service %q: want tcp://host:port", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return service{}, fmt.Errorf("service %q: the port must be 1 to 65535", s)
	}
	return service{network: "tcp", address: address}, nil
}

// ingress is one version of the rules. It is immutable.
type ingress struct {
	version  uint64
	exact    map[string]service
	wildcard map[string]service // by ".suffix"
	rest     *service           // of every other hostname; nil refuses them
	verify   verifier           // of assertions
	pinned   bool               // verify is the file's, whatever relays say
}

// parseIngress checks every rule and reports every fault.
func parseIngress(c *tunnelpb.Configure) (*ingress, error) {
	if n := len(c.GetIngress()); n > maxRules {
		return nil, fmt.Errorf("%d ingress rules, at most %d are taken", n, maxRules)
	}
	in := &ingress{version: c.GetVersion(), exact: make(map[string]service), wildcard: make(map[string]service)}
	verify, err := newVerifier(c.GetIssuer(), c.GetKeys())
	if err != nil {
		return nil, err
	}
	in.verify = verify
	var faults []error
	for i, rule := range c.GetIngress() {
		if err := in.add(rule); err != nil {
			faults = append(faults, fmt.Errorf("rule %d: %w", i+1, err))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return in, nil
}

func (in *ingress) add(rule *tunnelpb.IngressRule) error {
	host := canonical(rule.GetHostname())
	table, key := in.exact, host
	if suffix, ok := strings.CutPrefix(host, "*."); ok {
		table, key = in.wildcard, "."+suffix
	}
	if key == "" || key == "." || strings.ContainsAny(key, "*:/ ") {
		return fmt.Errorf("hostname %q: want a name, with a leading *. at most", rule.GetHostname())
	}
	if _, ok := table[key]; ok {
		return fmt.Errorf("hostname %q is named twice", rule.GetHostname())
	}
	s, err := serviceOf(rule)
	if err != nil {
		return err
	}
	table[key] = s
	return nil
}

// serviceOf is what rule leads to, and how.
func serviceOf(rule *tunnelpb.IngressRule) (service, error) {
	s, err := parseService(rule.GetService())
	if err != nil {
		return s, err
	}
	s.connectTimeout, s.keepAlive = connectTimeout, keepAlive
	if ms := rule.GetConnectTimeoutMs(); ms > uint64(maxConnectTimeout/time.Millisecond) {
		return s, fmt.Errorf("connect timeout: %d ms, at most %v are taken", ms, maxConnectTimeout)
	} else if ms > 0 {
		s.connectTimeout = time.Duration(ms) * time.Millisecond
	}
	if ms := rule.GetKeepAliveMs(); ms > uint64(maxKeepAlive/time.Millisecond) {
		return s, fmt.Errorf("keepalive: %d ms, at most %v are taken", ms, maxKeepAlive)
	} else if ms > 0 {
		s.keepAlive = time.Duration(ms) * time.Millisecond
	}
	switch rule.GetProxyProtocol() {
	case 0:
	case 2:
		s.proxyHeader = true
	default:
		return s, fmt.Errorf("PROXY protocol version %d: want 2", rule.GetProxyProtocol())
	}
	if rule.GetAccessRequired() {
		if len(rule.GetAudiences()) == 0 {
			return s, errors.New("access is required and no audience is named: give the application's ID")
		}
		s.access = rule.GetAudiences()
	}
	return s, nil
}

// lookup returns the service of hostname: the exact rule, else the longest wildcard, else the rest's.
func (in *ingress) lookup(hostname string) (service, bool) {
	host := canonical(hostname)
	if s, ok := in.exact[host]; ok {
		return s, true
	}
	for {
		dot := strings.IndexByte(host, '.')
		if dot < 0 {
			if in.rest != nil {
				return *in.rest, true
			}
			return service{}, false
		}
		host = host[dot:]
		if s, ok := in.wildcard[host]; ok {
			return s, true
		}
		host = host[1:]
	}
}

// canonical is the form in which hostnames are compared: lower case, without the root's dot.
func canonical(hostname string) string {
	return strings.TrimSuffix(strings.ToLower(hostname), ".")
}
