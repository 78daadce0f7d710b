package control

import (
	"time"

	"github.com/sluicedb/sluice/access"
)

// Snapshot is the whole state at one moment. It is immutable, and so is
// everything that its methods return. It implements access.Directory.
type Snapshot struct{}

// Revision is the store's sequence up to which this snapshot is complete.
func (s *Snapshot) Revision() uint64 { return 0 }

// Account returns the account with this ID.
func (s *Snapshot) Account(id string) (*Account, bool) { return nil, false }

// APIToken returns the token whose secret has this hash.
func (s *Snapshot) APIToken(h access.Hash) (*APIToken, bool) { return nil, false }

// APITokens returns an account's tokens, oldest first.
func (s *Snapshot) APITokens(accountID string) []*APIToken { return nil }

// Tunnel returns the tunnel with this ID.
func (s *Snapshot) Tunnel(id string) (*Tunnel, bool) { return nil, false }

// TunnelByName returns the tunnel with this name.
func (s *Snapshot) TunnelByName(accountID, name string) (*Tunnel, bool) { return nil, false }

// TunnelByHostname returns the tunnel that hostname leads through and the rule
// that says so: the exact one, else the longest wildcard.
func (s *Snapshot) TunnelByHostname(hostname string) (*Tunnel, Ingress, bool) {
	return nil, Ingress{}, false
}

// Tunnels returns an account's tunnels, oldest first.
func (s *Snapshot) Tunnels(accountID string) []*Tunnel { return nil }

// ServiceToken returns the token with this client ID.
func (s *Snapshot) ServiceToken(clientID string) (*access.ServiceToken, bool) { return nil, false }

// ServiceTokenByID returns the token with this ID.
func (s *Snapshot) ServiceTokenByID(id string) (*access.ServiceToken, bool) { return nil, false }

// ServiceTokens returns an account's tokens, oldest first.
func (s *Snapshot) ServiceTokens(accountID string) []*access.ServiceToken { return nil }

// LastSeen returns when a service token or API token was last used, as far as
// the batched writes have told; zero if never.
func (s *Snapshot) LastSeen(tokenID string) time.Time { return time.Time{} }

// Application returns the application that protects hostname.
func (s *Snapshot) Application(hostname string) (*access.Application, bool) { return nil, false }

// ApplicationByID returns the application with this ID.
func (s *Snapshot) ApplicationByID(id string) (*access.Application, bool) { return nil, false }

// Applications returns an account's applications, oldest first.
func (s *Snapshot) Applications(accountID string) []*access.Application { return nil }

// Database returns the database that a driver names: by ID, or by name in the
// default account.
func (s *Snapshot) Database(name string) (*Database, bool) { return nil, false }

// DatabaseByName returns the database with this name in the account.
func (s *Snapshot) DatabaseByName(accountID, name string) (*Database, bool) { return nil, false }

// DatabaseByID returns the database with this ID.
func (s *Snapshot) DatabaseByID(id string) (*Database, bool) { return nil, false }

// Databases returns an account's databases, oldest first; every account's if
// accountID is empty.
func (s *Snapshot) Databases(accountID string) []*Database { return nil }
