package control

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/sluicedb/sluice/access"
)

// Certificate is the certificates of a CA, which origins are verified against,
// or a client certificate with its private key, which the proxy shows to
// origins. What it holds never changes under its ID.
type Certificate struct {
	ID         string    `json:"id"` // a UUID
	AccountID  string    `json:"account_id"`
	Name       string    `json:"name,omitempty"`
	CA         bool      `json:"ca,omitempty"`
	PEM        string    `json:"certificates"`         // of a client certificate: its own first, then the chain
	PrivateKey Sealed    `json:"private_key,omitzero"` // of a client certificate, PEM; given back by Control.CertificateKey
	Issuer     string    `json:"issuer,omitempty"`     // of the first certificate, as are the rest
	Serial     string    `json:"serial_number"`        // decimal
	Signature  string    `json:"signature,omitempty"`  // such as ECDSA-SHA256
	ExpiresOn  time.Time `json:"expires_on"`           // when the first of the certificates ends
	UploadedOn time.Time `json:"uploaded_on"`
}

const (
	// maxCertificatesPerAccount bounds what one account keeps: ten times the
	// databases that Hyperdrive admits, with a CA and a client certificate each.
	maxCertificatesPerAccount = 500
	// maxPrivateKey is in bytes: an RSA key of 16,384 bits has 12,700 in PEM.
	maxPrivateKey = 32 << 10
)

// LogValue keeps the ciphertext out of logs.
func (c Certificate) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", c.ID), slog.String("name", c.Name))
}

func (c *Certificate) account() string { return c.AccountID }

// fill checks what was uploaded, reports every fault at once, and fills in what
// the certificates say of themselves.
func (c *Certificate) fill(now time.Time) error {
	var f access.Faults
	if c.Name != "" {
		access.ValidateName(&f, "name", c.Name)
	}
	chain, fault := parseCertificates(c.PEM)
	if fault != "" {
		f.Addf("certificates", "%s", fault)
	}
	for i, cert := range chain {
		if now.After(cert.NotAfter) {
			f.Addf("certificates", "certificate %d (%s) expired on %s", i+1, clip(cert.Subject.String()), cert.NotAfter.UTC().Format(time.DateOnly))
		}
		if c.ExpiresOn.IsZero() || cert.NotAfter.Before(c.ExpiresOn) {
			c.ExpiresOn = cert.NotAfter.UTC()
		}
	}
	switch {
	case c.CA && !c.PrivateKey.IsZero():
		f.Addf("private_key", "must be left out: the key of a CA is nobody's to upload")
	case !c.CA && c.PrivateKey.IsZero():
		f.Addf("private_key", "is required with a client certificate; a CA's certificates are uploaded with ca true")
	case !c.CA:
		if fault := keyFault(string(*c.PrivateKey.plain), chain); fault != "" {
			f.Addf("private_key", "%s", fault)
		}
	}
	if err := f.Err(); err != nil {
		return err
	}
	first := chain[0]
	c.Issuer, c.Serial, c.Signature = first.Issuer.String(), first.SerialNumber.String(), first.SignatureAlgorithm.String()
	return nil
}

// parseCertificates reads certificates in PEM form, at least one, or says what
// is wrong with them.
func parseCertificates(text string) (chain []*x509.Certificate, fault string) {
	if len(text) > maxCertificates {
		return nil, "has more than 256 KiB"
	}
	rest := []byte(text)
	for {
		block, next := pem.Decode(rest)
		if block == nil {
			break
		}
		rest = next
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Sprintf("must hold certificates only, not %q", clip(block.Type))
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Sprintf("does not parse: certificate %d is damaged", len(chain)+1)
		}
		chain = append(chain, cert)
	}
	switch {
	case len(chain) == 0:
		return nil, "holds no certificate in PEM form"
	case strings.TrimSpace(string(rest)) != "":
		return nil, "has something after its certificates that is not PEM"
	}
	return chain, ""
}

// keyFault says why text is not the private key of the first certificate, or
// returns "".
func keyFault(text string, chain []*x509.Certificate) string {
	if len(text) > maxPrivateKey {
		return "has more than 32 KiB"
	}
	key, fault := parseKey([]byte(text))
	if fault != "" || len(chain) == 0 {
		return fault
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return "is of a kind that cannot sign"
	}
	type public interface{ Equal(crypto.PublicKey) bool }
	for i, cert := range chain {
		if p, ok := cert.PublicKey.(public); ok && p.Equal(signer.Public()) {
			if i == 0 {
				return ""
			}
			return fmt.Sprintf("belongs to certificate %d: the client's own certificate must be the first", i+1)
		}
	}
	return "does not match the certificate"
}

// parseKey reads a private key in the three forms that tools write, passing
// over the parameters that openssl puts before an EC key.
func parseKey(rest []byte) (key any, fault string) {
	for {
		block, next := pem.Decode(rest)
		if block == nil {
			return nil, "holds no private key in PEM form"
		}
		rest = next
		var err error
		switch block.Type {
		case "EC PARAMETERS":
			continue
		case "ENCRYPTED PRIVATE KEY":
			return nil, "is encrypted: decrypt it first, with openssl pkey"
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default:
			return nil, fmt.Sprintf("must be a private key, not %q", clip(block.Type))
		}
		switch {
		case block.Headers["DEK-Info"] != "": // RFC 1421, which openssl writes for the older forms
			return nil, "is encrypted: decrypt it first, with openssl pkey"
		case err != nil:
			return nil, "does not parse"
		}
		return key, ""
	}
}
