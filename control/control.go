package control

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicedb/sluice/access"
)

var errNotYet = errors.New("control: not yet")

// Config says where the state lives.
type Config struct {
	// DataDir holds the embedded store, the keyset and ca.pem. It is made with
	// mode 0700.
	DataDir string
	// StoreURL is empty for the embedded store, or nats://host:port[,...].
	StoreURL string
	// KeysetFile is the Tink keyset that seals secrets; empty means
	// keyset.json in DataDir. It is made when missing, with mode 0600.
	KeysetFile string
	// PublicHosts are the names and addresses that the server certificate
	// covers, besides localhost, the loopback addresses and this host's name.
	PublicHosts []string
	Logger      *slog.Logger // nil: slog.Default()
}

// Control is one node's hold on the desired state. Its methods are safe for
// concurrent use.
type Control struct{}

// Open connects to the store, makes what a first start needs, and reads the
// whole state. Several nodes may open one store at once: they converge on one
// bootstrap. The caller runs Run and, at the end, Close.
func Open(ctx context.Context, cfg Config) (*Control, error) { return nil, errNotYet }

// Run follows the store until ctx ends.
func (c *Control) Run(ctx context.Context) error { return errNotYet }

// Close disconnects and stops an embedded store.
func (c *Control) Close() error { return errNotYet }

// Ready says whether the store answers; nil when it does. It does not block.
func (c *Control) Ready() error { return errNotYet }

// FirstToken returns the API token that this very Open made, if it did.
func (c *Control) FirstToken() (Secret, bool) { return "", false }

// Snapshot returns the current state: immutable, never nil, one pointer load.
func (c *Control) Snapshot() *Snapshot { return nil }

// Changed returns a channel that is closed at the next change of the snapshot.
// Fetch it before the snapshot that it guards, and again after each change.
func (c *Control) Changed() <-chan struct{} { return nil }

// Collectors returns this component's Prometheus collectors.
func (c *Control) Collectors() []prometheus.Collector { return nil }

// CA returns the certificate authority's certificate in PEM form.
func (c *Control) CA() []byte { return nil }

// ServerTLS returns a configuration with the server certificate of API, relay
// and proxy. The certificate is renewed in place.
func (c *Control) ServerTLS() *tls.Config { return nil }

// Signer signs assertions with the current key.
func (c *Control) Signer() *access.Signer { return nil }

// Verifier checks assertions of every node of this store.
func (c *Control) Verifier() *access.Verifier { return nil }

// TunnelSecret returns the secret that a connector of t presents.
func (c *Control) TunnelSecret(t *Tunnel) (Secret, error) { return "", errNotYet }

// OriginPassword returns the password that the origin of d wants.
func (c *Control) OriginPassword(d *Database) (Secret, error) { return "", errNotYet }

// AccessClientSecret returns the service token secret that reaches the origin of d.
func (c *Control) AccessClientSecret(d *Database) (Secret, error) { return "", errNotYet }

// Seen notes that a service token or API token was used. It never blocks and
// never asks the store: Run writes the latest times in batches.
func (c *Control) Seen(tokenID string, at time.Time) {}

// CreateAPIToken makes an API token; the secret is shown once.
func (c *Control) CreateAPIToken(ctx context.Context, accountID, name string, expires time.Time) (*APIToken, Secret, error) {
	return nil, "", errNotYet
}

// DeleteAPIToken revokes an API token.
func (c *Control) DeleteAPIToken(ctx context.Context, accountID, id string) error { return errNotYet }

// CreateTunnel makes a tunnel without hostnames.
func (c *Control) CreateTunnel(ctx context.Context, accountID, name string) (*Tunnel, error) {
	return nil, errNotYet
}

// UpdateTunnel changes name or ingress; ConfigVersion grows when the ingress changed.
// change may run more than once.
func (c *Control) UpdateTunnel(ctx context.Context, accountID, id string, change func(*Tunnel) error) (*Tunnel, error) {
	return nil, errNotYet
}

// DeleteTunnel deletes a tunnel and its hostnames, or nothing.
func (c *Control) DeleteTunnel(ctx context.Context, accountID, id string) error { return errNotYet }

// CreateServiceToken makes a service token; the secret is shown once. A zero duration never expires.
func (c *Control) CreateServiceToken(ctx context.Context, accountID, name string, duration time.Duration) (*access.ServiceToken, Secret, error) {
	return nil, "", errNotYet
}

// UpdateServiceToken changes name, duration, expiry or the disabled flag.
func (c *Control) UpdateServiceToken(ctx context.Context, accountID, id string, change func(*access.ServiceToken) error) (*access.ServiceToken, error) {
	return nil, errNotYet
}

// RotateServiceToken gives the token a new secret; the old one dies at graceUntil (zero: now).
func (c *Control) RotateServiceToken(ctx context.Context, accountID, id string, graceUntil time.Time) (*access.ServiceToken, Secret, error) {
	return nil, "", errNotYet
}

// DeleteServiceToken revokes a service token.
func (c *Control) DeleteServiceToken(ctx context.Context, accountID, id string) error {
	return errNotYet
}

// CreateApplication stores a; IDs and times are filled in.
func (c *Control) CreateApplication(ctx context.Context, a *access.Application) (*access.Application, error) {
	return nil, errNotYet
}

// UpdateApplication changes name, hostname or policies; policies without an ID get one.
func (c *Control) UpdateApplication(ctx context.Context, accountID, id string, change func(*access.Application) error) (*access.Application, error) {
	return nil, errNotYet
}

// DeleteApplication deletes an application with its policies.
func (c *Control) DeleteApplication(ctx context.Context, accountID, id string) error {
	return errNotYet
}

// CreateDatabase stores d with one client credential named like it, whose password is shown once.
func (c *Control) CreateDatabase(ctx context.Context, d *Database) (*NewDatabase, error) {
	return nil, errNotYet
}

// CreateManagedDatabase makes hostname, service token, application, policy and database, or nothing.
func (c *Control) CreateManagedDatabase(ctx context.Context, tunnelID, service string, d *Database) (*NewDatabase, error) {
	return nil, errNotYet
}

// UpdateDatabase changes d; Generation grows when connection settings changed.
func (c *Control) UpdateDatabase(ctx context.Context, accountID, id string, change func(*Database) error) (*Database, error) {
	return nil, errNotYet
}

// DeleteDatabase deletes a database.
func (c *Control) DeleteDatabase(ctx context.Context, accountID, id string) error { return errNotYet }

// CreateCredential adds a client credential; the password is shown once.
func (c *Control) CreateCredential(ctx context.Context, accountID, databaseID, name string) (*Credential, Secret, error) {
	return nil, "", errNotYet
}

// DeleteCredential removes a client credential.
func (c *Control) DeleteCredential(ctx context.Context, accountID, databaseID, id string) error {
	return errNotYet
}

// Audit queues r; it never blocks. What does not fit the queue is counted and dropped.
func (c *Control) Audit(r AuditRecord) {}

// AuditRecords reads the newest records that match f, newest first.
func (c *Control) AuditRecords(ctx context.Context, f AuditFilter) ([]AuditRecord, error) {
	return nil, errNotYet
}
