package proxy

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/dialect"
	"github.com/sluicedb/sluice/proxy/mysql"
	"github.com/sluicedb/sluice/proxy/pool"
	"github.com/sluicedb/sluice/proxy/postgres"
	"github.com/sluicedb/sluice/proxy/results"
)

// minConns is how many origin connections a database in use keeps open
// (Hyperdrive's smallest pool).
const minConns = 5

// leastCache is the size in bytes of a cache that keeps nothing: it must not be 0.
const leastCache = 1 << 10

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
	// Fleet connects the proxy with others, which tell each other of writes; nil
	// where there are none.
	Fleet  Fleet
	Logger *slog.Logger
}

// A Proxy serves the databases of a Source.
type Proxy struct {
	cfg      Config
	postgres *postgres.Server
	mysql    *mysql.Server
	resolve  func(context.Context, string) ([]string, error) // net.DefaultResolver's; for tests

	cache  *cache.Cache // nil where nothing is kept and nobody is told
	gossip *gossip      // nil where the proxy is alone

	mu      sync.Mutex
	start   func(*database) // runs a pool; nil while Serve does not run
	running map[string]*database
}

// A database is one whose pool runs, in one of the dialects.
type database struct {
	dialectOf
	postgres *postgres.Database // nil where it speaks the other
	mysql    *mysql.Database
	id       string
	of       *control.Database // as configured last
	stop     context.CancelFunc
}

// A dialectOf is what the dialects have in common.
type dialectOf interface {
	Name() string
	Run(context.Context)
	Renew()
	Counts() dialect.Counts
	Stats() pool.Stats
	Waits() *pool.Histogram
	Holds() *pool.Histogram
	Took() *pool.Histogram
	Generations() map[int64]int
	Results() *results.Results
}

// New makes a proxy. Serve runs it.
func New(cfg Config) *Proxy {
	p := &Proxy{cfg: cfg, resolve: net.DefaultResolver.LookupHost, running: make(map[string]*database)}
	if cfg.CacheMemory > 0 || cfg.Fleet != nil { // others keep what is written here, though this one keeps nothing
		p.cache = cache.New(cache.Config{MaxBytes: max(cfg.CacheMemory, leastCache)})
	}
	if cfg.Fleet != nil {
		p.gossip = newGossip(p, cfg.Fleet)
	}
	p.postgres = &postgres.Server{
		Lookup: p.lookupPostgres, TLS: cfg.TLS, AllowPlaintext: cfg.AllowPlaintext, Grace: cfg.Grace, Logger: cfg.Logger,
	}
	p.mysql = &mysql.Server{
		Lookup: p.lookupMySQL, TLS: cfg.TLS, AllowPlaintext: cfg.AllowPlaintext, Grace: cfg.Grace, Logger: cfg.Logger,
	}
	return p
}

// Serve accepts drivers of PostgreSQL and of MySQL, each on its listener, which may
// be nil, until ctx ends and the clients have ended, for at most the grace period.
// It returns when every goroutine that it started has.
func (p *Proxy) Serve(ctx context.Context, postgres, mysql net.Listener) error {
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
	if p.gossip != nil {
		started.Go(func() { p.gossip.run(outlasting) })
	}
	serving, both := errgroup.WithContext(ctx)
	if postgres != nil {
		serving.Go(func() error { return p.postgres.Serve(both, postgres) })
	}
	if mysql != nil {
		serving.Go(func() error { return p.mysql.Serve(both, mysql) })
	}
	err := serving.Wait()
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

// lookupPostgres finds a database by name and starts its pool if this is its first client.
func (p *Proxy) lookupPostgres(name string) (*postgres.Database, bool) {
	of, _ := p.cfg.Source.Snapshot().Database(name)
	d := p.take(of, isPostgres)
	if d == nil {
		return nil, false
	}
	return d.postgres, true
}

// lookupMySQL is lookupPostgres for the other dialect.
func (p *Proxy) lookupMySQL(name string) (*mysql.Database, bool) {
	of, _ := p.cfg.Source.Snapshot().Database(name)
	d := p.take(of, isMySQL)
	if d == nil {
		return nil, false
	}
	return d.mysql, true
}

// take takes up a database, nil for none, if it speaks what is spoken; else it
// returns nil. Its pool starts if this is the first that asks for it.
func (p *Proxy) take(of *control.Database, speaks func(scheme string) bool) *database {
	if of == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	of, ok := p.cfg.Source.Snapshot().DatabaseByID(of.ID) // as it is now that follow cannot run
	if !ok || p.start == nil || !speaks(of.Origin.Scheme) {
		return nil
	}
	if d, ok := p.running[of.ID]; ok {
		if !speaks(d.of.Origin.Scheme) { // it was another's until a moment ago
			return nil
		}
		return d
	}
	d := &database{id: of.ID, of: of}
	var err error
	if isMySQL(of.Origin.Scheme) {
		err = p.makeMySQL(d)
	} else {
		err = p.makePostgres(d)
	}
	if err != nil {
		p.cfg.Logger.Error("database cannot be served", "database", of.Name, "err", err)
		return nil
	}
	p.running[d.id] = d
	p.start(d)
	return d
}

func (p *Proxy) makePostgres(d *database) error {
	cfg, err := p.configure(d.of, p.cfg.Source.Snapshot().Certificate)
	if err != nil {
		return err
	}
	d.postgres = postgres.NewDatabase(d.of.Name, cfg, p.credentials(d.of))
	d.dialectOf = d.postgres
	return nil
}

func isMySQL(scheme string) bool { return scheme == "mysql" }

// results are those of a running database; nil where it does not run, or has no cache.
func (p *Proxy) results(id string) *results.Results {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := p.running[id]; d != nil {
		return d.Results()
	}
	return nil
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
		if !ok || of.Name != d.of.Name || isMySQL(of.Origin.Scheme) != isMySQL(d.of.Origin.Scheme) {
			// Gone, or to be made anew at the next login: clients of now are
			// told when they next need an origin connection.
			p.expel(d, func(string) bool { return false })
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
	if d.mysql != nil {
		return p.reconfigureMySQL(d, of)
	}
	cfg, err := p.configure(of, p.cfg.Source.Snapshot().Certificate)
	if err != nil {
		return err
	}
	d.postgres.SetConfig(cfg)
	d.recache(of)
	if of.Generation != d.of.Generation {
		d.Renew()
	}
	credentials := p.credentials(of)
	d.postgres.SetCredentials(credentials)
	p.expel(d, func(user string) bool { return credentials[user] != nil })
	d.of = of
	return nil
}

// recache changes how the results of a running database are cached.
func (d *database) recache(of *control.Database) {
	d.Results().SetPolicy(caching(of.Caching))
	if of.CacheEpoch != d.of.CacheEpoch {
		d.Results().Purge()
	}
}

// expel ends the clients of a database whose user stays does not name.
func (p *Proxy) expel(d *database, stays func(user string) bool) {
	if d.mysql != nil {
		p.mysql.Expel(d.mysql, stays)
	} else {
		p.postgres.Expel(d.postgres, stays)
	}
}
