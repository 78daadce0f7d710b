package control

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// furnish makes one of everything that holds a sealed secret.
func furnish(t *testing.T, c *Control) *NewDatabase {
	t.Helper()
	tunnel, err := c.CreateTunnel(t.Context(), DefaultAccountID, "vpc")
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateManagedDatabase(t.Context(), tunnel.ID, "tcp://10.0.0.5:5432", &Database{
		AccountID: DefaultAccountID, Name: "app", Origin: Origin{User: "u", Database: "d", Password: Plaintext("origin-password")},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.UpdateDatabase(t.Context(), DefaultAccountID, made.Database.ID, func(d *Database) error {
		d.Origin.Password = Plaintext("origin-password")
		return nil
	}, nil); err != nil {
		t.Fatal(err)
	}
	cert, key := testPair(t, "client", time.Now().Add(time.Hour))
	if _, err := c.CreateCertificate(t.Context(), uploaded(false, cert, key)); err != nil {
		t.Fatal(err)
	}
	return made
}

// finished waits until a rotation is over.
func finished(t *testing.T, c *Control) Rotation {
	t.Helper()
	var state Rotation
	eventually(t, "rotation of keys", func() (over bool) {
		state = c.Rotation()
		return !state.FinishedAt.IsZero() || state.Failure != ""
	})
	return state
}

// opens checks that every secret of furnish opens.
func opens(t *testing.T, c *Control) {
	t.Helper()
	d, _ := c.Snapshot().DatabaseByName(DefaultAccountID, "app")
	if password, err := c.OriginPassword(d); err != nil || password != "origin-password" {
		t.Errorf("origin password: %v", err)
	}
	if _, err := c.AccessClientSecret(d); err != nil {
		t.Errorf("access client secret: %v", err)
	}
	if _, err := c.FormerOriginPassword(d); err != nil {
		t.Errorf("former origin password: %v", err)
	}
	for _, cert := range c.Snapshot().Certificates(DefaultAccountID) {
		if key, err := c.CertificateKey(cert); err != nil || key == "" {
			t.Errorf("certificate's key: %v", err)
		}
	}
	tunnel := c.Snapshot().Tunnels(DefaultAccountID)[0]
	if secret, err := c.TunnelSecret(tunnel); err != nil || !tunnel.SecretIs(secret.Reveal()) {
		t.Errorf("tunnel secret: %v", err)
	}
}

// staleValues are the keys of the store that another key than the keyset's primary has sealed anything in.
func staleValues(t *testing.T, c *Control, ring *keyring) (stale []string) {
	t.Helper()
	entries, _, err := c.store.readAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := newSealer(ring)
	for _, e := range entries {
		if found, err := all.foreign(e.value, c.sealer.ring.Load().primary()); err == nil && found {
			stale = append(stale, e.key)
		}
	}
	return stale
}

func TestRotateKeys(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	run(t, c)
	made := furnish(t, c)
	before, _ := c.Snapshot().DatabaseByID(made.Database.ID)
	old := c.sealer.ring.Load()
	if n := len(staleValues(t, c, old)); n != 0 {
		t.Fatalf("%d values are sealed by a key that is not there yet", n)
	}
	if _, err := c.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	both := c.sealer.ring.Load()
	state := finished(t, c)
	if state.Failure != "" || state.FinishedAt.IsZero() || state.KeyID == old.primary() || state.Resealed < 4 {
		t.Fatalf("rotation: %+v", state)
	}
	opens(t, c)
	if stale := staleValues(t, c, both); len(stale) != 0 {
		t.Errorf("sealed by the old key still: %v", stale)
	}
	if now := c.sealer.ring.Load(); now.has(old.primary()) {
		t.Error("the old key is in use still")
	}
	if got, _ := c.Snapshot().DatabaseByID(made.Database.ID); got.Generation != before.Generation || got.Version != before.Version || !got.ModifiedOn.Equal(before.ModifiedOn) {
		t.Errorf("the database looks changed: %+v", got)
	}
	if kept, err := readKeyset(c.formerKeyset(old.primary())); err != nil || kept.primary() != old.primary() {
		t.Errorf("the former keyset: %v", err)
	}
	onDisk, err := readKeyset(filepath.Join(dir, "keyset.json"))
	if err != nil || onDisk.primary() != state.KeyID || onDisk.has(old.primary()) {
		t.Errorf("keyset.json: %v", err)
	}
	again, err := c.RotateKeys(t.Context())
	if err != nil || !again.FinishedAt.IsZero() {
		t.Fatalf("a second rotation: %+v, %v", again, err)
	}
	if state := finished(t, c); state.Failure != "" || state.KeyID == onDisk.primary() {
		t.Errorf("a second rotation: %+v", state)
	}
	opens(t, c)
}

// TestRotationSurvivesCrashes stops a rotation after each of its steps; the next start brings it to its end.
func TestRotationSurvivesCrashes(t *testing.T) {
	for _, step := range []string{"record", "half", "sealed"} {
		t.Run(step, func(t *testing.T) {
			dir := t.TempDir()
			// Without Run nothing is sealed anew.
			c, err := Open(t.Context(), Config{DataDir: dir, Logger: quiet()})
			if err != nil {
				t.Fatal(err)
			}
			furnish(t, c)
			before, err := os.ReadFile(filepath.Join(dir, "keyset.json"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.RotateKeys(t.Context()); err != nil {
				t.Fatal(err)
			}
			primary := c.sealer.ring.Load().primary()
			switch step {
			case "record": // the crash came before the keyset file was written
				if err := os.WriteFile(filepath.Join(dir, "keyset.json"), before, 0o600); err != nil {
					t.Fatal(err)
				}
			case "half":
				d := c.Snapshot().Databases("")[0]
				if err := c.resealKeys(t.Context(), []string{nounKey(kindDatabase, d.ID), keyBootstrap}, primary); err != nil {
					t.Fatal(err)
				}
			case "sealed":
				if err := c.resealUntilClean(t.Context(), primary); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			c = open(t, dir)
			run(t, c)
			if state := finished(t, c); state.Failure != "" || state.FinishedAt.IsZero() || state.KeyID != primary {
				t.Errorf("after the restart: %+v", state)
			}
			opens(t, c)
		})
	}
}

// TestRotationUnderChanges: what is written while everything is sealed anew is neither lost nor left to the old key.
func TestRotationUnderChanges(t *testing.T) {
	c := open(t, t.TempDir())
	run(t, c)
	made := furnish(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for ctx.Err() == nil {
				_, err := c.UpdateDatabase(ctx, DefaultAccountID, made.Database.ID, func(d *Database) error {
					d.Caching.MaxAge++
					d.Caching.MaxAge %= MaxCacheAge
					d.Origin.Password = Plaintext("origin-password")
					return nil
				}, nil)
				if err != nil && ctx.Err() == nil {
					t.Errorf("change while keys rotate: %v", err)
					return
				}
				time.Sleep(20 * time.Millisecond) // or hardly a commit of the rotation meets no change
			}
		})
	}
	for range 3 {
		old := c.sealer.ring.Load()
		if _, err := c.RotateKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		if state := finished(t, c); state.Failure != "" || state.FinishedAt.IsZero() {
			t.Fatalf("rotation: %+v", state)
		}
		if stale := staleValues(t, c, old); len(stale) > 0 {
			t.Errorf("sealed by the old key still: %v", stale)
		}
	}
	cancel()
	writers.Wait()
	opens(t, c)
}

// TestRotationReachesEveryNode rotates keys on one node of an external store: the other takes the new key into its own file, and opens
// what either writes; a node that has slept through it is told what to do.
func TestRotationReachesEveryNode(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	one := openAt(t, t.TempDir(), server.ClientURL(), "one")
	text, err := os.ReadFile(one.keysetPath)
	if err != nil {
		t.Fatal(err)
	}
	copied := func() Config {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "keyset.json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		return Config{DataDir: dir, StoreURL: server.ClientURL(), Logger: quiet()}
	}
	asleep := copied()
	two, err := Open(t.Context(), copied())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = two.Close() })
	away, err := Open(t.Context(), copied())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = away.Close() })
	for _, c := range []*Control{one, two} {
		c.rotator.grace = 50 * time.Millisecond
		run(t, c)
	}
	furnish(t, one)
	if _, err := two.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Control{two, one} {
		if state := finished(t, c); state.Failure != "" || state.KeyID != two.sealer.ring.Load().primary() {
			t.Errorf("rotation: %+v", state)
		}
		await(t, c, "the database", func(s *Snapshot) bool { _, ok := s.DatabaseByName(DefaultAccountID, "app"); return ok })
		opens(t, c)
		if ring, err := readKeyset(c.keysetPath); err != nil || ring.primary() != two.sealer.ring.Load().primary() {
			t.Errorf("%s: %v", c.keysetPath, err)
		}
	}
	if _, err := Open(t.Context(), asleep); !errors.Is(err, ErrKeyset) {
		t.Errorf("a node with the old keyset: got %v, want ErrKeyset", err)
	}
	// One that runs and hears of the rotation when it is over seals nothing more with what the others have dropped.
	run(t, away)
	eventually(t, "a node that was away is not ready", func() bool { return errors.Is(away.Ready(), ErrKeyset) })
	_, err = away.CreateDatabase(t.Context(), &Database{AccountID: DefaultAccountID, Name: "late",
		Origin: Origin{Host: "db.example", Port: 5432, User: "u", Database: "d", Password: Plaintext("p")}}, nil)
	if !errors.Is(err, ErrKeyset) {
		t.Errorf("a database made on a node that was away: got %v, want ErrKeyset", err)
	}
}

// TestRotationStopsAtWhatDoesNotOpen: a secret that is bound to another place stays as it is, and so do the keys.
func TestRotationStopsAtWhatDoesNotOpen(t *testing.T) {
	c := open(t, t.TempDir())
	run(t, c)
	made := furnish(t, c)
	old := c.sealer.ring.Load()
	stolen := *made.Database
	stolen.ID, stolen.Name = newHexID(), "moved"
	if err := c.transact(t.Context(), func(x *tx) error { return x.create(kindDatabase, stolen.ID, &stolen) }); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	state := finished(t, c)
	if !strings.Contains(state.Failure, "does not open") || !strings.Contains(state.Failure, stolen.ID) || !state.FinishedAt.IsZero() {
		t.Errorf("rotation: %+v", state)
	}
	if !c.sealer.ring.Load().has(old.primary()) {
		t.Error("the old key is gone while it is needed")
	}
	opens(t, c)
	if err := c.DeleteDatabase(t.Context(), DefaultAccountID, stolen.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if state := finished(t, c); state.Failure != "" || state.FinishedAt.IsZero() {
		t.Errorf("rotation after the mend: %+v", state)
	}
}

// TestReseal: everything of a value but its sealed texts stays as it was, numbers to the last digit.
func TestReseal(t *testing.T) {
	ring, err := makeKeyset(filepath.Join(t.TempDir(), "k"))
	if err != nil {
		t.Fatal(err)
	}
	k := newSealer(ring)
	secret := Plaintext("x")
	if err := k.seal(&secret, "thing", "1", "a.b"); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	value := []byte(`{"a":{"b":` + string(text) + `},"big":12345678901234567890,"list":[1.50,"<&>",null,true],"unknown":"AQ=="}`)
	grown, err := ring.grown()
	if err != nil {
		t.Fatal(err)
	}
	k.ring.Store(grown)
	next, changed, err := k.resealed("thing.1", value, grown.primary())
	if err != nil || !changed {
		t.Fatalf("changed %v, %v", changed, err)
	}
	var got struct {
		A struct{ B Sealed }
	}
	if err := json.Unmarshal(next, &got); err != nil {
		t.Fatal(err)
	}
	if plain, err := k.open(got.A.B, "thing", "1", "a.b"); err != nil || plain != "x" {
		t.Errorf("resealed: %v", err)
	}
	for _, part := range []string{`"big":12345678901234567890`, `1.50`, `"unknown":"AQ=="`} {
		if !strings.Contains(string(next), part) {
			t.Errorf("%s is not in %s", part, next)
		}
	}
	for _, other := range []string{"3f2504e0-4f89-41d3-9a0c-0305e82c3301", "2026-01-01T00:00:00Z", "12", ""} {
		if same, changed, err := k.resealed("claim.x", []byte(other), grown.primary()); err != nil || changed || string(same) != other {
			t.Errorf("%q became %q (%v)", other, same, err)
		}
	}
}
