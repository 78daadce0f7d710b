package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// maxAttempts is how often a change is tried while others overtake it. Each
// time another change of the same thing succeeded; those of one node take turns
// after the first, so 40 is far more than nodes that change one thing at once
// (TestConcurrentWritersLoseNothing logs how many conflicts there are).
const maxAttempts = 40

// tx gathers what one change reads and writes. Every key that it writes must
// still have the revision that it read, or the change runs again.
type tx struct {
	ctx  context.Context
	c    *Control
	now  time.Time
	ops  []op
	read map[string]entry
	// since, unless it is 0, is the revision after which nobody may have changed
	// anything.
	since uint64
}

// transact runs change and commits what it gathered, all or nothing. When
// somebody else was quicker it runs change again, on what is there now. The
// snapshot has the change when transact returns.
func (c *Control) transact(ctx context.Context, change func(*tx) error) error {
	start := time.Now()
	err := c.attempts(ctx, change)
	c.metrics.commit(time.Since(start), err)
	return err
}

func (c *Control) attempts(ctx context.Context, change func(*tx) error) error {
	for attempt := range maxAttempts {
		if attempt == 1 {
			select {
			case c.turn <- struct{}{}:
				defer func() { <-c.turn }()
			case <-ctx.Done():
				return fmt.Errorf("%w: %w", ErrConflict, ctx.Err())
			}
		}
		err := c.attempt(ctx, change)
		if !errors.Is(err, errConflict) {
			return err
		}
		c.metrics.conflicts.Inc()
		if attempt == 0 {
			continue // its turn is wait enough
		}
		if err := pause(ctx, attempt-1); err != nil {
			return fmt.Errorf("%w: %w", ErrConflict, err)
		}
	}
	return ErrConflict
}

// attempt runs change once and commits it.
func (c *Control) attempt(ctx context.Context, change func(*tx) error) error {
	c.rotator.attempts.RLock()
	defer c.rotator.attempts.RUnlock()
	t := &tx{ctx: ctx, c: c, now: time.Now().UTC().Truncate(time.Microsecond), read: map[string]entry{}}
	ring := c.sealer.ring.Load()
	if err := change(t); err != nil {
		if errors.Is(err, errSealed) && c.sealer.ring.Load() != ring { // by a key that was there when it was read
			return fmt.Errorf("%w: %w", errConflict, err)
		}
		return err
	}
	return t.commit()
}

func (t *tx) commit() error {
	if len(t.ops) == 0 {
		return nil
	}
	t.ops[0].whole = t.since
	last, err := t.c.store.commit(t.ctx, t.ops)
	if err != nil {
		return err
	}
	written := make([]entry, len(t.ops))
	first := last - uint64(len(t.ops)) + 1
	for i, o := range t.ops {
		written[i] = entry{key: o.key, value: o.value, rev: first + uint64(i), deleted: o.value == nil}
	}
	t.c.replica.wrote(written)
	if trail, ok := t.ctx.Value(trailKey{}).(*Trail); ok {
		trail.note(t.ops, t.read)
	}
	return nil
}

// get reads a key from the store, once in a change.
func (t *tx) get(key string) (entry, error) {
	if e, ok := t.read[key]; ok {
		return e, nil
	}
	e, err := t.c.store.get(t.ctx, key)
	if err == nil {
		t.read[key] = e
	}
	return e, err
}

// write puts or, with a nil value, deletes a key, if it still has the revision
// that this change has read.
func (t *tx) write(key string, value []byte) error {
	e, err := t.get(key)
	if err != nil {
		return err
	}
	for i := range t.ops {
		if t.ops[i].key == key {
			t.ops[i].value = value
			return nil
		}
	}
	t.ops = append(t.ops, op{key: key, value: value, expect: e.rev})
	return nil
}

// create puts a noun whose ID has just been made and was never in the store.
func (t *tx) create(kind, id string, noun any) error {
	t.read[nounKey(kind, id)] = entry{key: nounKey(kind, id)}
	return t.put(kind, id, noun)
}

// createIn creates a noun of an account, if the account is still there when
// the change commits: one that DeleteAccount found empty stays so.
func (t *tx) createIn(accountID, kind, id string, noun any) error {
	account, err := t.get(nounKey(kindAccount, accountID))
	if err != nil {
		return err
	}
	if account.value == nil {
		return fmt.Errorf("account %w", ErrNotFound)
	}
	if err := t.create(kind, id, noun); err != nil {
		return err
	}
	made := &t.ops[len(t.ops)-1]
	made.within, made.expect = account.key, account.rev
	return nil
}

// unlessChanged returns the state as the store has it now, and lets the change
// commit only if nothing at all has changed since: for what depends on much that
// it does not write, and happens seldom.
func (t *tx) unlessChanged() (*Snapshot, error) {
	stream, err := info(t.ctx, t.c.store.stream)
	if err != nil {
		return nil, fmt.Errorf("read the state: %w: %w", ErrUnavailable, err)
	}
	s := t.c.Snapshot()
	if s.Revision() < stream.State.LastSeq { // the watch is behind
		r := newReplica(t.c.logger)
		if err := t.c.store.load(t.ctx, r); err != nil {
			return nil, fmt.Errorf("read the state: %w: %w", ErrUnavailable, err)
		}
		s = r.snap.Load()
	}
	t.since = max(s.Revision(), stream.State.LastSeq) // whose message may have expired
	return s, nil
}

// put puts a noun.
func (t *tx) put(kind, id string, noun any) error {
	value, err := json.Marshal(noun)
	if err != nil {
		return fmt.Errorf("encode %s %s: %w", kind, id, err)
	}
	if len(value) > maxValue {
		return &ValidationError{Faults: []Fault{{Field: kind, Message: fmt.Sprintf("has %d bytes: at most %d can be stored", len(value), maxValue)}}}
	}
	return t.write(nounKey(kind, id), value)
}

// claim takes a name for owner, which may have it already. A name that has
// another owner is ErrExists.
func (t *tx) claim(kind, name, owner string) error {
	key := claimKey(kind, name)
	e, err := t.get(key)
	if err != nil {
		return err
	}
	if string(e.value) == owner {
		return nil
	}
	if e.value != nil {
		return fmt.Errorf("%s: %w", claimText(kind, name), ErrExists)
	}
	return t.write(key, []byte(owner))
}

// release gives up a name, if owner has it.
func (t *tx) release(kind, name, owner string) error {
	key := claimKey(kind, name)
	e, err := t.get(key)
	if err != nil || string(e.value) != owner {
		return err
	}
	return t.write(key, nil)
}

// fetch reads the noun with this ID, if it is this account's: nothing tells
// other accounts' nouns from none.
func fetch[T any](t *tx, kind, accountID, id string, owner func(*T) string) (*T, error) {
	notFound := fmt.Errorf("%s %w", kindText(kind), ErrNotFound)
	if !validID(id) {
		return nil, notFound
	}
	e, err := t.get(nounKey(kind, id))
	if err != nil {
		return nil, err
	}
	if e.value == nil {
		return nil, notFound
	}
	noun := new(T)
	if err := json.Unmarshal(e.value, noun); err != nil {
		return nil, fmt.Errorf("decode %s %s: %w", kind, id, err)
	}
	if owner(noun) != accountID {
		return nil, notFound
	}
	return noun, nil
}
