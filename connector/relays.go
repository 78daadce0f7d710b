package connector

import (
	"context"

	"github.com/sluicedb/sluice/protocol/tunnel"
)

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
	case c.relays.Len() > 1:
		c.log.Warn("all slots are with one relay, although several are known: when it stops the tunnel is down for a moment; half of them move as soon as another relay answers, so look whether this machine reaches the others", "instance", id)
	default:
		c.log.Info("all slots are with the only relay that is known: when it stops the tunnel is down until it is back; run a second relay, in the same NATS cluster, if that is not good enough", "instance", id)
	}
}

// crowded reports whether a slot should look for another relay: every second one of those that meet in one.
func (c *Connector) crowded(slot int) bool { return slot%2 == 1 && c.meeting() != "" }

// maxLooks bounds the times that a slot does not look for another relay after it has found the same one again, as where two addresses
// lead to one relay: it registers anew for nothing once in some eight minutes.
const maxLooks = 8

// seeker chooses the next relay of a slot that should leave the one in which all slots meet.
type seeker struct{ skip, skipped int }

// rest reports whether it is too early to look again.
func (k *seeker) rest() bool {
	if k.skipped < k.skip {
		k.skipped++
		return true
	}
	k.skipped = 0
	return false
}

// found takes the outcome of a look.
func (k *seeker) found(another bool) {
	if k.skip = min(2*k.skip+1, maxLooks-1); another {
		k.skip = 0
	}
}

// elsewhere moves the slot's choice to another relay than old's: to the next one that is known, or to another address of the only one.
func (s *slot) elsewhere(ctx context.Context, old *link) bool {
	if s.c.relays.Len() > 1 {
		s.relay++
		return true
	}
	for n := 1; ; n++ {
		targets, err := tunnel.Resolve(ctx, s.c.relays.At(0), s.relay+n)
		if err != nil || n > len(targets) {
			return false
		}
		if targets[0] != old.session.RemoteAddr() {
			s.relay += n
			return true
		}
	}
}
