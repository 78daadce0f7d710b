package relay

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

const (
	// defaultTokenStreams bounds the live streams of one service token: more than the pools of any proxy fleet, at some 12 KB
	// each 120 MB.
	defaultTokenStreams = 10_000
	// defaultTunnelStreams bounds those of one tunnel: four sessions with as many streams as a session may have, and some.
	defaultTunnelStreams = 20_000
	// defaultTokenRate bounds the opens of one service token, a second: a pool that fills does tens, a client in a loop without
	// a pause thousands.
	defaultTokenRate = 1000
	// rateRetryAfter is the advice to who opens too fast.
	rateRetryAfter = 250 * time.Millisecond
	// rateIdle is how long the rate of a token without streams is remembered.
	rateIdle = time.Minute
)

// quotas bound what one service token and one tunnel may have, so that neither can take what others need. The methods may be called
// concurrently.
type quotas struct {
	tokenStreams, tunnelStreams, tokenRate int

	mu      sync.Mutex
	tokens  map[string]*tokenQuota // by who pays: see ask.payer
	tunnels map[string]int         // streams, by ID
	swept   time.Time
}

type tokenQuota struct {
	streams int
	opens   *rate.Limiter
	used    time.Time
}

// take counts a stream that is about to be opened, until give. It returns a refusal when a quota is used up.
func (q *quotas) take(payer, tunnelID string, now time.Time) *tunnel.Refusal {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.tokens == nil {
		q.tokens, q.tunnels = make(map[string]*tokenQuota), make(map[string]int)
	}
	q.sweep(now)
	t := q.tokens[payer]
	if t == nil {
		t = &tokenQuota{opens: rate.NewLimiter(rate.Limit(q.tokenRate), q.tokenRate)}
		q.tokens[payer] = t
	}
	t.used = now
	switch {
	case t.streams >= q.tokenStreams:
		return &tunnel.Refusal{Code: tunnelpb.Code_LIMITED, Message: "the service token has as many streams as it may", RetryAfter: time.Second}
	case q.tunnels[tunnelID] >= q.tunnelStreams:
		return &tunnel.Refusal{Code: tunnelpb.Code_LIMITED, Message: "the tunnel has as many streams as it may", RetryAfter: time.Second}
	case !t.opens.AllowN(now, 1):
		return &tunnel.Refusal{Code: tunnelpb.Code_LIMITED, Message: "the service token opens streams too fast", RetryAfter: rateRetryAfter}
	}
	t.streams++
	q.tunnels[tunnelID]++
	return nil
}

// give ends what take has counted.
func (q *quotas) give(payer, tunnelID string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := q.tokens[payer]; t != nil {
		t.streams--
	}
	if q.tunnels[tunnelID]--; q.tunnels[tunnelID] <= 0 {
		delete(q.tunnels, tunnelID)
	}
}

// sweep forgets tokens that are not used, now and then. The lock is held.
func (q *quotas) sweep(now time.Time) {
	if now.Sub(q.swept) < rateIdle {
		return
	}
	q.swept = now
	for id, t := range q.tokens {
		if t.streams == 0 && now.Sub(t.used) > rateIdle {
			delete(q.tokens, id)
		}
	}
}
