package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/pool"
	"github.com/sluicedb/sluice/proxy/query"
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
	// Cache is where results are kept, as Caching says; nil: nowhere. Neither
	// changes with SetConfig.
	Cache                  *cache.Cache
	Caching                cache.Policy
	Policy                 Policy // what becomes of what clients change in their sessions
	AlwaysReset            bool   // reset an origin connection after every client that used it
	ForwardApplicationName bool   // the origin sees the drivers' application_name
}

// Limits bound what clients of a database may take. What is zero has the pool's
// default, or no limit where there is no such default.
type Limits struct {
	MaxConns               int           // most origin connections
	MinConns               int           // kept open
	MaxPinned              int           // most that sessions keep for themselves, beside MaxConns; 0: as many again
	ConnectTimeout         time.Duration // of one dial of the origin, login included
	WaitTimeout            time.Duration // of a client in line for a connection
	IdleTimeout            time.Duration // of a connection that nobody needs
	MaxLifetime            time.Duration // of a connection
	QueryTimeout           time.Duration // a statement that runs longer is cancelled; 0: none
	IdleTransactionTimeout time.Duration // a client that is silent in a transaction for longer is disconnected; 0: none
}

func (l *Limits) pool() pool.Config[*origin] {
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
	failover   failover
	results    *results // nil where nothing is cached
	counts     counts

	generationsMu sync.Mutex
	generations   map[int64]int // open origin connections
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
	{query.Prepares, "prepare"}, {query.Dirty, "unknown"},
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
	poolConfig := cfg.Limits.pool()
	poolConfig.Dial, poolConfig.Full = d.dialCounted, isFull
	d.pool = pool.New(poolConfig)
	if cfg.Cache != nil {
		d.results = newResults(cfg.Cache, cfg.Caching)
	}
	return d
}

// Run keeps the pool until ctx ends.
func (d *Database) Run(ctx context.Context) {
	var kept sync.WaitGroup
	if d.results != nil {
		kept.Go(func() { d.results.keep(ctx, d) })
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

// SetConfig changes limits at once, and how origin connections are made from
// the next one on.
func (d *Database) SetConfig(cfg Config) {
	d.cfg.Store(&cfg)
	d.pool.Configure(cfg.Limits.pool())
}

// Renew makes the next client of every origin connection get a new one.
// Connections of before serve until their transaction ends; no client is cut.
func (d *Database) Renew() {
	d.pool.Renew()
	d.hub.renew()
	if d.results != nil {
		d.results.doubt()
		d.PurgeCache()
	}
}

// SetCredentials replaces the credentials that new clients are checked against.
func (d *Database) SetCredentials(credentials map[string]*pgwire.Verifier) {
	d.verifiers.Store(&credentials)
}

// Name is what drivers give as the database's name.
func (d *Database) Name() string { return d.name }

// Counts are totals of a database since it was made.
type Counts struct {
	Queries, RePrepares, ParamSets, Resets, Cancels, ClientsGone, Failovers uint64
	PinnedBy                                                                map[string]int // clients that keep their origin connection at the moment, by reason
}

// Counts reads the totals.
func (d *Database) Counts() Counts {
	c := &d.counts
	return Counts{
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
	reason := dialReason(err)
	e := pgwire.Errorf(pgwire.CodeSystemError, "Server connection attempt failed: %s", reason)
	e.Hint = mends[reason]
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

// mends are what to do about a reason, where that is known.
var mends = map[string]string{
	"connection_refused":         "Nothing listens at the origin's host and port, or a firewall rejects the connection.",
	"connection_timeout":         "Check the origin's host, port and firewall.",
	"tls_not_supported":          "Turn TLS on at the origin.",
	"address_not_admitted":       "Put the origin behind a tunnel, or start the proxy with --direct-origins any.",
	"certificate_verify_failed":  "Give the database the CA certificate that the origin's certificate leads to, or the name that it is made out to.",
	"cleartext_password_refused": "The origin asks for the password in the clear, which is for verified TLS only: give the database the CA certificate, or use SCRAM at the origin.",
	"plaintext_refused":          "The database has no TLS, and its hostname does not lead to a unix socket or a loopback address beside a connector: turn TLS on, or route it to one.",
	"unauthenticated":            "The database's access client ID and secret are not those of a valid service token.",
	"denied":                     "No policy of the hostname's application admits the database's service token.",
	"no_tunnel":                  "Route the hostname to a tunnel.",
	"no_connector":               "Start sluice-connector with the tunnel's token.",
	"unknown_host":               "The connector has no rule for the hostname yet.",
	"origin_refused":             "Nothing listens at the address that the hostname is routed to.",
	"origin_timeout":             "The origin did not answer the connector: check the address that the hostname is routed to.",
	"origin_unreachable":         "The connector cannot reach the address that the hostname is routed to.",
	"draining":                   "The relay is stopping: try again.",
}

// dialReason names the kind of a failed dial, in one safe word.
func dialReason(err error) string {
	var r interface{ Reason() string }
	var cert *tls.CertificateVerificationError
	var ne net.Error
	switch {
	case errors.As(err, &r):
		return r.Reason()
	case errors.As(err, &cert):
		return "certificate_verify_failed"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection_refused"
	case errors.Is(err, ErrPlaintextOrigin):
		return "tls_not_supported"
	case errors.Is(err, errCleartext):
		return "cleartext_password_refused"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return "connection_timeout"
	}
	return "connection_failed"
}
