package relay

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/stream"
)

const (
	// presencePause gathers the changes of a moment, as when a connector registers all its slots, into one word to the others.
	presencePause = 50 * time.Millisecond
	// maxText and maxTexts bound what is passed on of a connector's own words on itself, in bytes and in number.
	maxText  = 128
	maxTexts = 32
)

// moved says that a connector session of a tunnel came or went.
func (r *Relay) moved(tunnelID string) {
	r.state.Seen(tunnelID, time.Now())
	select {
	case r.moves <- struct{}{}:
	default:
	}
}

// present tells the other nodes who is connected here, at each change and every control.PresenceInterval, and ends the sessions
// that Control.Disconnect names, until ctx ends.
func (r *Relay) present(ctx context.Context) error {
	stop, err := r.state.OnDisconnect(r.disconnect)
	if err != nil {
		return err
	}
	defer stop()
	tick := time.NewTicker(control.PresenceInterval)
	defer tick.Stop()
	for {
		r.state.Present(r.presence())
		pause := time.NewTimer(presencePause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.moves:
		case <-tick.C:
		}
	}
}

// presence is what this relay says of itself.
func (r *Relay) presence() (control.Relay, map[string][]control.Connection) {
	here := map[string][]control.Connection{}
	for _, b := range r.registry.all() {
		if b.session.Err() == nil {
			here[b.tunnel] = append(here[b.tunnel], b.connection())
		}
	}
	return control.Relay{
		ID: r.cfg.ID, Addresses: r.cfg.Announce, Peer: r.cfg.Peering.Address, Version: r.cfg.Version, Since: r.since, Draining: r.draining.Load(),
		Sessions: r.registry.len() + r.clients.len(), Streams: r.live.len(),
	}, here
}

func (b *backend) connection() control.Connection {
	hello := b.session.Hello()
	streams, _ := b.load.read(time.Now())
	c := control.Connection{
		ID: b.id, Connector: b.peer, Slot: b.slot, Version: short(hello.GetVersion()), Protocol: b.session.Carrier().String(),
		Remote: b.session.RemoteAddr().String(), Since: b.since.UTC(), ConfigVersion: int64(b.version.Load()), Streams: streams,
	}
	for _, feature := range hello.GetFeatures()[:min(maxTexts, len(hello.GetFeatures()))] {
		c.Features = append(c.Features, short(feature))
	}
	labels := hello.GetLabels()
	for _, name := range slices.Sorted(maps.Keys(labels))[:min(maxTexts, len(labels))] {
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		c.Labels[short(name)] = short(labels[name])
	}
	return c
}

// short bounds what a peer says of itself.
func short(text string) string { return printable(text[:min(maxText, len(text))]) }

// disconnect ends the sessions of a tunnel's connectors, or of the one that is named.
func (r *Relay) disconnect(tunnelID, connector string) {
	for _, b := range r.registry.all() {
		if b.tunnel == tunnelID && (connector == "" || b.peer == connector) {
			r.log.Info("session is closed: an operator asked for it", "tunnel", b.tunnel, "connector", b.peer, "slot", b.slot)
			r.tasks.Go(func() { r.evict(b, stream.CodeClosed, "an operator ended the session") })
		}
	}
}

// all returns every connector session.
func (r *registry) all() []*backend {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := make([]*backend, 0, r.total)
	for _, backends := range r.tunnels {
		list = append(list, backends...)
	}
	return list
}
