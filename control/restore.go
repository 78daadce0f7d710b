package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"
)

// errRestore is what a node answers that opens a store in the middle of a
// restore.
var errRestore = errors.New("a restore into this store was not finished: run sluice control restore again, with the same backup")

// restoreMarker is in a store from the beginning to the end of a restore.
type restoreMarker struct {
	Installation string    `json:"installation"`
	CreatedAt    time.Time `json:"created_at"` // of the backup
}

// restoreBatch is how many entries one commit restores. The largest entries
// have half a megabyte, and the server holds a batch in memory.
const restoreBatch = 100

// Restore writes a backup into the empty store that cfg names, embedded or
// external; the keyset that sealed it must be where cfg says. Nothing is
// written before the whole backup was read. One that was interrupted goes on
// when it is run again with the same backup; until then no node opens the store.
func Restore(ctx context.Context, cfg Config, path string) (BackupInfo, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	b, err := openBackup(path)
	if err != nil {
		return BackupInfo{}, fmt.Errorf("restore: %w", err)
	}
	defer b.file.Close()
	ring, err := readKeyset(cfg.keysetPath())
	if errors.Is(err, fs.ErrNotExist) {
		return BackupInfo{}, fmt.Errorf("restore: %s does not exist: copy the keyset of the installation there, or name it with --keyset-file", cfg.keysetPath())
	}
	if err != nil {
		return BackupInfo{}, fmt.Errorf("restore: %w", err)
	}
	ops, err := b.read(ring, cfg.keysetPath())
	if err != nil {
		return BackupInfo{}, fmt.Errorf("restore %s: %w", path, err)
	}
	if err := makeDataDir(cfg.DataDir); err != nil {
		return BackupInfo{}, fmt.Errorf("restore: %w", err)
	}
	c := &Control{logger: cfg.Logger, replica: newReplica(cfg.Logger)}
	err = c.restore(ctx, cfg, b.header, ops)
	if err := errors.Join(err, c.Close()); err != nil {
		return BackupInfo{}, fmt.Errorf("restore: %w", err)
	}
	return BackupInfo{Installation: b.header.Installation, CreatedAt: b.header.CreatedAt, KeyID: b.header.KeyID, Entries: len(ops)}, nil
}

func (c *Control) restore(ctx context.Context, cfg Config, header backupHeader, ops []op) error {
	nc, err := c.connect(cfg)
	if err != nil {
		return err
	}
	if c.store, err = connectStore(ctx, nc, cfg.StoreURL != "", cfg.Logger); err != nil {
		nc.Close()
		return err
	}
	marker, err := json.Marshal(restoreMarker{Installation: header.Installation, CreatedAt: header.CreatedAt})
	if err != nil {
		return err
	}
	rev, err := c.beginRestore(ctx, marker)
	if err != nil {
		return err
	}
	var last []op
	for len(ops) > 0 {
		n := min(len(ops), restoreBatch)
		batch := make([]op, 0, n)
		for _, o := range ops[:n] {
			if o.key == keyBootstrap {
				last = append(last, op{key: o.key, value: o.value}) // never there before: whoever else starts on this store is found out
			} else if o.key != keyRestore {
				batch = append(batch, o)
			}
		}
		if len(batch) > 0 {
			if _, err := c.store.commit(ctx, batch); err != nil {
				return err
			}
		}
		ops = ops[n:]
	}
	if len(last) == 0 {
		return fmt.Errorf("%w: it lacks the record of the first start", ErrBackupDamaged)
	}
	_, err = c.store.commit(ctx, append(last, op{key: keyRestore, expect: rev}))
	if errors.Is(err, errConflict) {
		return fmt.Errorf("%w: a server or another restore began on it meanwhile", ErrNotEmpty)
	}
	return err
}

// beginRestore writes the marker, or finds it as an interrupted restore of the
// same backup has left it. It returns its revision.
func (c *Control) beginRestore(ctx context.Context, marker []byte) (uint64, error) {
	found, err := c.store.get(ctx, keyRestore)
	if err != nil {
		return 0, err
	}
	if found.value != nil {
		if string(found.value) != string(marker) {
			return 0, fmt.Errorf("%w: the restore of another backup into it was not finished; run that one again, or begin with a new store", ErrNotEmpty)
		}
		return found.rev, nil
	}
	state, err := info(ctx, c.store.stream)
	if err != nil {
		return 0, err
	}
	if state.State.Msgs > 0 {
		return 0, fmt.Errorf("%w: a backup is restored into a new store only; choose another --data-dir or --store", ErrNotEmpty)
	}
	rev, err := c.store.commit(ctx, []op{{key: keyRestore, value: marker}})
	if errors.Is(err, errConflict) {
		return 0, fmt.Errorf("%w: another restore began on it meanwhile", ErrNotEmpty)
	}
	return rev, err
}
