package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// AuditRecords returns the newest records that match f, the newest first, and
// where to read on: the BeforeSequence of the next page, 0 when there is none. One
// reading looks at auditScan records at most, so that a page may be short, or empty,
// and not be the last.
func (c *Control) AuditRecords(ctx context.Context, f AuditFilter) ([]AuditRecord, uint64, error) {
	if f.Limit <= 0 {
		f.Limit = defaultAuditRecords
	}
	f.Limit = min(f.Limit, MaxAuditRecords)
	log, err := info(ctx, c.audit.stream)
	if err != nil {
		return nil, 0, fmt.Errorf("read audit log: %w: %w", ErrUnavailable, err)
	}
	end := log.State.LastSeq + 1 // of messages, not included
	if f.BeforeSequence > 0 {
		end = min(end, (f.BeforeSequence-1)/auditPlaces+1)
	}
	first := max(log.State.FirstSeq, 1, f.AfterSequence/auditPlaces) // FirstSeq is 0 while the log is empty
	var out []AuditRecord
	looked := 0
	for end > first {
		if looked >= auditScan {
			return out, end * auditPlaces, nil
		}
		start := first
		if end-first > auditChunk {
			start = end - auditChunk
		}
		chunk, err := c.audit.read(ctx, start, end)
		if err != nil {
			return nil, 0, fmt.Errorf("read audit log: %w", err)
		}
		for i := len(chunk) - 1; i >= 0; i-- {
			if !f.matches(&chunk[i]) {
				continue
			}
			if len(out) == f.Limit {
				return out, out[len(out)-1].Sequence, nil
			}
			out = append(out, chunk[i])
		}
		if len(chunk) > 0 && !f.Since.IsZero() && chunk[0].Time.Add(auditSkew).Before(f.Since) {
			return out, 0, nil
		}
		looked += len(chunk)
		end = start
	}
	return out, 0, nil
}

// auditSkew is how far the records' own times may be out of the log's order.
const auditSkew = time.Hour

// read returns the records of the messages from sequence start to before end.
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
		records, err := splitAudit(msg.Data())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("message %d", meta.Sequence.Stream), err)
		}
		for i := range records {
			records[i].Sequence = meta.Sequence.Stream*auditPlaces + uint64(i)
		}
		out = append(out, records...)
		if meta.Sequence.Stream == end-1 || meta.NumPending == 0 {
			return out, nil
		}
	}
}
