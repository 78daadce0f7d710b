package control

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/sluicedb/sluice/access"
)

// Validate reports every fault at once, as a *ValidationError. What depends on
// other nouns is checked when the database is stored.
func (d *Database) Validate() error {
	var f access.Faults
	if fault := nameFault(d.Name); fault != "" {
		f.Addf("name", "%s", fault)
	}
	d.Origin.validate(f.In("origin"))
	d.validateTLS(&f)
	d.validateCaching(f.In("caching"))
	d.Pooling.validate(f.In("pooling"), d.OriginConnectionLimit)
	if n := d.OriginConnectionLimit; n < MinOriginConnections || n > maxOriginConnections {
		f.Addf("origin_connection_limit", "must be between %d and %d", MinOriginConnections, maxOriginConnections)
	}
	if len(d.Credentials) > maxCredentials {
		f.Addf("credentials", "are more than %d", maxCredentials)
	}
	seen := map[string]bool{}
	for i, c := range d.Credentials {
		field := fmt.Sprintf("credentials[%d].name", i)
		if fault := nameFault(c.Name); fault != "" {
			f.Addf(field, "%s", fault)
		} else if seen[c.Name] {
			f.Addf(field, "is that of another credential: %s", c.Name)
		}
		seen[c.Name] = true
	}
	return f.Err()
}

func (o *Origin) validate(f *access.Faults) {
	switch o.Scheme {
	case "postgres", "postgresql", "mysql":
	default:
		f.Addf("scheme", "must be postgres, postgresql or mysql, not %q", clip(o.Scheme))
	}
	identifier(f, "database", o.Database)
	identifier(f, "user", o.User)
	if o.Password.plain != nil && (len(*o.Password.plain) > maxPassword || strings.ContainsRune(string(*o.Password.plain), 0)) {
		f.Addf("password", "must have at most %d bytes and no NUL", maxPassword)
	}
	host := access.HostnameFault(strings.ToLower(o.Host))
	if strings.HasPrefix(o.Host, "*") {
		host = "must not be a wildcard"
	}
	if o.AccessClientID == "" {
		if _, err := netip.ParseAddr(o.Host); err == nil {
			host = ""
		}
		if o.Port < 1 || o.Port > 65535 {
			f.Addf("port", "must be between 1 and 65535")
		}
		if !o.AccessClientSecret.IsZero() {
			f.Addf("access_client_id", "is required with access_client_secret")
		}
	} else {
		if o.Port != 0 {
			f.Addf("port", "must be left out with access_client_id: the tunnel's hostname names the service")
		}
		if o.AccessClientSecret.IsZero() {
			f.Addf("access_client_secret", "is required with access_client_id")
		}
		if len(o.AccessClientID) > 255 {
			f.Addf("access_client_id", "is longer than 255 bytes")
		}
		if host == "" && o.Host != strings.ToLower(o.Host) {
			host = "must be lower case"
		}
	}
	if host != "" {
		f.Addf("host", "%s", host)
	}
}

// identifier checks a user or database name of an origin.
func identifier(f *access.Faults, field, name string) {
	switch {
	case name == "":
		f.Addf(field, "is required")
	case len(name) > maxIdentifier:
		f.Addf(field, "is longer than %d bytes", maxIdentifier)
	case strings.ContainsRune(name, 0):
		f.Addf(field, "must not contain a NUL")
	}
}

func (d *Database) validateTLS(f *access.Faults) {
	switch d.MTLS.SSLMode {
	case SSLRequire, SSLVerifyCA, SSLVerifyFull, SSLNoVerify:
	case SSLDisable:
		if !d.Origin.Insecure || d.Origin.AccessClientID == "" {
			f.Addf("mtls.sslmode", "may be disable only for an insecure origin behind a tunnel: a unix socket or a loopback address beside the connector")
		}
	default:
		f.Addf("mtls.sslmode", "must be require, verify-ca, verify-full or no-verify, not %q", clip(d.MTLS.SSLMode))
	}
	if name := d.MTLS.ServerName; name != "" {
		if _, err := netip.ParseAddr(name); err != nil && access.HostnameFault(strings.ToLower(name)) != "" {
			f.Addf("mtls.server_name", "must be a host name or an address")
		}
	}
	if d.MTLS.SSLMode == SSLVerifyCA && !d.MTLS.hasCA() {
		f.Addf("mtls.ca_certificate_id", "is required with sslmode verify-ca")
	}
	if d.MTLS.CACertificate != "" {
		if d.MTLS.CACertificateID != "" {
			f.Addf("mtls.ca_certificate_id", "excludes ca_certificate")
		}
		if _, fault := parseCertificates(d.MTLS.CACertificate); fault != "" {
			f.Addf("mtls.ca_certificate", "%s", fault)
		}
	}
}

func (d *Database) validateCaching(f *access.Faults) {
	if n := d.Caching.MaxAge; n < 0 || n > MaxCacheAge {
		f.Addf("max_age", "must be between 0 and %d seconds", MaxCacheAge)
	}
	if n := d.Caching.StaleWhileRevalidate; n < 0 || n > MaxCacheAge {
		f.Addf("stale_while_revalidate", "must be between 0 and %d seconds", MaxCacheAge)
	}
}

// clip keeps what an error repeats short.
func clip(s string) string {
	const most = 40
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// insecureHere refuses a database without TLS whose hostname does not lead to a
// unix socket or a loopback address.
func (c *Control) insecureHere(d *Database, owner *Tunnel) error {
	if d.MTLS.SSLMode != SSLDisable || owner.leadsLocally(d) || owner == nil && c.Snapshot().MayBePlaintext(d) {
		return nil
	}
	return &ValidationError{Faults: []Fault{{
		Field:   "mtls.sslmode",
		Message: "may be disable only when origin.host leads through a tunnel to a unix socket or a loopback address",
	}}}
}

// MayBePlaintext reports whether d's hostname leads to a unix socket or a
// loopback address beside a connector, so that what is not encrypted crosses no
// network. Changes that would end this are refused, but two nodes can make
// one each that together do: whoever dials asks again.
func (s *Snapshot) MayBePlaintext(d *Database) bool {
	owner, _, ok := s.TunnelByHostname(d.Origin.Host)
	return ok && owner.leadsLocally(d)
}

func (t *Tunnel) leadsLocally(d *Database) bool {
	if t == nil || t.AccountID != d.AccountID {
		return false
	}
	i, ok := t.rule(d.Origin.Host)
	return ok && localService(t.Ingress[i].Service)
}
