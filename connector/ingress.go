package connector

import (
	"errors"
	"fmt"
	"net"
	"path"
	"strconv"
	"strings"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// maxRules bounds an ingress: far more than the hostnames of one private network, and a lookup table of well under 1 MiB.
const maxRules = 4096

// service is what a rule leads to, as the arguments of net.Dialer.DialContext.
type service struct {
	network string // "tcp" or "unix"
	address string
}

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
}

// parseIngress checks every rule and reports every fault.
func parseIngress(c *tunnelpb.Configure) (*ingress, error) {
	if n := len(c.GetIngress()); n > maxRules {
		return nil, fmt.Errorf("%d ingress rules, at most %d are taken", n, maxRules)
	}
	in := &ingress{version: c.GetVersion(), exact: make(map[string]service), wildcard: make(map[string]service)}
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
	s, err := parseService(rule.GetService())
	if err != nil {
		return err
	}
	table[key] = s
	return nil
}

// lookup returns the service of hostname: the exact rule, else the longest wildcard.
func (in *ingress) lookup(hostname string) (service, bool) {
	host := canonical(hostname)
	if s, ok := in.exact[host]; ok {
		return s, true
	}
	for {
		dot := strings.IndexByte(host, '.')
		if dot < 0 {
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
