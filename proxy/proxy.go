package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/postgres"
)

// minConns is how many origin connections a database in use keeps open
// (Hyperdrive's smallest pool).
const minConns = 5

// A Target is what Dial is to reach.
type Target struct {
	Hostname               string // registered with a tunnel
	ClientID, ClientSecret string // of the service token
}

// Source is where the proxy takes the databases from. *control.Control is one.
type Source interface {
	Snapshot() *control.Snapshot
	Changed() <-chan struct{}
	OriginPassword(*control.Database) (control.Secret, error)
	FormerOriginPassword(*control.Database) (control.Secret, error)
	AccessClientSecret(*control.Database) (control.Secret, error)
	CertificateKey(*control.Certificate) (control.Secret, error)
}

// Config says how a proxy runs.
type Config struct {
	Source Source
	// Dial opens a byte stream through a tunnel. An error with a method
	// Reason() string is shown to drivers by that word.
	Dial func(context.Context, Target) (net.Conn, error)
	// DirectOrigins says which origins are reached without a tunnel; empty: those
	// at public addresses.
	DirectOrigins DirectOrigins
	// TLS is offered to drivers.
	TLS *tls.Config
	// AllowPlaintext lets drivers log in without TLS.
	AllowPlaintext bool
	// QueryTimeout is how long a statement of a database that has no limit of
	// its own may run; 0: as long as it likes.
	QueryTimeout time.Duration
	// Grace is how long clients may finish their transactions at the end; 0 means 30 s.
	Grace time.Duration
	// CacheMemory is how many bytes of results of queries all databases together
	// may keep; 0: nothing is kept.
	CacheMemory int64
	Logger      *slog.Logger
}

// A Proxy serves the databases of a Source.
type Proxy struct {
	cfg     Config
	server  *postgres.Server
	resolve func(context.Context, string) ([]string, error) // net.DefaultResolver's; for tests

	cache *cache.Cache // nil where nothing is kept

	mu      sync.Mutex
	start   func(*database) // runs a pool; nil while Serve does not run
	running map[string]*database
}

// A database is one whose pool runs.
type database struct {
	*postgres.Database
	id   string
	of   *control.Database // as configured last
	stop context.CancelFunc
}

// New makes a proxy. Serve runs it.
func New(cfg Config) *Proxy {
	p := &Proxy{cfg: cfg, resolve: net.DefaultResolver.LookupHost, running: make(map[string]*database)}
	if cfg.CacheMemory > 0 {
		p.cache = cache.New(cache.Config{MaxBytes: cfg.CacheMemory})
	}
	p.server = &postgres.Server{
		Lookup: p.lookup, TLS: cfg.TLS, AllowPlaintext: cfg.AllowPlaintext, Grace: cfg.Grace, Logger: cfg.Logger,
	}
	return p
}

// Serve accepts drivers on ln until ctx ends and the clients have ended, for at
// most the grace period. It returns when every goroutine that it started has.
func (p *Proxy) Serve(ctx context.Context, ln net.Listener) error {
	// The pools outlive the clients, which finish after ctx has ended.
	outlasting, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var started sync.WaitGroup
	p.setStart(func(d *database) {
		ctx, stop := context.WithCancel(outlasting)
		d.stop = stop
		started.Go(func() {
			defer stop()
			d.Run(ctx)
		})
		started.Go(func() { p.watchName(ctx, d) })
	})
	started.Go(func() { p.watch(outlasting) })
	err := p.server.Serve(ctx, ln)
	p.setStart(nil)
	stop()
	started.Wait()
	if p.cache != nil {
		p.cache.Close()
	}
	return err
}

func (p *Proxy) setStart(start func(*database)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start = start
}

// lookup finds a database by name and starts its pool if this is its first client.
func (p *Proxy) lookup(name string) (*postgres.Database, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of, ok := p.cfg.Source.Snapshot().Database(name)
	if !ok || p.start == nil || !isPostgres(of.Origin.Scheme) {
		return nil, false
	}
	if d, ok := p.running[of.ID]; ok {
		return d.Database, true
	}
	cfg, err := p.configure(of, p.cfg.Source.Snapshot().Certificate)
	if err != nil {
		p.cfg.Logger.Error("database cannot be served", "database", of.Name, "err", err)
		return nil, false
	}
	d := &database{Database: postgres.NewDatabase(of.Name, cfg, p.credentials(of)), id: of.ID, of: of}
	p.running[d.id] = d
	p.start(d)
	return d.Database, true
}

func isPostgres(scheme string) bool { return scheme == "postgres" || scheme == "postgresql" }

// watch follows the state until ctx ends.
func (p *Proxy) watch(ctx context.Context) {
	for {
		changed := p.cfg.Source.Changed()
		p.follow()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// follow brings the running databases to what the state says now.
func (p *Proxy) follow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	snapshot := p.cfg.Source.Snapshot()
	for id, d := range p.running {
		of, ok := snapshot.DatabaseByID(id)
		if ok && of == d.of {
			continue
		}
		if !ok || of.Name != d.of.Name {
			// Gone, or to be made anew at the next login: clients of now are
			// told when they next need an origin connection.
			p.server.Expel(d.Database, func(string) bool { return false })
			d.stop()
			delete(p.running, id)
			continue
		}
		if err := p.reconfigure(d, of); err != nil {
			p.cfg.Logger.Error("database keeps its former configuration", "database", of.Name, "err", err)
		}
	}
}

// reconfigure changes a running database. The lock is held.
func (p *Proxy) reconfigure(d *database, of *control.Database) error {
	cfg, err := p.configure(of, p.cfg.Source.Snapshot().Certificate)
	if err != nil {
		return err
	}
	d.SetConfig(cfg)
	d.SetCaching(cfg.Caching)
	if of.CacheEpoch != d.of.CacheEpoch {
		d.PurgeCache()
	}
	if of.Generation != d.of.Generation {
		d.Renew()
	}
	credentials := p.credentials(of)
	d.SetCredentials(credentials)
	p.server.Expel(d.Database, func(user string) bool { return credentials[user] != nil })
	d.of = of
	return nil
}

// configure turns a database of the state, and the certificates that it names,
// into what the dialect needs.
func (p *Proxy) configure(of *control.Database, certificate func(id string) (*control.Certificate, bool)) (postgres.Config, error) {
	tlsConfig, err := p.originTLS(of, certificate)
	if err != nil {
		return postgres.Config{}, err
	}
	if of.MTLS.SSLMode == control.SSLNoVerify {
		p.cfg.Logger.Warn("the origin's certificate is not verified", "database", of.Name)
	}
	password, err := p.cfg.Source.OriginPassword(of)
	if err != nil {
		return postgres.Config{}, fmt.Errorf("unseal origin password: %w", err)
	}
	former, err := p.cfg.Source.FormerOriginPassword(of)
	if err != nil {
		return postgres.Config{}, fmt.Errorf("unseal former origin password: %w", err)
	}
	dial, err := p.dialer(of)
	if err != nil {
		return postgres.Config{}, err
	}
	return postgres.Config{
		Dial: dial, Host: of.Origin.Host, Database: of.Origin.Database, User: of.Origin.User, Password: password.Reveal(), FormerPassword: former.Reveal(),
		TLS: tlsConfig, Generation: of.Generation, Limits: p.limits(of), ForwardApplicationName: of.Pooling.ForwardApplicationName,
		Cache: p.cache, Caching: caching(of.Caching), Policy: policies[of.Pooling.SessionState],
	}, nil
}

// policies are the dialect's, by what the state calls them; Replay where it says nothing.
var policies = map[string]postgres.Policy{
	control.SessionReplay: postgres.Replay, control.SessionReset: postgres.Reset, control.SessionPin: postgres.Pin,
}

// caching is a database's own policy.
func caching(c control.Caching) cache.Policy {
	if c.Disabled {
		return cache.Policy{}
	}
	return cache.Policy{MaxAge: time.Duration(c.MaxAge) * time.Second, Stale: time.Duration(c.StaleWhileRevalidate) * time.Second}
}

// limits are a database's own, and the proxy's where it has none. What is zero
// has the dialect's and the pool's defaults, which are Hyperdrive's limits.
func (p *Proxy) limits(of *control.Database) postgres.Limits {
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	l := postgres.Limits{
		MaxConns: of.OriginConnectionLimit, MinConns: of.Pooling.MinConnections,
		ConnectTimeout: seconds(of.Pooling.ConnectTimeout), WaitTimeout: seconds(of.Pooling.WaitTimeout),
		IdleTimeout: seconds(of.Pooling.IdleTimeout), MaxLifetime: seconds(of.Pooling.MaxLifetime),
		QueryTimeout: seconds(of.Pooling.QueryTimeout), IdleTransactionTimeout: seconds(of.Pooling.IdleTransactionTimeout),
	}
	if l.MinConns == 0 {
		l.MinConns = min(minConns, l.MaxConns)
	}
	switch of.Pooling.QueryTimeout {
	case 0:
		l.QueryTimeout = p.cfg.QueryTimeout
	case control.Unlimited:
		l.QueryTimeout = 0
	}
	return l
}

// dialer is how an origin is reached: through its tunnel, or directly.
func (p *Proxy) dialer(of *control.Database) (func(context.Context) (net.Conn, error), error) {
	if of.Origin.AccessClientID == "" {
		addr := net.JoinHostPort(of.Origin.Host, strconv.Itoa(of.Origin.Port))
		return func(ctx context.Context) (net.Conn, error) { return p.dialDirect(ctx, addr) }, nil
	}
	if p.cfg.Dial == nil {
		return nil, errors.New("this proxy has no relay to reach tunnels by")
	}
	secret, err := p.cfg.Source.AccessClientSecret(of)
	if err != nil {
		return nil, fmt.Errorf("unseal access client secret: %w", err)
	}
	target := Target{Hostname: of.Origin.Host, ClientID: of.Origin.AccessClientID, ClientSecret: secret.Reveal()}
	return func(ctx context.Context) (net.Conn, error) {
		snap := p.cfg.Source.Snapshot()
		if t, _, ok := snap.TunnelByHostname(of.Origin.Host); ok && t.AccountID != of.AccountID {
			return nil, errForeign
		}
		if of.MTLS.SSLMode == control.SSLDisable && !snap.MayBePlaintext(of) {
			return nil, errPlaintext
		}
		return p.cfg.Dial(ctx, target)
	}, nil
}

// errPlaintext is why an origin without TLS is not dialled.
var errPlaintext = &refused{"plaintext_refused"}

// errForeign is why an origin is not dialled whose hostname leads into another account's network by now.
var errForeign = &refused{"denied"}

type refused struct{ reason string }

func (r *refused) Error() string  { return r.reason }
func (r *refused) Reason() string { return r.reason }

// credentials are a database's names and verifiers. One that cannot be read admits nobody.
func (p *Proxy) credentials(of *control.Database) map[string]*pgwire.Verifier {
	m := make(map[string]*pgwire.Verifier, len(of.Credentials))
	for _, c := range of.Credentials {
		v, err := pgwire.ParseVerifier(string(c.Verifier))
		if err != nil {
			p.cfg.Logger.Error("credential cannot be used", "database", of.Name, "user", c.Name, "err", err)
			continue
		}
		m[c.Name] = v
	}
	return m
}
