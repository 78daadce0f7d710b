package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// embeddedStart bounds how long the embedded server may take to read its files:
// it reads about 100 MB/s, so a minute is a store far larger than this state
// ever is.
const embeddedStart = time.Minute

// embeddedMemory is the JetStream memory limit in bytes. Every stream is in
// files but presence: of the 10,000 sessions of a full relay that is some 10 MB.
const embeddedMemory = 64 << 20

// embedded is a NATS server in this process, without a port.
type embedded struct {
	server *server.Server
	lock   *os.File
}

// startEmbedded locks dir and starts a server whose files lie in it. Every
// write is synced before it is acknowledged.
func startEmbedded(dir string, logger *slog.Logger) (*embedded, error) {
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(&server.Options{
		ServerName:         "sluice",
		DontListen:         true,
		NoSigs:             true,
		JetStream:          true,
		StoreDir:           filepath.Join(dir, "store"),
		SyncAlways:         true,
		JetStreamMaxMemory: embeddedMemory,
		// The default would be three quarters of the free disk, taken once.
		JetStreamMaxStore: 0,
	})
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("embedded store: %w", err)
	}
	srv.SetLoggerV2(natsLogger{logger}, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(embeddedStart) || !srv.JetStreamEnabled() {
		srv.Shutdown()
		srv.WaitForShutdown()
		_ = lock.Close()
		return nil, fmt.Errorf("embedded store in %s did not start within %v", dir, embeddedStart)
	}
	return &embedded{server: srv, lock: lock}, nil
}

// stop ends the server when everything is written, and gives the directory up.
func (e *embedded) stop() error {
	e.server.Shutdown()
	e.server.WaitForShutdown()
	return e.lock.Close()
}

// lockDir takes dir for this process; the lock ends with the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", dir, ErrLocked)
		}
		return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	return f, nil
}

// natsLogger passes the embedded server's own log on. What it notices about
// itself concerns no operator of Sluice, so notices are debug lines.
type natsLogger struct{ logger *slog.Logger }

func (l natsLogger) line(level slog.Level, format string, v []any) {
	l.logger.Log(context.Background(), level, "embedded store", "text", fmt.Sprintf(format, v...))
}

func (l natsLogger) Noticef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l natsLogger) Warnf(format string, v ...any)   { l.line(slog.LevelWarn, format, v) }
func (l natsLogger) Fatalf(format string, v ...any)  { l.line(slog.LevelError, format, v) }
func (l natsLogger) Errorf(format string, v ...any)  { l.line(slog.LevelError, format, v) }
func (l natsLogger) Debugf(format string, v ...any)  { l.line(slog.LevelDebug, format, v) }
func (l natsLogger) Tracef(format string, v ...any)  { l.line(slog.LevelDebug, format, v) }
