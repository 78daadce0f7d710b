package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Audit records lie in a stream of their own.
const (
	auditStream  = "SLUICE_AUDIT"
	auditPrefix  = "sluice.audit."
	auditKeep    = 31 * 24 * time.Hour // as long as Hyperdrive keeps its analytics
	auditBytes   = 4 << 30             // about 10 million records; the oldest go first
	auditQueue   = 8192                // records; a relay's opens of some seconds
	auditPending = 256                 // records under way to the store
	auditChunk   = 1000                // records read at a time
	auditScan    = 200_000             // records that one reading looks at, at most
	auditWait    = 15 * time.Second    // for one record's acknowledgement, an election included
	// While a stream has no leader its publishers are told so at once: these
	// outlast an election.
	auditRetries   = 40
	auditRetryWait = 250 * time.Millisecond
	// MaxAuditRecords is the most that AuditRecords returns at once.
	MaxAuditRecords     = 1000
	defaultAuditRecords = 100
)

// AuditRecord says who did what to what, from where, and how it ended. It
// never holds a secret.
type AuditRecord struct {
	Time    time.Time `json:"time"` // zero: now
	Account string    `json:"account_id,omitempty"`
	Actor   string    `json:"actor"`               // API token ID, client ID, tunnel ID
	Action  string    `json:"action"`              // access.decide, tunnel.create, ...
	Target  string    `json:"target"`              // hostname or ID
	Outcome string    `json:"outcome"`             // allowed, denied, unauthenticated, ok, error
	Reason  string    `json:"reason,omitempty"`    // a sentence
	Policy  string    `json:"policy_id,omitempty"` // the policy that decided
	Remote  string    `json:"remote,omitempty"`    // the peer's address
	// Sequence is the record's place in the log; AuditRecords fills it.
	Sequence uint64 `json:"-"`
}

// AuditFilter selects records; fields that are zero select everything.
type AuditFilter struct {
	Account, Actor, Action, Target, Outcome string
	Since, Before                           time.Time // Since included, Before not
	BeforeSequence                          uint64    // for the next page: the last one's Sequence
	Limit                                   int       // 0: 100; at most MaxAuditRecords
}

func (f *AuditFilter) matches(r *AuditRecord) bool {
	match := func(want, got string) bool { return want == "" || want == got }
	return match(f.Account, r.Account) && match(f.Actor, r.Actor) && match(f.Action, r.Action) &&
		match(f.Target, r.Target) && match(f.Outcome, r.Outcome) &&
		(f.Since.IsZero() || !r.Time.Before(f.Since)) && (f.Before.IsZero() || r.Time.Before(f.Before))
}

// auditor writes records in the background.
type auditor struct {
	js      jetstream.JetStream
	stream  jetstream.Stream
	queue   chan AuditRecord
	metrics *metrics
	logger  *slog.Logger
}

func openAuditor(ctx context.Context, s *store, clustered bool, m *metrics) (*auditor, error) {
	stream, err := ensureStream(ctx, s.js, jetstream.StreamConfig{
		Name:        auditStream,
		Description: "audit log of Sluice",
		Subjects:    []string{auditPrefix + ">"},
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardOld,
		MaxAge:      auditKeep,
		MaxBytes:    auditBytes,
		MaxMsgs:     -1,
		DenyDelete:  true,
		DenyPurge:   true,
	}, clustered, s.logger)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", auditStream, err)
	}
	js, err := jetstream.New(s.nc, jetstream.WithPublishAsyncMaxPending(auditPending), jetstream.WithPublishAsyncTimeout(auditWait),
		jetstream.WithPublishAsyncErrHandler(func(jetstream.JetStream, *nats.Msg, error) { m.auditDropped.Inc() }))
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	return &auditor{js: js, stream: stream, queue: make(chan AuditRecord, auditQueue), metrics: m, logger: s.logger}, nil
}

// Audit queues r. A record that names no account, of a peer that nobody knows,
// goes to the default account, whose operator is to see it. It never blocks: while Run runs the queue is written to the
// store, and what does not fit it is dropped and counted
// (sluice_control_audit_dropped_total).
func (c *Control) Audit(r AuditRecord) {
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r.Time = r.Time.UTC()
	if r.Account == "" {
		r.Account = DefaultAccountID
	}
	select {
	case c.audit.queue <- r:
	default:
		c.metrics.auditDropped.Inc()
	}
}

// run writes the queue until ctx ends, and then what is left in it.
func (a *auditor) run(ctx context.Context) error {
	for {
		select {
		case r := <-a.queue:
			a.write(ctx, r)
		case <-ctx.Done():
			// A fresh context: the other has ended, and this is bounded.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWait)
			defer cancel()
			for len(a.queue) > 0 {
				a.write(last, <-a.queue)
			}
			select {
			case <-a.js.PublishAsyncComplete():
			case <-last.Done():
				a.logger.Warn("audit records not acknowledged at the end", "records", a.js.PublishAsyncPending())
			}
			return ctx.Err()
		}
	}
}

// write sends one record. While the store is away it tries again until ctx
// ends, and the queue fills; waiting for acknowledgements is bounded by
// auditPending. A record that is sent and never acknowledged counts as dropped.
func (a *auditor) write(ctx context.Context, r AuditRecord) {
	data, err := json.Marshal(r)
	if err != nil {
		a.metrics.auditDropped.Inc()
		return
	}
	subject := auditPrefix + "system"
	if validID(r.Account) {
		subject = auditPrefix + r.Account
	}
	for attempt := 0; ; attempt++ {
		_, err := a.js.PublishAsync(subject, data,
			jetstream.WithRetryAttempts(auditRetries), jetstream.WithRetryWait(auditRetryWait))
		if err == nil {
			a.metrics.auditWritten.Inc()
			return
		}
		if pause(ctx, attempt) != nil {
			a.metrics.auditDropped.Inc()
			return
		}
	}
}

// AuditRecords returns the newest records that match f, the newest first.
func (c *Control) AuditRecords(ctx context.Context, f AuditFilter) ([]AuditRecord, error) {
	if f.Limit <= 0 {
		f.Limit = defaultAuditRecords
	}
	f.Limit = min(f.Limit, MaxAuditRecords)
	log, err := info(ctx, c.audit.stream)
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w: %w", ErrUnavailable, err)
	}
	end := log.State.LastSeq + 1 // not included
	if f.BeforeSequence > 0 {
		end = min(end, f.BeforeSequence)
	}
	first := max(log.State.FirstSeq, 1) // 0 while the log is empty
	if end > auditScan {
		first = max(first, end-auditScan)
	}
	var out []AuditRecord
	for end > first && len(out) < f.Limit {
		start := first
		if end-first > auditChunk {
			start = end - auditChunk
		}
		chunk, err := c.audit.read(ctx, start, end)
		if err != nil {
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		for i := len(chunk) - 1; i >= 0 && len(out) < f.Limit; i-- {
			if f.matches(&chunk[i]) {
				out = append(out, chunk[i])
			}
		}
		if len(chunk) > 0 && !f.Since.IsZero() && chunk[0].Time.Add(auditSkew).Before(f.Since) {
			break
		}
		end = start
	}
	return out, nil
}

// auditSkew is how far the records' own times may be out of the log's order.
const auditSkew = time.Hour

// read returns the records from sequence start to before end.
func (a *auditor) read(ctx context.Context, start, end uint64) ([]AuditRecord, error) {
	// What is read may expire meanwhile, and then nothing would come.
	ctx, cancel := context.WithTimeout(ctx, auditWait)
	defer cancel()
	consumer, err := a.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: start, MaxResetAttempts: 1,
	})
	if err != nil {
		return nil, err
	}
	it, err := consumer.Messages(jetstream.PullMaxMessages(int(end - start)))
	if err != nil {
		return nil, err
	}
	defer it.Stop()
	var out []AuditRecord
	for {
		msg, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return nil, err
		}
		if meta.Sequence.Stream >= end {
			return out, nil
		}
		var r AuditRecord
		if err := json.Unmarshal(msg.Data(), &r); err != nil {
			return nil, errors.Join(fmt.Errorf("record %d", meta.Sequence.Stream), err)
		}
		r.Sequence = meta.Sequence.Stream
		out = append(out, r)
		if r.Sequence == end-1 || meta.NumPending == 0 {
			return out, nil
		}
	}
}
