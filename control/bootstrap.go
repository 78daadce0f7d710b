package control

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/sluicedb/sluice/access"
)

// bootstrapRecord says that the first start is over, and proves that a node has
// the keyset that sealed the store.
type bootstrapRecord struct {
	Installation string    `json:"installation"` // 32 hex digits, random
	Proof        Sealed    `json:"proof"`        // the installation ID
	CreatedAt    time.Time `json:"created_at"`
}

// signingRecord holds the keys that sign assertions, the current one first.
type signingRecord struct {
	Keys []signingKey `json:"keys"`
}

type signingKey struct {
	ID      string            `json:"id"` // the kid of its assertions
	Public  ed25519.PublicKey `json:"public"`
	Private Sealed            `json:"private"` // the seed of RFC 8032
}

// bootstrap makes what a first start needs, unless that was done: account,
// first API token, CA and signing keys are one commit, so that of several nodes
// one wins and the others take what it made.
func (c *Control) bootstrap(ctx context.Context, cfg Config) error {
	path := cfg.keysetPath()
	stored, err := c.store.get(ctx, keyBootstrap)
	if err != nil {
		return err
	}
	if restoring, err := c.store.get(ctx, keyRestore); err != nil {
		return err
	} else if restoring.value != nil {
		return errRestore
	}
	ring, err := readKeyset(path)
	switch {
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case stored.value != nil:
		return fmt.Errorf("%w: %s does not exist; copy it from where the store was made", ErrKeyset, path)
	default:
		if ring, err = makeKeyset(path); err != nil {
			return err
		}
	}
	c.keysetPath, c.sealer = path, newSealer(ring)
	if err := c.resumeRotation(ctx); err != nil {
		return err
	}
	if stored.value == nil {
		if err := c.firstStart(ctx); err != nil {
			return fmt.Errorf("first start: %w", err)
		}
	}
	return c.adopt(ctx, cfg)
}

// firstStart commits everything, or finds that another node has.
func (c *Control) firstStart(ctx context.Context) error {
	var secret string
	err := c.transact(ctx, func(t *tx) (err error) {
		secret = ""
		done, err := t.get(keyBootstrap)
		if err != nil || done.value != nil {
			return err
		}
		secret, err = c.writeFirst(t)
		return err
	})
	if err != nil || secret == "" {
		return err
	}
	first := Secret(secret)
	c.firstToken = &first
	return nil
}

func (c *Control) writeFirst(t *tx) (string, error) {
	installation := newHexID()
	done := bootstrapRecord{Installation: installation, Proof: Plaintext(Secret(installation)), CreatedAt: t.now}
	if err := c.sealer.seal(&done.Proof, kindSystem, "bootstrap", "proof"); err != nil {
		return "", err
	}
	ca, err := newAuthority(installation, c.sealer, t.now)
	if err != nil {
		return "", err
	}
	key, err := newSigningKey(c.sealer)
	if err != nil {
		return "", err
	}
	token, secret := newAPIToken(DefaultAccountID, firstTokenName, ScopeAdmin, time.Time{}, t.now)
	return secret, errors.Join(
		t.put(kindSystem, "bootstrap", done),
		t.put(kindSystem, "authority", ca),
		t.put(kindSystem, "signing", signingRecord{Keys: []signingKey{key}}),
		t.put(kindAccount, DefaultAccountID, Account{ID: DefaultAccountID, Name: "default", CreatedAt: t.now}),
		t.put(kindAPIToken, token.ID, token),
	)
}

// adopt opens what the first start made, whoever made it.
func (c *Control) adopt(ctx context.Context, cfg Config) error {
	var done bootstrapRecord
	if err := c.system(ctx, keyBootstrap, &done); err != nil {
		return err
	}
	if proof, err := c.sealer.open(done.Proof, kindSystem, "bootstrap", "proof"); err != nil || string(proof) != done.Installation {
		return fmt.Errorf("%w: copy keyset.json from where the store was made", ErrKeyset)
	}
	c.installation, c.issuer = done.Installation, "sluice/"+done.Installation
	var signing signingRecord
	if err := c.system(ctx, keySigning, &signing); err != nil {
		return err
	}
	if err := c.openSigning(&signing); err != nil {
		return err
	}
	var ca authorityRecord
	if err := c.system(ctx, keyAuthority, &ca); err != nil {
		return err
	}
	hosts, err := serverHosts(cfg.PublicHosts)
	if err != nil {
		return err
	}
	if c.authority, err = openAuthority(&ca, c.sealer, hosts); err != nil {
		return err
	}
	if _, err := c.authority.certificate(time.Now()); err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(cfg.DataDir, "ca.pem"), c.authority.pem); err != nil {
		return fmt.Errorf("write ca.pem: %w", err)
	}
	return nil
}

// system reads one of the records of the first start.
func (c *Control) system(ctx context.Context, key string, record any) error {
	e, err := c.store.get(ctx, key)
	if err != nil {
		return err
	}
	if e.value == nil {
		return fmt.Errorf("%s %w: the store is damaged", key, ErrNotFound)
	}
	if err := json.Unmarshal(e.value, record); err != nil {
		return fmt.Errorf("decode %s: %w", key, err)
	}
	return nil
}

func newSigningKey(k sealer) (signingKey, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return signingKey{}, fmt.Errorf("make signing key: %w", err)
	}
	key := signingKey{ID: newHexID(), Public: public, Private: Plaintext(Secret(private.Seed()))}
	return key, k.seal(&key.Private, kindSystem, key.ID, "signing")
}

// openSigning makes the stored signing keys ready: the current one to sign
// with, all of them to verify.
func (c *Control) openSigning(record *signingRecord) error {
	if len(record.Keys) == 0 {
		return errors.New("the store holds no signing key")
	}
	key := record.Keys[0]
	seed, err := c.sealer.open(key.Private, kindSystem, key.ID, "signing")
	if err != nil {
		return err
	}
	if len(seed) != ed25519.SeedSize {
		return errors.New("the stored signing key is not an Ed25519 seed")
	}
	c.signer = access.NewSigner(c.issuer, key.ID, ed25519.NewKeyFromSeed([]byte(seed)))
	c.verifier = &access.Verifier{Issuer: c.issuer, Keys: map[string]ed25519.PublicKey{}}
	for _, key := range record.Keys {
		c.verifier.Keys[key.ID] = key.Public
	}
	return nil
}

// Signer signs assertions with the current key.
func (c *Control) Signer() *access.Signer { return c.signer }

// Verifier checks assertions of every node of this store.
func (c *Control) Verifier() *access.Verifier { return c.verifier }
