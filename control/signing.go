package control

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluicedb/sluice/access"
)

// How another key comes to sign assertions. It is written into the record before
// it signs, so that relays tell connectors of it first; what the former key has
// signed is accepted until that is dropped from the record. Every node chooses
// the key by the clock, so that there is no step that anybody must take in time.

// How long a key is known before it signs, and is accepted after the next one does.
const (
	// On schedule: a relay that is cut off from the store goes on with the keys
	// that it has, and keys that are pinned in files are changed by people.
	// Cloudflare Access accepts its previous key for seven days too.
	signingLead    = 7 * 24 * time.Hour
	signingOverlap = 7 * 24 * time.Hour
	// When it is asked for: the clocks of nodes may differ by access.Leeway.
	promptLead    = access.Leeway
	promptOverlap = access.AssertionLifetime + 2*access.Leeway
	// signingTick is how often it is looked for keys that are due.
	signingTick = time.Minute
	// DefaultSigningLife is how long a key signs: six weeks, as Cloudflare Access's does.
	DefaultSigningLife = 42 * 24 * time.Hour
)

// signingRecord holds the keys that sign assertions, in the order in which they
// do. There is always one.
type signingRecord struct {
	Keys []signingKey `json:"keys"`
}

type signingKey struct {
	ID      string            `json:"id"`             // the kid of its assertions
	From    time.Time         `json:"from,omitzero"`  // it signs from then on, until the next one does
	Until   time.Time         `json:"until,omitzero"` // it is dropped then; zero for the last one
	Public  ed25519.PublicKey `json:"public"`
	Private Sealed            `json:"private"` // the seed of RFC 8032
}

func newSigningKey(k sealer, from time.Time) (signingKey, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return signingKey{}, fmt.Errorf("make signing key: %w", err)
	}
	key := signingKey{ID: newHexID(), From: from, Public: public, Private: Plaintext(Secret(private.Seed()))}
	return key, k.seal(&key.Private, kindSystem, key.ID, "signing")
}

// over reports whether the key is to be dropped.
func (k *signingKey) over(now time.Time) bool { return !k.Until.IsZero() && !now.Before(k.Until) }

// due reports whether tend would change the record of keys that sign for life each.
func (r *signingRecord) due(life time.Duration, now time.Time) bool {
	return r.aged(life, now) || slices.ContainsFunc(r.Keys, func(k signingKey) bool { return k.over(now) })
}

// aged reports whether the last key has signed for so long that the next one is to be told of.
func (r *signingRecord) aged(life time.Duration, now time.Time) bool {
	return life > 0 && now.Sub(r.Keys[len(r.Keys)-1].From) >= life-min(signingLead, life)
}

// add makes key the next one, instead of those that have not signed yet.
func (r *signingRecord) add(key signingKey, overlap time.Duration, now time.Time) {
	first := r.Keys[0].ID
	r.Keys = slices.DeleteFunc(r.Keys, func(k signingKey) bool { return k.ID != first && k.From.After(now) })
	until := key.From.Add(overlap)
	for i := range r.Keys {
		if k := &r.Keys[i]; k.Until.After(until) {
			k.Until = until
		}
	}
	r.Keys[len(r.Keys)-1].Until = until // it signs till key does, whatever was to come before
	r.Keys = append(r.Keys, key)
}

// signing is a record, ready for use. It is immutable.
type signing struct {
	record   signingRecord
	signers  []*access.Signer // of the record's keys
	verifier *access.Verifier
}

// adoptSigning makes the stored signing keys ready. The replica calls it in the order of the store.
func (c *Control) adoptSigning(e entry) error {
	next := &signing{verifier: &access.Verifier{Issuer: c.issuer, Keys: map[string]ed25519.PublicKey{}}}
	if err := json.Unmarshal(e.value, &next.record); err != nil {
		return fmt.Errorf("decode %s: %w", keySigning, err)
	}
	if len(next.record.Keys) == 0 {
		return errors.New("the store holds no signing key")
	}
	for _, key := range next.record.Keys {
		seed, err := c.sealer.open(key.Private, kindSystem, key.ID, "signing")
		if err != nil {
			return err
		}
		if len(seed) != ed25519.SeedSize {
			return errors.New("the stored signing key is not an Ed25519 seed")
		}
		next.signers = append(next.signers, access.NewSigner(c.issuer, key.ID, ed25519.NewKeyFromSeed([]byte(seed))))
		next.verifier.Keys[key.ID] = key.Public
	}
	c.signing.Store(next)
	return nil
}

// at is the index of the key that signs at now.
func (s *signing) at(now time.Time) int {
	for i := len(s.record.Keys) - 1; i > 0; i-- {
		if !now.Before(s.record.Keys[i].From) {
			return i
		}
	}
	return 0
}

// Signer signs assertions with the key that signs now.
func (c *Control) Signer() *access.Signer {
	s := c.signing.Load()
	return s.signers[s.at(time.Now())]
}

// Verifier checks assertions of every node of this store. It is another one when the keys have changed.
func (c *Control) Verifier() *access.Verifier { return c.signing.Load().verifier }

// SigningKey is what the others see of a key that signs assertions.
type SigningKey struct {
	ID     string
	Public ed25519.PublicKey
	From   time.Time // it signs from then on
	Until  time.Time // what it has signed is accepted till then; zero for the last one
	Signs  bool      // now
}

// SigningKeys returns the issuer of assertions, and its keys in the order in which they sign.
func (c *Control) SigningKeys() (issuer string, keys []SigningKey) {
	s := c.signing.Load()
	signs := s.at(time.Now())
	for i, k := range s.record.Keys {
		keys = append(keys, SigningKey{ID: k.ID, Public: k.Public, From: k.From, Until: k.Until, Signs: i == signs})
	}
	return c.issuer, keys
}

// RotateSigningKey has another key sign assertions in a minute. What the
// former ones have signed is accepted for three minutes more.
func (c *Control) RotateSigningKey(ctx context.Context) error {
	err := c.changeSigning(ctx, func(t *tx, r *signingRecord) error {
		key, err := newSigningKey(c.sealer, t.now.Add(promptLead))
		if err == nil {
			r.add(key, promptOverlap, t.now)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("rotate signing key: %w", err)
	}
	return nil
}

// changeSigning changes the record.
func (c *Control) changeSigning(ctx context.Context, change func(*tx, *signingRecord) error) error {
	return c.transact(ctx, func(t *tx) error {
		e, err := t.get(keySigning)
		if err != nil {
			return err
		}
		var r signingRecord
		if err := json.Unmarshal(e.value, &r); err != nil {
			return fmt.Errorf("decode %s: %w", keySigning, err)
		}
		if err := change(t, &r); err != nil {
			return err
		}
		return t.put(kindSystem, "signing", r)
	})
}

// tendSigning makes keys on schedule and drops those that are over. Of several
// nodes one does it, and the others find it done.
func (c *Control) tendSigning(ctx context.Context, now time.Time) error {
	if !c.signing.Load().record.due(c.signingLife, now) {
		return nil
	}
	return c.changeSigning(ctx, func(_ *tx, r *signingRecord) error {
		if r.aged(c.signingLife, now) {
			last := r.Keys[len(r.Keys)-1].From
			// The present key signs for its whole life, unless that is nearly over.
			from := last.Add(c.signingLife)
			if soonest := now.Add(min(signingLead, c.signingLife)); from.Before(soonest) {
				from = soonest
			}
			key, err := newSigningKey(c.sealer, from)
			if err != nil {
				return err
			}
			r.add(key, min(signingOverlap, c.signingLife), now)
			c.logger.Info("another key will sign assertions", "key", key.ID, "from", key.From)
		}
		r.Keys = slices.DeleteFunc(r.Keys, func(k signingKey) bool { return k.over(now) })
		return nil
	})
}

// keepSigning tends the signing keys until ctx ends.
func (c *Control) keepSigning(ctx context.Context) error {
	tick := time.NewTicker(signingTick)
	defer tick.Stop()
	for {
		if err := c.tendSigning(ctx, time.Now()); err != nil && ctx.Err() == nil {
			c.logger.Warn("signing keys are not tended; it is tried again in a minute", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
