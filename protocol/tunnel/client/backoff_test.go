package client

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

func TestTunnel07BackoffHasFullJitterAndACap(t *testing.T) {
	lost := errors.New("lost")
	for n := range 20 {
		bound := min(DefaultCap, DefaultBase<<min(n, 16))
		low, high := false, false
		for range 2000 {
			b := Backoff{n: min(n, maxDoublings)}
			got := b.Next(lost)
			if got < 0 || got > bound {
				t.Fatalf("wait %d is %v, want 0 to %v", n, got, bound)
			}
			low, high = low || got < bound/10, high || got > bound-bound/10
		}
		if !low || !high {
			t.Errorf("wait %d never comes near zero (%t) and near %v (%t): not full jitter", n, low, bound, high)
		}
	}
}

func TestTunnel07BackoffStartsAgainAfterReset(t *testing.T) {
	var b Backoff
	for range 30 {
		b.Next(errors.New("lost"))
	}
	b.Reset()
	if got := b.Next(errors.New("lost")); got > DefaultBase {
		t.Errorf("first wait after Reset is %v, want at most %v", got, DefaultBase)
	}
}

func TestTunnel07BackoffFollowsAdviceAndSlowsForPermanentErrors(t *testing.T) {
	refusal := func(code tunnelpb.Code, after time.Duration) error {
		return fmt.Errorf("dial: %w", &tunnel.Refusal{Code: code, RetryAfter: after})
	}
	tests := []struct {
		name      string
		err       error
		low, high time.Duration
	}{
		{"advice", refusal(tunnelpb.Code_LIMITED, 8*time.Second), 8 * time.Second, 10 * time.Second},
		{"advice beyond reason", refusal(tunnelpb.Code_DRAINING, 24*time.Hour), maxRetryAfter, maxRetryAfter * 5 / 4},
		{"wrong credential", refusal(tunnelpb.Code_UNAUTHENTICATED, 0), DefaultCap / 2, DefaultCap},
		{"deleted tunnel", refusal(tunnelpb.Code_NO_TUNNEL, 0), DefaultCap / 2, DefaultCap},
		{"full, without advice", refusal(tunnelpb.Code_LIMITED, 0), 0, DefaultBase},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 200 {
				var b Backoff
				if got := b.Next(tt.err); got < tt.low || got > tt.high {
					t.Fatalf("wait is %v, want %v to %v", got, tt.low, tt.high)
				}
			}
		})
	}
}
