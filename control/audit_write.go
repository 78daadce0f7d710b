package control

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A message of the log holds one record, or an array of several of one account.
// Each message is synced to disk by itself, which costs a relay more than all else
// that it does for an open; so what is queued is gathered for a moment.
const (
	auditPlaces = 64                    // records in one message, and places in the log that each message has
	auditGather = 50 * time.Millisecond // that a record waits for others, at most
	// auditMessage is well below what a NATS server takes in one message, 1 MB unless configured.
	auditMessage = 64 << 10 // bytes, unless one record is longer
)

// auditBatch is the message that is being gathered.
type auditBatch struct {
	subject string
	records [][]byte // as JSON
	size    int      // in bytes
}

// data is the message's.
func (b *auditBatch) data() []byte {
	if len(b.records) == 1 {
		return b.records[0]
	}
	data := make([]byte, 0, b.size+len(b.records)+1)
	data = append(data, '[')
	data = append(data, bytes.Join(b.records, []byte{','})...)
	return append(data, ']')
}

// splitAudit is the reverse of auditBatch.data.
func splitAudit(data []byte) ([]AuditRecord, error) {
	if len(data) > 0 && data[0] == '[' {
		var records []AuditRecord
		return records, json.Unmarshal(data, &records)
	}
	records := make([]AuditRecord, 1)
	return records, json.Unmarshal(data, &records[0])
}

// run writes the queue until ctx ends, and then what is left of it.
func (a *auditor) run(ctx context.Context) error {
	var b auditBatch
	full := time.NewTimer(auditGather)
	defer full.Stop()
	for {
		select {
		case r := <-a.queue:
			if len(b.records) == 0 {
				full.Reset(auditGather)
			}
			if !a.add(ctx, &b, r) {
				a.finish(context.WithoutCancel(ctx), &b, r)
				return ctx.Err()
			}
		case <-full.C:
			a.write(ctx, &b)
		case <-ctx.Done():
			a.finish(context.WithoutCancel(ctx), &b)
			return ctx.Err()
		}
	}
}

// finish writes what is left when Run ends: b, what did not fit it, and the queue. ctx goes on, and this is bounded.
func (a *auditor) finish(ctx context.Context, b *auditBatch, left ...AuditRecord) {
	ctx, cancel := context.WithTimeout(ctx, shutdownWait)
	defer cancel()
	for len(a.queue) > 0 {
		left = append(left, <-a.queue)
	}
	for _, r := range left {
		if !a.add(ctx, b, r) {
			a.metrics.auditDropped.Inc()
		}
	}
	a.write(ctx, b)
	a.metrics.auditDropped.Add(float64(len(b.records)))
	select {
	case <-a.js.PublishAsyncComplete():
	case <-ctx.Done():
		a.logger.Warn("audit records not acknowledged at the end", "messages", a.js.PublishAsyncPending())
	}
}

// add puts a record into b, and writes b before or after that as it must. It
// reports false when b is full and ctx has ended before it was written.
func (a *auditor) add(ctx context.Context, b *auditBatch, r AuditRecord) bool {
	data, err := json.Marshal(r)
	if err != nil {
		a.metrics.auditDropped.Inc()
		return true
	}
	if len(b.records) == auditPlaces || len(b.records) > 0 && (b.subject != r.subject() || b.size+len(data) > auditMessage) {
		if !a.write(ctx, b) {
			return false
		}
	}
	b.subject = r.subject()
	b.records = append(b.records, data)
	b.size += len(data)
	if len(b.records) == auditPlaces {
		a.write(ctx, b) // if it cannot, the next record is told
	}
	return true
}

// write sends b, empties it and reports true. While the store is away it tries
// again until ctx ends, and the queue fills; waiting for acknowledgements is
// bounded by auditPending. Records that are sent and never acknowledged count as dropped.
func (a *auditor) write(ctx context.Context, b *auditBatch) bool {
	if len(b.records) == 0 {
		return true
	}
	data := b.data()
	for attempt := 0; ; attempt++ {
		_, err := a.js.PublishAsync(b.subject, data,
			jetstream.WithRetryAttempts(auditRetries), jetstream.WithRetryWait(auditRetryWait))
		if err == nil {
			a.metrics.auditWritten.Add(float64(len(b.records)))
			*b = auditBatch{}
			return true
		}
		if pause(ctx, attempt) != nil {
			return false
		}
	}
}
