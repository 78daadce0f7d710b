package control

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// relayName is the name that every node's server certificate has besides its hosts. Relays reach each other by addresses that no
// certificate knows; they ask for this name, and a relay's own certificate proves it as a client too. Names below internal are
// nobody's in the public DNS (ICANN resolution 2024.07.29.06).
const relayName = "relay.sluice.internal"

// RelayTLS returns the configuration with which a relay dials another one of the same installation: both prove with a certificate of
// its CA, and with nothing else, that they belong to it.
func (c *Control) RelayTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    c.authority.pool(),
		ServerName: relayName,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.authority.certificate(time.Now())
		},
	}
}

// VerifyRelay checks that certificates, leaf first, are a relay's of this installation. TLS must have checked that the peer has
// the key.
func (c *Control) VerifyRelay(certificates []*x509.Certificate) error {
	if len(certificates) == 0 {
		return errors.New("no certificate")
	}
	leaf := certificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: c.authority.pool(), DNSName: relayName, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return fmt.Errorf("certificate of a relay: %w", err)
	}
	return nil
}

func (a *authority) pool() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return roots
}
