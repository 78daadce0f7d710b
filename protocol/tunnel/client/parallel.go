package client

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
)

const (
	// maxParallel bounds the sessions over WebSocket that take streams: as many as a connector has slots. One TCP connection holds
	// all of its streams up when a packet is lost, and halves its rate.
	maxParallel = 4
	// busyStreams is how many streams every session has when another is made: a pool of a few connections shares one.
	busyStreams = 8
	// growAfter is the pause after an attempt to make another that failed: nobody waits for it.
	growAfter = 10 * time.Second
)

// begin makes s the link's session while it has none, or another beside those that it has. It reports false when the link is closed.
func (l *link) begin(s *tunnel.Session, addr string) bool {
	l.mu.Lock()
	wanted := !l.closed
	if wanted {
		l.current, l.addr, l.better = append(l.current, s), addr, time.Now().Add(BetterAfter())
	}
	l.mu.Unlock()
	if wanted {
		l.watch(s)
	}
	return wanted
}

// watch probes s until it ends.
func (l *link) watch(s *tunnel.Session) {
	l.client.begin(func() { s.Watch(context.Background()) })
}

// background makes a session that nobody waits for.
func (l *link) background(addr string, protocol Protocol) (*tunnel.Session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	go func() {
		select {
		case <-l.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	return l.reach(ctx, addr, protocol)
}

// grow makes another session beside those over WebSocket with the relay at addr.
func (l *link) grow(addr string) {
	session, err := l.background(addr, WebSocket)
	l.mu.Lock()
	l.growing = false
	wanted := err == nil && l.stays(addr) && len(l.current) < maxParallel
	switch {
	case wanted:
		l.current = append(l.current, session)
	case err != nil:
		l.notMore = time.Now().Add(growAfter)
	}
	l.mu.Unlock()
	switch {
	case wanted:
		l.watch(session)
	case err != nil:
		l.logger().Debug("no other session beside those that are busy", "relay", addr, "err", err)
	default:
		session.Close(stream.CodeCancelled, "it is not needed any more")
	}
}

// improve replaces sessions over WebSocket with the relay at addr by one over QUIC, if that is to be had.
func (l *link) improve(addr string) {
	session, err := l.background(addr, QUIC)
	if err != nil {
		l.logger().Debug("sessions stay on websocket", "relay", addr, "err", err)
		return
	}
	l.mu.Lock()
	wanted := l.stays(addr)
	if wanted {
		l.retired = append(l.retired, l.current...)
		l.current = []*tunnel.Session{session}
	}
	l.mu.Unlock()
	if wanted {
		l.watch(session)
		return
	}
	session.Close(stream.CodeCancelled, "it is not needed any more")
}

// parallel reports whether the link has sessions that are better beside another. Called with mu held.
func (l *link) parallel() bool {
	return !l.closed && len(l.current) > 0 && l.current[0].Carrier() == tunnel.CarrierWebSocket
}

// stays reports whether what was dialled in the background is of use: the link may have left the relay at addr meanwhile, for it
// drains or does not answer. Called with mu held.
func (l *link) stays(addr string) bool { return l.parallel() && l.addr == addr }

// live returns a session that takes new streams, the less busy one of two, or nil when there is none. It has another made beside them
// when all are busy.
func (l *link) live() *tunnel.Session {
	s, addr, grow := l.choose(time.Now())
	if grow {
		l.client.begin(func() { l.grow(addr) }) // not with mu held: who holds the client's takes it
	}
	return s
}

// choose is live, and reports whether the caller is to make another session with the relay at addr.
func (l *link) choose(now time.Time) (s *tunnel.Session, addr string, grow bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.ContainsFunc(l.current, spent) {
		l.prune()
	}
	if len(l.current) == 0 {
		return nil, "", false
	}
	grow = !l.growing && l.parallel() && len(l.current) < maxParallel && !slices.ContainsFunc(l.current, spare) && now.After(l.notMore)
	l.growing = l.growing || grow
	return pick(l.current), l.addr, grow
}

// spare reports whether a session has few streams.
func spare(s *tunnel.Session) bool { return s.Streams() < busyStreams }

// pick is the power of two choices.
func pick(sessions []*tunnel.Session) *tunnel.Session {
	i := rand.IntN(len(sessions))
	if len(sessions) == 1 {
		return sessions[i]
	}
	j := rand.IntN(len(sessions) - 1)
	if j >= i {
		j++
	}
	if sessions[j].Streams() < sessions[i].Streams() {
		return sessions[j]
	}
	return sessions[i]
}

// spent reports whether a session takes no more streams.
func spent(s *tunnel.Session) bool { return s.Err() != nil || gone(s) || !s.Healthy() }

// gone reports whether the relay has asked this side to leave.
func gone(s *tunnel.Session) bool {
	select {
	case <-s.GoneAway():
		return true
	default:
		return false
	}
}

// prune takes out what takes no more streams: sessions that have ended or are not healthy, and all with a relay that asked one of them
// to leave. Another relay is next when that leaves none, unless they were merely lost. Called with mu held.
func (l *link) prune() {
	away := false
	for _, s := range slices.Clone(l.current) {
		switch {
		case s.Err() != nil:
			l.drop(s)
		case gone(s):
			away = true
			l.leave(s)
		case !s.Healthy():
			away = true
			l.drop(s)
		}
	}
	if away && len(l.current) == 0 {
		l.relay++
	}
}

// drop takes s out of use; its streams go on. Called with mu held.
func (l *link) drop(s *tunnel.Session) {
	if i := slices.Index(l.current, s); i >= 0 {
		l.current = slices.Delete(l.current, i, i+1)
		l.retired = append(l.retired, s)
	}
}

// leave takes all sessions with the relay of s out of use. Called with mu held.
func (l *link) leave(s *tunnel.Session) {
	for _, other := range slices.Clone(l.current) {
		if other == s || other.Welcome().GetRelayId() == s.Welcome().GetRelayId() {
			l.drop(other)
		}
	}
}

// retire takes s out of use, which refuses streams or does not answer, and what else there is with its relay; one that has ended goes
// alone. Another relay is next when none is left.
func (l *link) retire(s *tunnel.Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(l.current, s) {
		return
	}
	if s.Err() != nil {
		l.drop(s)
	} else {
		l.leave(s)
	}
	if len(l.current) == 0 {
		l.relay++
	}
}

func (l *link) streams() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range slices.Concat(l.retired, l.current) {
		n += s.Streams()
	}
	return n
}

// sweep takes out what has no streams: sessions that have ended or are retired, and the current ones too when the link is idle. It
// returns them for closing, and whether none is left. Beside others one without streams is retired, and closed by a later sweep: an
// open may be on its way. In its time it looks for something better than WebSocket.
func (l *link) sweep(now time.Time, idle bool) (unused []*tunnel.Session, empty bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retired = slices.DeleteFunc(l.retired, func(s *tunnel.Session) bool {
		if s.Err() == nil && s.Streams() > 0 {
			return false
		}
		unused = append(unused, s)
		return true
	})
	for _, s := range slices.Clone(l.current) {
		switch {
		case s.Streams() > 0:
		case idle, s.Err() != nil:
			l.current = slices.DeleteFunc(l.current, func(c *tunnel.Session) bool { return c == s })
			unused = append(unused, s)
		case len(l.current) > 1:
			l.drop(s)
		}
	}
	auto := l.client.Protocol == Auto || l.client.Protocol == ""
	if auto && l.parallel() && now.After(l.better) {
		l.better = now.Add(BetterAfter())
		addr := l.addr
		l.client.work.Go(func() { l.improve(addr) })
	}
	return unused, len(l.current) == 0 && len(l.retired) == 0
}

func (l *link) closeAll() {
	l.mu.Lock()
	sessions := slices.Concat(l.retired, l.current)
	if !l.closed {
		close(l.over)
	}
	l.retired, l.current, l.closed = nil, nil, true
	l.mu.Unlock()
	for _, s := range sessions {
		s.Close(stream.CodeDraining, "the client is shutting down")
	}
}
