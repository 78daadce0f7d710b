package proxy

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/sluicedb/sluice/control"
)

// originTLS makes the configuration for TLS to an origin, with the certificates
// that the database names; nil means plain text.
func (p *Proxy) originTLS(d *control.Database, certificate func(id string) (*control.Certificate, bool)) (*tls.Config, error) {
	ca := d.MTLS.CACertificate
	if id := d.MTLS.CACertificateID; id != "" {
		cert, ok := certificate(id)
		if !ok {
			return nil, fmt.Errorf("no CA certificate has the id %s", id)
		}
		ca = cert.PEM
	}
	cfg, err := originTLS(d, ca)
	id := d.MTLS.ClientCertificateID
	if err != nil || cfg == nil || id == "" {
		return cfg, err
	}
	cert, ok := certificate(id)
	if !ok {
		return nil, fmt.Errorf("no client certificate has the id %s", id)
	}
	key, err := p.cfg.Source.CertificateKey(cert)
	if err != nil {
		return nil, fmt.Errorf("unseal private key: %w", err)
	}
	pair, err := tls.X509KeyPair([]byte(cert.PEM), []byte(key.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("client certificate %s: %w", id, err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	return cfg, nil
}

// originTLS makes the configuration for TLS to an origin; nil means plain text.
//
//	require      the certificate leads to the system's roots or to the database's CA
//	verify-ca    it leads to the database's CA, nothing else
//	verify-full  like verify-ca (the system's roots where there is no CA), and it is the host's, or the given name's
//	no-verify    nothing is asked of it
func originTLS(d *control.Database, ca string) (*tls.Config, error) {
	m := d.MTLS
	if m.SSLMode == "disable" {
		if !d.Origin.Insecure {
			return nil, errors.New("sslmode disable without leave for a plaintext origin")
		}
		return nil, nil
	}
	cfg := &tls.Config{ServerName: cmp.Or(m.ServerName, d.Origin.Host), MinVersion: tls.VersionTLS12}
	var roots *x509.CertPool // nil: the system's
	if ca != "" {
		roots = x509.NewCertPool()
		if m.SSLMode == "require" {
			if system, err := x509.SystemCertPool(); err == nil {
				roots = system
			}
		}
		if !roots.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("CA certificate has no certificate in PEM form")
		}
	}
	switch m.SSLMode {
	case "verify-full":
		cfg.RootCAs = roots
		return cfg, nil
	case "verify-ca":
		if roots == nil {
			return nil, errors.New("sslmode verify-ca without a CA certificate")
		}
	case "no-verify":
		cfg.InsecureSkipVerify = true
		return cfg, nil
	case "require", "":
	default:
		return nil, fmt.Errorf("unknown sslmode %q", m.SSLMode)
	}
	// The chain is verified here, and the name is not.
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, c := range cs.PeerCertificates[1:] {
			opts.Intermediates.AddCert(c)
		}
		if _, err := cs.PeerCertificates[0].Verify(opts); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
		}
		return nil
	}
	return cfg, nil
}
