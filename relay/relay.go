package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/tunnel"
)

const (
	// defaultGrace is how long streams may go on when a relay stops: a transaction is over within it.
	defaultGrace = 30 * time.Second
	// defaultSessions bounds the sessions of one relay: at some 40 KiB each, and 36 KiB more on WebSocket
	// (gatheredRead, protocol/tunnel), they stay under 1 GiB.
	defaultSessions = 10_000
	// defaultTunnelSessions bounds the sessions of one tunnel: 25 replicas with four slots, as Cloudflare allows.
	defaultTunnelSessions = 100
	// defaultRegistrations is how many connector sessions are admitted a second: the four hundred of a hundred connectors are back
	// within a few seconds of a restart, far from the 30 s that they have (docs/behaviours.md, Tunnel06).
	defaultRegistrations = 200
	// defaultHandshakes bounds peers that have not said who they are, on each listener.
	defaultHandshakes = 512
	// defaultGeneric bounds connections of generic WebSocket clients.
	defaultGeneric = 4096
)

// Config says how a relay behaves. Only TLS is required.
type Config struct {
	ID                string        // names this process to its peers and in logs
	TLS               *tls.Config   // the relay's certificate
	Announce          []string      // host:port that connectors and clients reach this relay by; every relay's are told in each Welcome
	Peering           Peering       // with the other relays of the installation; none unless set
	Grace             time.Duration // how long streams may go on when Serve is asked to stop; 30 s unless set
	MaxSessions       int           // of connectors and clients; 10,000 unless set
	MaxTunnelSessions int           // of one tunnel's connectors; 100 unless set
	MaxRegistrations  int           // connector sessions that are admitted a second; 200 unless set
	MaxTokenStreams   int           // live streams of one service token; 10,000 unless set
	MaxTunnelStreams  int           // live streams of one tunnel; 20,000 unless set
	MaxTokenRate      int           // opens of one service token a second; 1000 unless set
	MaxHandshakes     int           // peers that have not authenticated, on each listener; 512 unless set. See tunnel.Places
	MaxGeneric        int           // connections of generic WebSocket clients; 4096 unless set
	Limits            tunnel.Limits // what each session may ask of the relay
	WindowMemory      int64         // bytes that stalled readers hold in all sessions together; 1 GiB unless set
	StatelessResetKey *[32]byte     // see tunnel.Server
	Version           string        // the software's, for people; may be empty
	Logger            *slog.Logger  // slog.Default unless set
}

// Relay joins clients to connectors. Make one with New; its methods may be called concurrently.
type Relay struct {
	cfg     Config
	state   state
	log     *slog.Logger
	metrics metrics

	registry registry
	peers    peers
	quotas   quotas
	clients  clients
	live     live
	stalls   stalls

	draining atomic.Bool  // takes no more sessions
	refusing atomic.Bool  // takes no more streams either
	generic  atomic.Int64 // connections of generic WebSocket clients
	tasks    tasks        // short ones: losing attempts, cuts

	since time.Time
	moves chan struct{} // capacity 1: connector sessions came or went

	registrations registrations
	strangers     *rate.Limiter // records about peers that were not authenticated
}

// New returns a relay that decides on the state that c holds.
func New(c *control.Control, cfg Config) *Relay { return newRelay(controlled{c}, cfg) }

func newRelay(s state, cfg Config) *Relay {
	setDefault(&cfg.Grace, defaultGrace)
	setDefault(&cfg.MaxSessions, defaultSessions)
	setDefault(&cfg.MaxTunnelSessions, defaultTunnelSessions)
	setDefault(&cfg.MaxRegistrations, defaultRegistrations)
	setDefault(&cfg.MaxTokenStreams, defaultTokenStreams)
	setDefault(&cfg.MaxTunnelStreams, defaultTunnelStreams)
	setDefault(&cfg.MaxTokenRate, defaultTokenRate)
	setDefault(&cfg.MaxHandshakes, defaultHandshakes)
	setDefault(&cfg.MaxGeneric, defaultGeneric)
	setDefault(&cfg.WindowMemory, defaultWindowMemory)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	r := &Relay{
		cfg: cfg, state: s, log: cfg.Logger, strangers: newStrangerBudget(), since: time.Now().UTC(), moves: make(chan struct{}, 1),
	}
	r.quotas.tokenStreams, r.quotas.tunnelStreams, r.quotas.tokenRate = cfg.MaxTokenStreams, cfg.MaxTunnelStreams, cfg.MaxTokenRate
	r.stalls.budget = cfg.WindowMemory
	r.registrations.all = rate.NewLimiter(rate.Limit(cfg.MaxRegistrations), cfg.MaxRegistrations)
	r.registrations.tunnelBurst = max(cfg.MaxTunnelSessions, leastTunnelBurst)
	r.metrics = newMetrics(r)
	return r
}

func setDefault[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}

// Serve serves QUIC sessions on udp, and WebSocket sessions and generic WebSocket clients over TLS on tcp, until ctx ends. Then it
// takes nothing new, asks its peers to move, waits at most for Grace until the streams have ended, resets what is left and
// returns nil. It closes udp and tcp. When a listener fails it stops at once and returns why. It may be called once.
func (r *Relay) Serve(ctx context.Context, udp net.PacketConn, tcp net.Listener) error {
	// Sessions outlive ctx, to drain; cancel ends them.
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server := r.server()
	group, failed := errgroup.WithContext(serving)
	group.Go(func() error { return r.serveUDP(failed, server, udp) })
	group.Go(func() error { return r.serveTCP(failed, server, tcp) })
	group.Go(func() error { return r.watch(failed) })
	group.Go(func() error { return r.peers.run(failed, r) })
	group.Go(func() error { return r.present(failed) })
	group.Go(func() error { return r.watchStalls(failed) })
	r.log.Info("relay listens", "udp", udp.LocalAddr().String(), "tcp", tcp.Addr().String())
	select {
	case <-failed.Done():
	case <-ctx.Done():
		r.drain(failed)
	}
	cancel()
	err := group.Wait()
	r.tasks.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// serveUDP serves until ctx ends. A socket that fails before is an error.
func (r *Relay) serveUDP(ctx context.Context, server *tunnel.Server, udp net.PacketConn) error {
	err := server.ServeQUIC(ctx, udp)
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = net.ErrClosed
	}
	return err
}

// server is the tunnel's side of this relay, for both carriers.
func (r *Relay) server() *tunnel.Server {
	return &tunnel.Server{
		TLS:               r.cfg.TLS,
		Authenticate:      r.authenticate,
		Handle:            r.handle,
		MaxHandshakes:     r.cfg.MaxHandshakes,
		StatelessResetKey: r.cfg.StatelessResetKey,
		Limits:            r.cfg.Limits,
		Logger:            r.log,
	}
}

// Ready reports whether new streams are taken.
func (r *Relay) Ready() bool { return !r.draining.Load() }
