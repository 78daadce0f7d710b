package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sluicedb/sluice/protocol/tunnel"
)

const (
	// DefaultBase bounds the first wait: a relay that restarts is back within a second or two, and four slots that lost it
	// together spread their return over this time.
	DefaultBase = 500 * time.Millisecond
	// DefaultCap bounds every wait (docs/behaviours.md, Tunnel07).
	DefaultCap = 30 * time.Second
	// StableAfter is how long a session must have lived for its slot to start from Base again (docs/behaviours.md, Tunnel07).
	StableAfter = 60 * time.Second
	// maxRetryAfter bounds a peer's advice: one that is broken must not keep a connector away for hours.
	maxRetryAfter = 5 * time.Minute
	// maxDoublings keeps Base << n from overflowing: 2^16 times any Base in use is beyond any Cap.
	maxDoublings = 16
)

// Backoff spaces attempts out with full jitter: the n-th wait is uniform between zero and the smaller of Cap and Base x 2^n. A
// refusal's advice is followed, with up to a quarter added so that peers that were refused together do not return together. The
// zero value is ready. It belongs to one goroutine.
type Backoff struct {
	Base time.Duration // DefaultBase unless set
	Cap  time.Duration // DefaultCap unless set

	n int
}

// Next returns how long to wait after an attempt that failed with err.
func (b *Backoff) Next(err error) time.Duration {
	base, ceiling := b.Base, b.Cap
	if base <= 0 {
		base = DefaultBase
	}
	if ceiling <= 0 {
		ceiling = DefaultCap
	}
	bound := min(ceiling, base<<b.n)
	b.n = min(b.n+1, maxDoublings)
	var refusal *tunnel.Refusal
	switch {
	case errors.As(err, &refusal) && refusal.RetryAfter > 0:
		after := min(refusal.RetryAfter, maxRetryAfter)
		return after + rand.N(after/4+1)
	case tunnel.IsUnadmitted(err):
		// Near the cap at once: nothing gets better by asking often.
		b.n = maxDoublings
		return ceiling/2 + rand.N(ceiling/2+1)
	}
	return rand.N(bound + 1)
}

// Reset starts the ladder again, after success.
func (b *Backoff) Reset() { b.n = 0 }

// Wait waits for Next(err), or until ctx ends; then it returns ctx's error.
func (b *Backoff) Wait(ctx context.Context, err error) error {
	return sleep(ctx, b.Next(err))
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// betterEvery is how often a session over WebSocket looks for QUIC, before jitter (docs/behaviours.md, Tunnel02: new streams
// run over QUIC within 90 s of its return).
const betterEvery = 60 * time.Second

// BetterAfter returns how long to wait before looking for something better than what there is: 45 to 75 seconds.
func BetterAfter() time.Duration { return betterEvery*3/4 + rand.N(betterEvery/2) }
