package control

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
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
	auditPending = 256                 // messages under way to the store
	auditChunk   = 250                 // messages read at a time
	auditScan    = 200_000             // records that one reading looks at, and at most a chunk more
	auditWait    = 15 * time.Second    // for one message's acknowledgement, an election included
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
	// ActorName and Agent are the API token's name and the program that sent it.
	ActorName string        `json:"actor_name,omitempty"`
	Agent     string        `json:"agent,omitempty"`
	Changes   []AuditChange `json:"changes,omitempty"`
	// Sequence is the record's place in the log, of which some may be empty; AuditRecords fills it.
	Sequence uint64 `json:"-"`
}

// AuditChange is what an action did to one noun. Before and After are JSON as the
// API shows the noun, and so without secrets; null where there was or is none.
type AuditChange struct {
	Kind   string          `json:"kind"`
	ID     string          `json:"id"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// AuditFilter selects records; fields that are zero select everything.
type AuditFilter struct {
	Account, Actor, Target, Outcome string
	Action                          string    // "tunnel.*" is every action that begins with "tunnel."
	Since, Before                   time.Time // Since included, Before not
	AfterSequence                   uint64    // only records that are newer
	BeforeSequence                  uint64    // only records that are older
	Limit                           int       // 0: 100; at most MaxAuditRecords
}

func (f *AuditFilter) matches(r *AuditRecord) bool {
	match := func(want, got string) bool { return want == "" || want == got }
	action := match(f.Action, r.Action)
	if group, ok := strings.CutSuffix(f.Action, "*"); ok {
		action = strings.HasPrefix(r.Action, group)
	}
	return match(f.Account, r.Account) && match(f.Actor, r.Actor) && action &&
		match(f.Target, r.Target) && match(f.Outcome, r.Outcome) &&
		(f.Since.IsZero() || !r.Time.Before(f.Since)) && (f.Before.IsZero() || r.Time.Before(f.Before)) &&
		r.Sequence > f.AfterSequence && (f.BeforeSequence == 0 || r.Sequence < f.BeforeSequence)
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
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, msg *nats.Msg, _ error) {
			lost, _ := splitAudit(msg.Data) // which this process made
			m.auditDropped.Add(float64(len(lost)))
		}))
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	return &auditor{js: js, stream: stream, queue: make(chan AuditRecord, auditQueue), metrics: m, logger: s.logger}, nil
}

// Audit queues r. A record that names no account, of a peer that nobody knows,
// goes to the default account, whose operator is to see it. It never blocks: while
// Run runs the queue is written to the store, and what does not fit it is dropped
// and counted (sluice_control_audit_dropped_total).
func (c *Control) Audit(r AuditRecord) {
	r.complete()
	select {
	case c.audit.queue <- r:
	default:
		c.metrics.auditDropped.Inc()
	}
}

// AuditNow writes r and returns when it is on disk, or when ctx ends: then it is
// queued as by Audit, and the error says why.
func (c *Control) AuditNow(ctx context.Context, r AuditRecord) error {
	r.complete()
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("audit %s: encode: %w", r.Action, err)
	}
	_, err = c.audit.js.Publish(ctx, r.subject(), data, jetstream.WithRetryAttempts(auditRetries), jetstream.WithRetryWait(auditRetryWait))
	if err != nil {
		c.Audit(r)
		return fmt.Errorf("audit %s: %w: %w", r.Action, ErrUnavailable, err)
	}
	c.metrics.auditWritten.Inc()
	return nil
}

// complete fills what the caller left out.
func (r *AuditRecord) complete() {
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r.Time = r.Time.UTC()
	if r.Account == "" {
		r.Account = DefaultAccountID
	}
}

func (r *AuditRecord) subject() string {
	if validID(r.Account) {
		return auditPrefix + r.Account
	}
	return auditPrefix + "system"
}
