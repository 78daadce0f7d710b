package control

import "errors"

// The errors that callers decide on.
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("exists already")
	ErrConflict    = errors.New("changed by somebody else at the same time")
	ErrInUse       = errors.New("in use")
	ErrUnavailable = errors.New("the store does not answer")
)

// Fault is one thing wrong with a noun.
type Fault struct {
	Field   string // path, as in the JSON: origin.host
	Message string // a sentence without the field's name
}

// ValidationError carries every fault of one noun.
type ValidationError struct{ Faults []Fault }

func (e *ValidationError) Error() string { return "invalid" }
