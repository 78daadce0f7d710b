package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// backedUp makes a store with one of everything and a backup of it; it returns the control, its directory and the backup's path.
func backedUp(t *testing.T) (*Control, string, string) {
	t.Helper()
	dir := t.TempDir()
	c := open(t, dir)
	furnish(t, c)
	path := filepath.Join(t.TempDir(), "backup")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.Backup(t.Context(), f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if info.Installation != c.installation || info.KeyID != c.sealer.ring.Load().primary() || info.Entries < 10 {
		t.Errorf("backup: %+v", info)
	}
	return c, dir, path
}

// target is a new data directory that has the keyset of another.
func target(t *testing.T, from string) Config {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join(from, "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keyset.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return Config{DataDir: dir, Logger: quiet()}
}

// sameState compares what two stores hold, in the order of its revisions.
func sameState(t *testing.T, a, b *Control) {
	t.Helper()
	text := func(c *Control) []string {
		entries, _, err := c.store.readAll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, e := range latest(entries) {
			if e.key != keyBootstrap { // written last, to open the store with
				lines = append(lines, e.key+" "+string(e.value))
			}
		}
		return lines
	}
	if want, got := text(a), text(b); !slices.Equal(got, want) {
		t.Errorf("got %d entries, want %d: the states differ", len(got), len(want))
	}
}

func TestBackupAndRestore(t *testing.T) {
	c, _, path := backedUp(t)
	if _, err := c.RotateKeys(t.Context()); err != nil { // what comes after the backup is not in it
		t.Fatal(err)
	}
	former := c.formerKeyset(mustBackup(t, path).header.KeyID)
	cfg := Config{DataDir: t.TempDir(), KeysetFile: filepath.Join(t.TempDir(), "keyset.json"), Logger: quiet()}
	text, err := os.ReadFile(former)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.KeysetFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := Restore(t.Context(), cfg, path)
	if err != nil || info.Installation != c.installation {
		t.Fatalf("restore: %+v, %v", info, err)
	}
	restored, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	opens(t, restored)
	if _, again := restored.FirstToken(); again {
		t.Error("a restored store makes a first token")
	}
	if !bytes.Equal(restored.CA(), c.CA()) {
		t.Error("the CA is another: drivers and connectors would not trust it")
	}
}

func mustBackup(t *testing.T, path string) *backup {
	t.Helper()
	b, err := openBackup(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.file.Close() })
	return b
}

// TestMoveToACluster moves an installation from the embedded store to three NATS servers.
func TestMoveToACluster(t *testing.T) {
	c, dir, path := backedUp(t)
	_, url := startCluster(t)
	cfg := target(t, dir)
	cfg.StoreURL = url
	ctx, cancel := context.WithTimeout(t.Context(), testWait)
	defer cancel()
	var err error
	for attempt := 0; ; attempt++ { // until the cluster has a leader
		if _, err = Restore(ctx, cfg, path); err == nil || !errors.Is(err, ErrUnavailable) || pause(ctx, attempt) != nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	moved, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer moved.Close()
	opens(t, moved)
	sameState(t, c, moved)
	if _, err := Restore(ctx, cfg, path); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("a second restore: got %v, want ErrNotEmpty", err)
	}
}

func TestRestoreGoesOnAfterACrash(t *testing.T) {
	c, dir, path := backedUp(t)
	cfg := target(t, dir)
	b := mustBackup(t, path)
	ring, err := readKeyset(cfg.keysetPath())
	if err != nil {
		t.Fatal(err)
	}
	ops, err := b.read(ring, "")
	if err != nil {
		t.Fatal(err)
	}
	half := &Control{logger: quiet(), replica: newReplica(quiet())}
	// Without the record of the first start a restore stops before its last commit.
	err = half.restore(t.Context(), cfg, b.header, slices.DeleteFunc(ops[:len(ops)/2], func(o op) bool { return o.key == keyBootstrap }))
	if !errors.Is(err, ErrBackupDamaged) {
		t.Fatalf("half a restore: %v", err)
	}
	if err := half.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), cfg); !errors.Is(err, errRestore) {
		t.Errorf("open in the middle of a restore: got %v", err)
	}
	if _, err := Restore(t.Context(), cfg, path); err != nil {
		t.Fatal(err)
	}
	restored, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	opens(t, restored)
	sameState(t, c, restored)
}

func TestRestoreRefuses(t *testing.T) {
	_, dir, path := backedUp(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(change func([]byte) []byte) string {
		name := filepath.Join(t.TempDir(), "backup")
		if err := os.WriteFile(name, change(slices.Clone(good)), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 1; return b }
	}
	short := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	tests := []struct {
		name, path string
		err        error
		says       string
	}{
		{"empty", changed(short(0)), ErrNotBackup, ""},
		{"another kind of file", changed(func([]byte) []byte { return []byte("PK\x03\x04 something else") }), ErrNotBackup, ""},
		{"a newer format", changed(func(b []byte) []byte { return bytes.Replace(b, []byte("backup 1"), []byte("backup 2"), 1) }), ErrNotBackup, "a newer one"},
		{"cut in the first line", changed(short(10)), ErrNotBackup, ""},
		{"cut in the header", changed(short(60)), ErrBackupDamaged, "cut short"},
		{"cut in the content", changed(short(len(good) / 2)), ErrBackupDamaged, "cut short"},
		{"without its last byte", changed(short(len(good) - 1)), ErrBackupDamaged, "cut short"},
		{"with more", changed(func(b []byte) []byte { return append(b, '\n') }), ErrBackupDamaged, "added at its end"},
		{"a bit of the header is another", changed(flip(40)), ErrBackupDamaged, "checksum"},
		{"a bit of the content is another", changed(flip(len(good) / 2)), ErrBackupDamaged, "checksum"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := target(t, dir)
			_, err := Restore(t.Context(), cfg, tt.path)
			if !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %v: %s", err, tt.err, tt.says)
			}
			// Nothing was written: the good one goes in.
			if tt.name == "cut in the content" {
				if _, err := Restore(t.Context(), cfg, path); err != nil {
					t.Errorf("the good one afterwards: %v", err)
				}
			}
		})
	}
	t.Run("another installation's keyset", func(t *testing.T) {
		cfg := Config{DataDir: t.TempDir(), Logger: quiet()}
		if _, err := Restore(t.Context(), cfg, path); err == nil || !strings.Contains(err.Error(), "copy the keyset") {
			t.Errorf("without a keyset: %v", err)
		}
		if _, err := makeKeyset(cfg.keysetPath()); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(t.Context(), cfg, path); !errors.Is(err, ErrBackupKey) {
			t.Errorf("got %v, want ErrBackupKey", err)
		}
	})
	t.Run("a store that is used", func(t *testing.T) {
		used := t.TempDir()
		other, err := Open(t.Context(), Config{DataDir: used, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		cfg := target(t, dir)
		cfg.DataDir, cfg.KeysetFile = used, cfg.keysetPath()
		if _, err := Restore(t.Context(), cfg, path); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("got %v, want ErrNotEmpty", err)
		}
	})
}

// FuzzBackup: whatever a file holds, reading it ends in an error or in what was written.
func FuzzBackup(f *testing.F) {
	ring, err := makeKeyset(filepath.Join(f.TempDir(), "keyset.json"))
	if err != nil {
		f.Fatal(err)
	}
	header, err := json.Marshal(backupHeader{Installation: "x", KeyID: ring.primary()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("sluice-backup 1\n" + string(header) + "\ncontent" + strings.Repeat("0", backupTrailer)))
	f.Add([]byte("sluice-backup 1\n{}\n"))
	f.Add([]byte{})
	path := filepath.Join(f.TempDir(), "backup")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := openBackup(path)
		if err != nil {
			return
		}
		defer b.file.Close()
		if _, err := b.read(ring, path); err == nil {
			t.Error("a backup that no key sealed is read")
		}
	})
}
