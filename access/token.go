package access

import "time"

// MaxSecrets is how many secrets of one service token may be live: the current
// one, and the previous one while its grace lasts (reference: rotation keeps
// "at most two secrets live").
const MaxSecrets = 2

// Hash is the SHA-256 of a secret. Secrets that are only checked are stored in
// this form alone. Its JSON is lower-case hexadecimal.
type Hash [32]byte

// Secret is the stored form of one client secret.
type Secret struct {
	Hash      Hash      `json:"hash"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: lives as long as the token
}

// ServiceToken is the credential of a machine: a client ID that is not secret
// and up to [MaxSecrets] secrets, of which only hashes are kept.
type ServiceToken struct {
	ID        string        `json:"id"` // UUID
	AccountID string        `json:"account_id"`
	Name      string        `json:"name"`
	ClientID  string        `json:"client_id"` // "<32 hex>.access"
	Secrets   []Secret      `json:"secrets"`
	Disabled  bool          `json:"disabled,omitempty"`
	Duration  time.Duration `json:"duration"`            // nanoseconds; 0: does not expire
	ExpiresAt time.Time     `json:"expires_at,omitzero"` // zero: never
	CreatedAt time.Time     `json:"created_at"`
	UpdatedAt time.Time     `json:"updated_at"`
}
