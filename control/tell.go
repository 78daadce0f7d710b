package control

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// Nodes of one store tell each other through it what is of no use a moment later, and
// is not stored. What is said while a node is away it does not hear.
const toldSubject = "sluice.told."

// Tell says something to every node that listens, this one included. It does not wait
// for them: an error is that the link to the store is down. topic is words with dots.
func (c *Control) Tell(topic string, data []byte) error {
	if err := c.store.nc.Publish(toldSubject+topic, data); err != nil {
		return fmt.Errorf("tell %s: %w: %w", topic, ErrUnavailable, err)
	}
	return nil
}

// Listen passes what nodes tell about topics that begin with prefix, which ends in a dot, to hear, in
// the order of each node, until ctx ends, and returns nil then. lost is called when
// something may have been missed: the link is down, or hear too slow.
func (c *Control) Listen(ctx context.Context, prefix string, hear func(topic string, data []byte), lost func()) error {
	nc := c.store.nc
	links := nc.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer nc.RemoveStatusListener(links)
	sub, err := nc.Subscribe(toldSubject+prefix+">", func(m *nats.Msg) { hear(strings.TrimPrefix(m.Subject, toldSubject+prefix), m.Data) })
	if err != nil {
		return fmt.Errorf("listen to %s: %w", prefix, err)
	}
	slow := sub.StatusChanged(nats.SubscriptionSlowConsumer)
	for {
		select {
		case <-ctx.Done():
			if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
				return fmt.Errorf("listen to %s: %w", prefix, err)
			}
			return nil
		case _, ok := <-links:
			if !ok {
				links = nil
			}
			lost()
		case _, ok := <-slow:
			if !ok {
				slow = nil
			}
			lost()
		}
	}
}
