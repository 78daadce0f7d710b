package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
)

// Config says where the state lives.
type Config struct {
	// DataDir holds the embedded store, keyset.json and ca.pem. It is made
	// with mode 0700 when missing, and belongs to one process at a time when
	// the store is embedded.
	DataDir string
	// StoreURL is empty for the embedded store, or nats://host:port[,...]; a
	// URL may carry credentials.
	StoreURL string
	// KeysetFile is the Tink keyset that seals secrets; empty means
	// keyset.json in DataDir. It is made on the first start, with mode 0600,
	// and is needed by every node of one store.
	KeysetFile string
	// PublicHosts are the names and addresses that the server certificate
	// covers, besides localhost, the loopback addresses and this host's name.
	PublicHosts []string
	// MaxDatabases is how many databases an account may have; 0: no limit.
	MaxDatabases int
	// SigningLife is how long a key signs assertions before the next one does; 0: for ever.
	SigningLife time.Duration
	Logger      *slog.Logger // nil: slog.Default()
}

// keysetPath is where the keyset is.
func (cfg *Config) keysetPath() string {
	if cfg.KeysetFile != "" {
		return cfg.KeysetFile
	}
	return filepath.Join(cfg.DataDir, "keyset.json")
}

// Control is one node's hold on the desired state. Its methods are safe for
// concurrent use; those that take a context ask the store, and wait for it up
// to commitWait when it is away.
type Control struct {
	logger       *slog.Logger
	embedded     *embedded // nil on an external store
	store        *store
	replica      *replica
	sealer       sealer
	keysetPath   string
	rotator      rotator
	authority    *authority
	issuer       string
	installation string
	signing      atomic.Pointer[signing]
	signingLife  time.Duration // of a key; 0: for ever
	firstToken   *Secret
	audit        *auditor
	metrics      *metrics
	presence     *presence

	maxDatabases int // in an account; 0: no limit

	turn chan struct{} // held by the one change of this node that is tried again

	watching atomic.Bool // the watch is attached
	running  atomic.Bool

	seenMu sync.Mutex
	seen   map[string]time.Time // uses that are yet to be written
}

// Open connects to the store, makes what a first start needs, and reads the
// whole state. Several nodes may open one store at once: they converge on one
// bootstrap. The caller calls Run, and Close at the end.
func Open(ctx context.Context, cfg Config) (*Control, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.DataDir == "" {
		return nil, &ValidationError{Faults: []Fault{{Field: "data_dir", Message: "is required"}}}
	}
	if err := makeDataDir(cfg.DataDir); err != nil {
		return nil, err
	}
	c := &Control{
		logger:       cfg.Logger,
		maxDatabases: cfg.MaxDatabases,
		signingLife:  cfg.SigningLife,
		replica:      newReplica(cfg.Logger),
		presence:     newPresenceOf(cfg.Logger),
		turn:         make(chan struct{}, 1),
		seen:         map[string]time.Time{},
	}
	c.replica.signing = c.adoptSigning
	c.replica.rotated, c.rotator.grace = c.adoptRotation, storeGrace
	c.metrics = newMetrics(c)
	if err := c.open(ctx, cfg); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Control) open(ctx context.Context, cfg Config) error {
	nc, err := c.connect(cfg)
	if err != nil {
		return err
	}
	if c.store, err = connectStore(ctx, nc, cfg.StoreURL != "", cfg.Logger); err != nil {
		nc.Close()
		return err
	}
	c.presence.store, c.presence.clustered = c.store, cfg.StoreURL != ""
	if c.audit, err = openAuditor(ctx, c.store, cfg.StoreURL != "", c.metrics); err != nil {
		return err
	}
	if err := c.bootstrap(ctx, cfg); err != nil {
		return err
	}
	return c.store.load(ctx, c.replica)
}

// connect starts the embedded server, or dials the external one.
func (c *Control) connect(cfg Config) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name("sluice"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(backoffBase),
		nats.ReconnectJitter(time.Second, time.Second),
		nats.ReconnectBufSize(-1), // a write fails at once while disconnected, and is tried again by commit
		nats.Timeout(requestWait),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			c.logger.Warn("store connection", "err", err)
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				c.logger.Warn("store disconnected", "err", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { c.logger.Info("store connected again") }),
	}
	if cfg.StoreURL != "" {
		if err := checkStoreURL(cfg.StoreURL); err != nil {
			return nil, err
		}
		nc, err := nats.Connect(cfg.StoreURL, options...)
		if err != nil {
			// The URL may hold a password, so it is not repeated.
			return nil, fmt.Errorf("connect to the store: %w: %w", ErrUnavailable, err)
		}
		return nc, nil
	}
	e, err := startEmbedded(cfg.DataDir, cfg.Logger)
	if err != nil {
		return nil, err
	}
	c.embedded = e
	nc, err := nats.Connect("", append(options, nats.InProcessServer(e.server))...)
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded store: %w", err)
	}
	return nc, nil
}

// makeDataDir makes a directory that nobody else reads, or closes one that is
// empty or ours already. Another's is refused: closing /tmp would be a surprise.
func makeDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	ours := slices.ContainsFunc(files, func(f os.DirEntry) bool { return slices.Contains([]string{"ca.pem", "lock", "keyset.json"}, f.Name()) })
	if len(files) > 0 && !ours {
		return fmt.Errorf("data directory %s is open to others (mode %04o) and holds files that are not Sluice's: choose another, or chmod 700 it", dir, info.Mode().Perm())
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// checkStoreURL refuses what is not a list of URLs without repeating it: it may
// hold a password, and the client's own error would quote it.
func checkStoreURL(list string) error {
	for part := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(part))
		if err != nil || u.Host == "" || (u.Scheme != "nats" && u.Scheme != "tls") {
			return &ValidationError{Faults: []Fault{{Field: "store", Message: "must be nats://host:port or tls://host:port, or several with commas between"}}}
		}
	}
	return nil
}

// Run follows the store, so that the snapshot has what other nodes write, writes
// audit records, token uses and the presence of a relay here, makes the keys that
// sign assertions in their time, and takes away what was left unfinished. It blocks until ctx ends, gives what is
// queued a few seconds, and returns nil then.
func (c *Control) Run(ctx context.Context) error {
	if c.running.Swap(true) {
		return errors.New("control runs already")
	}
	defer c.running.Store(false)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.store.follow(ctx, c.replica, c.watching.Store) })
	g.Go(func() error { return c.audit.run(ctx) })
	g.Go(func() error { return c.flushSeen(ctx) })
	g.Go(func() error { return c.reseal(ctx) })
	g.Go(func() error { return c.keepSigning(ctx) })
	g.Go(func() error { return c.presence.follow(ctx) })
	g.Go(func() error { return c.presence.tell(ctx) })
	g.Go(func() error { return c.reapPending(ctx) })
	if err := g.Wait(); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Close disconnects and stops an embedded store, when Run has returned. The
// last snapshot stays readable.
func (c *Control) Close() error {
	if c.store != nil {
		c.store.nc.Close()
	}
	if c.embedded != nil {
		return c.embedded.stop()
	}
	return nil
}

// Ready returns nil while the store is connected and Run's watch attached, else
// what is missing. It does not ask the store.
func (c *Control) Ready() error {
	switch {
	case !c.store.nc.IsConnected():
		return ErrUnavailable
	case c.sealer.lost.Load():
		return errKeysetLost
	case !c.watching.Load():
		return fmt.Errorf("the watch is not attached: %w", ErrUnavailable)
	}
	return nil
}

// FirstToken returns the API token that this very Open made, if it did: it is
// shown once and never again.
func (c *Control) FirstToken() (Secret, bool) {
	if c.firstToken == nil {
		return "", false
	}
	return *c.firstToken, true
}

// Snapshot returns the current state: immutable, never nil, one pointer load.
// What this node has written is in it when the write returns; what others have
// written follows within milliseconds while Run runs.
func (c *Control) Snapshot() *Snapshot { return c.replica.snap.Load() }

// Changed returns a channel that is closed at the next change of the snapshot.
// Fetch it before the snapshot that it guards, and again after each change.
func (c *Control) Changed() <-chan struct{} { return c.replica.changedChannel() }
