package tunnel

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// How the stream path of a session is watched. One that wedges right after an answer is suspected by the side that dialled it
// probeEvery + suspectAfter x probeWait = 5 s later (docs/behaviours.md, Tunnel05), and by the relay, which has many more of them,
// 2 s after that (Tunnel22).
const (
	probeEvery   = 2 * time.Second
	probeWait    = time.Second     // and four round trips
	maxProbeWait = 2 * time.Second // of a path with full buffers
	suspectAfter = 3               // missed probes in a row
	// deadAfter ends a session that carries no stream although its carrier seems to live. A carrier that is blocked for 15 s
	// must not lose its session (Tunnel20), and the WebSocket carrier bears 30 s of silence.
	deadAfter = 30 * time.Second
)

// health is what is known of a session's stream path.
type health struct {
	mu        sync.Mutex
	started   time.Time // when Watch began
	passed    time.Time // the peer's last answer on a stream
	rtt       time.Duration
	misses    int           // since then
	suspected chan struct{} // closed at the first suspicion
}

// pass takes an answer of the peer; rtt is 0 when the peer may have waited for somebody else before it.
func (h *health) pass(now time.Time, rtt time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.passed, h.misses = now, 0
	if rtt > 0 {
		h.rtt = rtt
	}
}

// miss counts a probe without an answer, and returns for how long the peer has been silent.
func (h *health) miss(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.misses++; h.misses == suspectAfter {
		select {
		case <-h.suspected:
		default:
			close(h.suspected)
		}
	}
	since := h.started
	if h.passed.After(since) {
		since = h.passed
	}
	return now.Sub(since)
}

func (h *health) healthy() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.misses < suspectAfter
}

// Healthy reports that fewer than three probes in a row have been missed. It is true of a session that nobody watches.
func (s *Session) Healthy() bool { return s.health.healthy() }

// Suspected returns a channel that is closed when three probes in a row have been missed: the session needs a replacement.
// A session that answers again becomes Healthy again; the channel stays closed.
func (s *Session) Suspected() <-chan struct{} { return s.health.suspected }

// Answered returns when the peer last answered on a stream, the zero time if it never did, and how long the last probe took.
func (s *Session) Answered() (at time.Time, rtt time.Duration) {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	return s.health.passed, s.health.rtt
}

// Watch probes the session through its stream path, about every two seconds (four on the relay's side) and as soon as it is called, until ctx or the session
// ends. Where opens are answered all the time it sends nothing. A session that has answered nothing for 30 seconds is closed. It
// is called once.
func (s *Session) Watch(ctx context.Context) {
	s.health.mu.Lock()
	s.health.started = time.Now()
	s.health.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.link.closed():
			return
		case <-timer.C:
		}
		timer.Reset(s.check(ctx))
	}
}

// check probes once, unless the peer has answered lately, and returns how long to wait for the next time.
func (s *Session) check(ctx context.Context) time.Duration {
	every := probeEvery
	if s.served {
		every *= 2
	}
	next := every - rand.N(every/4)
	start := time.Now()
	at, rtt := s.Answered()
	if start.Sub(at) < every/2 {
		return next - start.Sub(at)
	}
	wait := min(probeWait+4*rtt, maxProbeWait)
	pctx, cancel := context.WithTimeout(ctx, wait)
	_, err := s.Probe(pctx)
	cancel()
	var refusal *Refusal
	switch {
	case err == nil, ctx.Err() != nil:
		return next
	case errors.As(err, &refusal) && refusal.Code == tunnelpb.Code_LIMITED:
		return next // the session is full: that says nothing about its path
	}
	now := time.Now()
	if s.health.miss(now) >= deadAfter {
		_ = s.Close(stream.CodeTimeout, "the session answers no probe")
	}
	return max(0, wait-now.Sub(start))
}
