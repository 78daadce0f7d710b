package client

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

const (
	// openTimeout bounds Dial: the 10 s that a connector gives an origin, and the way there and back.
	openTimeout = 15 * time.Second
	// dialTimeout bounds one attempt to reach a relay over both carriers.
	dialTimeout = 10 * time.Second
	// clientCap bounds the wait between attempts of one client: drivers wait behind it.
	clientCap = 3 * time.Second
	// idleAfter is how long a session without streams is kept: longer than the pauses of a busy pool, shorter than an hour of
	// keepalives for a credential that is not used any more.
	idleAfter = 5 * time.Minute
	// sweepEvery is how often idle and retired sessions are looked for.
	sweepEvery = 10 * time.Second
	// maxOpens bounds the sessions that one Dial tries.
	maxOpens = 3
	// silence is how long an open may be unanswered before its session is probed, and answer how long the probe has: together they
	// are what a wedged or vanished relay costs an open (docs/behaviours.md, Tunnel22: fail over within 2 s).
	silence = 750 * time.Millisecond
	answer  = time.Second
)

// Client opens streams to hostnames through relays of another process, as a proxy that runs apart from them does. It keeps one
// session for each service token that is in use, and up to four where they are over WebSocket and busy. Its fields must not change
// after the first Dial; its methods may be called concurrently.
type Client struct {
	Relays   []string    // host:port of relays, which may tell of others; required
	TLS      *tls.Config // RootCAs, ServerName; see tunnel.Dialer
	Protocol Protocol    // Auto unless set
	PeerID   string      // random, one for each process; required
	// RelayID makes this process a relay that forwards to another one, which must have this ID: TLS has a certificate that proves
	// it, and streams are opened by Forward.
	RelayID string
	// Leaving is called when a relay says that what carries some of the streams will end: see tunnel.Dialer. It may be nil.
	Leaving func(via string)
	Version string       // of this software, for people
	Logger  *slog.Logger // slog.Default unless set

	known  Relays
	mu     sync.Mutex
	links  map[credential]*link
	closed bool
	work   sync.WaitGroup // watches, and attempts that were given up; each ends with its session

	race func(context.Context, *Racer) (*tunnel.Session, error) // tests; (*Racer).Dial unless set
}

// Target says where a stream leads, and who asks.
type Target struct {
	Hostname     string
	ClientID     string // of the service token
	ClientSecret string
	// EarlyData travels with the open, at most 4096 bytes. It may reach an origin connection that is abandoned when the open is
	// tried again, so it must be harmless there: a driver's start-up packet is.
	EarlyData []byte
	Remote    string // ip:port of the driver, for the connector's log; may be empty
}

// credential is what has a session of its own: a service token or, between relays, a tunnel.
type credential struct{ id, secret, tunnel string }

// Run closes sessions that have become idle, until ctx ends; then it closes all of them, and Dial fails.
func (c *Client) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			c.closeAll()
			c.work.Wait()
			return nil
		case now := <-tick.C:
			c.sweep(now)
		}
	}
}

// Dial opens a stream to t.Hostname, within ctx and at most 15 seconds. An open that finds its session dead, wedged or draining
// before a byte was sent is tried again on another. It returns a *tunnel.Refusal when a relay said no, and otherwise an error that
// says why no relay was reached. The caller ends the stream.
func (c *Client) Dial(ctx context.Context, t Target) (stream.Conn, error) {
	return c.dial(ctx, credential{id: t.ClientID, secret: t.ClientSecret}, &tunnelpb.Open{Hostname: t.Hostname, EarlyData: t.EarlyData, Remote: t.Remote})
}

// Forward is Dial for a relay. The open carries the credential of who asks. Each tunnel has a session of its own, so that none takes
// the streams that others need.
func (c *Client) Forward(ctx context.Context, tunnelID string, open *tunnelpb.Open) (stream.Conn, error) {
	return c.dial(ctx, credential{tunnel: tunnelID}, open)
}

func (c *Client) dial(ctx context.Context, key credential, open *tunnelpb.Open) (stream.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	var last error
	for range maxOpens {
		l, err := c.link(key)
		if err != nil {
			return nil, err
		}
		session, err := l.session(ctx)
		if err != nil {
			return nil, errors.Join(err, last)
		}
		opened, err := c.open(ctx, session, open)
		if err == nil {
			return opened, nil
		}
		last = err
		var refusal *tunnel.Refusal
		var lost *tunnel.SessionError
		switch {
		case errors.As(err, &refusal) && refusal.Code == tunnelpb.Code_DRAINING:
			l.retire(session)
		case errors.As(err, &lost):
			l.retire(session)
		case errors.As(err, &refusal):
			return nil, refusal
		default:
			return nil, err
		}
	}
	return nil, last
}

// open asks session for a stream. When it is silent for long it is probed; one that does not answer is taken for lost.
func (c *Client) open(ctx context.Context, session *tunnel.Session, open *tunnelpb.Open) (stream.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	probe := time.AfterFunc(silence, func() {
		bound, done := context.WithTimeout(ctx, answer)
		defer done()
		_, err := session.Probe(bound)
		var refusal *tunnel.Refusal
		if err != nil && !errors.As(err, &refusal) { // a refusal says that the session is full, and the origin slow
			cancel(&tunnel.SessionError{Reason: "the session answers nothing", Err: err})
		}
	})
	defer probe.Stop()
	opened, err := session.Open(ctx, open)
	if err == nil {
		return opened, nil
	}
	var lost *tunnel.SessionError
	if errors.As(context.Cause(ctx), &lost) {
		return nil, lost
	}
	return nil, err
}

// begin runs f in a goroutine that Run waits for, unless Run has ended already.
func (c *Client) begin(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		go f()
		return
	}
	c.work.Go(f)
}

// Idle reports whether no stream is open.
func (c *Client) Idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.links {
		if l.streams() > 0 {
			return false
		}
	}
	return true
}

// link returns the credential's link, and makes it when there is none.
func (c *Client) link(key credential) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, &tunnel.Refusal{Code: tunnelpb.Code_DRAINING, Message: "this process is shutting down"}
	}
	l := c.links[key]
	if l == nil {
		if c.links == nil {
			c.known.Configured = c.Relays
			c.links = make(map[credential]*link)
		}
		l = &link{client: c, key: key, turn: make(chan struct{}, 1), over: make(chan struct{}), backoff: Backoff{Cap: clientCap}}
		c.links[key] = l
	}
	l.used = time.Now()
	return l, nil
}

// sweep closes what is idle and forgets links without sessions.
func (c *Client) sweep(now time.Time) {
	var unused []*tunnel.Session
	c.mu.Lock()
	for key, l := range c.links {
		idle := now.Sub(l.used) > idleAfter
		sessions, empty := l.sweep(now, idle)
		unused = append(unused, sessions...)
		if idle && empty {
			delete(c.links, key)
		}
	}
	c.mu.Unlock()
	for _, s := range unused {
		s.Close(stream.CodeClosed, "no stream is left")
	}
}

func (c *Client) closeAll() {
	c.mu.Lock()
	links := c.links
	c.links, c.closed = nil, true
	c.mu.Unlock()
	for _, l := range links {
		l.closeAll()
	}
}
