package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *API) database(c *call) (*control.Database, error) {
	c.target = c.PathValue("id")
	database, ok := c.snapshot.DatabaseByID(c.target)
	if !ok || database.AccountID != c.account {
		return nil, control.ErrNotFound
	}
	return database, nil
}

func showDatabase(d *control.Database) v4.Database {
	return v4.Database{
		ID:   d.ID,
		Name: d.Name,
		Origin: v4.Origin{
			Scheme: d.Origin.Scheme, Host: d.Origin.Host, Port: d.Origin.Port, Database: d.Origin.Database,
			User: d.Origin.User, AccessClientID: d.Origin.AccessClientID, Insecure: d.Origin.Insecure,
		},
		MTLS:                  showMTLS(d.MTLS),
		Caching:               v4.Caching{Disabled: d.Caching.Disabled, MaxAge: d.Caching.MaxAge, StaleWhileRevalidate: d.Caching.StaleWhileRevalidate},
		OriginConnectionLimit: d.OriginConnectionLimit,
		Pooling:               showPooling(d.Pooling),
		Generation:            d.Generation,
		Version:               d.Version,
		CacheEpoch:            d.CacheEpoch,
		CreatedOn:             d.CreatedOn,
		ModifiedOn:            d.ModifiedOn,
	}
}

func showPooling(p control.Pooling) v4.Pooling {
	p.SessionState = cmp.Or(p.SessionState, control.SessionReplay)
	return v4.Pooling(p)
}

func showMTLS(m control.MTLS) v4.MTLS {
	return v4.MTLS{SSLMode: m.SSLMode, ServerName: m.ServerName, CACertificate: m.CACertificate, CACertificateID: m.CACertificateID, MTLSCertificateID: m.ClientCertificateID}
}

func (a *API) listDatabases(_ context.Context, c *call) (any, error) {
	query := c.URL.Query()
	databases := named(query.Get("name"), c.snapshot.Databases(c.account), func(d *control.Database) string { return d.Name })
	return paginate(query, databases, showDatabase)
}

func (a *API) getDatabase(_ context.Context, c *call) (any, error) {
	database, err := a.database(c)
	if err != nil {
		return nil, err
	}
	return showDatabase(database), nil
}

func (a *API) createDatabase(ctx context.Context, c *call) (any, error) {
	var body v4.DatabaseWrite
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	database := &control.Database{AccountID: c.account}
	resetDatabase(database)
	if err := applyDatabase(database, body); err != nil {
		return nil, err
	}
	c.target = database.Name
	made, err := a.makeDatabase(ctx, c, database, body)
	if err != nil {
		return nil, err
	}
	c.target = made.Database.ID
	shown := showDatabase(made.Database)
	credential := a.showNewCredential(made.Database, made.Credential, made.Password)
	shown.Credential = &credential
	if made.TunnelID != "" {
		shown.Tunnel = &v4.ManagedTunnel{TunnelID: made.TunnelID, Hostname: made.Hostname,
			ServiceTokenID: made.ServiceToken, ApplicationID: made.ApplicationID}
	}
	return shown, nil
}

// makeDatabase creates a database in the way that its origin asks for.
func (a *API) makeDatabase(ctx context.Context, c *call, database *control.Database, body v4.DatabaseWrite) (*control.NewDatabase, error) {
	origin := body.Origin
	if origin == nil || (origin.TunnelID == nil && origin.Service == nil) {
		return a.control.CreateDatabase(ctx, database, a.testUnless(body.SkipTest))
	}
	wrong := &control.ValidationError{}
	fault := func(field, message string) {
		wrong.Faults = append(wrong.Faults, control.Fault{Field: field, Message: message})
	}
	if origin.Host != nil || origin.Port != nil || origin.AccessClientID != nil || origin.AccessClientSecret != nil {
		fault("origin.tunnel_id", "excludes host, port, access_client_id and access_client_secret: with a tunnel the server makes them")
	}
	if origin.TunnelID == nil || *origin.TunnelID == "" {
		fault("origin.tunnel_id", "is required with service")
	}
	if origin.Service == nil || *origin.Service == "" {
		fault("origin.service", "is required with tunnel_id: tcp://host:port or unix:/path")
	}
	if len(wrong.Faults) > 0 {
		return nil, wrong
	}
	tunnel, ok := c.snapshot.Tunnel(*origin.TunnelID)
	if !ok || tunnel.AccountID != c.account {
		if tunnel, ok = c.snapshot.TunnelByName(c.account, *origin.TunnelID); !ok {
			return nil, invalid("origin.tunnel_id", "no tunnel has this id or name")
		}
	}
	return a.control.CreateManagedDatabase(ctx, tunnel.ID, *origin.Service, database, a.testUnless(body.SkipTest))
}

// testUnless is the test of a request that may skip it.
func (a *API) testUnless(skip bool) control.Test {
	if skip {
		return nil
	}
	return a.test
}

func (a *API) putDatabase(ctx context.Context, c *call) (any, error) {
	return a.changeDatabase(ctx, c, resetDatabase, func(body v4.DatabaseWrite) error {
		if body.Origin == nil || body.Origin.Password == nil {
			return invalid("origin.password", "is required: PUT replaces the whole database; PATCH changes a part")
		}
		return nil
	})
}

func (a *API) patchDatabase(ctx context.Context, c *call) (any, error) {
	return a.changeDatabase(ctx, c, func(*control.Database) {}, func(v4.DatabaseWrite) error { return nil })
}

// changeDatabase applies a request that check admits to a database that prepare has seen.
func (a *API) changeDatabase(ctx context.Context, c *call, prepare func(*control.Database), check func(v4.DatabaseWrite) error) (any, error) {
	database, err := a.database(c)
	if err != nil {
		return nil, err
	}
	var body v4.DatabaseWrite
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if err := check(body); err != nil {
		return nil, err
	}
	if body.Origin != nil && (body.Origin.TunnelID != nil || body.Origin.Service != nil) {
		return nil, invalid("origin.tunnel_id", "is only for a new database; change the tunnel's ingress to move an origin")
	}
	updated, err := a.control.UpdateDatabase(ctx, c.account, database.ID, func(d *control.Database) error {
		if body.Version != nil && *body.Version != d.Version {
			return fail(http.StatusConflict, codeConflict,
				fmt.Sprintf("the database has version %d, not %d; read it again and retry", d.Version, *body.Version))
		}
		prepare(d)
		return applyDatabase(d, body)
	}, a.testUnless(body.SkipTest))
	if err != nil {
		return nil, err
	}
	return showDatabase(updated), nil
}

func (a *API) deleteDatabase(ctx context.Context, c *call) (any, error) {
	database, err := a.database(c)
	if err != nil {
		return nil, err
	}
	return nil, a.control.DeleteDatabase(ctx, c.account, database.ID)
}

// testDatabase makes a test connection with the settings of now.
func (a *API) testDatabase(ctx context.Context, c *call) (any, error) {
	database, err := a.database(c)
	if err != nil {
		return nil, err
	}
	if a.test == nil {
		return nil, &control.TestFailure{Code: control.TestNoProxy, Message: "This server makes no test connections."}
	}
	candidate, err := a.control.Candidate(ctx, c.account, database.ID)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := a.test(ctx, candidate); err != nil {
		return nil, err
	}
	return v4.TestResult{Milliseconds: time.Since(start).Milliseconds()}, nil
}

func (a *API) purgeCache(ctx context.Context, c *call) (any, error) {
	database, err := a.database(c)
	if err != nil {
		return nil, err
	}
	purged, err := a.control.PurgeCache(ctx, c.account, database.ID)
	if err != nil {
		return nil, err
	}
	return v4.PurgeResult{CacheEpoch: purged.CacheEpoch}, nil
}

// originConnections shows the open origin connections, oldest generation first.
func (a *API) originConnections(ctx context.Context, c *call) (any, error) {
	database, err := a.database(c)
	if err != nil {
		return nil, err
	}
	generations, err := a.control.Connections(ctx, database.ID)
	if err != nil {
		return nil, err
	}
	shown := []v4.Connections{}
	for _, generation := range slices.Sorted(maps.Keys(generations)) {
		shown = append(shown, v4.Connections{Generation: generation, Connections: generations[generation], Current: generation >= database.Generation})
	}
	return shown, nil
}

// listPools shows how the clients of a database fare, at each proxy.
func (a *API) listPools(ctx context.Context, c *call) (any, error) {
	database, err := a.database(c)
	if err != nil {
		return nil, err
	}
	pools, err := a.control.Pools(ctx, database.ID)
	if err != nil {
		return nil, err
	}
	shown := make([]v4.Pool, 0, len(pools))
	for _, p := range pools {
		shown = append(shown, v4.Pool(p))
	}
	return shown, nil
}

// listCaches shows how a database's cache fares, at each proxy.
func (a *API) listCaches(ctx context.Context, c *call) (any, error) {
	database, err := a.database(c)
	if err != nil {
		return nil, err
	}
	caches, err := a.control.Caches(ctx, database.ID)
	if err != nil {
		return nil, err
	}
	shown := make([]v4.Cache, 0, len(caches))
	for _, s := range caches {
		cache := v4.Cache{Proxy: s.Proxy, Enabled: s.Enabled, Suspended: s.Suspended, Entries: s.Entries, Bytes: s.Bytes, BytesMax: s.BytesMax,
			Statuses: s.Statuses, BytesHit: s.BytesHit, Top: []v4.CachedStatement{}, Reasons: []v4.CacheRefusal{}}
		for _, statement := range s.Top {
			cache.Top = append(cache.Top, v4.CachedStatement(statement))
		}
		for _, reason := range s.Reasons {
			cache.Reasons = append(cache.Reasons, v4.CacheRefusal(reason))
		}
		shown = append(shown, cache)
	}
	return shown, nil
}

// explainQuery says what the cache would make of a statement.
func (a *API) explainQuery(ctx context.Context, c *call) (any, error) {
	database, err := a.database(c)
	if err != nil {
		return nil, err
	}
	var body v4.QueryExplain
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.SQL == "" {
		return nil, invalid("sql", "is missing")
	}
	explanation, err := a.control.Explain(ctx, database.ID, body.SQL)
	if errors.Is(err, control.ErrNoProxy) {
		return nil, &control.TestFailure{Code: control.TestNoProxy, Message: "No proxy runs that could explain the statement: start one."}
	} else if err != nil {
		return nil, err
	}
	return v4.QueryExplanation(*explanation), nil
}

// showCredential shows a credential, with a connection string that lacks the password.
func (a *API) showCredential(d *control.Database) func(control.Credential) v4.Credential {
	return func(credential control.Credential) v4.Credential {
		return v4.Credential{ID: credential.ID, Name: credential.Name, CreatedOn: credential.CreatedOn,
			ConnectionString: v4.ConnectionString(d.Origin.Scheme, credential.Name, "", a.proxyOf(d), d.Name)}
	}
}

// showNewCredential shows a credential with its password, the only time that there is one.
func (a *API) showNewCredential(d *control.Database, credential control.Credential, password control.Secret) v4.Credential {
	shown := a.showCredential(d)(credential)
	shown.Password = password.Reveal()
	shown.ConnectionString = v4.ConnectionString(d.Origin.Scheme, credential.Name, shown.Password, a.proxyOf(d), d.Name)
	return shown
}

// proxyOf is the address of the proxy that speaks what a database does.
func (a *API) proxyOf(d *control.Database) string {
	if d.Origin.Scheme == "mysql" {
		return a.mysqlAddr
	}
	return a.proxyAddr
}

func (a *API) listCredentials(_ context.Context, c *call) (any, error) {
	database, err := a.database(c)
	if err != nil {
		return nil, err
	}
	return paginate(c.URL.Query(), database.Credentials, a.showCredential(database))
}

func (a *API) createCredential(ctx context.Context, c *call) (any, error) {
	database, err := a.database(c)
	if err != nil {
		return nil, err
	}
	var body v4.CredentialCreate
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	credential, password, err := a.control.CreateCredential(ctx, c.account, database.ID, body.Name)
	if err != nil {
		return nil, inItem(err, "credentials")
	}
	c.target = credential.ID
	return a.showNewCredential(database, *credential, password), nil
}

func (a *API) deleteCredential(ctx context.Context, c *call) (any, error) {
	database, err := a.database(c)
	if err != nil {
		return nil, err
	}
	c.target = c.PathValue("credential")
	if err := a.control.DeleteCredential(ctx, c.account, database.ID, c.target); err != nil {
		return nil, err
	}
	return v4.Deleted{ID: c.target}, nil
}
