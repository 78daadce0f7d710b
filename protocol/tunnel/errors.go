package tunnel

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// A Refusal is the peer's typed no, to a Hello or to an Open; Server.Authenticate and Incoming.Refuse send one.
type Refusal struct {
	Code       tunnelpb.Code
	Message    string        // a sentence that is safe to show to a user
	RetryAfter time.Duration // how long to stay away; 0: no advice
}

func (r *Refusal) Error() string {
	if r.Message == "" {
		return "refused: " + r.Reason()
	}
	return "refused: " + r.Reason() + ": " + r.Message
}

// Reason is the code in lower case: one word that can be shown to anybody.
func (r *Refusal) Reason() string { return strings.ToLower(r.Code.String()) }

// IsUnadmitted reports whether err is a relay's refusal for who asks: by its state the credential is not good, or no longer, or admits
// nobody there. The same relay will say so again until that is changed.
func IsUnadmitted(err error) bool {
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		return false
	}
	switch refusal.Code {
	case tunnelpb.Code_UNAUTHENTICATED, tunnelpb.Code_DENIED, tunnelpb.Code_NO_TUNNEL:
		return true
	}
	return false
}

// A SessionError says that the session has ended. An Open that returns one has delivered nothing to an origin, so that it can be
// tried again on another session.
type SessionError struct {
	Code   stream.Code // 0 when the session broke rather than being closed
	Reason string      // the closer's sentence, or ""
	Remote bool        // the peer closed it
	Err    error       // the carrier's own error, or nil
}

func (e *SessionError) Error() string {
	switch {
	case e.Code != 0 && e.Remote:
		return fmt.Sprintf("session closed by peer: %s: %s", e.Code, e.Reason)
	case e.Code != 0:
		return fmt.Sprintf("session closed: %s: %s", e.Code, e.Reason)
	case e.Err != nil:
		return "session lost: " + e.Err.Error()
	}
	return "session lost"
}

// Unwrap returns the carrier's error.
func (e *SessionError) Unwrap() error { return e.Err }
