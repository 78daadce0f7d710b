package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Presence lies in a key-value bucket in memory.
const (
	presenceStream = "KV_sluice_presence"
	presencePrefix = "$KV.sluice_presence."
	// PresenceInterval is how often a relay says that it is up.
	PresenceInterval = 2 * time.Second
	// presenceTTL is how long that is believed: two may be lost.
	presenceTTL = 3 * PresenceInterval
	// presenceRefresh is how often what changes all the time, the number of
	// streams, is told again.
	presenceRefresh = 10 * time.Second
	// presenceAge is when what nobody told again is thrown away. It is of no
	// more use from presenceTTL on, because its relay is not up.
	presenceAge = 2 * time.Minute
	// presenceMarker is how long the end of a key can be read: longer than a
	// reader's connection breaks without its reading everything anew.
	presenceMarker = time.Minute
	// disconnectSubject carries commands to end connectors' sessions.
	disconnectSubject = "sluice.disconnect"
)

func presenceConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:                   presenceStream,
		Description:            "who is connected to Sluice",
		Subjects:               []string{presencePrefix + ">"},
		Storage:                jetstream.MemoryStorage,
		Discard:                jetstream.DiscardOld,
		MaxMsgsPerSubject:      1,
		MaxMsgs:                -1,
		MaxBytes:               -1,
		MaxAge:                 presenceAge,
		AllowRollup:            true,
		AllowMsgTTL:            true,
		SubjectDeleteMarkerTTL: presenceMarker,
	}
}

// presence is this node's view of who is connected, and the word of the relay
// in this process, if there is one.
type presence struct {
	store     *store
	clustered bool
	logger    *slog.Logger
	view      atomic.Pointer[Presence]

	mu    sync.Mutex
	relay *Relay                  // nil until Present is called
	here  map[string][]Connection // by tunnel ID
	lost  bool                    // the bucket may have lost what was told

	wake chan struct{} // capacity 1: there is something to tell
}

func newPresenceOf(logger *slog.Logger) *presence {
	p := &presence{logger: logger, wake: make(chan struct{}, 1)}
	p.view.Store(newPresence())
	return p
}

// Presence returns who is connected, as far as this node has heard: changes
// reach it within milliseconds, and a relay that died without a word is gone
// from it within six seconds. While the store is away it stays as it was.
func (c *Control) Presence() *Presence { return c.presence.view.Load() }

// Present says what the relay of this process is and which connectors are
// registered with it, by tunnel ID, instead of what it said before. A relay calls
// it at each change and every PresenceInterval. It never blocks: Run tells the
// others, and takes it back at its end. The slices must not be changed afterwards.
func (c *Control) Present(relay Relay, connections map[string][]Connection) {
	c.presence.mu.Lock()
	c.presence.relay, c.presence.here = &relay, connections
	c.presence.mu.Unlock()
	c.presence.signal()
}

func (p *presence) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// told is what the bucket holds of this relay on one tunnel.
type told struct {
	shape []byte // without what changes all the time
	at    time.Time
}

// tell writes what Present said until ctx ends, and takes it back then. What
// cannot be written is written the next time.
func (p *presence) tell(ctx context.Context) error {
	done := map[string]told{}
	for {
		select {
		case <-p.wake:
			if err := p.tellOnce(ctx, done); err != nil && ctx.Err() == nil {
				p.logger.Debug("presence not written", "err", err)
			}
		case <-ctx.Done():
			p.withdraw(ctx)
			return ctx.Err()
		}
	}
}

func (p *presence) tellOnce(ctx context.Context, done map[string]told) error {
	p.mu.Lock()
	relay, here := p.relay, p.here
	if p.lost {
		clear(done)
		p.lost = false
	}
	p.mu.Unlock()
	if relay == nil {
		return nil
	}
	data, err := json.Marshal(relay)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if err := p.put(ctx, presenceRelayKey(relay.ID), data, presenceTTL); err != nil {
		return err
	}
	now := time.Now()
	for id, connections := range here {
		shape, err := shapeOf(connections)
		if err != nil {
			return err
		}
		if last, ok := done[id]; ok && bytes.Equal(last.shape, shape) && now.Sub(last.at) < presenceRefresh {
			continue
		}
		data, err := json.Marshal(connections)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		if err := p.put(ctx, presenceTunnelKey(id, relay.ID), data, 0); err != nil {
			return err
		}
		done[id] = told{shape: shape, at: now}
	}
	for id := range done {
		if _, ok := here[id]; ok {
			continue
		}
		if err := p.put(ctx, presenceTunnelKey(id, relay.ID), nil, presenceMarker); err != nil {
			return err
		}
		delete(done, id)
	}
	return nil
}

// shapeOf is connections without the number of their streams.
func shapeOf(connections []Connection) ([]byte, error) {
	still := make([]Connection, len(connections))
	for i, c := range connections {
		c.Streams = 0
		still[i] = c
	}
	data, err := json.Marshal(still)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return data, nil
}

// withdraw says that the relay of this process is gone.
func (p *presence) withdraw(ctx context.Context) {
	p.mu.Lock()
	relay := p.relay
	p.mu.Unlock()
	if relay == nil {
		return
	}
	// A fresh context: the other has ended, and this is bounded.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestWait)
	defer cancel()
	if err := p.put(last, presenceRelayKey(relay.ID), nil, presenceMarker); err != nil {
		p.logger.Debug("presence not taken back", "err", err)
	}
}

// put writes a key, for ttl if that is not 0; a nil value deletes it.
func (p *presence) put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	msg := nats.NewMsg(presencePrefix + key)
	msg.Data = value
	if value == nil {
		msg.Header.Set(headerOp, "DEL")
	}
	if ttl > 0 {
		msg.Header.Set(headerTTL, ttl.String())
	}
	once, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	reply, err := p.store.nc.RequestMsgWithContext(once, msg)
	if err != nil {
		return err
	}
	_, err = sequenceOf(reply.Data)
	return err
}

// follow keeps the view until ctx ends. After each interruption it reads
// everything anew: it is little, and may be another bucket.
func (p *presence) follow(ctx context.Context) error {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		progress, err := p.followOnce(ctx)
		if ctx.Err() != nil {
			break
		}
		if progress {
			attempt = 0
		}
		// The watch of the state tells of a store that is away; one that refuses the bucket is for its operator to mend.
		if permanent(err) {
			p.logger.Warn("the store keeps no presence: connections are not shown, and relays do not find each other; does it have memory for JetStream?", "err", err)
		} else {
			p.logger.Debug("watch of presence interrupted", "err", err)
		}
		if pause(ctx, attempt) != nil {
			break
		}
	}
	return ctx.Err()
}

func (p *presence) followOnce(ctx context.Context) (progress bool, err error) {
	stream, err := ensureStream(ctx, p.store.js, presenceConfig(), p.clustered, p.logger)
	if err != nil {
		return false, err
	}
	state, err := info(ctx, stream)
	if err != nil {
		return false, err
	}
	it, err := openMessages(ctx, stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, FilterSubjects: []string{presencePrefix + ">"}, MaxResetAttempts: 1,
	})
	if err != nil {
		return false, err
	}
	defer it.Stop()
	next, complete := newPresence(), state.State.Msgs == 0
	if complete {
		p.adopt(next)
	}
	for {
		msg, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return complete, err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return complete, err
		}
		next = p.apply(next, entryOf(strings.TrimPrefix(msg.Subject(), presencePrefix), msg.Headers(), msg.Data(), meta.Sequence.Stream))
		switch {
		case complete:
			p.view.Store(next)
		case meta.NumPending == 0:
			complete = true
			p.adopt(next)
		}
	}
}

// adopt takes a complete reading. What this relay told may not be in it: it is
// told again.
func (p *presence) adopt(next *Presence) {
	p.view.Store(next)
	p.mu.Lock()
	p.lost = true
	p.mu.Unlock()
	p.signal()
}

// apply returns v with one entry. One that does not decode is passed over.
func (p *presence) apply(v *Presence, e entry) *Presence {
	tunnelID, relay, ok := splitPresence(e.key)
	if !ok {
		return v
	}
	gone := len(e.value) == 0 // deleted, or the server's mark that it expired
	var err error
	if tunnelID == "" {
		r := new(Relay)
		if gone {
			return v.withRelay(relay, nil)
		}
		if err = json.Unmarshal(e.value, r); err == nil && r.ID == relay {
			return v.withRelay(relay, r)
		}
	} else {
		var connections []Connection
		if gone {
			return v.withConnections(tunnelID, relay, nil)
		}
		if err = json.Unmarshal(e.value, &connections); err == nil {
			return v.withConnections(tunnelID, relay, connections)
		}
	}
	p.logger.Debug("presence does not decode", "key", e.key, "err", err)
	return v
}

// disconnect is the command to end sessions.
type disconnect struct {
	Tunnel    string `json:"tunnel"`
	Connector string `json:"connector,omitempty"`
}

// Disconnect tells every relay to end the sessions of a tunnel's connectors, or of
// the one that is named. It is a command and no state: connectors that may do so
// register again. A relay without a connection to the store does not hear it.
func (c *Control) Disconnect(ctx context.Context, tunnelID, connector string) error {
	data, err := json.Marshal(disconnect{Tunnel: tunnelID, Connector: connector})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if err := c.store.nc.Publish(disconnectSubject, data); err != nil {
		return fmt.Errorf("disconnect: %w: %w", ErrUnavailable, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	if err := c.store.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("disconnect: %w: %w", ErrUnavailable, err)
	}
	return nil
}

// OnDisconnect calls end for each Disconnect of any node, one after the other,
// until stop is called. connector is empty when all of the tunnel's are meant.
func (c *Control) OnDisconnect(end func(tunnelID, connector string)) (stop func(), err error) {
	sub, err := c.store.nc.Subscribe(disconnectSubject, func(msg *nats.Msg) {
		var d disconnect
		if err := json.Unmarshal(msg.Data, &d); err == nil && d.Tunnel != "" {
			end(d.Tunnel, d.Connector)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen for disconnects: %w", err)
	}
	return func() {
		if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			c.logger.Debug("disconnects still listened for", "err", err)
		}
	}, nil
}
