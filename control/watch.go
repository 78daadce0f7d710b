package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// watchHeartbeat is how often an idle server says that it is there; two missed
// ones make the client ask for the stream anew (nats.go ErrNoHeartbeat).
const watchHeartbeat = time.Second

// watchBuffer is how many messages the client asks for at a time.
const watchBuffer = 1000

// settle bounds how long a part of an atomic batch waits for its rest. The rest
// can be missing for good: a later commit may have replaced its last message.
const settle = 20 * time.Millisecond

// load reads the whole state into r and returns when it has caught up.
func (s *store) load(ctx context.Context, r *replica) error {
	entries, revision, err := s.readAll(ctx)
	if err == nil {
		r.reset(entries, revision)
	}
	return err
}

// readAll reads the whole state, in the order of its revisions, and the
// revision that it is complete up to. A key that changes meanwhile is there
// twice, the newer last.
func (s *store) readAll(ctx context.Context) ([]entry, uint64, error) {
	state, err := info(ctx, s.stream)
	if err != nil {
		return nil, 0, fmt.Errorf("read state: %w", err)
	}
	if state.State.Msgs == 0 {
		return nil, state.State.LastSeq, nil
	}
	it, err := s.messages(ctx, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("read state: %w", err)
	}
	defer it.Stop()
	var entries []entry
	for {
		msg, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, 0, fmt.Errorf("read state: %w", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return nil, 0, fmt.Errorf("read state: %w", err)
		}
		entries = append(entries, entryOf(msg.Subject(), msg.Headers(), msg.Data(), meta.Sequence.Stream))
		if meta.NumPending == 0 {
			return entries, meta.Sequence.Stream, nil
		}
	}
}

// messages opens an ordered consumer that begins after a sequence.
func (s *store) messages(ctx context.Context, after uint64) (jetstream.MessagesContext, error) {
	// The client's own retries do not end with the context; follow has ones
	// that do.
	cfg := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy, MaxResetAttempts: 1}
	if after > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, after+1
	}
	return openMessages(ctx, s.stream, cfg)
}

func openMessages(ctx context.Context, stream jetstream.Stream, cfg jetstream.OrderedConsumerConfig) (jetstream.MessagesContext, error) {
	once, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	consumer, err := stream.OrderedConsumer(once, cfg)
	if err != nil {
		return nil, err
	}
	return consumer.Messages(jetstream.PullMaxMessages(watchBuffer), jetstream.PullHeartbeat(watchHeartbeat))
}

// follow feeds r until ctx ends. It reads on where it was after the store was
// away, and reads everything anew when it was away for so long that it may have
// missed the deletion of a key, or when the store is not the one it was.
func (s *store) follow(ctx context.Context, r *replica, up func(bool)) error {
	last := time.Now()
	for attempt := 0; ctx.Err() == nil; attempt++ {
		progress, err := s.followOnce(ctx, r, time.Since(last) > tombstoneTTL/2, func() {
			last = time.Now()
			up(true)
		})
		up(false)
		if ctx.Err() != nil {
			break
		}
		if progress {
			attempt = 0
			last = time.Now()
		}
		s.logger.Warn("watch of the store interrupted", "err", err)
		if pause(ctx, attempt) != nil {
			break
		}
	}
	return ctx.Err()
}

// followOnce follows until the consumer breaks, and reports whether it got as
// far as reading.
func (s *store) followOnce(ctx context.Context, r *replica, stale bool, up func()) (bool, error) {
	state, err := info(ctx, s.stream)
	if err != nil {
		return false, err
	}
	at := r.snap.Load().revision
	if stale || at == 0 || state.State.LastSeq < at {
		if err := s.load(ctx, r); err != nil {
			return false, err
		}
		at = r.snap.Load().revision
	}
	it, err := s.messages(ctx, at)
	if err != nil {
		return false, err
	}
	defer it.Stop()
	up()
	g := gather{replica: r}
	for {
		wait, cancel := g.wait(ctx)
		msg, err := it.Next(jetstream.NextContext(wait))
		cancel()
		switch {
		case err == nil:
			if err := g.add(msg); err != nil {
				return true, err
			}
		case len(g.entries) > 0 && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			g.flush()
		default:
			return true, err
		}
	}
}

// gather keeps the messages of an atomic batch together: the consumer brings
// them one by one, and the snapshot shall have all of them or none.
type gather struct {
	replica *replica
	batch   string
	entries []entry
}

// wait returns the context of the next read: bounded while a batch is open.
func (g *gather) wait(ctx context.Context) (context.Context, context.CancelFunc) {
	if len(g.entries) > 0 {
		return context.WithTimeout(ctx, settle)
	}
	return context.WithCancel(ctx)
}

// add takes one message. Batches lie in the stream without anything between
// their messages, so a message of another batch, or of none, ends the open one.
func (g *gather) add(msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	h := msg.Headers()
	batch := h.Get(headerBatch)
	if len(g.entries) > 0 && batch != g.batch {
		g.flush()
	}
	g.batch = batch
	g.entries = append(g.entries, entryOf(msg.Subject(), h, msg.Data(), meta.Sequence.Stream))
	if batch == "" || h.Get(headerBatchFinal) != "" {
		g.flush()
	}
	return nil
}

func (g *gather) flush() {
	g.replica.watched(g.entries, g.entries[len(g.entries)-1].rev)
	g.entries, g.batch = nil, ""
}
