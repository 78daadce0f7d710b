package connector

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// goAwayTimeout bounds telling a relay that no more streams are wanted; the session may be stuck.
const goAwayTimeout = time.Second

// link is one session and the streams in it.
type link struct {
	c       *Connector
	log     *slog.Logger
	addr    string                // of the relay
	session *tunnel.Session       // set before serve
	goAway  chan *tunnelpb.GoAway // the relay asked the slot to move

	left bool // the slot looks for a replacement already; owned by the slot

	mu       sync.Mutex
	open     int
	streams  map[*joined]struct{} // those that are joined to an origin
	stopping bool
	idle     chan struct{} // closed when stopping and no stream is open
}

func newLink(c *Connector, log *slog.Logger, addr string) *link {
	return &link{c: c, log: log, addr: addr, goAway: make(chan *tunnelpb.GoAway, 1), idle: make(chan struct{})}
}

// asked is the Dialer's GoAway: it may run before the session is known.
func (l *link) asked(g *tunnelpb.GoAway) {
	select {
	case l.goAway <- g:
	default: // asked already
	}
}

// suspected is closed when the session needs a replacement; nil when one has been looked for.
func (l *link) suspected() <-chan struct{} {
	if l.left {
		return nil
	}
	return l.session.Suspected()
}

// serve answers the session's opens until it ends, and returns when its streams have ended.
func (l *link) serve() {
	var streams sync.WaitGroup
	defer streams.Wait()
	defer l.abort()
	// The session ends this, whatever becomes of the slot: streams outlive the order to stop.
	l.session.Serve(context.Background(), func(in *tunnel.Incoming) {
		if !l.begin() {
			l.refuse(in, &tunnel.Refusal{Code: tunnelpb.Code_DRAINING, Message: "the connector is shutting down"})
			return
		}
		j := l.join(in)
		if j == nil {
			l.end()
			return
		}
		streams.Add(1)
		l.add(j)
		stream.Join(context.Background(), j.peer, j.origin, func(stats stream.Stats, err error) {
			defer streams.Done()
			j.ended(stats, err)
		})
	})
}

func (l *link) add(j *joined) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams == nil {
		l.streams = make(map[*joined]struct{})
	}
	l.streams[j] = struct{}{}
}

func (l *link) remove(j *joined) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.streams, j)
}

// abort frees the origins after the session's end. Nobody else would: that the peer is gone is learned by reading from it, and what was
// read from it may wait for an origin that reads nothing.
func (l *link) abort() {
	l.mu.Lock()
	left := slices.Collect(maps.Keys(l.streams))
	l.mu.Unlock()
	for _, j := range left {
		j.origin.Reset(stream.CodeAborted)
	}
}

// joined is a stream and its origin.
type joined struct {
	link         *link
	peer, origin stream.Conn
	hostname     string
	remote       string // the driver, as the relay says
	since        time.Time
}

// join dials the origin that in asks for and accepts in. It returns nil when it has refused.
func (l *link) join(in *tunnel.Incoming) *joined {
	c, hostname := l.c, in.Request.GetHostname()
	log := l.log.With("hostname", hostname)
	rules := c.ingress.Load()
	s, named := rules.lookup(hostname)
	if !named {
		log.Warn("no ingress rule names the hostname")
		l.refuse(in, &tunnel.Refusal{Code: tunnelpb.Code_UNKNOWN_HOST, Message: "no ingress rule of the connector names the hostname"})
		return nil
	}
	if s.access != nil {
		if err := rules.verify.check(in.Request.GetAssertion(), canonical(hostname), s.access, time.Now()); err != nil {
			log.Warn("the relay's assertion is not good, and the rule requires one", "err", err)
			l.refuse(in, &tunnel.Refusal{Code: tunnelpb.Code_DENIED, Message: "the connector does not accept the relay's assertion"})
			return nil
		}
	}
	start := time.Now()
	origin, err := dialOrigin(in.Context(), s)
	if err != nil {
		log.Warn("origin not reached", "err", err, "dur", time.Since(start))
		l.refuse(in, refusalOf(err))
		return nil
	}
	c.metrics.openSeconds.Observe(time.Since(start).Seconds())
	var header []byte
	if s.proxyHeader {
		header = proxyHeader(in.Request.GetRemote(), origin)
	}
	first, err := begin(origin, header, in.Request.GetEarlyData())
	if err != nil {
		log.Warn("origin broke the connection", "err", err)
		origin.Reset(stream.CodeAborted)
		l.refuse(in, &tunnel.Refusal{Code: tunnelpb.Code_ORIGIN_REFUSED, Message: "the origin broke the connection"})
		return nil
	}
	peer, err := in.AcceptWith(first)
	if err != nil {
		c.metrics.opens.WithLabelValues("cancelled").Inc()
		log.Debug("opener gave up", "err", err)
		origin.Reset(stream.CodeCancelled)
		return nil
	}
	c.metrics.opens.WithLabelValues("ok").Inc()
	c.metrics.streams.Inc()
	return &joined{link: l, peer: peer, origin: origin, hostname: hostname, remote: in.Request.GetRemote(), since: start}
}

// ended counts and logs.
func (j *joined) ended(stats stream.Stats, err error) {
	metrics := &j.link.c.metrics
	metrics.streams.Dec()
	metrics.bytes.WithLabelValues("to_origin").Add(float64(stats.AToB))
	metrics.bytes.WithLabelValues("from_origin").Add(float64(stats.BToA))
	j.link.log.Debug("stream ended", "hostname", j.hostname, "remote", j.remote, "dur", time.Since(j.since), "err", err)
	j.link.remove(j)
	j.link.end()
}

func (l *link) refuse(in *tunnel.Incoming, r *tunnel.Refusal) {
	l.c.metrics.opens.WithLabelValues(result(r)).Inc()
	if err := in.Refuse(r); err != nil {
		l.log.Debug("refusal not sent", "err", err)
	}
}

// drain takes no more streams, tells the relay so that it chooses another session, waits until those that are open have ended, and
// closes the session: at most for grace (0: without limit), and once ctx has ended at most for the connector's own.
func (l *link) drain(ctx context.Context, grace time.Duration, why string) {
	idle := l.stop()
	// The order to stop may have ended ctx; what follows is bounded by goAwayTimeout.
	told, cancel := context.WithTimeout(context.WithoutCancel(ctx), goAwayTimeout)
	if err := l.session.SendGoAway(told, &tunnelpb.GoAway{DeadlineMs: uint64(l.c.cfg.Grace.Milliseconds()), Message: why}); err != nil {
		l.log.Debug("relay not told", "err", err)
	}
	cancel()
	stopped := ctx.Done()
	var expired <-chan time.Time
	if grace > 0 {
		expired = time.After(grace)
	}
	for waiting := true; waiting; {
		select {
		case <-idle:
			waiting = false
		case <-l.session.Done():
			waiting = false
		case <-stopped:
			stopped = nil
			expired = time.After(l.c.cfg.Grace)
		case <-expired:
			l.log.Warn("grace period is over, streams are reset", "streams", l.session.Streams())
			waiting = false
		}
	}
	l.session.Close(stream.CodeDraining, why)
}

// begin counts a stream, unless the link is stopping.
func (l *link) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stopping {
		l.open++
	}
	return !l.stopping
}

func (l *link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.stopping && l.open == 0 {
		close(l.idle)
	}
}

// stop takes no more streams; the channel is closed when none is open.
func (l *link) stop() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stopping && l.open == 0 {
		close(l.idle)
	}
	l.stopping = true
	return l.idle
}
