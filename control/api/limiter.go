package api

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// failureBurst failed authentications from one network are answered at once: a person's mistakes, and a fleet of a few
	// clients whose token was just revoked.
	failureBurst = 10
	// failureEvery is how long it takes to be allowed one more.
	failureEvery = 2 * time.Second
	// networksMax bounds the networks that are remembered, at about 200 bytes each. When it is reached those that have regained
	// their burst are forgotten; failures of networks beyond it share one budget.
	networksMax = 10_000
)

// failureLimiter slows failed authentications down, by the network they come from. Requests with a valid token are never held
// up by it: tokens have too many bits to be guessed, what is limited is the work and the audit records that guessing makes.
type failureLimiter struct {
	mu       sync.Mutex
	networks map[netip.Prefix]*rate.Limiter
	rest     *rate.Limiter
	swept    time.Time // when forget last ran: a scan of the whole map, at most one every failureEvery
}

func newFailureLimiter() *failureLimiter {
	return &failureLimiter{networks: map[netip.Prefix]*rate.Limiter{}, rest: newBucket()}
}

func newBucket() *rate.Limiter { return rate.NewLimiter(rate.Every(failureEvery), failureBurst) }

// allow reports whether one more failure of this address is answered as such.
func (l *failureLimiter) allow(addr netip.Addr, now time.Time) bool {
	addr = addr.Unmap()
	bits := 32
	if addr.Is6() {
		// A host may choose any address of its /64 (RFC 4291, section 2.5.4).
		bits = 64
	}
	network, _ := addr.Prefix(bits) // the zero Prefix for an address that is not valid: one budget for all of them
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket, ok := l.networks[network]
	if !ok {
		if len(l.networks) >= networksMax && now.Sub(l.swept) >= failureEvery {
			l.forget(now)
		}
		if len(l.networks) >= networksMax {
			return l.rest.AllowN(now, 1)
		}
		bucket = newBucket()
		l.networks[network] = bucket
	}
	return bucket.AllowN(now, 1)
}

// forget drops the networks whose budget is whole again.
func (l *failureLimiter) forget(now time.Time) {
	l.swept = now
	for network, bucket := range l.networks {
		if bucket.TokensAt(now) >= failureBurst {
			delete(l.networks, network)
		}
	}
}

// connections counts a server's connections, and closes new ones when there are too many.
type connections struct {
	limit int64
	n     atomic.Int64
}

// observe is the server's ConnState.
func (c *connections) observe(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if c.n.Add(1) > c.limit {
			conn.Close() // the server sees it, and says StateClosed
		}
	case http.StateHijacked, http.StateClosed:
		c.n.Add(-1)
	}
}
