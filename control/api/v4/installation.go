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
