package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/client"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

const (
	// maxAway bounds the other relays that are asked for one stream.
	maxAway = 2
	// peerSweep is how often sessions with relays that are gone are looked for.
	peerSweep = 5 * time.Second
	// maxAnnounced bounds the addresses in a Welcome.
	maxAnnounced = 32
)

// Peering is how a relay and the others of its installation reach and know each other.
type Peering struct {
	Address string                               // host:port at which the others reach this relay, and no other one
	TLS     *tls.Config                          // to dial them with, a certificate included
	Verify  func(leaf []*x509.Certificate) error // whether a peer that says that it is a relay is one
}

// peers are the sessions with other relays, made when they are needed. The methods may be called concurrently.
type peers struct {
	mu      sync.Mutex
	clients map[string]*peer // by relay ID; nil while run does not run
	running sync.WaitGroup
}

type peer struct {
	*client.Client
	stop context.CancelFunc
}

// run keeps peers possible until ctx ends, and returns when their sessions have ended.
func (p *peers) run(ctx context.Context, r *Relay) error {
	p.mu.Lock()
	p.clients = make(map[string]*peer)
	p.mu.Unlock()
	tick := time.NewTicker(peerSweep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.mu.Lock()
			all := p.clients
			p.clients = nil
			p.mu.Unlock()
			for _, c := range all {
				c.stop()
			}
			p.running.Wait()
			return nil
		case <-tick.C:
			p.sweep(r)
		}
	}
}

// sweep ends the clients of relays that are not up any more. One that left the store for a moment loses its streams to them no
// more than its sessions do: those that are alive stay.
func (p *peers) sweep(r *Relay) {
	up := r.state.Presence()
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, c := range p.clients {
		if _, ok := up.Relay(id); !ok && c.Idle() {
			c.stop()
			delete(p.clients, id)
		}
	}
}

// client returns the client of a relay, and makes it when there is none; nil when this relay has stopped.
func (p *peers) client(r *Relay, id, addr string) *client.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[id]; c != nil || p.clients == nil {
		if c == nil {
			return nil
		}
		return c.Client
	}
	ctx, cancel := context.WithCancel(context.Background()) // run cancels it
	c := &peer{stop: cancel, Client: &client.Client{
		Relays: []string{addr}, TLS: r.cfg.Peering.TLS, PeerID: r.cfg.ID, RelayID: id, Leaving: r.leaving,
		Version: r.cfg.Version, Logger: r.log,
	}}
	p.clients[id] = c
	p.running.Go(func() { c.Run(ctx) })
	return c.Client
}

// away returns what finds the next way to a tunnel's connectors through another relay: one that was not asked yet, with the most
// sessions of the tunnel, of those that are known by then. There is none for what has been forwarded already.
func (r *Relay) away(tunnelID string, req *OpenRequest, a *ask) func() way {
	var asked []string
	return func() way {
		if req.forwarded || r.cfg.Peering.TLS == nil || len(asked) == maxAway {
			return nil
		}
		id, addr := r.holder(tunnelID, asked)
		if id == "" {
			return nil
		}
		asked = append(asked, id)
		open := &tunnelpb.Open{
			Hostname: a.hostname, ClientId: a.clientID, ClientSecret: a.clientSecret, EarlyData: req.EarlyData, Remote: driver(req),
		}
		if a.remote.IsValid() {
			open.Source = a.remote.String()
		}
		return func(ctx context.Context) (stream.Conn, error) {
			c := r.peers.client(r, id, addr)
			if c == nil {
				return nil, drainingRefusal()
			}
			r.metrics.forwards.Inc()
			return c.Forward(ctx, tunnelID, open)
		}
	}
}

// holder returns the ID and address of the other relay with the most sessions of a tunnel, but for those in asked; of several, any.
func (r *Relay) holder(tunnelID string, asked []string) (id, addr string) {
	up := r.state.Presence()
	sessions := map[string]int{}
	for _, c := range up.Connections(tunnelID) {
		if other, ok := up.Relay(c.Relay); ok && c.Relay != r.cfg.ID && other.Peer != "" && !other.Draining && !slices.Contains(asked, c.Relay) {
			sessions[c.Relay]++
		}
	}
	for candidate, n := range sessions { // in random order
		if n > sessions[id] {
			id = candidate
		}
	}
	other, _ := up.Relay(id)
	return id, other.Peer
}

// greetRelay admits another relay of the installation.
func (r *Relay) greetRelay(from tunnel.Peer, hello *tunnelpb.Hello) *tunnel.Refusal {
	if r.cfg.Peering.Verify == nil {
		return unauthenticated()
	}
	if err := r.cfg.Peering.Verify(from.Certificates); err != nil {
		r.log.Warn("a peer says that it is a relay of this installation, and is not", "remote", from.Remote.String(), "err", err)
		return unauthenticated()
	}
	if !r.clients.room(hello) {
		return &tunnel.Refusal{Code: tunnelpb.Code_LIMITED, Message: "the other relay has as many sessions as it may", RetryAfter: fullRetryAfter}
	}
	return nil
}

// announced are the addresses of the relays that take sessions, this one's first.
func (r *Relay) announced() []string {
	list := slices.Clone(r.cfg.Announce)
	for _, other := range r.state.Presence().Relays() {
		for _, addr := range other.Addresses {
			if other.ID != r.cfg.ID && !other.Draining && !slices.Contains(list, addr) && len(list) < maxAnnounced {
				list = append(list, addr)
			}
		}
	}
	return list
}
