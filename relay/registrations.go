package relay

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// tunnelRefill is how long a tunnel's connectors take to register once each, after they have done so at once: a third of the
	// half minute in which all are to be back (docs/behaviours.md, Tunnel06).
	tunnelRefill = 10 * time.Second
	// leastTunnelBurst lets the four slots of a connector be registered twice at once also where a tunnel may have few sessions.
	leastTunnelBurst = 8
	// registrationsSweep is how often tunnels are forgotten that have nothing to wait for.
	registrationsSweep = time.Minute
)

// registrations bound how many connector sessions are admitted a second: of one tunnel, so that it cannot keep those of others away,
// and of all. allow may be called concurrently.
type registrations struct {
	all         *rate.Limiter
	tunnelBurst int // registrations of one tunnel at once

	mu      sync.Mutex
	tunnels map[string]*rate.Limiter // by ID, of those that have registered of late
	swept   time.Time
}

// allow reports whether a connector of a tunnel may register now.
func (r *registrations) allow(tunnelID string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.swept) > registrationsSweep {
		for id, l := range r.tunnels {
			if l.TokensAt(now) >= float64(r.tunnelBurst) {
				delete(r.tunnels, id)
			}
		}
		r.swept = now
	}
	l := r.tunnels[tunnelID]
	if l == nil {
		if r.tunnels == nil {
			r.tunnels = make(map[string]*rate.Limiter)
		}
		l = rate.NewLimiter(rate.Every(tunnelRefill/time.Duration(r.tunnelBurst)), r.tunnelBurst)
		r.tunnels[tunnelID] = l
	}
	return l.AllowN(now, 1) && r.all.AllowN(now, 1)
}
