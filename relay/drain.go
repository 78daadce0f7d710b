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
)

func drainingRefusal() *tunnel.Refusal {
	return &tunnel.Refusal{Code: tunnelpb.Code_DRAINING, Message: "the relay is shutting down", RetryAfter: drainRetryAfter}
}

// drain asks every peer to move, waits until no stream is live, at most for the grace period, and ends what is left.
func (r *Relay) drain(ctx context.Context) {
	r.draining.Store(true)
	sessions := append(r.registry.sessions(), r.clients.sessions()...)
	r.log.Info("relay drains", "sessions", len(sessions), "streams", r.live.len(), "grace", r.cfg.Grace)
	message := &tunnelpb.GoAway{
		RetryAfterMs: uint64(drainRetryAfter.Milliseconds()),
		DeadlineMs:   uint64(r.cfg.Grace.Milliseconds()),
		Message:      "the relay is shutting down",
	}
	for _, s := range sessions {
		r.tasks.Go(func() { r.tell(ctx, s, message) })
	}
	grace := time.NewTimer(r.cfg.Grace)
	defer grace.Stop()
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

func (r *Relay) tell(ctx context.Context, s *tunnel.Session, message *tunnelpb.GoAway) {
	ctx, cancel := context.WithTimeout(ctx, goAwayTimeout)
	defer cancel()
	if err := s.SendGoAway(ctx, message); err != nil {
		r.log.Debug("peer not told to move", "remote", s.RemoteAddr().String(), "err", err)
	}
}
