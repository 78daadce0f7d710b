package control

import (
	"log/slog"
	"slices"
	"time"
)

// Database is a configured origin: what Hyperdrive calls a config.
type Database struct {
	ID          string       `json:"id"` // 32 hex digits
	AccountID   string       `json:"account_id"`
	Name        string       `json:"name"` // the database name that drivers give
	Origin      Origin       `json:"origin"`
	MTLS        MTLS         `json:"mtls"`
	Caching     Caching      `json:"caching"`
	Credentials []Credential `json:"credentials"`
	// OriginConnectionLimit is the soft maximum of origin connections.
	OriginConnectionLimit int     `json:"origin_connection_limit"`
	Pooling               Pooling `json:"pooling,omitzero"`
	// Version starts at 1 and grows with every change of what is set here, but
	// for Credentials and CacheEpoch.
	Version int64 `json:"version,omitempty"`
	// Generation starts at 1 and grows with every change of Origin or MTLS:
	// connections of an older generation are retired when they are next idle.
	Generation int64 `json:"generation"`
	// CacheEpoch grows with every purge: what a cache stored in an earlier one is
	// not to be answered any more.
	CacheEpoch int64     `json:"cache_epoch,omitempty"`
	Managed    *Managed  `json:"managed,omitempty"` // what CreateManagedDatabase made with it
	CreatedOn  time.Time `json:"created_on"`
	ModifiedOn time.Time `json:"modified_on"`
}

// Origin is where the private database is and how to log in to it. It is
// reached directly at Host:Port, or, with AccessClientID, through the tunnel
// that Host belongs to; a port and an access client exclude each other.
type Origin struct {
	Scheme   string `json:"scheme"` // postgres, postgresql or mysql
	Host     string `json:"host"`
	Port     int    `json:"port,omitempty"` // 0 with AccessClientID
	Database string `json:"database"`
	User     string `json:"user"`
	Password Sealed `json:"password,omitzero"` // given back by Control.OriginPassword
	// FormerPassword is the user's password before the last change of it, which
	// the origin may still ask for; given back by Control.FormerOriginPassword.
	FormerPassword     Sealed `json:"former_password,omitzero"`
	AccessClientID     string `json:"access_client_id,omitempty"`
	AccessClientSecret Sealed `json:"access_client_secret,omitzero"` // given back by Control.AccessClientSecret
	// Insecure admits SSLDisable, for an origin that is a unix socket or a
	// loopback address beside the connector.
	Insecure bool `json:"insecure,omitempty"`
}

// The values of MTLS.SSLMode.
const (
	SSLRequire    = "require"
	SSLVerifyCA   = "verify-ca"
	SSLVerifyFull = "verify-full"
	SSLNoVerify   = "no-verify" // TLS with whoever answers
	SSLDisable    = "disable"   // see Origin.Insecure
)

// MTLS says how the origin's TLS is checked, and what the proxy shows to it.
type MTLS struct {
	SSLMode string `json:"sslmode"`
	// The CA of the origin's certificate is one of CACertificate, in PEM form, and
	// CACertificateID, of a Certificate. Where there is neither, the system's roots count.
	CACertificate       string `json:"ca_certificate,omitempty"`
	CACertificateID     string `json:"ca_certificate_id,omitempty"`
	ClientCertificateID string `json:"mtls_certificate_id,omitempty"`
	ServerName          string `json:"server_name,omitempty"` // that the certificate is for; empty: Origin.Host
}

// hasCA reports whether a CA of the origin's own is given.
func (m MTLS) hasCA() bool { return m.CACertificate != "" || m.CACertificateID != "" }

// uses reports whether m names the certificate with this ID.
func (m MTLS) uses(id string) bool {
	return id != "" && (m.CACertificateID == id || m.ClientCertificateID == id)
}

// Caching says what the proxy may answer from memory.
type Caching struct {
	Disabled             bool `json:"disabled,omitempty"`
	MaxAge               int  `json:"max_age"`                // seconds, at most MaxCacheAge
	StaleWhileRevalidate int  `json:"stale_while_revalidate"` // seconds, at most MaxCacheAge
}

// Limits and defaults of Hyperdrive's documentation: "Query caching" (max_age
// 60, at most one hour; stale_while_revalidate 15), "Connection pooling" (at
// least 5 origin connections) and "Limits" (about 20 of them on the free plan).
const (
	DefaultMaxAge               = 60
	DefaultStaleWhileRevalidate = 15
	MaxCacheAge                 = 3600
	MinOriginConnections        = 5
	DefaultOriginConnections    = 20
	DefaultPostgresPort         = 5432
	DefaultMySQLPort            = 3306
	maxOriginConnections        = 10_000 // more than any PostgreSQL serves; catches a slip of the finger
	maxIdentifier               = 63     // bytes, of user and database ("Limits", footnote 1)
	maxPassword                 = 1024   // bytes; PostgreSQL's own clients read 1,000 and some
	maxCertificates             = 256 << 10
	maxCredentials              = 100
	generatedPasswordCharacters = 40 // 238 bits
)

// Credential is what a driver logs in with at the proxy.
type Credential struct {
	ID       string   `json:"id"` // 32 hex digits
	Name     string   `json:"name"`
	Verifier Verifier `json:"verifier"`
	// MySQLVerifier is what drivers of MySQL are checked against without telling
	// their password. Credentials made before there was one have none.
	MySQLVerifier Verifier  `json:"mysql_verifier,omitempty"`
	CreatedOn     time.Time `json:"created_on"`
}

// Managed names what was made together with a database, and goes with it.
type Managed struct {
	TunnelID       string `json:"tunnel_id"`
	Hostname       string `json:"hostname"`
	ServiceTokenID string `json:"service_token_id"`
	ApplicationID  string `json:"application_id"`
}

// NewDatabase is what creating a database made, with what is shown once.
type NewDatabase struct {
	Database   *Database
	Credential Credential
	Password   Secret // the credential's

	// Of CreateManagedDatabase only; Database.Managed keeps them.
	TunnelID, Hostname, ServiceToken, ApplicationID string
}

// LogValue keeps what is shown once, verifiers and ciphertexts out of logs.
func (n NewDatabase) LogValue() slog.Value { return slog.AnyValue(n.Database) }

// Credential returns the client credential with this name.
func (d *Database) Credential(name string) (*Credential, bool) {
	i := slices.IndexFunc(d.Credentials, func(c Credential) bool { return c.Name == name })
	if i < 0 {
		return nil, false
	}
	return &d.Credentials[i], true
}

// LogValue keeps verifiers and ciphertexts out of logs.
func (d Database) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", d.ID), slog.String("name", d.Name))
}

// LogValue keeps the verifier out of logs.
func (c Credential) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", c.ID), slog.String("name", c.Name))
}

func (d *Database) account() string { return d.AccountID }

// fillDefaults sets what was left out. A Caching that is all zero was left out.
func (d *Database) fillDefaults() {
	if d.Origin.Scheme == "" {
		d.Origin.Scheme = "postgres"
	}
	if d.Origin.Port == 0 && d.Origin.AccessClientID == "" {
		d.Origin.Port = DefaultPostgresPort
		if d.Origin.Scheme == "mysql" {
			d.Origin.Port = DefaultMySQLPort
		}
	}
	if d.MTLS.SSLMode == "" {
		d.MTLS.SSLMode = SSLRequire
	}
	if d.OriginConnectionLimit == 0 {
		d.OriginConnectionLimit = DefaultOriginConnections
	}
	if d.Caching == (Caching{}) {
		d.Caching = Caching{MaxAge: DefaultMaxAge, StaleWhileRevalidate: DefaultStaleWhileRevalidate}
	}
}
