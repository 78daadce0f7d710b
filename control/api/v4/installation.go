package v4

import "time"

// KeyRotation says which key seals secrets, and how far its coming into use is: /installation/keys.
type KeyRotation struct {
	// KeyID is eight hex digits.
	KeyID string `json:"key_id"`
	// State is none (there was no rotation), sealing, finished or stopped.
	State string `json:"state"`
	// Resealed counts what the node that answers has sealed anew.
	Resealed int `json:"resealed"`
	// Failure says why a rotation stopped; it goes on when it is asked for again.
	Failure    string     `json:"failure,omitempty"`
	StartedOn  *time.Time `json:"started_on,omitempty"`
	FinishedOn *time.Time `json:"finished_on,omitempty"`
}

// SigningKeys says which keys sign assertions, in the order in which they do: /installation/signing_keys.
type SigningKeys struct {
	Issuer string       `json:"issuer"`
	Keys   []SigningKey `json:"keys"`
}

// SigningKey is one of them.
type SigningKey struct {
	ID string `json:"id"`
	// PublicKey is Ed25519's 32 bytes in base64.
	PublicKey []byte `json:"public_key"`
	// State is next, signing or former.
	State string `json:"state"`
	// SignsFrom is when it begins to sign, null for one from before keys rotated.
	SignsFrom *time.Time `json:"signs_from"`
	// AcceptedUntil is when what it has signed is accepted no more, null while that is not known.
	AcceptedUntil *time.Time `json:"accepted_until"`
}
