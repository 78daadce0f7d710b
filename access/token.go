package access

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxSecrets is how many secrets of one service token may be live: the current
// one, and the previous one while its grace lasts (docs/behaviours.md,
// Tunnel30).
const MaxSecrets = 2

// clientIDSuffix ends every client ID, as it does those of Cloudflare Access.
const clientIDSuffix = ".access"

// ErrTwoSecrets is what rotation answers while the previous secret's grace
// lasts: a third live secret is impossible.
var ErrTwoSecrets = errors.New("two secrets are live already: wait until the previous one expires, or end it first")

// Secret is the stored form of one client secret.
type Secret struct {
	Hash      Hash      `json:"hash"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: lives as long as the token
}

// ServiceToken is the credential of a machine: a client ID that is not secret
// and up to [MaxSecrets] secrets, of which only hashes are kept.
type ServiceToken struct {
	ID        string   `json:"id"` // UUID
	AccountID string   `json:"account_id"`
	Name      string   `json:"name"`
	ClientID  string   `json:"client_id"` // "<32 hex>.access"
	Secrets   []Secret `json:"secrets"`   // the current one first
	// SecretVersion grows by one with each rotation. The first is 1; a token of a
	// time before it was counted has 0.
	SecretVersion int           `json:"secret_version,omitempty"`
	Disabled      bool          `json:"disabled,omitempty"`
	Duration      time.Duration `json:"duration"`            // nanoseconds; 0: does not expire
	ExpiresAt     time.Time     `json:"expires_at,omitzero"` // zero: never
	CreatedAt     time.Time     `json:"created_at"`
	UpdatedAt     time.Time     `json:"updated_at"`
}

// NewServiceToken makes a token and its first secret, which exists nowhere
// else. A duration of zero makes a token that does not expire. ID and
// AccountID are the caller's to fill.
func NewServiceToken(name string, duration time.Duration, now time.Time) (ServiceToken, string, error) {
	var id [16]byte
	rand.Read(id[:]) // never fails: crypto/rand ends the program instead
	secret := NewSecret(SecretPrefix)
	t := ServiceToken{
		Name:          name,
		ClientID:      hex.EncodeToString(id[:]) + clientIDSuffix,
		Secrets:       []Secret{{Hash: HashSecret(secret)}},
		SecretVersion: 1,
		Duration:      duration,
		CreatedAt:     now,
	}
	t.Refresh(now)
	if err := t.Validate(); err != nil {
		return ServiceToken{}, "", err
	}
	return t, secret, nil
}

// Rotate gives the token a new secret and returns it. The previous one stays
// valid until graceUntil; if that is not after now it ends at once. It returns
// ErrTwoSecrets when an older secret is still in its own grace.
func (t *ServiceToken) Rotate(now, graceUntil time.Time) (string, error) {
	secret := NewSecret(SecretPrefix)
	next := []Secret{{Hash: HashSecret(secret)}}
	if graceUntil.After(now) {
		for i, s := range t.Secrets {
			if !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt) {
				continue
			}
			if i > 0 {
				return "", ErrTwoSecrets
			}
			if s.ExpiresAt.IsZero() || s.ExpiresAt.After(graceUntil) {
				s.ExpiresAt = graceUntil
			}
			next = append(next, s)
		}
	}
	t.Secrets = next
	t.SecretVersion = max(t.SecretVersion, 1) + 1
	t.UpdatedAt = now
	return secret, nil
}

// Refresh lets the token live for its duration from now on.
func (t *ServiceToken) Refresh(now time.Time) {
	t.ExpiresAt = time.Time{}
	if t.Duration > 0 {
		t.ExpiresAt = now.Add(t.Duration)
	}
	t.UpdatedAt = now
}

// Disable ends every secret's use until the token is enabled again, and the
// previous secret for good (docs/behaviours.md, Tunnel30).
func (t *ServiceToken) Disable() {
	t.Disabled = true
	if len(t.Secrets) > 1 {
		t.Secrets = t.Secrets[:1]
	}
}

// Validate reports every fault at once, as a *ValidationError.
func (t *ServiceToken) Validate() error {
	var f Faults
	ValidateName(&f, "name", t.Name)
	if !wellFormedClientID(t.ClientID) {
		f.Addf("client_id", "must be 32 hexadecimal digits followed by %s", clientIDSuffix)
	}
	if t.Duration < 0 {
		f.Addf("duration", "must not be negative")
	}
	if len(t.Secrets) == 0 {
		f.Addf("secrets", "are missing")
	}
	if len(t.Secrets) > MaxSecrets {
		f.Addf("secrets", "are more than %d", MaxSecrets)
	}
	for i, s := range t.Secrets {
		if s.Hash == (Hash{}) {
			f.Addf(fmt.Sprintf("secrets[%d].hash", i), "is missing")
		}
	}
	return f.Err()
}

func wellFormedClientID(s string) bool {
	id, ok := strings.CutSuffix(s, clientIDSuffix)
	if !ok || len(id) != 32 || id != strings.ToLower(id) {
		return false
	}
	_, err := hex.DecodeString(id)
	return err == nil
}

// check compares hash with every secret of t and says why it does not admit;
// "" when it does. It does the same work whatever the answer, and a nil t
// stands for an unknown token.
func (t *ServiceToken) check(hash Hash, now time.Time) Reason {
	var nobody ServiceToken
	known := t != nil
	if !known {
		t = &nobody
	}
	var live, past bool
	for i := range MaxSecrets {
		var s Secret
		if i < len(t.Secrets) {
			s = t.Secrets[i]
		}
		equal := s.Hash.Equal(hash)
		expired := !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt)
		live = live || (equal && !expired)
		past = past || (equal && expired)
	}
	switch {
	case !known:
		return ReasonUnknownToken
	case past && !live:
		return ReasonSecretExpired
	case !live:
		return ReasonWrongSecret
	}
	return t.ended(now)
}

// ended says why even the right secret does not admit; "" when it does.
func (t *ServiceToken) ended(now time.Time) Reason {
	switch {
	case t.Disabled:
		return ReasonDisabled
	case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
		return ReasonExpired
	}
	return ""
}
