package control

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluicedb/sluice/access"
)

// The lives of certificates. The CA is installed by hand beside drivers and
// travels in tunnel tokens, so it lives long; a server certificate is made anew
// at each start and whenever a third of its life is left. Everything is ECDSA
// on P-256, which libpq's OpenSSL, Node and Go all verify.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	serverLife    = 90 * 24 * time.Hour
	renewBefore   = serverLife / 3
	backdate      = 10 * time.Minute // clocks differ (docs/behaviours.md, Tunnel44)
)

// authorityRecord is the certificate authority as it is stored.
type authorityRecord struct {
	Certificate []byte `json:"certificate"` // DER
	Key         Sealed `json:"key"`         // PKCS #8
}

// authority issues this node's server certificate. It is safe for concurrent
// use.
type authority struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	pem   []byte
	hosts []string

	mu     sync.Mutex
	server *tls.Certificate
}

// newAuthority makes a certificate authority for a new installation.
func newAuthority(installation string, k sealer, now time.Time) (*authorityRecord, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{Organization: []string{"Sluice"}, CommonName: "Sluice CA " + installation[:8]},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make CA certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	record := &authorityRecord{Certificate: der, Key: Plaintext(Secret(private))}
	return record, k.seal(&record.Key, kindSystem, "authority", "key")
}

// openAuthority makes a stored authority ready to issue for hosts.
func openAuthority(record *authorityRecord, k sealer, hosts []string) (*authority, error) {
	private, err := k.open(record.Key, kindSystem, "authority", "key")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey([]byte(private))
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, errors.New("the stored CA key is not an ECDSA key")
	}
	cert, err := x509.ParseCertificate(record.Certificate)
	if err != nil {
		return nil, fmt.Errorf("stored CA certificate: %w", err)
	}
	return &authority{
		cert: cert, key: key, hosts: hosts,
		pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: record.Certificate}),
	}, nil
}

// certificate returns the server certificate, a new one when the last nears its
// end.
func (a *authority) certificate(now time.Time) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server != nil && now.Before(a.server.Leaf.NotAfter.Add(-renewBefore)) {
		return a.server, nil
	}
	issued, err := a.issue(now)
	if err != nil {
		return nil, err
	}
	a.server = issued
	return issued, nil
}

func (a *authority) issue(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make server key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{Organization: []string{"Sluice"}, CommonName: "Sluice server"},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(serverLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:     []string{relayName},
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	for _, host := range a.hosts {
		if ip, err := netip.ParseAddr(host); err == nil {
			template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("issue server certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("issue server certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// PublicHostFault says what is wrong with one of Config.PublicHosts, or returns "".
func PublicHostFault(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return access.HostnameFault(host)
}

// serverHosts are the names and addresses that the server certificate covers.
func serverHosts(public []string) ([]string, error) {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil && access.HostnameFault(strings.ToLower(name)) == "" {
		hosts = append(hosts, strings.ToLower(name))
	}
	var f access.Faults
	for i, host := range public {
		if fault := PublicHostFault(host); fault != "" {
			f.Addf(fmt.Sprintf("public_hosts[%d]", i), "%s", fault)
			continue
		}
		hosts = append(hosts, host)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), f.Err()
}

// serial returns a random 127 bit number (CA/Browser Forum Baseline
// Requirements section 7.1 asks for 64 bits).
func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}

// CA returns the certificate authority's certificate in PEM form. It is in
// ca.pem in the data directory as well.
func (c *Control) CA() []byte { return bytes.Clone(c.authority.pem) }

// CAExpires is when the certificate authority's certificate ends.
func (c *Control) CAExpires() time.Time { return c.authority.cert.NotAfter }

// ServerTLS returns a configuration with the server certificate of API, relay
// and proxy, TLS 1.2 or newer. The certificate is made anew when a third of its
// life is left; its key is only ever in memory. The caller may change the
// configuration.
func (c *Control) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.authority.certificate(time.Now())
		},
	}
}

// DerivedKey is a key for one purpose, the same on every start and on every
// node that asks for the same purpose, and of no use for finding another.
func (c *Control) DerivedKey(purpose string) ([32]byte, error) {
	secret, err := c.authority.key.Bytes()
	if err != nil {
		return [32]byte{}, fmt.Errorf("derive key: %w", err)
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "sluice "+purpose, 32)
	if err != nil {
		return [32]byte{}, fmt.Errorf("derive key: %w", err)
	}
	return [32]byte(key), nil
}
