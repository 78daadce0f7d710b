package mysql

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/dialect"
	"github.com/sluicedb/sluice/proxy/mysql/verdict"
	"github.com/sluicedb/sluice/proxy/pool"
	"github.com/sluicedb/sluice/proxy/results"
)

// Config is what the dialect needs to know of a database.
type Config struct {
	// Dial opens a byte stream to the origin. Errors with a method
	// Reason() string are shown to drivers by that reason.
	Dial func(context.Context) (net.Conn, error)

	Database string
	User     string
	Password string
	// FormerPassword is tried where the origin refuses Password, and the other
	// way about once it was the one that is good; "": none.
	FormerPassword string
	TLS            *tls.Config // nil: plain text to the origin

	// Generation numbers the settings above, for Generations; from 1.
	Generation int64

	dialect.Limits
	// Cache is where results are kept, as Caching says; nil: nowhere. With
	// KeepNothing none are, and Wrote is told of what is written all the same. None
	// of them changes with SetConfig.
	Cache       *cache.Cache
	Caching     cache.Policy
	KeepNothing bool
	Wrote       func(w cache.Write, ddl, inDoubt bool) // tells other proxies of a write, see results.Config; nil: there are none
	Policy      Policy                                 // what becomes of what clients change in their sessions
}

func poolConfig(l *dialect.Limits) pool.Config[*origin] {
	return pool.Config[*origin]{
		Max: l.MaxConns, MinIdle: l.MinConns, MaxPinned: l.MaxPinned, DialTimeout: l.ConnectTimeout, WaitTimeout: l.WaitTimeout,
		IdleTimeout: l.IdleTimeout, MaxLifetime: l.MaxLifetime,
	}
}

// A class is what clients must agree on to share origin connections.
type class uint8

const (
	classChanged class = iota // affected rows are those that have changed
	classFound                // or those that were found (CapFoundRows)
	classes
)

func classOf(caps mywire.Capabilities) class {
	if caps.Has(mywire.CapFoundRows) {
		return classFound
	}
	return classChanged
}

// A Database is one configured origin with its pools. Clients come and go; Run
// keeps the pools.
type Database struct {
	name        string
	cfg         atomic.Pointer[Config]
	verifiers   atomic.Pointer[map[string]*mywire.Verifier] // by name of credential
	pools       [classes]*pool.Pool[*origin]
	statements  *registry
	results     *results.Results        // nil where nothing is cached
	welcome     atomic.Pointer[welcome] // what the origin said of itself at a login
	goodStates  sync.Map                // ids of states that an origin accepted
	goodCount   atomic.Int64
	goodLogin   atomic.Pointer[string] // the password that an origin accepted last
	counts      counts
	generations dialect.Generations
	failover    dialect.Failover
}

// A welcome is what an origin says of itself.
type welcome struct {
	version    string
	status     mywire.Status // of a new session
	statements int           // most prepared statements of the whole server
	charset    []setting     // of a session behind COM_RESET_CONNECTION; nil: that of its login, as with MariaDB
}

// maxGoodStates bounds goodStates; beyond it settings are tried anew at each attach.
const maxGoodStates = 1000

// counts is what Counts reads.
type counts struct {
	queries, rePrepares, sets, resets, cancels, clientsGone, failovers atomic.Uint64
	pinned                                                             [len(pinReasons)]atomic.Int64

	took pool.Histogram // from what is asked of the origin to its last answer
}

// pin counts a client more or less that has the reasons.
func (c *counts) pin(reasons pins, n int64) {
	for i, r := range pinReasons {
		if reasons&r.reason != 0 {
			c.pinned[i].Add(n)
		}
	}
}

// NewDatabase makes a database with its pools. credentials are the names and
// verifiers that drivers log in with.
func NewDatabase(name string, cfg Config, credentials map[string]*mywire.Verifier) *Database {
	d := &Database{name: name, statements: newRegistry()}
	d.cfg.Store(&cfg)
	d.SetCredentials(credentials)
	for i := range d.pools {
		pc := poolConfig(&cfg.Limits)
		pc.Full, pc.Passing = isFull, isPassing
		if class(i) != classChanged {
			pc.MinIdle = 0
		}
		pc.Dial = func(ctx context.Context) (*origin, error) { return d.dialCounted(ctx, class(i)) }
		d.pools[i] = pool.New(pc)
	}
	if cfg.Cache != nil {
		d.results = results.New(results.Config{Cache: cfg.Cache, Policy: cfg.Caching, Nothing: cfg.KeepNothing, Tell: cfg.Wrote,
			Unknown: verdict.Source(nil), Missed: missedWords, MissedCatalog: missedCatalog})
	}
	return d
}

// Results are what is known of results of queries; nil where the database has no cache.
func (d *Database) Results() *results.Results { return d.results }

// Run keeps the pools until ctx ends.
func (d *Database) Run(ctx context.Context) {
	var kept sync.WaitGroup
	for _, p := range d.pools {
		kept.Go(func() { p.Run(ctx) })
	}
	if d.results != nil {
		kept.Go(func() { d.results.Keep(ctx, d.openCatalog) })
	}
	kept.Wait()
}

func (o *origin) pool() *pool.Pool[*origin] { return o.db.pools[o.class] }

// isFull reports whether an origin refused a login because it has no room.
func isFull(err error) bool {
	e, ok := errors.AsType[*mywire.Error](err)
	return ok && (e.Code == mywire.CodeConCount || e.Code == mywire.CodeUserConnections || e.Code == mywire.CodeUserLimitReached)
}

// isPassing reports whether a dial failed before the origin had anything to say.
func isPassing(err error) bool {
	_, answered := errors.AsType[*mywire.Error](err)
	return !answered && dialect.Passing(err)
}

// dialCounted is dialOrigin, and counts the connection for Generations until it
// is closed. A connection that is made while the configuration changes counts as
// an old one.
func (d *Database) dialCounted(ctx context.Context, of class) (*origin, error) {
	generation := d.cfg.Load().Generation
	o, err := d.dialOrigin(ctx, of)
	if err != nil {
		return nil, err
	}
	o.generation = generation
	d.generations.Count(generation, 1)
	return o, nil
}

// SetConfig changes limits at once, and how origin connections are made from
// the next one on.
func (d *Database) SetConfig(cfg Config) {
	d.cfg.Store(&cfg)
	for i, p := range d.pools {
		pc := poolConfig(&cfg.Limits)
		if class(i) != classChanged {
			pc.MinIdle = 0
		}
		p.Configure(pc)
	}
}

// Renew makes the next client of every origin connection get a new one.
// Connections of before serve until their transaction ends; no client is cut.
func (d *Database) Renew() {
	for _, p := range d.pools {
		p.Renew()
	}
	d.statements.retireAll()
	if d.results != nil {
		d.results.Doubt()
		d.results.Purge()
	}
}

// SetCredentials replaces the credentials that new clients are checked against.
func (d *Database) SetCredentials(credentials map[string]*mywire.Verifier) {
	d.verifiers.Store(&credentials)
}

// Name is what drivers give as the database's name.
func (d *Database) Name() string { return d.name }

// Counts reads the totals.
func (d *Database) Counts() dialect.Counts {
	c := &d.counts
	pinned := make(map[string]int, len(pinReasons))
	for i, r := range pinReasons {
		pinned[r.name] = int(c.pinned[i].Load())
	}
	return dialect.Counts{
		Queries: c.queries.Load(), RePrepares: c.rePrepares.Load(), ParamSets: c.sets.Load(), Resets: c.resets.Load(),
		Cancels: c.cancels.Load(), ClientsGone: c.clientsGone.Load(), Failovers: c.failovers.Load(), PinnedBy: pinned,
	}
}

// Generations are how many origin connections are open, by the generation of the
// configuration that they were made with.
func (d *Database) Generations() map[int64]int { return d.generations.Open() }

// Took are how long statements took, from the proxy's point of view.
func (d *Database) Took() *pool.Histogram { return &d.counts.took }

// poolError is what a driver is told when there was no connection for it.
func poolError(err error) *mywire.Error {
	switch {
	case errors.Is(err, pool.ErrTimeout), errors.Is(err, pool.ErrFull):
		return mywire.Errorf(mywire.CodeConCount, "Failed to acquire a connection from the pool. All origin connections are busy: "+
			"end transactions sooner or raise the database's origin connection limit.")
	case errors.Is(err, pool.ErrCanceled):
		return mywire.Errorf(mywire.CodeQueryInterrupted, "Query execution was interrupted")
	case errors.Is(err, pool.ErrClosed):
		return mywire.Errorf(mywire.CodeServerShutdown, "The database was removed or the proxy is stopping")
	}
	if e, ok := errors.AsType[*mywire.Error](err); ok { // the origin's own words
		return &mywire.Error{Code: e.Code, State: e.State, Message: mended("Server connection attempt failed: "+e.Message, refusals[e.Code])}
	}
	if plugin, ok := errors.AsType[*mywire.UnknownPluginError](err); ok {
		return mywire.Errorf(codeConnectOrigin, "Server connection attempt failed: %s", plugin.Error())
	}
	reason := dialect.Reason(err)
	return mywire.Errorf(codeConnectOrigin, "%s", mended("Server connection attempt failed: "+reason, dialect.Mends[reason]))
}

// codeConnectOrigin is ER_CONNECT_TO_FOREIGN_DATA_SOURCE.
const codeConnectOrigin = 1429

// mended is a text with what to do about it.
func mended(text, mend string) string {
	if mend == "" {
		return text
	}
	return text + ". " + mend
}

// refusals are what to do where the origin refused the login, by its error: so
// that nobody looks for the fault in the driver's own password.
var refusals = map[uint16]string{
	mywire.CodeAccessDenied:    "The origin refused the database's origin user: check that user and its password.",
	mywire.CodeDBAccessDenied:  "The origin refused the database's origin user: check what it is granted.",
	mywire.CodeBadDB:           "Check the database's name at the origin.",
	mywire.CodeConCount:        "The origin has no room for more connections: lower the database's origin connection limit, or raise max_connections at the origin.",
	mywire.CodeUserConnections: "The origin has no room for more connections of its user: lower the database's origin connection limit.",
	mywire.CodeHostBlocked:     "The origin refuses this host after errors: run FLUSH HOSTS there.",
}

// Stats reads the pools' counters, those of both together.
func (d *Database) Stats() pool.Stats {
	s := d.pools[classChanged].Stats()
	s.Add(d.pools[classFound].Stats())
	return s
}

// Waits are how long clients waited for an origin connection that was not there at once.
func (d *Database) Waits() *pool.Histogram {
	return pool.Merged(d.pools[classChanged].Waits(), d.pools[classFound].Waits())
}

// Holds are how long clients had an origin connection.
func (d *Database) Holds() *pool.Histogram {
	return pool.Merged(d.pools[classChanged].Holds(), d.pools[classFound].Holds())
}
