package connector

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

const (
	// maxAssertion bounds what is parsed, in bytes. An assertion with the longest hostname and IDs has about 700.
	maxAssertion = 4096
	// leeway is the clock skew that is forgiven (docs/behaviours.md, Tunnel44).
	leeway = 60 * time.Second
	// maxKeys bounds the keys of one version of the rules: the present one, the next and the last are three.
	maxKeys = 16
)

var errAssertion = errors.New("access assertion not valid")

// verifier checks a relay's assertions. It is immutable.
type verifier struct {
	issuer string
	keys   map[string]ed25519.PublicKey // by key ID
}

func newVerifier(issuer string, keys []*tunnelpb.Key) (verifier, error) {
	v := verifier{issuer: issuer, keys: make(map[string]ed25519.PublicKey, len(keys))}
	if len(keys) > maxKeys {
		return v, fmt.Errorf("%d keys of assertions, at most %d are taken", len(keys), maxKeys)
	}
	for _, k := range keys {
		if k.GetId() == "" || len(k.GetEd25519()) != ed25519.PublicKeySize {
			return v, fmt.Errorf("key %q of assertions: want an ID and %d bytes", k.GetId(), ed25519.PublicKeySize)
		}
		v.keys[k.GetId()] = k.GetEd25519()
	}
	return v, nil
}

type claims struct {
	jwt.RegisteredClaims
	Hostname string `json:"hostname"`
}

// check reports why token is not an assertion by one of the keys, of the issuer, for one of audiences and for hostname, that is in
// force at now. Every error wraps errAssertion and quotes nothing of the token.
func (v verifier) check(token, hostname string, audiences []string, now time.Time) error {
	switch {
	case token == "":
		return fmt.Errorf("%w: there is none", errAssertion)
	case len(token) > maxAssertion:
		return fmt.Errorf("%w: longer than %d bytes", errAssertion, maxAssertion)
	case v.issuer == "" || len(v.keys) == 0:
		return fmt.Errorf("%w: no issuer and no key to check it with are known", errAssertion)
	}
	var c claims
	_, err := jwt.ParseWithClaims(token, &c, v.key,
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(v.issuer), jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(func() time.Time { return now }))
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return fmt.Errorf("%w: expired", errAssertion)
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return fmt.Errorf("%w: other issuer", errAssertion)
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return fmt.Errorf("%w: unknown key", errAssertion)
	case err != nil:
		return fmt.Errorf("%w: malformed, not yet in force, or with a bad signature", errAssertion)
	case len(c.Audience) != 1 || !slices.Contains(audiences, c.Audience[0]):
		return fmt.Errorf("%w: for another application", errAssertion)
	case c.Hostname != hostname:
		return fmt.Errorf("%w: for another hostname", errAssertion)
	}
	return nil
}

func (v verifier) key(t *jwt.Token) (any, error) {
	kid, _ := t.Header["kid"].(string)
	key, ok := v.keys[kid]
	if !ok {
		return nil, jwt.ErrTokenUnverifiable
	}
	return key, nil
}

// equalKeys reports whether a and b accept the same assertions.
func equalKeys(a, b verifier) bool {
	return a.issuer == b.issuer && maps.EqualFunc(a.keys, b.keys, func(x, y ed25519.PublicKey) bool { return x.Equal(y) })
}
