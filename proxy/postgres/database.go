package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/dialect"
	"github.com/sluicedb/sluice/proxy/pool"
	"github.com/sluicedb/sluice/proxy/query"
	"github.com/sluicedb/sluice/proxy/results"
)

// Config is what the dialect needs to know of a database.
type Config struct {
	// Dial opens a byte stream to the origin. Errors with a method
	// Reason() string are shown to drivers by that reason.
	Dial func(context.Context) (net.Conn, error)

	Host     string // for certificates and messages; never resolved here
	Database string
	User     string
	Password string
	// FormerPassword is tried where the origin refuses Password, and the other
	// way about once it was the one that is good; "": none.
	FormerPassword string
	TLS            *tls.Config // nil: plain text to the origin

	// Generation numbers the settings above, for Generations; from 1.
	Generation int64

	Limits
	// Cache is where results are kept, as Caching says; nil: nowhere. With
	// KeepNothing none are, and Wrote is told of what is written all the same. None
	// of them changes with SetConfig.
	Cache                  *cache.Cache
	Caching                cache.Policy
	KeepNothing            bool
	Wrote                  func(w cache.Write, ddl, inDoubt bool) // tells other proxies of a write, see Database.Wrote; it must not block; nil: there are none
	Policy                 Policy                                 // what becomes of what clients change in their sessions
	AlwaysReset            bool                                   // reset an origin connection after every client that used it
	ForwardApplicationName bool                                   // the origin sees the drivers' application_name
}

// Limits bound what clients of a database may take.
type Limits = dialect.Limits

func poolConfig(l *Limits) pool.Config[*origin] {
	return pool.Config[*origin]{
		Max: l.MaxConns, MinIdle: l.MinConns, MaxPinned: l.MaxPinned, DialTimeout: l.ConnectTimeout, WaitTimeout: l.WaitTimeout,
		IdleTimeout: l.IdleTimeout, MaxLifetime: l.MaxLifetime,
	}
}

// A Database is one configured origin with its pool. Clients come and go; Run
// keeps the pool.
type Database struct {
	name       string
	cfg        atomic.Pointer[Config]
	verifiers  atomic.Pointer[map[string]*pgwire.Verifier] // by name of credential
	pool       *pool.Pool[*origin]
	statements *registry
	hub        *hub
	welcome    atomic.Pointer[[]pgwire.Param] // what the origin last reported at a login
	standard   atomic.Bool                    // standard_conforming_strings, as the origin has it
	goodParams sync.Map                       // ids of states of start-up packets that an origin accepted
	goodCount  atomic.Int64
	goodLogin  atomic.Pointer[string] // the password that an origin accepted last
	sequences  atomic.Bool            // clients ask for lastval or currval
	oldWire    atomic.Bool            // the origin refuses to hear of protocol 3.2
	failover   dialect.Failover
	results    *results.Results // nil where nothing is cached
	counts     counts

	generations dialect.Generations // of open origin connections
}

// maxGoodParams bounds goodParams; beyond it start-up parameters are tried anew
// at each attach.
const maxGoodParams = 1000

// counts is what Counts reads.
type counts struct {
	queries, rePrepares, paramSets, resets, cancels, clientsGone, failovers atomic.Uint64
	pinned                                                                  [len(pinReasons)]atomic.Int64

	took pool.Histogram // from what is asked of the origin to its last answer
}

// pinReasons name why clients keep an origin connection.
var pinReasons = [...]struct {
	reason query.Session
	name   string
}{
	{query.Locks, "advisory_lock"}, {query.Temps, "temporary_table"}, {query.Holds, "cursor_with_hold"},
	{query.Prepares, "prepare"}, {query.Dirty, "unseen_change"},
}

// pin counts a client more or less that has the reasons.
func (c *counts) pin(reasons query.Session, n int64) {
	for i, r := range pinReasons {
		if reasons&r.reason != 0 {
			c.pinned[i].Add(n)
		}
	}
}

// byReason counts the clients that keep their origin connection; a client may have
// several reasons.
func (c *counts) byReason() map[string]int {
	m := make(map[string]int, len(pinReasons))
	for i, r := range pinReasons {
		m[r.name] = int(c.pinned[i].Load())
	}
	return m
}

// NewDatabase makes a database with its pool. credentials are the names and
// verifiers that drivers log in with.
func NewDatabase(name string, cfg Config, credentials map[string]*pgwire.Verifier) *Database {
	d := &Database{name: name, statements: newRegistry()}
	d.hub = newHub(d)
	d.cfg.Store(&cfg)
	d.SetCredentials(credentials)
	pc := poolConfig(&cfg.Limits)
	pc.Dial, pc.Full, pc.Passing = d.dialCounted, isFull, isPassing
	d.pool = pool.New(pc)
	if cfg.Cache != nil {
		d.results = results.New(results.Config{Cache: cfg.Cache, Policy: cfg.Caching, Nothing: cfg.KeepNothing, Tell: cfg.Wrote,
			Unknown: query.Postgres(nil), Missed: missedWords, MissedCatalog: missedCatalog})
	}
	return d
}

// Results are what is known of results of queries; nil where the database has no cache.
func (d *Database) Results() *results.Results { return d.results }

// Run keeps the pool until ctx ends.
func (d *Database) Run(ctx context.Context) {
	var kept sync.WaitGroup
	if d.results != nil {
		kept.Go(func() { d.results.Keep(ctx, d.openCatalog) })
	}
	kept.Go(func() { d.hub.run(ctx) })
	d.pool.Run(ctx)
	kept.Wait()
}

// isFull reports whether an origin refused a login because it has no room.
func isFull(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.Code == pgwire.CodeTooManyConnections
}

// isPassing reports whether a dial failed before the origin had anything to say.
func isPassing(err error) bool {
	_, answered := errors.AsType[*pgconn.PgError](err)
	return !answered && dialect.Passing(err)
}

// SetConfig changes limits at once, and how origin connections are made from
// the next one on.
func (d *Database) SetConfig(cfg Config) {
	d.cfg.Store(&cfg)
	d.oldWire.Store(false) // it may be another origin
	d.pool.Configure(poolConfig(&cfg.Limits))
}

// Renew makes the next client of every origin connection get a new one.
// Connections of before serve until their transaction ends; no client is cut.
func (d *Database) Renew() {
	d.pool.Renew()
	d.hub.renew()
	if d.results != nil {
		d.results.Doubt()
		d.results.Purge()
	}
}

// SetCredentials replaces the credentials that new clients are checked against.
func (d *Database) SetCredentials(credentials map[string]*pgwire.Verifier) {
	d.verifiers.Store(&credentials)
}

// Name is what drivers give as the database's name.
func (d *Database) Name() string { return d.name }

// Counts reads the totals.
func (d *Database) Counts() dialect.Counts {
	c := &d.counts
	return dialect.Counts{
		Queries: c.queries.Load(), RePrepares: c.rePrepares.Load(), ParamSets: c.paramSets.Load(),
		Resets: c.resets.Load(), Cancels: c.cancels.Load(), ClientsGone: c.clientsGone.Load(), Failovers: c.failovers.Load(),
		PinnedBy: c.byReason(),
	}
}

// Took are how long statements took, from the proxy's point of view.
func (d *Database) Took() *pool.Histogram { return &d.counts.took }

// Waits are how long clients waited for an origin connection that was not there at once.
func (d *Database) Waits() *pool.Histogram { return d.pool.Waits() }

// Holds are how long clients had an origin connection.
func (d *Database) Holds() *pool.Histogram { return d.pool.Holds() }

// Stats reads the pool's counters.
func (d *Database) Stats() pool.Stats { return d.pool.Stats() }

// poolError is what a driver is told when there was no connection for it.
func poolError(err error) *pgwire.Error {
	switch {
	case errors.Is(err, pool.ErrTimeout), errors.Is(err, pool.ErrFull):
		e := pgwire.Errorf(pgwire.CodeSystemError, "Failed to acquire a connection from the pool.")
		e.Hint = "All origin connections are busy: end transactions sooner or raise the database's origin connection limit."
		return e
	case errors.Is(err, pool.ErrCanceled):
		return pgwire.Errorf(pgwire.CodeQueryCanceled, "canceling statement due to user request")
	case errors.Is(err, pool.ErrClosed):
		return pgwire.Fatalf(pgwire.CodeAdminShutdown, "terminating connection: the database was removed or the proxy is stopping")
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) { // the origin's own words
		e := pgwire.Errorf(pg.Code, "Server connection attempt failed: %s", pg.Message)
		e.Hint = refusals[pg.Code]
		return e
	}
	reason := dialect.Reason(err)
	e := pgwire.Errorf(pgwire.CodeSystemError, "Server connection attempt failed: %s", reason)
	e.Hint = dialect.Mends[reason]
	return e
}

// refusals are what to do where the origin refused the login, by its SQLSTATE: so
// that nobody looks for the fault in the driver's own password.
var refusals = map[string]string{
	pgwire.CodeInvalidPassword:      "The origin refused the database's origin user: check that user and its password.",
	pgwire.CodeInvalidAuthorization: "The origin refused the database's origin user: check that user, and pg_hba.conf at the origin.",
	pgwire.CodeUnknownDatabase:      "Check the database's name at the origin.",
	pgwire.CodeTooManyConnections:   "The origin has no room for more connections: lower the database's origin connection limit, or raise max_connections at the origin.",
}
