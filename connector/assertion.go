package connector

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
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
	// maxVerified bounds the assertions that are remembered, of some 300 bytes each: a relay gives out the same one for some seconds.
	maxVerified = 1024
)

var errAssertion = errors.New("access assertion not valid")

// verifier checks a relay's assertions. Its keys never change: with others it is made anew, and remembers nothing.
type verifier struct {
	issuer   string
	keys     map[string]ed25519.PublicKey // by key ID
	verified *verified
}

// verified are the claims of assertions by one of a verifier's keys and of its issuer, by the hash of the whole token. What depends on
// the clock and on the open is checked each time.
type verified struct {
	mu     sync.Mutex
	claims map[[sha256.Size]byte]*claims
}

func (v *verified) get(hash [sha256.Size]byte) (*claims, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c, ok := v.claims[hash]
	return c, ok
}

func (v *verified) put(hash [sha256.Size]byte, c *claims) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.claims == nil || len(v.claims) >= maxVerified {
		v.claims = make(map[[sha256.Size]byte]*claims)
	}
	v.claims[hash] = c
}

func newVerifier(issuer string, keys []*tunnelpb.Key) (verifier, error) {
	v := verifier{issuer: issuer, keys: make(map[string]ed25519.PublicKey, len(keys)), verified: &verified{}}
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
	c, err := v.parse(token, now)
	if err != nil {
		return err
	}
	switch {
	case len(c.Audience) != 1 || !slices.Contains(audiences, c.Audience[0]):
		return fmt.Errorf("%w: for another application", errAssertion)
	case c.Hostname != hostname:
		return fmt.Errorf("%w: for another hostname", errAssertion)
	}
	return nil
}

// parse returns the claims of a token that one of the keys has signed, of the issuer and in force at now.
func (v verifier) parse(token string, now time.Time) (*claims, error) {
	hash := sha256.Sum256([]byte(token))
	if c, ok := v.verified.get(hash); ok {
		if err := jwt.NewValidator(v.options(now)...).Validate(c); err != nil {
			return nil, fault(err)
		}
		return c, nil
	}
	c := new(claims)
	if _, err := jwt.ParseWithClaims(token, c, v.key, v.options(now)...); err != nil {
		return nil, fault(err)
	}
	v.verified.put(hash, c)
	return c, nil
}

func (v verifier) options(now time.Time) []jwt.ParserOption {
	return []jwt.ParserOption{
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(v.issuer), jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(func() time.Time { return now }),
	}
}

func fault(err error) error {
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return fmt.Errorf("%w: expired", errAssertion)
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return fmt.Errorf("%w: other issuer", errAssertion)
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return fmt.Errorf("%w: unknown key", errAssertion)
	}
	return fmt.Errorf("%w: malformed, not yet in force, or with a bad signature", errAssertion)
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

// covers reports whether v accepts whatever w does.
func covers(v, w verifier) bool {
	if v.issuer != w.issuer {
		return false
	}
	for id, key := range w.keys {
		if !key.Equal(v.keys[id]) {
			return false
		}
	}
	return true
}
