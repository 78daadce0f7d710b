package v4

import (
	"net/url"
	"time"
)

// Database is a configured origin: /hyperdrive/configs.
type Database struct {
	ID      string  `json:"id"`
	Name    string  `json:"name"`
	Origin  Origin  `json:"origin"`
	MTLS    MTLS    `json:"mtls"`
	Caching Caching `json:"caching"`
	// OriginConnectionLimit is the soft maximum of connections to the origin.
	OriginConnectionLimit int `json:"origin_connection_limit"`
	// Pooling is ours: how connections are kept and lent.
	Pooling Pooling `json:"pooling"`
	// Generation is ours: it grows by one with each change of how the origin is reached.
	Generation int64 `json:"generation"`
	// Version is ours: it grows by one with each change. A DatabaseWrite that names it is refused when there was another since.
	Version int64 `json:"version"`
	// CacheEpoch is ours: how often the cache was purged.
	CacheEpoch int64     `json:"cache_epoch"`
	CreatedOn  time.Time `json:"created_on"`
	ModifiedOn time.Time `json:"modified_on"`
	// Credential is ours, and set once: in the answer to the POST that made the database, its first client credential.
	Credential *Credential `json:"credential,omitempty"`
	// Tunnel is ours, and set once: in the answer to a POST with a tunnel_id.
	Tunnel *ManagedTunnel `json:"tunnel,omitempty"`
}

// ManagedTunnel names what a POST with a tunnel_id made.
type ManagedTunnel struct {
	TunnelID       string `json:"tunnel_id"`
	Hostname       string `json:"hostname"`
	ServiceTokenID string `json:"service_token_id"`
	ApplicationID  string `json:"application_id"`
}

// Origin says where a database is and who to be there. Password and AccessClientSecret are never in an answer.
type Origin struct {
	Scheme   string `json:"scheme"`
	Host     string `json:"host"`
	Port     int    `json:"port,omitempty"`
	Database string `json:"database"`
	User     string `json:"user"`
	// AccessClientID is set when the origin is behind a tunnel; it excludes Port.
	AccessClientID string `json:"access_client_id,omitempty"`
	// Insecure is ours: the origin may be spoken to without TLS, with the sslmode "disable".
	Insecure bool `json:"insecure,omitempty"`
}

// MTLS says how the origin's TLS is verified.
type MTLS struct {
	// SSLMode is require, verify-ca, verify-full, no-verify, or, for an insecure origin, disable.
	SSLMode string `json:"sslmode,omitempty"`
	// CACertificate is ours: the CA's certificates in PEM.
	CACertificate string `json:"ca_certificate,omitempty"`
	// ServerName is ours: whom the certificate must be for, where that is not the origin's host.
	ServerName string `json:"server_name,omitempty"`
	// CACertificateID and MTLSCertificateID name uploaded certificates: the CA's, and the one that the proxy shows to the origin.
	CACertificateID   string `json:"ca_certificate_id,omitempty"`
	MTLSCertificateID string `json:"mtls_certificate_id,omitempty"`
}

// Pooling says how origin connections are kept and lent, and how long statements may take. 0 is the proxy's default; times
// are in seconds.
type Pooling struct {
	MinConnections         int  `json:"min_connections"`
	ConnectTimeout         int  `json:"connect_timeout"`
	WaitTimeout            int  `json:"wait_timeout"`
	IdleTimeout            int  `json:"idle_timeout"`
	MaxLifetime            int  `json:"max_lifetime"`
	QueryTimeout           int  `json:"query_timeout"` // -1: no limit
	IdleTransactionTimeout int  `json:"idle_transaction_timeout"`
	ForwardApplicationName bool `json:"forward_application_name"`
	// SessionState is replay, reset or pin: whether what clients change in their sessions is put in force again on every origin
	// connection, ends with the transaction, or, where it may have changed unseen, keeps the origin connection.
	SessionState string `json:"session_state"`
}

// PoolingWrite is the pooling in a DatabaseWrite.
type PoolingWrite struct {
	MinConnections         *int  `json:"min_connections,omitempty"`
	ConnectTimeout         *int  `json:"connect_timeout,omitempty"`
	WaitTimeout            *int  `json:"wait_timeout,omitempty"`
	IdleTimeout            *int  `json:"idle_timeout,omitempty"`
	MaxLifetime            *int  `json:"max_lifetime,omitempty"`
	QueryTimeout           *int  `json:"query_timeout,omitempty"`
	IdleTransactionTimeout *int  `json:"idle_transaction_timeout,omitempty"`
	ForwardApplicationName *bool `json:"forward_application_name,omitempty"`
	// SessionState is replay, the default, reset or pin.
	SessionState *string `json:"session_state,omitempty"`
}

// Caching says what may be answered from the cache.
type Caching struct {
	Disabled bool `json:"disabled"`
	// MaxAge and StaleWhileRevalidate are in seconds.
	MaxAge               int `json:"max_age"`
	StaleWhileRevalidate int `json:"stale_while_revalidate"`
}

// DatabaseWrite is the body of POST, PUT and PATCH /hyperdrive/configs. What is null stays as it is in a PATCH, and has its default
// in a POST or PUT.
type DatabaseWrite struct {
	Name                  *string       `json:"name,omitempty"`
	Origin                *OriginWrite  `json:"origin,omitempty"`
	MTLS                  *MTLSWrite    `json:"mtls,omitempty"`
	Caching               *CachingWrite `json:"caching,omitempty"`
	OriginConnectionLimit *int          `json:"origin_connection_limit,omitempty"`
	Pooling               *PoolingWrite `json:"pooling,omitempty"`
	// SkipTest is ours: no test connection is made.
	SkipTest bool `json:"skip_test,omitempty"`
	// Version is ours: the version that the change is of; null for whichever there is.
	Version *int64 `json:"version,omitempty"`
}

// OriginWrite is the origin in a DatabaseWrite.
type OriginWrite struct {
	Scheme   *string `json:"scheme,omitempty"`
	Host     *string `json:"host,omitempty"`
	Port     *int    `json:"port,omitempty"`
	Database *string `json:"database,omitempty"`
	User     *string `json:"user,omitempty"`
	Password *string `json:"password,omitempty"`
	// AccessClientID and AccessClientSecret make the origin one behind a tunnel, Port makes it a direct one.
	AccessClientID     *string `json:"access_client_id,omitempty"`
	AccessClientSecret *string `json:"access_client_secret,omitempty"`
	Insecure           *bool   `json:"insecure,omitempty"`
	// TunnelID, an id or a name, and Service, tcp://host:port or unix:/path, are ours and for POST only: the server makes a
	// hostname on that tunnel, a service token, an application and a policy for this database alone. They exclude Host, Port
	// and the access client fields.
	TunnelID *string `json:"tunnel_id,omitempty"`
	Service  *string `json:"service,omitempty"`
}

// MTLSWrite is the mtls in a DatabaseWrite.
type MTLSWrite struct {
	SSLMode       *string `json:"sslmode,omitempty"`
	CACertificate *string `json:"ca_certificate,omitempty"`
	ServerName    *string `json:"server_name,omitempty"`
	// CACertificateID and MTLSCertificateID name uploaded certificates; "" takes one away.
	CACertificateID   *string `json:"ca_certificate_id,omitempty"`
	MTLSCertificateID *string `json:"mtls_certificate_id,omitempty"`
}

// CachingWrite is the caching in a DatabaseWrite.
type CachingWrite struct {
	Disabled             *bool `json:"disabled,omitempty"`
	MaxAge               *int  `json:"max_age,omitempty"`
	StaleWhileRevalidate *int  `json:"stale_while_revalidate,omitempty"`
}

// Credential is what a driver logs in with: ours, /hyperdrive/configs/{id}/credentials.
type Credential struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedOn time.Time `json:"created_on"`
	// Password is set once: in the answer to the request that made the credential.
	Password string `json:"password,omitempty"`
	// ConnectionString contains the password that once.
	ConnectionString string `json:"connection_string"`
}

// Connections are the open origin connections of one generation of a database: ours, /hyperdrive/configs/{id}/connections.
type Connections struct {
	Generation  int64 `json:"generation"`
	Connections int   `json:"connections"`
	// Current is false where the database has changed since they were made; they end when they are next idle.
	Current bool `json:"current"`
}

// Pool is how the clients of one database fare at one proxy: ours, /hyperdrive/configs/{id}/pools. Counts are since the proxy
// took the database up; times are in seconds.
type Pool struct {
	Proxy   string `json:"proxy"` // host and process
	Clients int    `json:"clients"`

	Max         int            `json:"max"` // connections allowed at the moment
	Open        int            `json:"open"`
	Idle        int            `json:"idle"`
	Dialing     int            `json:"dialing"`
	Waiting     int            `json:"waiting"` // clients in line
	OldestWait  float64        `json:"oldest_wait"`
	OldestLease float64        `json:"oldest_lease"`
	Pinned      map[string]int `json:"pinned"` // connections that clients keep, by reason

	Queries    uint64            `json:"queries"`
	Leases     uint64            `json:"leases"`
	Waits      uint64            `json:"waits"`
	Timeouts   uint64            `json:"timeouts"`
	Dials      map[string]uint64 `json:"dials"` // by what for
	DialErrors uint64            `json:"dial_errors"`
	Closed     map[string]uint64 `json:"closed"` // connections, by why
	Settings   uint64            `json:"settings_replayed"`
	Reprepared uint64            `json:"statements_reprepared"`
	Resets     uint64            `json:"resets"`
	Cancels    uint64            `json:"cancels"`
	Abandoned  uint64            `json:"abandoned"`
	Failovers  uint64            `json:"failovers"`

	// The spread of waits in line, of leases and of the origin's answers.
	WaitP50  float64 `json:"wait_p50"`
	WaitP99  float64 `json:"wait_p99"`
	LeaseP50 float64 `json:"lease_p50"`
	LeaseP99 float64 `json:"lease_p99"`
	QueryP50 float64 `json:"query_p50"`
	QueryP99 float64 `json:"query_p99"`
}

// Cache is how one database's cache fares at one proxy: ours, /hyperdrive/configs/{id}/cache. Counts are since the proxy took the
// database up; times are in seconds.
type Cache struct {
	Proxy     string            `json:"proxy"` // host and process
	Enabled   bool              `json:"enabled"`
	Suspended bool              `json:"suspended,omitempty"` // other proxies cannot be heard
	Entries   int               `json:"entries"`
	Bytes     int64             `json:"bytes"`     // of them, keys and overhead included
	BytesMax  int64             `json:"bytes_max"` // that results of all databases may take
	Statuses  map[string]uint64 `json:"statuses"`  // queries, by what the cache made of them
	BytesHit  uint64            `json:"bytes_hit"` // of results that were answered from the cache
	Top       []CachedStatement `json:"top"`       // that saved most time
	Reasons   []CacheRefusal    `json:"reasons"`   // why statements were not cached, commonest first
}

// CachedStatement is a statement, with ? for its constants.
type CachedStatement struct {
	Statement string  `json:"statement"`
	Hits      uint64  `json:"hits"`
	Misses    uint64  `json:"misses"`
	Saved     float64 `json:"saved"` // had its hits been as slow as its misses
}

// CacheRefusal counts statements that were not cached for one reason.
type CacheRefusal struct {
	Reason     string `json:"reason"`
	Statements uint64 `json:"statements"`
}

// QueryExplain is the body of POST /hyperdrive/configs/{id}/explain: ours.
type QueryExplain struct {
	SQL string `json:"sql"` // which is neither run nor kept
}

// QueryExplanation says what the cache would make of a statement sent by itself, outside a transaction.
type QueryExplanation struct {
	Status string `json:"status"` // as in analytics; "miss" where it would be stored
	Reason string `json:"reason,omitempty"`
	// MaxAge and StaleWhileRevalidate say for how many seconds it would be returned.
	MaxAge               int      `json:"max_age"`
	StaleWhileRevalidate int      `json:"stale_while_revalidate"`
	Day                  bool     `json:"day,omitempty"`    // the result is of today
	Reads                []string `json:"reads,omitempty"`  // tables that its result is made of
	Writes               []string `json:"writes,omitempty"` // tables that it may change; "any" for any
}

// TestResult is the answer to a test that found nothing wrong: ours, /hyperdrive/configs/{id}/test.
type TestResult struct {
	// Milliseconds that connection and empty query took.
	Milliseconds int64 `json:"milliseconds"`
}

// PurgeResult is the answer to a purge: ours, /hyperdrive/configs/{id}/purge_cache.
type PurgeResult struct {
	CacheEpoch int64 `json:"cache_epoch"`
}

// CredentialCreate is the body of POST /hyperdrive/configs/{id}/credentials.
type CredentialCreate struct {
	Name string `json:"name"`
}

// ConnectionString is what a driver connects with: to the proxy of the scheme (postgres, postgresql or mysql) at proxyAddr, host:port.
// One of PostgreSQL says that the proxy is to be verified; a driver that does not find the CA certificate by itself needs an
// sslrootcert added to the query. Drivers of MySQL have no common word for that. An empty password is left out.
func ConnectionString(scheme, user, password, proxyAddr, database string) string {
	who := url.UserPassword(user, password)
	if password == "" {
		who = url.User(user)
	}
	connection := url.URL{Scheme: "mysql", User: who, Host: proxyAddr, Path: "/" + database}
	if scheme != "mysql" {
		connection.Scheme, connection.RawQuery = "postgres", "sslmode=verify-full"
	}
	return connection.String()
}
