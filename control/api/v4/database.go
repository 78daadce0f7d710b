package v4

import "time"

// Database is a configured origin: /hyperdrive/configs.
type Database struct {
	ID      string  `json:"id"`
	Name    string  `json:"name"`
	Origin  Origin  `json:"origin"`
	MTLS    MTLS    `json:"mtls"`
	Caching Caching `json:"caching"`
	// OriginConnectionLimit is the soft maximum of connections to the origin.
	OriginConnectionLimit int `json:"origin_connection_limit"`
	// Generation is ours: it grows by one with each change of how the origin is reached.
	Generation int64     `json:"generation"`
	CreatedOn  time.Time `json:"created_on"`
	ModifiedOn time.Time `json:"modified_on"`
}

// Origin says where a database is and who to be there.
type Origin struct {
	Scheme   string `json:"scheme,omitempty"`
	Host     string `json:"host,omitempty"`
	Port     int    `json:"port,omitempty"`
	Database string `json:"database,omitempty"`
	User     string `json:"user,omitempty"`
	// AccessClientID is set when the origin is behind a tunnel; it excludes Port.
	AccessClientID string `json:"access_client_id,omitempty"`
	// Password and AccessClientSecret are write-only.
	Password           string `json:"password,omitempty"`
	AccessClientSecret string `json:"access_client_secret,omitempty"`
	// TunnelID and Service are ours and only for POST: the server makes a hostname on that tunnel (id or name), a service
	// token, an application and a policy for this database alone. They exclude Host, Port and the access client fields.
	TunnelID string `json:"tunnel_id,omitempty"`
	Service  string `json:"service,omitempty"`
}

// MTLS says how the origin's TLS is verified.
type MTLS struct {
	// SSLMode is require, verify-ca or verify-full.
	SSLMode string `json:"sslmode,omitempty"`
	// CACertificateID names an uploaded CA certificate; CACertificate, ours, carries it in PEM.
	CACertificateID string `json:"ca_certificate_id,omitempty"`
	CACertificate   string `json:"ca_certificate,omitempty"`
	// Insecure is ours: the origin is spoken to without TLS.
	Insecure bool `json:"insecure,omitempty"`
}

// Caching says what may be answered from the cache.
type Caching struct {
	Disabled bool `json:"disabled"`
	// MaxAge and StaleWhileRevalidate are in seconds.
	MaxAge               int `json:"max_age,omitempty"`
	StaleWhileRevalidate int `json:"stale_while_revalidate,omitempty"`
}

// Credential is what a driver logs in with: ours, /hyperdrive/configs/{id}/credentials.
type Credential struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedOn time.Time `json:"created_on"`
	// Password and ConnectionString, which contains it, are set once: in the answer to the POST that made the credential.
	Password         string `json:"password,omitempty"`
	ConnectionString string `json:"connection_string,omitempty"`
}

// CredentialCreate is the body of POST /hyperdrive/configs/{id}/credentials.
type CredentialCreate struct {
	Name string `json:"name"`
}

// DatabasePatch is the body of PATCH /hyperdrive/configs/{id}; what is null stays as it is.
type DatabasePatch struct {
	Name                  *string      `json:"name,omitempty"`
	Origin                *OriginPatch `json:"origin,omitempty"`
	MTLS                  *MTLS        `json:"mtls,omitempty"`
	Caching               *Caching     `json:"caching,omitempty"`
	OriginConnectionLimit *int         `json:"origin_connection_limit,omitempty"`
}

// OriginPatch changes the fields of an origin that it names.
type OriginPatch struct {
	Scheme             *string `json:"scheme,omitempty"`
	Host               *string `json:"host,omitempty"`
	Port               *int    `json:"port,omitempty"`
	Database           *string `json:"database,omitempty"`
	User               *string `json:"user,omitempty"`
	Password           *string `json:"password,omitempty"`
	AccessClientID     *string `json:"access_client_id,omitempty"`
	AccessClientSecret *string `json:"access_client_secret,omitempty"`
}
