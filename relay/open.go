package relay

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

const (
	// openTimeout bounds an open: the 10 s that a connector gives an origin, and time for another attempt.
	openTimeout = 15 * time.Second
	// attemptPatience is how long one connector session may be silent before another is asked as well. A wedged session must
	// not be seen by the client (docs/behaviours.md, Tunnel22: fail over within 2 s).
	attemptPatience = 1500 * time.Millisecond
	// maxAttempts bounds the sessions that are asked for one stream: with one in four wedged, three leave 1.6 % to fail.
	maxAttempts = 3
)

// OpenRequest says where a stream leads, and who asks.
type OpenRequest struct {
	Hostname     string
	ClientID     string // of the service token
	ClientSecret string
	Remote       netip.Addr // who asks, for policies; the proxy's own address counts when a proxy asks
	Driver       string     // ip:port of the driver behind the proxy, for the connector's log; may be empty
	// EarlyData travels with the open, at most 4096 bytes. It may reach an origin connection that is abandoned when the open is
	// tried again, so it must be harmless there: a driver's start-up packet is.
	EarlyData []byte

	forwarded bool            // by another relay: it is not forwarded again
	client    *tunnel.Session // that asks, if it is one
}

// Open opens a stream to a hostname for a proxy in the same process, within ctx and at most 15 seconds. It returns a
// *tunnel.Refusal, or ctx's error. The caller ends the stream; a change of the state may reset it.
func (r *Relay) Open(ctx context.Context, req OpenRequest) (stream.Conn, error) {
	l, err := r.open(ctx, &req)
	if err != nil {
		return nil, err // not l: it would be a non-nil interface
	}
	return l, nil
}

// open decides, audits, and connects.
func (r *Relay) open(ctx context.Context, req *OpenRequest) (*liveStream, error) {
	start := time.Now()
	l, err := r.admit(ctx, req, start)
	r.metrics.opens.WithLabelValues(result(err)).Inc()
	if err == nil {
		r.metrics.openSeconds.Observe(time.Since(start).Seconds())
	}
	return l, err
}

func (r *Relay) admit(ctx context.Context, req *OpenRequest, now time.Time) (*liveStream, error) {
	if r.refusing.Load() {
		return nil, drainingRefusal()
	}
	snap := r.state.Now()
	a := ask{
		hostname: canonical(req.Hostname), clientID: req.ClientID, clientSecret: req.ClientSecret, remote: req.Remote.Unmap(),
	}
	d, tunnelID, refusal := decide(snap, &a, now)
	if !req.forwarded || refusal != nil {
		r.audit(snap, &a, d, "access.decide")
	}
	if refusal != nil {
		return nil, refusal
	}
	a.tunnel = tunnelID
	if refusal := r.stalls.refuse(a.payer()); refusal != nil {
		return nil, refusal
	}
	if refusal := r.quotas.take(a.payer(), tunnelID, now); refusal != nil {
		return nil, refusal
	}
	opened := false
	defer func() {
		if !opened {
			r.quotas.give(a.payer(), tunnelID)
		}
	}()
	assertion, err := r.state.Sign(access.Assertion{ApplicationID: d.ApplicationID, ClientID: d.ClientID, Hostname: a.hostname}, now)
	if err != nil {
		r.log.Error("assertion not signed", "hostname", a.hostname, "err", err)
		return nil, &tunnel.Refusal{Code: tunnelpb.Code_INTERNAL, Message: "the relay cannot sign its decision now"}
	}
	b, conn, err := r.connect(ctx, &route{
		tunnel: tunnelID,
		open:   &tunnelpb.Open{Hostname: a.hostname, Assertion: assertion, EarlyData: req.EarlyData, Remote: driver(req)},
		away:   r.away(tunnelID, req, &a),
	})
	if err != nil {
		return nil, err
	}
	l := &liveStream{Conn: conn, relay: r, backend: b, client: req.client, ask: a}
	opened = true // l gives it back
	r.live.add(l)
	if l.client != nil && l.Leaving() {
		l.client.SendLeaving(l.via()) // it began to leave before the stream was in the set that is told
	}
	// A change may have come between the decision and the stream's place in the set that a sweep looks through.
	if d, id, refusal := decide(r.state.Now(), &a, time.Now()); d.Outcome != access.Allowed || refusal != nil || id != tunnelID {
		r.cut(l, stream.CodeRevoked)
		return nil, &tunnel.Refusal{Code: tunnelpb.Code_DENIED, Message: "access was withdrawn while the stream was opened"}
	}
	return l, nil
}

func driver(req *OpenRequest) string {
	if req.Driver == "" && req.Remote.IsValid() {
		return req.Remote.String()
	}
	return req.Driver
}

// attempt is one session's answer to an open.
type attempt struct {
	backend *backend
	conn    stream.Conn
	err     error
}

// route is where an open may go.
type route struct {
	tunnel string // ID
	open   *tunnelpb.Open
	away   func() way // the next way through another relay; nil when there is none
}

// way opens a stream through another relay.
type way func(context.Context) (stream.Conn, error)

// search looks for the session that opens a stream. One goroutine at a time has it.
type search struct {
	relay   *Relay
	ctx     context.Context // of this open
	to      *route
	tried   []*backend
	asked   int
	pending int
	answers chan attempt // of those that are pending
	last    error        // what is known so far
}

// connect opens a stream on one of the tunnel's sessions. When a session fails before the stream was open another is asked, and
// when one is silent another is asked beside it; the first stream wins. What an origin said to one connector is believed when no
// other connector is there to ask: the other may stand elsewhere.
func (r *Relay) connect(ctx context.Context, to *route) (*backend, stream.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	s := &search{relay: r, ctx: ctx, to: to, answers: make(chan attempt, maxAttempts+maxAway)}
	b := r.another(to.tunnel, nil, false)
	if b == nil {
		s.next(false)
		return s.wait()
	}
	// The first is asked by this goroutine: an open that meets no difficulty wakes no other.
	s.ask(b)
	found := make(chan attempt, 1)
	silence := time.AfterFunc(attemptPatience, func() {
		s.next(false)
		b, conn, err := s.wait()
		found <- attempt{b, conn, err}
		cancel() // the first may still be silent
	})
	first := try(ctx, b, to.open)
	if !silence.Stop() {
		s.answers <- first
		a := <-found
		return a.backend, a.conn, a.err
	}
	if done, err := s.take(first); done {
		return first.backend, first.conn, err
	}
	return s.wait()
}

// ask counts b as asked, by whoever tries it then.
func (s *search) ask(b *backend) {
	s.count()
	s.tried = append(s.tried, b)
	b.load.begin()
}

func (s *search) count() {
	if s.asked > 0 {
		s.relay.metrics.retries.Inc()
	}
	s.asked++
	s.pending++
}

// next has another session asked, if there is one.
func (s *search) next(elsewhere bool) bool {
	if b := s.relay.another(s.to.tunnel, s.tried, elsewhere); b != nil {
		s.ask(b)
		go func() { s.answers <- try(s.ctx, b, s.to.open) }()
		return true
	}
	if elsewhere {
		return false
	}
	through := s.to.away() // another relay may have the same connector
	if through == nil {
		return false
	}
	s.count()
	go tryAway(s.ctx, through, s.answers)
	return true
}

// take looks at an answer, and reports whether it is the last that is waited for; err is nil when it has the stream. Otherwise another
// session was asked if there is one.
func (s *search) take(a attempt) (done bool, err error) {
	s.pending--
	if a.err == nil {
		return true, nil
	}
	if s.ctx.Err() != nil {
		return true, gaveUp(s.ctx)
	}
	// Another relay decides by its own snapshot, which may lag behind this one's: what is admitted here may be admitted by the next.
	verdict := final(a.err) && !(a.backend == nil && tunnel.IsUnadmitted(a.err))
	if verdict || !final(s.last) {
		s.last = a.err // a lost session says less than an origin
	}
	if !s.next(verdict) && verdict {
		return true, a.err
	}
	s.relay.log.Debug("an attempt to open has failed", "tunnel", s.to.tunnel, "err", a.err)
	return false, nil
}

// wait waits for the first stream, or until nothing is left to wait for.
func (s *search) wait() (*backend, stream.Conn, error) {
	defer func() {
		if left := s.pending; left > 0 {
			s.relay.tasks.Go(func() { discard(s.answers, left) })
		}
	}()
	silence := time.NewTicker(attemptPatience)
	defer silence.Stop()
	for s.pending > 0 {
		select {
		case a := <-s.answers:
			switch done, err := s.take(a); {
			case err != nil:
				return nil, nil, err
			case done:
				return a.backend, a.conn, nil
			}
		case <-silence.C:
			s.next(false)
		case <-s.ctx.Done():
			return nil, nil, gaveUp(s.ctx)
		}
	}
	if s.relay.draining.Load() && !final(s.last) {
		return nil, nil, drainingRefusal() // the connectors are elsewhere by now
	}
	return nil, nil, exhausted(s.last)
}

// gaveUp is the answer to an open whose time is over, or whose asker has left.
func gaveUp(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &tunnel.Refusal{Code: tunnelpb.Code_ORIGIN_TIMEOUT, Message: "no connector answered in time"}
	}
	return ctx.Err()
}

// another picks the next session to ask; nil when none is left. One of a connector that was not asked yet comes first, and with
// elsewhere no other will do.
func (r *Relay) another(tunnelID string, tried []*backend, elsewhere bool) *backend {
	if len(tried) == maxAttempts {
		return nil
	}
	left := r.registry.candidates(tunnelID, tried)
	fresh := make([]*backend, 0, len(left))
	for _, b := range left {
		if !slices.ContainsFunc(tried, func(t *backend) bool { return t.peer == b.peer }) {
			fresh = append(fresh, b)
		}
	}
	if len(fresh) > 0 || elsewhere {
		left = fresh
	}
	return pick(left, time.Now())
}

// tryAway asks another relay.
func tryAway(ctx context.Context, open way, answers chan<- attempt) {
	conn, err := open(ctx)
	answers <- attempt{conn: conn, err: err}
}

// try asks one session, and gives its place back unless the stream is open.
func try(ctx context.Context, b *backend, msg *tunnelpb.Open) attempt {
	start := time.Now()
	conn, err := b.session.Open(ctx, msg)
	took := time.Since(start)
	var refusal *tunnel.Refusal
	switch {
	case err == nil:
		b.load.observe(took, time.Now())
	case errors.As(err, &refusal) && refusal.Code == tunnelpb.Code_DRAINING:
		b.leaving.Store(true)
	case !errors.As(err, &refusal) && took >= attemptPatience:
		b.load.observe(took, time.Now()) // it was given up, for being slow
	}
	if err != nil {
		b.load.end()
	}
	a := attempt{backend: b, err: err}
	if err == nil {
		a.conn = conn
	}
	return a
}

// discard frees what attempts that lost have brought. Their context has ended, so this is short.
func discard(answers <-chan attempt, pending int) {
	for range pending {
		if a := <-answers; a.err == nil {
			a.conn.Reset(stream.CodeCancelled)
			if a.backend != nil {
				a.backend.load.end()
			}
		}
	}
}

// final reports whether err is the origin's or the connector's verdict on the open, which another session of the same connector
// would repeat. What is left are sessions that are lost, leaving, full, or have other rules.
func final(err error) bool {
	var refusal *tunnel.Refusal
	if !errors.As(err, &refusal) {
		return false
	}
	switch refusal.Code {
	case tunnelpb.Code_DRAINING, tunnelpb.Code_LIMITED, tunnelpb.Code_INTERNAL, tunnelpb.Code_UNKNOWN_HOST:
		return false
	}
	return true
}

// exhausted is the answer when no session is left to ask.
func exhausted(last error) error {
	var refusal *tunnel.Refusal
	if errors.As(last, &refusal) && refusal.Code != tunnelpb.Code_DRAINING {
		return refusal
	}
	return &tunnel.Refusal{
		Code: tunnelpb.Code_NO_CONNECTOR, Message: "no connector of the tunnel is connected", RetryAfter: time.Second,
	}
}

// result is err as a metric's label: ok, cancelled, error, or the refusal's code.
func result(err error) string {
	var refusal *tunnel.Refusal
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &refusal):
		return strings.ToLower(refusal.Code.String())
	case errors.Is(err, context.Canceled):
		return "cancelled"
	}
	return "error"
}
