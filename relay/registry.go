package relay

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/protocol/tunnel"
)

// backend is one session of a connector.
type backend struct {
	session *tunnel.Session
	tunnel  string // ID
	peer    string // connector's ID
	slot    uint32
	moving  bool // beside the session that has the slot, whose streams go on
	since   time.Time
	id      string // of this session alone

	load    load
	leaving atomic.Bool             // takes no more streams: it said so
	next    atomic.Pointer[backend] // the session that has moved into its slot, while that is registered
	version atomic.Uint64           // of the ingress that it has in force
	// verifier has the keys that the connector was told of last. It belongs to the goroutine that serves the session.
	verifier *access.Verifier
}

// left reports whether b's connector uses another session instead, or wants no streams on this one.
func (b *backend) left() bool { return b.leaving.Load() || b.next.Load() != nil }

// usable reports whether new streams may go to b.
func (b *backend) usable() bool {
	if b.left() || b.session.Err() != nil {
		return false
	}
	select {
	case <-b.session.GoneAway():
		return false
	default:
		return true
	}
}

// registry knows the connector sessions of each tunnel.
type registry struct {
	mu      sync.RWMutex
	tunnels map[string][]*backend // by tunnel ID; the slices are never changed in place
	total   int
}

// add registers b, in one step with taking out the session that had its connector's slot before. It returns that one for
// closing, and false when the tunnel has limit others already. When b is moving, the other only takes no more streams while b is there: a
// connector that races two carriers may have chosen the other, and drop b. It counts until it ends.
func (r *registry) add(b *backend, limit int) (replaced *backend, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.tunnels[b.tunnel]
	next := make([]*backend, 0, len(now)+1)
	for _, other := range now {
		if other.peer == b.peer && other.slot == b.slot && !other.left() && !b.moving {
			replaced = other
			continue
		}
		next = append(next, other)
	}
	if len(next) >= limit {
		return nil, false
	}
	if r.tunnels == nil {
		r.tunnels = make(map[string][]*backend)
	}
	if b.moving {
		for _, other := range next {
			if other.peer == b.peer && other.slot == b.slot {
				other.next.Store(b)
			}
		}
	}
	r.tunnels[b.tunnel] = append(next, b)
	if replaced == nil {
		r.total++
	}
	return replaced, true
}

// remove takes b out, if it has not been replaced before.
func (r *registry) remove(b *backend) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.tunnels[b.tunnel]
	i := slices.Index(now, b)
	if i < 0 {
		return
	}
	r.total--
	for _, other := range now {
		other.next.CompareAndSwap(b, nil)
	}
	if len(now) == 1 {
		delete(r.tunnels, b.tunnel)
		return
	}
	next := slices.Clone(now)
	r.tunnels[b.tunnel] = slices.Delete(next, i, i+1)
}

// candidates returns the sessions of a tunnel that take streams and were not tried yet. Those that miss their probes are among
// them when there are no others.
func (r *registry) candidates(tunnelID string, tried []*backend) []*backend {
	r.mu.RLock()
	all := r.tunnels[tunnelID]
	r.mu.RUnlock()
	usable := make([]*backend, 0, len(all))
	healthy := 0 // the first ones
	for _, b := range all {
		if !b.usable() || slices.Contains(tried, b) {
			continue
		}
		usable = append(usable, b)
		if b.session.Healthy() {
			usable[healthy], usable[len(usable)-1] = usable[len(usable)-1], usable[healthy]
			healthy++
		}
	}
	if healthy > 0 {
		return usable[:healthy]
	}
	return usable
}

// settled reports whether every connector session has moved: no tunnel would lose one if this process ended.
func (r *registry) settled() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, backends := range r.tunnels {
		if slices.ContainsFunc(backends, (*backend).usable) {
			return false
		}
	}
	return true
}

// len returns how many connector sessions are registered.
func (r *registry) len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.total
}

// room reports whether a tunnel may have a session for this connector's slot.
func (r *registry) room(tunnelID, peer string, slot uint32, moving bool, limit int) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n := 0
	for _, b := range r.tunnels[tunnelID] {
		if moving || b.peer != peer || b.slot != slot || b.left() {
			n++
		}
	}
	return n < limit
}

// sessions returns all connector sessions.
func (r *registry) sessions() []*tunnel.Session {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := make([]*tunnel.Session, 0, r.total)
	for _, backends := range r.tunnels {
		for _, b := range backends {
			list = append(list, b.session)
		}
	}
	return list
}
