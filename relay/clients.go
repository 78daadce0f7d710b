package relay

import (
	"maps"
	"slices"
	"sync"

	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// clients is the set of client sessions, and of other relays' sessions, which are counted apart: how many they have is not the doing of
// a credential, and may not keep connectors away.
type clients struct {
	mu     sync.Mutex
	set    map[*tunnel.Session]struct{}
	count  map[owner]int
	relays int // sessions of theirs
}

// An owner is whose sessions are counted together: a service token's, or those of another relay, which has one for each tunnel that it
// forwards to.
type owner struct {
	relay bool
	id    string // client ID, or the relay's ID
}

func ownerOf(hello *tunnelpb.Hello) owner {
	if hello.GetRole() == tunnelpb.Role_RELAY {
		return owner{true, hello.GetPeerId()}
	}
	return owner{false, hello.GetClientId()}
}

func (o owner) limit() int {
	if o.relay {
		return maxRelaySessions
	}
	return maxClientSessions
}

// room reports whether who says hello may have another session.
func (c *clients) room(hello *tunnelpb.Hello) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := ownerOf(hello)
	return c.count[o] < o.limit()
}

// add reports false, and adds nothing, when the service token or the relay has as many sessions as it may.
func (c *clients) add(s *tunnel.Session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := ownerOf(s.Hello())
	if c.count[o] >= o.limit() {
		return false
	}
	if c.set == nil {
		c.set, c.count = make(map[*tunnel.Session]struct{}), make(map[owner]int)
	}
	c.set[s] = struct{}{}
	c.count[o]++
	if o.relay {
		c.relays++
	}
	return true
}

// remove takes out a session that was added.
func (c *clients) remove(s *tunnel.Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.set, s)
	o := ownerOf(s.Hello())
	if c.count[o]--; c.count[o] == 0 {
		delete(c.count, o)
	}
	if o.relay {
		c.relays--
	}
}

func (c *clients) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.set)
}

// ofTokens is len without the sessions of other relays.
func (c *clients) ofTokens() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.set) - c.relays
}

func (c *clients) sessions() []*tunnel.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.set))
}
