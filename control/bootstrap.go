package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// bootstrapRecord says that the first start is over, and proves that a node has
// the keyset that sealed the store.
type bootstrapRecord struct {
	Installation string    `json:"installation"` // 32 hex digits, random
	Proof        Sealed    `json:"proof"`        // the installation ID
	CreatedAt    time.Time `json:"created_at"`
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
	key, err := newSigningKey(c.sealer, t.now)
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
	keys, err := c.store.get(ctx, keySigning)
	if err != nil {
		return err
	}
	if keys.value == nil {
		return fmt.Errorf("%s %w: the store is damaged", keySigning, ErrNotFound)
	}
	if err := c.adoptSigning(keys); err != nil {
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
