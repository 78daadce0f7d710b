package control

import (
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/sluicedb/sluice/access"
)

// Bounds of an ingress's options; a connector has the same.
const (
	maxConnectTimeout = 60       // seconds: of an open, whatever its opener asks for
	maxKeepAlive      = 2 * 3600 // seconds: tcp_keepalive_time of tcp(7)
	maxAudiences      = 16
)

// ProxyProtocolV2 is the one version of the PROXY protocol that connectors speak.
const ProxyProtocolV2 = "v2"

// Ingress leads a hostname to a service in the private network.
type Ingress struct {
	Hostname string `json:"hostname"` // lower case, no port; a leading "*." covers every name below
	Service  string `json:"service"`  // tcp://host:port or unix:/absolute/path

	ConnectTimeout int    `json:"connect_timeout,omitempty"` // seconds that the service has to accept; 0 is the connector's default
	KeepAlive      int    `json:"keepalive,omitempty"`       // seconds until an idle connection is probed, 10 at most; 0 is the connector's default
	ProxyProtocol  string `json:"proxy_protocol,omitempty"`  // ProxyProtocolV2, or empty for none
	// Audiences are the applications of which one must have admitted a stream, as its assertion says; empty where the connector
	// takes the relay's word.
	Audiences []string `json:"audiences,omitempty"`
}

func (in Ingress) equal(other Ingress) bool {
	return in.Hostname == other.Hostname && in.Service == other.Service && in.ConnectTimeout == other.ConnectTimeout &&
		in.KeepAlive == other.KeepAlive && in.ProxyProtocol == other.ProxyProtocol && slices.Equal(in.Audiences, other.Audiences)
}

// validate reports what is wrong with everything but the hostname.
func (in Ingress) validate(at *access.Faults) {
	if fault := serviceFault(in.Service); fault != "" {
		at.Addf("service", "%s", fault)
	}
	if in.ConnectTimeout < 0 || in.ConnectTimeout > maxConnectTimeout {
		at.Addf("originRequest.connectTimeout", "must be 1 to %d seconds, or 0 for the connector's own", maxConnectTimeout)
	}
	if in.KeepAlive < 0 || in.KeepAlive > maxKeepAlive {
		at.Addf("originRequest.tcpKeepAlive", "must be 1 to %d seconds, or 0 for the connector's own", maxKeepAlive)
	}
	if in.ProxyProtocol != "" && in.ProxyProtocol != ProxyProtocolV2 {
		at.Addf("originRequest.proxyProtocol", "must be %s, or empty for none", ProxyProtocolV2)
	}
	if len(in.Audiences) > maxAudiences {
		at.Addf("originRequest.access.audTag", "names more than %d applications", maxAudiences)
	}
	for _, id := range in.Audiences {
		if uuid.Validate(id) != nil {
			at.Addf("originRequest.access.audTag", "must name applications by their ids, which are UUIDs")
			break
		}
	}
}

// maxUnixPath is the longest path of a unix socket in bytes (sun_path of
// unix(7), less its end).
const maxUnixPath = 107

// serviceFault says what is wrong with the service of an ingress, or returns "".
func serviceFault(service string) string {
	if file, ok := strings.CutPrefix(service, "unix:"); ok {
		switch {
		case !path.IsAbs(file) || path.Clean(file) != file || file == "/":
			return "must name an absolute path after unix:, without '.', '..' or a trailing slash"
		case len(file) > maxUnixPath:
			return "has a path longer than 107 bytes"
		case strings.ContainsRune(file, 0):
			return "has a path with a NUL"
		}
		return ""
	}
	u, err := url.Parse(service)
	switch {
	case service == "":
		return "is required: tcp://host:port or unix:/path"
	case err != nil || u.Scheme != "tcp" || u.Host == "":
		return "must be tcp://host:port or unix:/path"
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "must be tcp://host:port alone, without user, path or query"
	case !validPort(u.Port()):
		return "must have a port between 1 and 65535"
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	if access.HostnameFault(strings.ToLower(host)) != "" || strings.HasPrefix(host, "*") {
		return "must name a host or an address"
	}
	return ""
}

func validPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

// localService reports whether service is a unix socket or a loopback address:
// bytes to it never cross a wire.
func localService(service string) bool {
	if strings.HasPrefix(service, "unix:") {
		return true
	}
	u, err := url.Parse(service)
	if err != nil {
		return false
	}
	host := u.Hostname()
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
