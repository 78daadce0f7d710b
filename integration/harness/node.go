package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// NodeModules returns a directory with the programs of integration/node and the packages they
// need.
func NodeModules(ctx context.Context) (string, error) {
	return Packages(ctx, "node")
}

// Packages returns a directory with what integration/NAME has of packages and programs (*.mjs).
// npm installs the packages once and again when the lock file has changed. It waits for others
// that do the same, and touches nothing that is as it should be: they may be running it.
func Packages(ctx context.Context, name string) (string, error) {
	root, err := ModuleRoot(ctx)
	if err != nil {
		return "", err
	}
	source, cache := filepath.Join(root, "integration", name), filepath.Join(root, ".cache", name)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	busy, err := os.OpenFile(filepath.Join(cache, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	defer busy.Close()
	if err := unix.Flock(int(busy.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	wanted, err := os.ReadFile(filepath.Join(source, "package-lock.json"))
	if err != nil {
		return "", err
	}
	installed, err := os.ReadFile(filepath.Join(cache, "installed.lock"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if !bytes.Equal(wanted, installed) {
		if err := npmInstall(ctx, source, cache, wanted); err != nil {
			return "", err
		}
	}
	programs, err := filepath.Glob(filepath.Join(source, "*.mjs"))
	if err != nil {
		return "", err
	}
	for _, program := range programs {
		if err := refresh(program, filepath.Join(cache, filepath.Base(program))); err != nil {
			return "", err
		}
	}
	return cache, nil
}

// refresh makes to a copy of from, where it is none.
func refresh(from, to string) error {
	wanted, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if is, err := os.ReadFile(to); err == nil && bytes.Equal(is, wanted) {
		return nil
	}
	return os.WriteFile(to, wanted, 0o644)
}

func npmInstall(ctx context.Context, source, cache string, lock []byte) error {
	for _, name := range []string{"package.json", "package-lock.json"} {
		if err := refresh(filepath.Join(source, name), filepath.Join(cache, name)); err != nil {
			return err
		}
	}
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = cache
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in %s: %w\n%s", cache, err, out)
	}
	return os.WriteFile(filepath.Join(cache, "installed.lock"), lock, 0o644)
}
