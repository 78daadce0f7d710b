package client

import (
	"net"
	"slices"
	"sync"
)

// maxLearned bounds the relays that a Welcome can add.
const maxLearned = 32

// Relays is what a peer knows of where relays are: what it was told at its start, and what relays have said since. Its methods may be
// called concurrently.
type Relays struct {
	Configured []string // host:port; never empty, and not changed

	mu      sync.Mutex
	learned []string
}

// Learn takes the relays of a Welcome, which replace those of the one before.
func (r *Relays) Learn(announced []string) {
	var fresh []string
	for _, addr := range announced {
		if _, _, err := net.SplitHostPort(addr); err == nil && len(fresh) < maxLearned &&
			!slices.Contains(r.Configured, addr) && !slices.Contains(fresh, addr) {
			fresh = append(fresh, addr)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.learned = fresh
}

// At returns the n-th relay, counted round and round.
func (r *Relays) At(n int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n %= len(r.Configured) + len(r.learned); n >= len(r.Configured) {
		return r.learned[n-len(r.Configured)]
	}
	return r.Configured[n]
}

// Len returns how many relays are known.
func (r *Relays) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.Configured) + len(r.learned)
}
