package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"
)

// How a new key comes into use. The record of a rotation carries the new
// keyset, sealed by the old key, so that every node has the key before it sees
// what the key has sealed: the store's order sees to that. Then one node seals
// everything anew, and when nothing of the old keys is left the record is
// closed and every node drops them. Each step may be repeated, and a node that
// starts while a rotation is open goes on with it.

// rotationRecord is the last rotation, or the one under way.
type rotationRecord struct {
	Primary    uint32    `json:"primary"`         // the Tink ID of the key that seals
	Keyset     Sealed    `json:"keyset,omitzero"` // with all keys; none when the rotation is over
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
}

// Rotation says how far a change of the sealing key has come.
type Rotation struct {
	KeyID      uint32 // the Tink ID of the key that seals
	StartedAt  time.Time
	FinishedAt time.Time // zero while secrets are sealed anew
	Resealed   int       // values that this node has sealed anew since it started
	Failure    string    // why it does not go on, "" while it does
}

// rotator is the part of Control that seals everything anew.
type rotator struct {
	once  sync.Once
	wake  chan struct{}
	grace time.Duration // storeGrace; shorter in tests
	// attempts is held for reading by every change from its start to the end of
	// its commit, so that a rotation can wait for those that sealed with the old
	// key.
	attempts sync.RWMutex

	mu       sync.Mutex
	record   rotationRecord // what this node has made its own
	resealed int
	failure  string
}

func (r *rotator) signal() chan struct{} {
	r.once.Do(func() { r.wake = make(chan struct{}, 1) })
	return r.wake
}

func (r *rotator) start() {
	r.note(0, "")
	select {
	case r.signal() <- struct{}{}:
	default: // it is awake
	}
}

func (r *rotator) note(resealed int, failure string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resealed += resealed
	r.failure = failure
}

// storeGrace is how long a node of an external store may still write with the
// old key after it was told of the new one: a commit that it has begun, and the
// time that a broken watch takes to be noticed.
const storeGrace = commitWait + 3*watchHeartbeat

// RotateKeys begins to seal everything with a new key, or goes on with what was
// begun, and returns; Run does the work and Rotation tells how far it is. The
// keyset as it was stays beside the keyset file, for backups that it sealed.
func (c *Control) RotateKeys(ctx context.Context) (Rotation, error) {
	err := c.transact(ctx, func(t *tx) error {
		record, err := rotationOf(t)
		if err != nil || (!record.StartedAt.IsZero() && record.FinishedAt.IsZero()) {
			return err
		}
		old := c.sealer.ring.Load()
		if err := c.keepKeyset(old); err != nil {
			return err
		}
		grown, err := old.grown()
		if err != nil {
			return err
		}
		text, err := grown.text()
		if err != nil {
			return err
		}
		record = &rotationRecord{Primary: grown.primary(), Keyset: Plaintext(Secret(text)), StartedAt: t.now}
		if err := c.sealer.seal(&record.Keyset, kindSystem, "rotation", "keyset"); err != nil {
			return err
		}
		return t.put(kindSystem, "rotation", record)
	})
	if err != nil {
		return Rotation{}, fmt.Errorf("rotate keys: %w", err)
	}
	c.rotator.start()
	return c.Rotation(), nil
}

// Rotation returns the last rotation, or the one under way, as this node knows
// it; its StartedAt is zero when there was none.
func (c *Control) Rotation() Rotation {
	c.rotator.mu.Lock()
	defer c.rotator.mu.Unlock()
	return Rotation{
		KeyID: c.sealer.ring.Load().primary(), StartedAt: c.rotator.record.StartedAt, FinishedAt: c.rotator.record.FinishedAt,
		Resealed: c.rotator.resealed, Failure: c.rotator.failure,
	}
}

func rotationOf(t *tx) (*rotationRecord, error) {
	e, err := t.get(keyRotation)
	if err != nil {
		return nil, err
	}
	return decodeRotation(e)
}

func decodeRotation(e entry) (*rotationRecord, error) {
	record := &rotationRecord{}
	if e.value == nil {
		return record, nil
	}
	if err := json.Unmarshal(e.value, record); err != nil {
		return nil, fmt.Errorf("decode %s: %w", keyRotation, err)
	}
	return record, nil
}

// keepKeyset writes a copy of the keyset that is about to be replaced.
func (c *Control) keepKeyset(ring *keyring) error {
	text, err := ring.text()
	if err != nil {
		return err
	}
	if err := createFile(c.formerKeyset(ring.primary()), text); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep the old keyset: %w", err)
	}
	return nil
}

// formerKeyset is where the keyset of a former key is kept.
func (c *Control) formerKeyset(primary uint32) string {
	return filepath.Join(filepath.Dir(c.keysetPath), fmt.Sprintf("keyset-%08x.json", primary))
}

// resumeRotation takes the keyset of a rotation that is under way when this
// node starts, and goes on with it.
func (c *Control) resumeRotation(ctx context.Context) error {
	e, err := c.store.get(ctx, keyRotation)
	if err != nil {
		return err
	}
	record, err := decodeRotation(e)
	if err != nil {
		return err
	}
	if err := c.adoptRotation(e); err != nil {
		return err
	}
	if !record.StartedAt.IsZero() && record.FinishedAt.IsZero() {
		c.rotator.start()
	}
	return nil
}

// adoptRotation makes this node's keyset what a rotation's record says, in the
// file first. The replica calls it in the order of the store.
func (c *Control) adoptRotation(e entry) error {
	record, err := decodeRotation(e)
	if err != nil || record.StartedAt.IsZero() {
		return err
	}
	if err := c.adoptKeyset(record); err != nil {
		return err
	}
	c.rotator.mu.Lock()
	defer c.rotator.mu.Unlock()
	c.rotator.record = *record
	return nil
}

func (c *Control) adoptKeyset(record *rotationRecord) error {
	var err error
	ring := c.sealer.ring.Load()
	switch {
	case record.FinishedAt.IsZero() && !ring.has(record.Primary):
		text, err := c.sealer.open(record.Keyset, kindSystem, "rotation", "keyset")
		if err != nil {
			return fmt.Errorf("%w: it is older than the last rotation of keys; copy keyset.json from a node that runs", ErrKeyset)
		}
		if ring, err = parseKeyset([]byte(text)); err != nil {
			return err
		}
	case !record.FinishedAt.IsZero() && ring.primary() == record.Primary && len(ring.handle.KeysetInfo().GetKeyInfo()) > 1:
		if ring, err = ring.pruned(); err != nil {
			return err
		}
	case !record.FinishedAt.IsZero() && !ring.has(record.Primary):
		c.sealer.lost.Store(true)
		return errKeysetLost
	default:
		return nil
	}
	text, err := ring.text()
	if err != nil {
		return err
	}
	// This process has the keys even where the file cannot be written: it must not go on with those that others have dropped.
	c.sealer.ring.Store(ring)
	c.sealer.lost.Store(false)
	if err := replaceFile(c.keysetPath, text); err != nil {
		return fmt.Errorf("write the keyset of a rotation: %w", err)
	}
	return nil
}

// errKeysetLost is why a node that was away during a whole rotation seals nothing: nobody could open it.
var errKeysetLost = fmt.Errorf("%w: a rotation of keys ended while this node was away; copy keyset.json from a node that runs, and restart this one", ErrKeyset)

// reseal seals everything anew whenever a rotation asks for it, until ctx ends.
func (c *Control) reseal(ctx context.Context) error {
	for {
		select {
		case <-c.rotator.signal():
		case <-ctx.Done():
			return ctx.Err()
		}
		for attempt := 0; ; attempt++ {
			err := c.finishRotation(ctx)
			if err == nil {
				c.logger.Info("every secret is sealed with the new key")
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrConflict) {
				c.rotator.note(0, err.Error())
				c.logger.Error("rotation of keys stopped; it goes on at the next start, or when it is asked for again", "err", err)
				break
			}
			if pause(ctx, attempt) != nil {
				return ctx.Err()
			}
		}
	}
}

// finishRotation seals what the old keys have sealed until nothing is left, and
// closes the record.
func (c *Control) finishRotation(ctx context.Context) error {
	primary := c.sealer.ring.Load().primary()
	// Changes of this node that began before the new key was there.
	c.rotator.attempts.Lock()
	//lint:ignore SA2001 to have been held is the purpose
	c.rotator.attempts.Unlock()
	for grace := c.embedded == nil; ; grace = false {
		if err := c.resealUntilClean(ctx, primary); err != nil {
			return err
		}
		if !grace {
			break
		}
		wait, cancel := context.WithTimeout(ctx, c.rotator.grace)
		<-wait.Done()
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return c.transact(ctx, func(t *tx) error {
		record, err := rotationOf(t)
		if err != nil || record.Primary != primary || !record.FinishedAt.IsZero() {
			return err
		}
		record.Keyset, record.FinishedAt = Sealed{}, t.now
		return t.put(kindSystem, "rotation", record)
	})
}

// resealBatch is how many values one commit seals anew: few enough that a
// change of one of them by somebody else repeats little.
const resealBatch = 50

func (c *Control) resealUntilClean(ctx context.Context, primary uint32) error {
	for {
		entries, _, err := c.store.readAll(ctx)
		if err != nil {
			return err
		}
		last := map[string]entry{}
		for _, e := range entries {
			last[e.key] = e
		}
		var stale []string
		for key, e := range last {
			if key == keyRotation || e.value == nil {
				continue
			}
			if found, err := c.sealer.foreign(e.value, primary); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			} else if found {
				stale = append(stale, key)
			}
		}
		if len(stale) == 0 {
			return nil
		}
		for len(stale) > 0 {
			n := min(len(stale), resealBatch)
			if err := c.resealKeys(ctx, stale[:n], primary); err != nil {
				return err
			}
			c.rotator.note(n, "")
			stale = stale[n:]
		}
	}
}

func (c *Control) resealKeys(ctx context.Context, keys []string, primary uint32) error {
	return c.transact(ctx, func(t *tx) error {
		for _, key := range keys {
			e, err := t.get(key)
			if err != nil {
				return err
			}
			if e.value == nil {
				continue // deleted meanwhile
			}
			value, changed, err := c.sealer.resealed(key, e.value, primary)
			if err != nil {
				return err
			}
			if changed {
				if err := t.write(key, value); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
