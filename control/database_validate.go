package control

import (
	"crypto/x509"
	"encoding/pem"
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
	case "postgres", "postgresql":
	default:
		f.Addf("scheme", "must be postgres or postgresql, not %q", clip(o.Scheme))
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

// identifier checks a user or database name of PostgreSQL.
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
	if d.MTLS.CACertificate != "" {
		if fault := certificatesFault(d.MTLS.CACertificate); fault != "" {
			f.Addf("mtls.ca_certificate", "%s", fault)
		}
	}
}

// certificatesFault says what is wrong with certificates in PEM form, or
// returns "".
func certificatesFault(text string) string {
	if len(text) > maxCertificates {
		return "has more than 256 KiB"
	}
	rest, found := []byte(text), 0
	for {
		block, next := pem.Decode(rest)
		if block == nil {
			break
		}
		rest = next
		if block.Type != "CERTIFICATE" {
			return fmt.Sprintf("must hold certificates only, not %q", clip(block.Type))
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Sprintf("does not parse: certificate %d is damaged", found+1)
		}
		found++
	}
	switch {
	case found == 0:
		return "holds no certificate in PEM form"
	case strings.TrimSpace(string(rest)) != "":
		return "has something after its certificates that is not PEM"
	}
	return ""
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
