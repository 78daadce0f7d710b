package control

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The state is one key-value bucket, named so that NATS's own tools read it.
const (
	stateStream  = "KV_sluice"
	statePrefix  = "$KV.sluice."
	maxValue     = 512 << 10 // bytes: half of NATS's default max_payload
	batchLimit   = 1000      // messages in one atomic batch (nats-server streamDefaultMaxAtomicBatchSize)
	tombstoneTTL = 24 * time.Hour
)

// Headers of a stored message.
const (
	headerTxn         = "Sluice-Txn"   // random, one for all messages of a commit
	headerOp          = "KV-Operation" // DEL marks a deleted key
	headerTTL         = "Nats-TTL"
	headerExpect      = "Nats-Expected-Last-Subject-Sequence"
	headerExpectKey   = "Nats-Expected-Last-Subject-Sequence-Subject"
	headerExpectWhole = "Nats-Expected-Last-Sequence"
	headerBatch       = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchFinal  = "Nats-Batch-Commit"
)

// The waits on the store. An election takes 2 to 9 s (nats-server
// minElectionTimeout 4 s, maxElectionTimeout 9 s), which one change should
// survive.
const (
	requestWait = 3 * time.Second
	commitWait  = 20 * time.Second
	backoffBase = 10 * time.Millisecond
	backoffCap  = time.Second
)

// entry is one key as the store has it.
type entry struct {
	key     string
	value   []byte // nil when the key is deleted or was never there
	rev     uint64 // stream sequence; 0 when it was never there
	deleted bool
	txn     string
}

// op is one key's part of a commit.
type op struct {
	key    string
	value  []byte // nil deletes
	expect uint64 // the revision that the key must have; 0: must never have been
	anyRev bool   // last writer wins instead
	// within, unless it is empty, is another key, which must have the revision
	// expect in this one's place: for a key that nobody else can know of yet.
	within string
	// whole, unless it is 0, is the sequence of the last change of all. Only the
	// first op of a commit may have it.
	whole uint64
}

// store is the state in JetStream: reads go to the leader, and every write is a
// compare-and-set.
type store struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	logger *slog.Logger
}

// connectStore finds or makes the streams on the server behind nc.
func connectStore(ctx context.Context, nc *nats.Conn, clustered bool, logger *slog.Logger) (*store, error) {
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(requestWait))
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	s := &store{nc: nc, js: js, logger: logger}
	s.stream, err = ensureStream(ctx, js, stateConfig(), clustered, logger)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", stateStream, err)
	}
	return s, nil
}

func stateConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               stateStream,
		Description:        "desired state of Sluice",
		Subjects:           []string{statePrefix + ">"},
		Storage:            jetstream.FileStorage,
		Discard:            jetstream.DiscardNew,
		MaxMsgsPerSubject:  1,
		MaxMsgs:            -1,
		MaxBytes:           -1,
		MaxMsgSize:         maxValue + 4096, // and its headers
		DenyDelete:         true,
		AllowRollup:        true,
		AllowMsgTTL:        true,
		AllowAtomicPublish: true,
	}
}

// clusterReplicas is how many copies a cluster keeps: what survives the loss of
// one node.
const clusterReplicas = 3

// ensureStream finds or makes a stream. On an external server it asks for three
// replicas, and takes one where there are not enough nodes.
func ensureStream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig, clustered bool, logger *slog.Logger) (jetstream.Stream, error) {
	for attempt := 0; ; attempt++ {
		// A server without a leader lets requests fall, so each has a wait of
		// its own.
		once, cancel := context.WithTimeout(ctx, requestWait)
		stream, err := findOrMakeStream(once, js, cfg, clustered, logger)
		cancel()
		if err == nil || permanent(err) {
			return stream, err
		}
		if pause(ctx, attempt) != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

func findOrMakeStream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig, clustered bool, logger *slog.Logger) (jetstream.Stream, error) {
	stream, err := js.Stream(ctx, cfg.Name)
	if err == nil {
		have := stream.CachedInfo().Config
		cfg.Replicas = have.Replicas
		grow := clustered && have.Replicas < clusterReplicas
		if grow {
			cfg.Replicas = clusterReplicas
		}
		if !grow && have.AllowAtomicPublish == cfg.AllowAtomicPublish && have.AllowMsgTTL == cfg.AllowMsgTTL {
			return stream, nil
		}
		updated, err := js.UpdateStream(ctx, cfg)
		if err != nil && grow && have.AllowAtomicPublish == cfg.AllowAtomicPublish {
			logger.Warn("store keeps one copy: fewer than three nodes", "stream", cfg.Name)
			return stream, nil
		}
		return updated, err
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, err
	}
	cfg.Replicas = 1
	if clustered {
		cfg.Replicas = clusterReplicas
		stream, err = js.CreateStream(ctx, cfg)
		if err == nil || !fewNodes(err) {
			return stream, err
		}
		logger.Warn("store keeps one copy: fewer than three nodes", "stream", cfg.Name)
		cfg.Replicas = 1
	}
	return js.CreateStream(ctx, cfg)
}

// Error codes of the JetStream API (nats-server errors.json).
const (
	apiNoPeers            = 10005 // JSClusterNoPeersErrF
	apiReplicasStandAlone = 10074 // JSStreamReplicasNotSupportedErr
	apiWrongLastSeq       = 10071 // JSStreamWrongLastSequenceErrF
	apiWrongLastSeqConst  = 10164 // JSStreamWrongLastSequenceConstantErr
)

func apiCode(err error) int {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return int(api.ErrorCode)
	}
	return 0
}

func fewNodes(err error) bool {
	code := apiCode(err)
	return code == apiNoPeers || code == apiReplicasStandAlone
}

// permanent reports whether asking again cannot help: the server refused what
// was asked (a 4xx), rather than being away or between leaders.
func permanent(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code >= 400 && api.Code < 500 && api.Code != 408 &&
		!errors.Is(err, jetstream.ErrStreamNameAlreadyInUse)
}

// get reads a key from the leader. A key that was never there is no error.
func (s *store) get(ctx context.Context, key string) (entry, error) {
	for attempt := 0; ; attempt++ {
		msg, err := s.getOnce(ctx, key)
		switch {
		case err == nil:
			return entryOf(msg.Subject, msg.Header, msg.Data, msg.Sequence), nil
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return entry{key: key}, nil
		case permanent(err):
			return entry{}, fmt.Errorf("read %s: %w", key, err)
		}
		if pause(ctx, attempt) != nil {
			return entry{}, fmt.Errorf("read %s: %w: %w", key, ErrUnavailable, err)
		}
	}
}

// info asks for the stream's state, and waits requestWait for it.
func info(ctx context.Context, stream jetstream.Stream) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	return stream.Info(ctx)
}

func (s *store) getOnce(ctx context.Context, key string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	return s.stream.GetLastMsgForSubject(ctx, statePrefix+key)
}

func entryOf(subject string, h nats.Header, data []byte, rev uint64) entry {
	e := entry{key: strings.TrimPrefix(subject, statePrefix), rev: rev, txn: h.Get(headerTxn)}
	switch h.Get(headerOp) {
	case "DEL", "PURGE":
		e.deleted = true
	default:
		e.value = data
	}
	return e
}

// errConflict says that a key did not have the revision that was expected.
var errConflict = errors.New("wrong last sequence")

// commit applies all ops or none, and returns the sequence of the last: the
// others have the sequences before it, in order. It returns errConflict when a
// key did not have the expected revision. A lost answer is not taken for a
// failure: the commit is tried again under the same name, and if it conflicts
// with itself it had been applied.
func (s *store) commit(ctx context.Context, ops []op) (uint64, error) {
	if len(ops) == 0 || len(ops) > batchLimit {
		return 0, fmt.Errorf("commit of %d keys: at most %d", len(ops), batchLimit)
	}
	ctx, cancel := context.WithTimeout(ctx, commitWait)
	defer cancel()
	txn := randomHex()
	for attempt := 0; ; attempt++ {
		seq, err := s.publish(ctx, txn, ops)
		switch {
		case err == nil:
			return seq, nil
		case errors.Is(err, errConflict) && attempt == 0:
			return 0, err
		case errors.Is(err, errConflict):
			last, getErr := s.get(ctx, ops[len(ops)-1].key)
			if getErr == nil && last.txn == txn {
				return last.rev, nil
			}
			return 0, errors.Join(err, getErr)
		case permanent(err) && !incompleteBatch(err):
			return 0, fmt.Errorf("commit: %w", err)
		}
		if pause(ctx, attempt) != nil {
			return 0, fmt.Errorf("commit: %w: %w", ErrUnavailable, err)
		}
	}
}

// Error codes that mean "the batch as staged is gone, send it again".
const (
	apiBatchIncomplete = 10176 // JSAtomicPublishIncompleteBatchErr
	apiBatchInflight   = 10210 // JSAtomicPublishTooManyInflight
)

func incompleteBatch(err error) bool {
	code := apiCode(err)
	return code == apiBatchIncomplete || code == apiBatchInflight
}

// publish sends the ops once: one message alone, several as an atomic batch
// whose last message commits it.
func (s *store) publish(ctx context.Context, txn string, ops []op) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	batch := randomHex()
	for i, o := range ops {
		msg := messageOf(o, txn)
		if len(ops) > 1 {
			msg.Header.Set(headerBatch, batch)
			msg.Header.Set(headerBatchSeq, strconv.Itoa(i+1))
		}
		if i < len(ops)-1 {
			if err := s.nc.PublishMsg(msg); err != nil {
				return 0, err
			}
			continue
		}
		if len(ops) > 1 {
			msg.Header.Set(headerBatchFinal, "1")
		}
		reply, err := s.nc.RequestMsgWithContext(ctx, msg)
		if err != nil {
			return 0, err
		}
		return sequenceOf(reply.Data)
	}
	return 0, nil
}

func messageOf(o op, txn string) *nats.Msg {
	msg := nats.NewMsg(statePrefix + o.key)
	msg.Header.Set(headerTxn, txn)
	if !o.anyRev {
		msg.Header.Set(headerExpect, strconv.FormatUint(o.expect, 10))
	}
	if o.within != "" {
		msg.Header.Set(headerExpectKey, statePrefix+o.within)
	}
	if o.whole != 0 {
		msg.Header.Set(headerExpectWhole, strconv.FormatUint(o.whole, 10))
	}
	if o.value == nil {
		msg.Header.Set(headerOp, "DEL")
		msg.Header.Set(headerTTL, tombstoneTTL.String())
	}
	msg.Data = o.value
	return msg
}

// sequenceOf reads a publish acknowledgement.
func sequenceOf(data []byte) (uint64, error) {
	var ack struct {
		Sequence uint64              `json:"seq"`
		Error    *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return 0, fmt.Errorf("acknowledgement: %w", err)
	}
	if ack.Error == nil {
		return ack.Sequence, nil
	}
	switch ack.Error.ErrorCode {
	case apiWrongLastSeq, apiWrongLastSeqConst:
		return 0, errConflict
	}
	return 0, ack.Error
}

func randomHex() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b[:])
}

// pause waits before attempt+1: full jitter over a doubling span. It returns
// the context's error when that ends first.
func pause(ctx context.Context, attempt int) error {
	span := min(backoffCap, backoffBase<<min(attempt, 10))
	t := time.NewTimer(mrand.N(span) + time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
