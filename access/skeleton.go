package access

import (
	"crypto/ed25519"
	"errors"
	"time"
)

var errNotYet = errors.New("access: not yet")

// SecretPrefix begins every service token's secret, so that scanners find it.
const SecretPrefix = "slst_"

// NewServiceToken makes a token and its first secret.
func NewServiceToken(name string, duration time.Duration, now time.Time) (ServiceToken, string, error) {
	return ServiceToken{}, "", errNotYet
}

// NewSecret returns prefix, 40 random alphanumerics and an 8 digit checksum.
func NewSecret(prefix string) string { return "" }

// HashSecret returns the SHA-256 of secret.
func HashSecret(secret string) Hash { return Hash{} }

// Decide answers req.
func Decide(dir Directory, req Request) Decision { return Decision{} }

// NewSigner returns a signer.
func NewSigner(issuer, keyID string, key ed25519.PrivateKey) *Signer { return nil }

// Sign signs a; Expires is set to now + AssertionLifetime.
func (s *Signer) Sign(a Assertion, now time.Time) (string, error) { return "", errNotYet }

// Verify checks token for an application and hostname.
func (v *Verifier) Verify(token, applicationID, hostname string, now time.Time) (Assertion, error) {
	return Assertion{}, errNotYet
}

// Validate reports every fault at once.
func (a *Application) Validate() error { return errNotYet }

// Validate reports every fault at once.
func (p *Policy) Validate() error { return errNotYet }

// Validate reports every fault at once.
func (t *ServiceToken) Validate() error { return errNotYet }

// Rotate adds a secret; the previous one stays valid until graceUntil.
func (t *ServiceToken) Rotate(now, graceUntil time.Time) (string, error) { return "", errNotYet }
