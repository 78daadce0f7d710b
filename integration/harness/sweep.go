package harness

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A stage's directory starts with the prefix and has the file, locked by the process whose stage
// it is. The kernel lets go of the lock however that process ends.
const (
	stagePrefix = "sluice-"
	lockName    = ".stage"
)

// sweep removes the stages below dir that no process holds any more.
func sweep(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, stagePrefix+"*", lockName))
	if err != nil {
		return err
	}
	for _, name := range names {
		held, err := lock(name, 0)
		switch {
		case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			continue // a living process's, just removed, or another user's
		case err != nil:
			return err
		}
		if err := errors.Join(os.RemoveAll(filepath.Dir(name)), held.Close()); err != nil {
			return err
		}
	}
	return nil
}

// lock opens a file and locks it, or fails with EWOULDBLOCK. Closing the file unlocks it.
func lock(name string, flag int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|flag, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
