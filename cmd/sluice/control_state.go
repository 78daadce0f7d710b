package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// storeFlags name a store that a command opens itself.
type storeFlags struct{ dataDir, store, keysetFile string }

func newStoreFlags(cmd *cobra.Command, dataDir string) *storeFlags {
	s := &storeFlags{}
	flags := cmd.Flags()
	flags.StringVar(&s.dataDir, "data-dir", dataDir, "data directory of the server")
	flags.StringVar(&s.store, "store", "", "NATS cluster that keeps the state, nats://host:port[,host:port]; the embedded store in --data-dir when absent")
	flags.StringVar(&s.keysetFile, "keyset-file", "", "keyset that seals secrets; keyset.json in the data directory when absent")
	withEnv(flags, "store", "SLUICE_STORE")
	withEnv(flags, "keyset-file", "SLUICE_KEYSET_FILE")
	return s
}

// config also keeps what is made to this user.
func (s *storeFlags) config(a *app) (control.Config, error) {
	unix.Umask(0o077)
	if err := (&serverFlags{dataDir: s.dataDir, store: s.store, logLevel: "warn", logFormat: "text"}).check(); err != nil {
		return control.Config{}, err
	}
	logger := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return control.Config{DataDir: s.dataDir, StoreURL: s.store, KeysetFile: s.keysetFile, Logger: logger}, nil
}

// open opens the store of a server that was started before: a mistyped directory must not become a new installation.
func (s *storeFlags) open(ctx context.Context, a *app) (*control.Control, error) {
	config, err := s.config(a)
	if err != nil {
		return nil, err
	}
	if s.store == "" {
		if _, err := os.Stat(filepath.Join(s.dataDir, "store")); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is no data directory of a server: pass --data-dir, or --store with a NATS cluster", s.dataDir)
		}
	}
	c, err := control.Open(ctx, config)
	if errors.Is(err, control.ErrLocked) {
		return nil, fmt.Errorf("%w: stop the server first", err)
	}
	return c, err
}

func (a *app) backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write the whole state into a sealed file",
		Long: `Write the whole state (every account's tunnels, access, databases and secrets; not the audit log) into a new
file, sealed with the installation's keyset. The server is asked for it and runs on; with --data-dir or --store
the state is read from the store itself, of a server that was stopped. A restore needs keyset.json as well: keep a
copy of it in another place than the backups.`,
		Example: `  sluice control backup sluice-2026-01-31.backup
  sluice control backup before-the-move.backup --data-dir /var/lib/sluice`,
		Args: exactArgs("FILE"),
	}
	a.clientCommand(cmd)
	flags := newStoreFlags(cmd, "")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		write := func(ctx context.Context, w io.Writer) error {
			return a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error { return c.Backup(ctx, w) })(cmd, nil)
		}
		if flags.dataDir != "" || flags.store != "" {
			write = func(ctx context.Context, w io.Writer) (err error) {
				c, err := flags.open(ctx, a)
				if err != nil {
					return err
				}
				_, err = c.Backup(ctx, w)
				return errors.Join(err, c.Close())
			}
		}
		info, err := writeBackup(cmd.Context(), args[0], write)
		if err != nil {
			return err
		}
		return a.printBackup("Backup written to "+args[0]+".", args[0], info)
	}
	return cmd
}

// writeBackup makes the file as a whole or not at all, and leaves one that is there alone.
func writeBackup(ctx context.Context, name string, write func(context.Context, io.Writer) error) (info control.BackupInfo, err error) {
	if _, err := os.Lstat(name); err == nil {
		return info, fmt.Errorf("%s exists: choose another name", name)
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".sluice-backup-*")
	if err != nil {
		return info, fmt.Errorf("backup: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	err = write(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return info, err
	}
	if info, err = control.CheckBackup(f.Name()); err != nil {
		return info, err
	}
	// A link fails where the name was taken meanwhile.
	if err := os.Link(f.Name(), name); err != nil {
		return info, fmt.Errorf("backup: %w", err)
	}
	return info, nil
}

func (a *app) printBackup(title, file string, info control.BackupInfo) error {
	key := fmt.Sprintf("%08x", info.KeyID)
	if a.json {
		return a.printJSON(map[string]any{"file": file, "installation": info.Installation, "created_at": info.CreatedAt, "key_id": key})
	}
	fmt.Fprintf(a.out, "%s\n\n", title)
	return a.printFields([][2]string{{"installation", info.Installation}, {"state of", when(info.CreatedAt)}, {"opens with key", key}})
}

func (a *app) restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Write a backup into a new, empty store",
		Long: `Write a backup into a new store: the embedded one of a data directory that is yet to be made, or an empty NATS
cluster. The keyset that sealed the backup must be in the data directory, or be named with --keyset-file. The whole
file is checked before anything is written; a restore that was interrupted goes on when it is run again. To move
from the embedded store to a cluster: stop the server, back up with --data-dir, restore with --store, start with --store.`,
		Example: `  install -D -m 600 keyset.json new/keyset.json
  sluice control restore sluice-2026-01-31.backup --data-dir new
  sluice control restore before-the-move.backup --data-dir new --store nats://nats-1:4222,nats-2:4222,nats-3:4222`,
		Args: exactArgs("FILE"),
	}
	flags := newStoreFlags(cmd, "./data")
	withEnv(cmd.Flags(), "data-dir", "SLUICE_DATA_DIR")
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON for programs instead of text for people")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		config, err := flags.config(a)
		if err != nil {
			return err
		}
		info, err := control.Restore(cmd.Context(), config, args[0])
		if err != nil {
			return err
		}
		return a.printBackup(fmt.Sprintf("Restored %d entries. Start the server with the same --data-dir%s.", info.Entries, storeToo(flags.store)), args[0], info)
	}
	return cmd
}

func storeToo(store string) string {
	if store == "" {
		return ""
	}
	return " and --store"
}

func (a *app) resetTokenCommand() *cobra.Command {
	account := control.DefaultAccountID
	cmd := &cobra.Command{
		Use:   "reset-token",
		Short: "Replace the first API token, which was lost or stolen",
		Long: `Replace the first API token of an account by a new one, and show it, once. The old one is revoked, other
tokens stay. This needs no token but the data directory itself, so the server must be stopped while it runs on
the embedded store.`,
		Example: `  sluice control reset-token --data-dir /var/lib/sluice
  sluice control reset-token --data-dir ./data --account 4a1c0b8e7d6f4e5c9b8a7d6e5f4a3b2c`,
		Args: exactArgs(),
	}
	flags := newStoreFlags(cmd, "./data")
	withEnv(cmd.Flags(), "data-dir", "SLUICE_DATA_DIR")
	cmd.Flags().StringVar(&account, "account", account, "id of the account")
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON for programs instead of text for people")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := flags.open(cmd.Context(), a)
		if err != nil {
			return err
		}
		token, secret, err := c.ResetToken(cmd.Context(), account)
		if errors.Is(err, control.ErrNotFound) {
			err = fmt.Errorf("no account has the id %q", account)
		}
		if err := errors.Join(err, c.Close()); err != nil {
			return err
		}
		if a.json {
			return a.printJSON(map[string]string{"id": token.ID, "token": secret.Reveal()})
		}
		fmt.Fprintf(a.out, "The first API token is replaced. The new one is shown this once:\n\n  %s\n", secret.Reveal())
		return nil
	}
	return cmd
}

// rotationPoll is how often a rotation is asked about.
const rotationPoll = 200 * time.Millisecond

func (a *app) rotateKeysCommand() *cobra.Command {
	return a.clientCommand(&cobra.Command{
		Use:   "rotate-keys",
		Short: "Seal everything with a new key, while the server runs",
		Long: `Make a new key, seal every secret of the store anew with it and drop the old one, while the server runs. Every node
takes the new key into its keyset file, which it must be able to write. A rotation that was interrupted goes on at the
next start of the server, or when this is run again. Backups made before open with the old keyset, which stays beside
the keyset file as keyset-KEY.json: delete it when no backup needs it.`,
		Example: "  sluice control rotate-keys",
		Args:    exactArgs(),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, _ []string) error {
			keys, err := c.RotateKeys(ctx)
			for err == nil && keys.State == "sealing" {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(rotationPoll):
				}
				keys, err = c.Keys(ctx)
			}
			if err != nil {
				return err
			}
			return a.printRotation(keys)
		}),
	})
}

func (a *app) printRotation(keys v4.KeyRotation) error {
	if keys.State != "finished" {
		return fmt.Errorf("the rotation stopped: %s; nothing is lost, both keys stay in use: mend that, and run this again", strings.TrimSpace(keys.Failure))
	}
	if a.json {
		return a.printJSON(keys)
	}
	fmt.Fprintf(a.out, "Every secret is sealed with key %s. Copy the new keyset to where you keep it, and make a new backup.\n", keys.KeyID)
	return nil
}
