package access

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// AssertionLifetime is how long an assertion is valid: it travels with the
// stream that it belongs to and is read once, within the time of an open.
const AssertionLifetime = 60 * time.Second

// Leeway is the clock skew that verification forgives (docs/behaviours.md,
// Tunnel44).
const Leeway = 60 * time.Second

// maxAssertion bounds what Verify parses, in bytes. An assertion with the
// longest hostname and IDs has about 700.
const maxAssertion = 4096

const (
	// assertionReuse is how long a signed assertion is given out again for the same
	// open: it leaves three times what an open may take (15 s), and a client that
	// opens streams all the time has one signed every five seconds instead of a
	// thousand times a second.
	assertionReuse = 5 * time.Second
	// maxSigned bounds the assertions that are kept, of some 700 bytes each.
	maxSigned = 4096
)

// ErrAssertion is what every assertion that is not valid is answered with; the
// text that wraps it says why and quotes nothing of it.
var ErrAssertion = errors.New("access assertion not valid")

// Assertion is what a relay asserts to a connector about one stream.
type Assertion struct {
	ApplicationID string // the token's audience
	ClientID      string // the token's subject; empty for a bypass policy
	Hostname      string
	Expires       time.Time
}

type claims struct {
	jwt.RegisteredClaims
	Hostname string `json:"hostname"`
}

// Signer signs assertions with one Ed25519 key. It is safe for concurrent use.
type Signer struct {
	issuer string
	keyID  string
	key    ed25519.PrivateKey

	mu     sync.Mutex
	signed map[Assertion]signed
}

// signed is an assertion that may be given out again.
type signed struct {
	token string
	at    time.Time
}

// NewSigner returns a signer whose assertions name issuer and keyID.
func NewSigner(issuer, keyID string, key ed25519.PrivateKey) *Signer {
	return &Signer{issuer: issuer, keyID: keyID, key: key}
}

// Sign returns a as a compact JWT (RFC 7519, EdDSA) that ends AssertionLifetime
// after now, or at most five seconds earlier: it may be one that was signed for
// the same a before. a.Expires is not read.
func (s *Signer) Sign(a Assertion, now time.Time) (string, error) {
	a.Expires = time.Time{}
	s.mu.Lock()
	last, ok := s.signed[a]
	s.mu.Unlock()
	if age := now.Sub(last.at); ok && age >= 0 && age < assertionReuse {
		return last.token, nil
	}
	token, err := s.sign(a, now)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signed == nil || len(s.signed) >= maxSigned {
		s.signed = make(map[Assertion]signed)
	}
	s.signed[a] = signed{token, now}
	return token, nil
}

func (s *Signer) sign(a Assertion, now time.Time) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    s.issuer,
			Subject:   a.ClientID,
			Audience:  jwt.ClaimStrings{a.ApplicationID},
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(AssertionLifetime)),
		},
		Hostname: a.Hostname,
	})
	t.Header["kid"] = s.keyID
	token, err := t.SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("sign assertion with key %s: %w", s.keyID, err)
	}
	return token, nil
}

// Verifier checks assertions. It is safe for concurrent use as long as its
// fields are not changed.
type Verifier struct {
	Issuer string
	Keys   map[string]ed25519.PublicKey // by key ID
}

// Verify checks that token is an assertion by one of Keys (chosen by kid), of
// Issuer, for this application and hostname, and neither expired nor from the
// future at now, give or take Leeway. Every error wraps ErrAssertion.
func (v *Verifier) Verify(token, applicationID, hostname string, now time.Time) (Assertion, error) {
	if len(token) > maxAssertion {
		return Assertion{}, fmt.Errorf("%w: longer than %d bytes", ErrAssertion, maxAssertion)
	}
	var c claims
	_, err := jwt.ParseWithClaims(token, &c, v.key,
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithIssuer(v.Issuer),
		jwt.WithAudience(applicationID),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(Leeway),
		jwt.WithTimeFunc(func() time.Time { return now }),
	)
	switch {
	case err != nil:
		return Assertion{}, fmt.Errorf("%w: %s", ErrAssertion, assertionFault(err))
	case v.Issuer == "" || applicationID == "" || len(c.Audience) != 1:
		return Assertion{}, fmt.Errorf("%w: issuer or audience not pinned", ErrAssertion)
	case c.Hostname != hostname:
		return Assertion{}, fmt.Errorf("%w: for another hostname", ErrAssertion)
	case c.ExpiresAt.Sub(now) > AssertionLifetime+Leeway:
		return Assertion{}, fmt.Errorf("%w: lives longer than an assertion may", ErrAssertion)
	}
	return Assertion{
		ApplicationID: applicationID,
		ClientID:      c.Subject,
		Hostname:      c.Hostname,
		Expires:       c.ExpiresAt.Time,
	}, nil
}

func (v *Verifier) key(t *jwt.Token) (any, error) {
	kid, _ := t.Header["kid"].(string)
	key, ok := v.Keys[kid]
	if !ok || kid == "" {
		return nil, jwt.ErrTokenUnverifiable
	}
	return key, nil
}

// assertionFault names the fault without repeating what the peer sent.
func assertionFault(err error) string {
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return "malformed"
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return "unknown key"
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return "bad signature or algorithm"
	case errors.Is(err, jwt.ErrTokenExpired):
		return "expired"
	case errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return "issued in the future"
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return "other issuer"
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return "for another application"
	}
	return "a required claim is missing"
}
