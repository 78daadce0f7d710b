package access

import (
	"crypto/ed25519"
	"time"
)

// AssertionLifetime is how long an assertion is valid: it travels with the
// stream that it belongs to, so one minute is ample (design.md, contract).
const AssertionLifetime = 60 * time.Second

// Leeway is the clock skew that verification forgives (reference/tunnel.md
// section 4, behaviour 44).
const Leeway = 60 * time.Second

// Assertion is what a relay asserts to a connector about one stream.
type Assertion struct {
	ApplicationID string // the token's audience
	ClientID      string // the token's subject; empty for a bypass policy
	Hostname      string
	Expires       time.Time
}

// Signer signs assertions with one Ed25519 key. It is safe for concurrent use.
type Signer struct {
	issuer string
	keyID  string
	key    ed25519.PrivateKey
}

// Verifier checks assertions. It is safe for concurrent use as long as its
// fields are not changed.
type Verifier struct {
	Issuer string
	Keys   map[string]ed25519.PublicKey // by key ID
}
