package postgres

import (
	"context"
	"crypto/subtle"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

// cancel serves a CancelRequest: where the key is a client's, what it runs is
// cancelled at the origin, and where it waits for a connection it waits no more.
// Nobody is told anything. It returns when the origin has taken note, so that the
// driver, which waits for the connection to close, knows as much.
func (s *Server) cancel(req *pgwire.Startup) {
	s.mu.Lock()
	c := s.clients[req.PID]
	s.mu.Unlock()
	if c == nil || subtle.ConstantTimeCompare(req.Secret, c.secret) != 1 {
		return
	}
	select {
	case s.cancels <- struct{}{}:
		defer func() { <-s.cancels }()
	default:
		return
	}
	if c.leaveFlight() || c.db.pool.Cancel(c.waiter) {
		return
	}
	if o := c.busyOrigin(c.since.Load()); o != nil {
		o.cancel(context.Background()) // bounded by cancelTimeout
	}
}

// busyOrigin is the client's origin connection, marked as about to be cancelled,
// if what runs since then runs on it.
func (c *client) busyOrigin(since int64) *origin {
	c.leaseMu.Lock()
	defer c.leaseMu.Unlock()
	if c.origin == nil || since == 0 || c.since.Load() != since {
		return nil
	}
	c.origin.cancels.Start()
	return c.origin
}

// cancelOrigin cancels what runs on the client's origin connection, beside the caller.
func (c *client) cancelOrigin() {
	o := c.origin
	o.cancels.Start()
	c.s.work.Go(func() { o.cancel(context.Background()) }) // bounded by cancelTimeout
}
