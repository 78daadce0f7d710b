package connector

import (
	"net"
	"slices"
	"sync"
)

// maxLearned bounds the relays that a Welcome can add.
const maxLearned = 32

// relays is what a connector knows of where to register: what it was told at its start, and what relays have said since. Its
// methods may be called concurrently.
type relays struct {
	configured []string // never empty

	mu      sync.Mutex
	learned []string
}

// learn takes the relays of a Welcome, which replace those of the one before.
func (r *relays) learn(announced []string) {
	var fresh []string
	for _, addr := range announced {
		if _, _, err := net.SplitHostPort(addr); err == nil && len(fresh) < maxLearned &&
			!slices.Contains(r.configured, addr) && !slices.Contains(fresh, addr) {
			fresh = append(fresh, addr)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.learned = fresh
}

// at returns the n-th relay, counted round and round.
func (r *relays) at(n int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n %= len(r.configured) + len(r.learned); n >= len(r.configured) {
		return r.learned[n-len(r.configured)]
	}
	return r.configured[n]
}

func (r *relays) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.configured) + len(r.learned)
}

// meeting returns the instance of the one relay in which all slots meet; "" when they do not, or not all are registered.
func (c *Connector) meeting() string {
	id := ""
	for i := range c.current {
		l := c.current[i].Load()
		if l == nil {
			return ""
		}
		switch here := l.session.Welcome().GetRelayId(); {
		case here == "" || id != "" && here != id:
			return ""
		default:
			id = here
		}
	}
	return id
}

// checkSpread says once when all slots meet in one relay.
func (c *Connector) checkSpread() {
	if len(c.current) < 2 {
		return
	}
	c.crowd.Lock()
	defer c.crowd.Unlock()
	id := c.meeting()
	if id == c.crowdIn {
		return
	}
	c.crowdIn = id
	switch {
	case id == "":
	case c.relays.len() > 1:
		c.log.Warn("all slots are with one relay; a part of them moves when another is there", "instance", id)
	default:
		c.log.Info("all slots are with the only relay: the tunnel is as available as it is", "instance", id)
	}
}

// crowded reports whether a slot should look for another relay: every second one of those that meet in one.
func (c *Connector) crowded(slot int) bool {
	return slot%2 == 1 && c.relays.len() > 1 && c.meeting() != ""
}
