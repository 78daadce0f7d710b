package control

import "time"

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
	OriginConnectionLimit int `json:"origin_connection_limit"`
	// Generation grows with every change of Origin or MTLS: connections of an
	// older generation are retired when they are next idle.
	Generation int64     `json:"generation"`
	CreatedOn  time.Time `json:"created_on"`
	ModifiedOn time.Time `json:"modified_on"`
}

// Origin is where the private database is and how to log in to it. It is
// reached directly at Host:Port, or, with AccessClientID, through the tunnel
// that Host belongs to; the two exclude each other.
type Origin struct {
	Scheme             string `json:"scheme"` // postgres or postgresql
	Host               string `json:"host"`
	Port               int    `json:"port,omitempty"` // zero with AccessClientID
	Database           string `json:"database"`
	User               string `json:"user"`
	Password           Sealed `json:"password"`
	AccessClientID     string `json:"access_client_id,omitempty"`
	AccessClientSecret Sealed `json:"access_client_secret,omitzero"`
	// Insecure admits MTLS.SSLMode "disable", for an origin that is a unix
	// socket or a loopback address beside the connector.
	Insecure bool `json:"insecure,omitempty"`
}

// MTLS says how the origin's TLS is checked.
type MTLS struct {
	SSLMode       string `json:"sslmode"`                  // require, verify-ca, verify-full, disable
	CACertificate string `json:"ca_certificate,omitempty"` // PEM; empty: the system's roots
}

// Caching says what the proxy may answer from memory.
type Caching struct {
	Disabled             bool `json:"disabled,omitempty"`
	MaxAge               int  `json:"max_age"`                // seconds
	StaleWhileRevalidate int  `json:"stale_while_revalidate"` // seconds
}

// Credential is what a driver logs in with at the proxy.
type Credential struct {
	ID        string    `json:"id"` // 32 hex digits
	Name      string    `json:"name"`
	Verifier  Verifier  `json:"verifier"`
	CreatedOn time.Time `json:"created_on"`
}

// Verifier is a SCRAM-SHA-256 verifier in PostgreSQL's own text form,
// SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey> (base64). It is
// printed redacted; string(v) gives the text.
type Verifier string

// NewDatabase is what creating a database made, with what is shown once.
type NewDatabase struct {
	Database   *Database
	Credential Credential
	Password   Secret // the credential's

	// Of CreateManagedDatabase only.
	TunnelID      string
	Hostname      string
	ServiceToken  string // its ID
	ApplicationID string
}
