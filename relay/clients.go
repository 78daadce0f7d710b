package relay

import (
	"maps"
	"slices"
	"sync"

	"github.com/sluicedb/sluice/protocol/tunnel"
)

// clients is the set of client sessions.
type clients struct {
	mu    sync.Mutex
	set   map[*tunnel.Session]struct{}
	count map[string]int // by client ID
}

// room reports whether a service token may have another session.
func (c *clients) room(clientID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[clientID] < maxClientSessions
}

// add reports false, and adds nothing, when the service token has as many sessions as it may.
func (c *clients) add(s *tunnel.Session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := s.Hello().GetClientId()
	if c.count[id] >= maxClientSessions {
		return false
	}
	if c.set == nil {
		c.set, c.count = make(map[*tunnel.Session]struct{}), make(map[string]int)
	}
	c.set[s] = struct{}{}
	c.count[id]++
	return true
}

// remove takes out a session that was added.
func (c *clients) remove(s *tunnel.Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.set, s)
	id := s.Hello().GetClientId()
	if c.count[id]--; c.count[id] == 0 {
		delete(c.count, id)
	}
}

func (c *clients) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.set)
}

func (c *clients) sessions() []*tunnel.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.set))
}
