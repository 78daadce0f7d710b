package control

import (
	"errors"

	"github.com/sluicedb/sluice/access"
)

// The errors that callers decide on, with errors.Is. What wraps them names the
// thing, and is safe to show to whoever asked.
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("exists already")
	ErrConflict    = errors.New("changed by others at the same time")
	ErrInUse       = errors.New("in use")
	ErrUnavailable = errors.New("the store does not answer")
	// ErrKeyset is returned by Open when the keyset is not the one that sealed
	// the store.
	ErrKeyset = errors.New("the keyset is not the one that sealed this store")
	// ErrLocked is returned by Open when another process has the data directory.
	ErrLocked = errors.New("the data directory is in use by another process")
)

// LimitError says that an account has as many of something as it may have;
// found with errors.As.
type LimitError struct{ Text string }

// Error returns a sentence that is safe to show.
func (e *LimitError) Error() string { return e.Text }

// Fault is one thing that is wrong with a noun.
type Fault = access.Fault

// ValidationError carries every fault of one noun at once; found with errors.As.
type ValidationError = access.ValidationError
