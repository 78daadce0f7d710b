package integration

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sluicedb/sluice/integration/harness"
)

// nodeModules returns a directory with the programs of integration/node and the packages they
// need, which npm installs once and again when the lock file has changed.
func nodeModules(t *testing.T) string {
	t.Helper()
	ctx := t.Context()
	root, err := harness.ModuleRoot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	source, cache := filepath.Join(root, "integration", "node"), filepath.Join(root, ".cache", "node")
	lock, err := os.ReadFile(filepath.Join(source, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	installed, err := os.ReadFile(filepath.Join(cache, "installed.lock"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(lock, installed) {
		if err := install(ctx, source, cache, lock); err != nil {
			t.Fatal(err)
		}
	}
	programs, err := filepath.Glob(filepath.Join(source, "*.mjs"))
	if err != nil || len(programs) == 0 {
		t.Fatalf("no program in %s: %v", source, err)
	}
	for _, name := range programs {
		program, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(cache, filepath.Base(name)), program, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return cache
}

func install(ctx context.Context, source, cache string, lock []byte) error {
	for _, name := range []string{"package.json", "package-lock.json"} {
		data, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(cache, name), data, 0o644); err != nil {
			return err
		}
	}
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = cache
	if out, err := npm.CombinedOutput(); err != nil {
		return errors.Join(err, errors.New(string(out)))
	}
	return os.WriteFile(filepath.Join(cache, "installed.lock"), lock, 0o644)
}
