package relay

import (
	"context"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

const (
	// goAwayTimeout bounds telling one peer; its session may be stuck.
	goAwayTimeout = time.Second
	// drainRetryAfter is what peers are told to wait before they dial a relay that restarts: a process is back in about that time.
	drainRetryAfter = time.Second
	// moveTime is how long connectors have to register elsewhere before this relay takes no more streams: a race in which UDP
	// does not pass takes a little more than a second.
	moveTime = 2 * time.Second
	// moveCheck is how often it is looked whether they have.
	moveCheck = 20 * time.Millisecond
)

func drainingRefusal() *tunnel.Refusal {
	return &tunnel.Refusal{Code: tunnelpb.Code_DRAINING, Message: "the relay is shutting down", RetryAfter: drainRetryAfter}
}

// drain asks every peer to move, takes new streams until the connectors have, waits until no stream is live, at most for the grace
// period, and ends what is left.
func (r *Relay) drain(ctx context.Context) {
	r.draining.Store(true)
	defer r.refusing.Store(true)
	sessions := append(r.registry.sessions(), r.clients.sessions()...)
	r.log.Info("relay drains", "sessions", len(sessions), "streams", r.live.len(), "grace", r.cfg.Grace)
	for _, s := range sessions {
		r.tasks.Go(func() { r.tell(ctx, s) })
	}
	grace := time.NewTimer(r.cfg.Grace)
	defer grace.Stop()
	r.awaitMoves(ctx)
	r.refusing.Store(true)
	select {
	case <-r.live.drained():
	case <-grace.C:
		r.log.Warn("grace period is over, streams are reset", "streams", r.live.len())
	case <-ctx.Done():
	}
	// The streams first, so that their clients hear why and not of a lost session.
	var cuts sync.WaitGroup
	for _, l := range r.live.all() {
		cuts.Go(func() { r.cut(l, stream.CodeDraining) })
	}
	cuts.Wait()
	for _, s := range append(r.registry.sessions(), r.clients.sessions()...) {
		r.tasks.Go(func() { s.Close(stream.CodeDraining, "the relay is shutting down") })
	}
	r.tasks.Wait()
}

// awaitMoves waits until every connector has a session elsewhere, or its time is over, or nobody is here who would ask for a stream.
func (r *Relay) awaitMoves(ctx context.Context) {
	over := time.NewTimer(min(moveTime, r.cfg.Grace))
	defer over.Stop()
	check := time.NewTicker(moveCheck)
	defer check.Stop()
	for r.clients.len() > 0 && !r.registry.settled() {
		select {
		case <-ctx.Done():
			return
		case <-over.C:
			return
		case <-check.C:
		}
	}
}

// tellLate asks a peer to move whose session became known when the others may have been told already.
func (r *Relay) tellLate(ctx context.Context, s *tunnel.Session) {
	if r.draining.Load() {
		r.tell(ctx, s)
	}
}

func (r *Relay) tell(ctx context.Context, s *tunnel.Session) {
	ctx, cancel := context.WithTimeout(ctx, goAwayTimeout)
	defer cancel()
	err := s.SendGoAway(ctx, &tunnelpb.GoAway{
		RetryAfterMs: uint64(drainRetryAfter.Milliseconds()),
		DeadlineMs:   uint64(r.cfg.Grace.Milliseconds()),
		Message:      "the relay is shutting down",
	})
	if err != nil {
		r.log.Debug("peer not told to move", "remote", s.RemoteAddr().String(), "err", err)
	}
}
