package control

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/sluicedb/sluice/access"
)

// Snapshot is the whole state at one moment. It is immutable, and so is
// everything that its methods return: to change a noun, use the Update methods
// of Control, which hand out a copy. It implements access.Directory.
type Snapshot struct {
	revision uint64

	accounts             table[*Account]
	apiTokens            table[*APIToken]
	apiTokenByHash       table[*APIToken]
	tunnels              table[*Tunnel]
	tunnelByName         table[*Tunnel] // by scoped name
	routes               table[route]   // by hostname, wildcards included
	hostnames            table[uint64]  // revision of the hostname's claim
	serviceTokens        table[*access.ServiceToken]
	serviceTokenByClient table[*access.ServiceToken]
	applications         table[*access.Application]
	applicationByHost    table[*access.Application] // by scoped hostname
	policies             table[*access.ReusablePolicy]
	databases            table[*Database]
	databaseByName       table[*Database] // by scoped name
	pending              table[*pendingDatabase]
	certificates         table[*Certificate]
	certificateRevs      table[uint64] // revision of the certificate
	seen                 table[time.Time]
}

// route is where a hostname leads.
type route struct {
	tunnel  *Tunnel
	ingress Ingress
}

func emptySnapshot() *Snapshot {
	return &Snapshot{
		accounts:             newTable[*Account](),
		apiTokens:            newTable[*APIToken](),
		apiTokenByHash:       newTable[*APIToken](),
		tunnels:              newTable[*Tunnel](),
		tunnelByName:         newTable[*Tunnel](),
		routes:               newTable[route](),
		hostnames:            newTable[uint64](),
		serviceTokens:        newTable[*access.ServiceToken](),
		serviceTokenByClient: newTable[*access.ServiceToken](),
		applications:         newTable[*access.Application](),
		applicationByHost:    newTable[*access.Application](),
		policies:             newTable[*access.ReusablePolicy](),
		databases:            newTable[*Database](),
		databaseByName:       newTable[*Database](),
		pending:              newTable[*pendingDatabase](),
		certificates:         newTable[*Certificate](),
		certificateRevs:      newTable[uint64](),
		seen:                 newTable[time.Time](),
	}
}

// Revision is the store's sequence up to which the watch has brought
// everything. Own writes may be in the snapshot before it.
func (s *Snapshot) Revision() uint64 { return s.revision }

// Account returns the account with this ID.
func (s *Snapshot) Account(id string) (*Account, bool) { return s.accounts.get(id) }

// Accounts returns every account, oldest first.
func (s *Snapshot) Accounts() []*Account {
	return sorted(s.accounts, func(*Account) bool { return true }, func(a *Account) (time.Time, string) { return a.CreatedAt, a.ID })
}

// APITokenByID returns the token with this ID.
func (s *Snapshot) APITokenByID(id string) (*APIToken, bool) { return s.apiTokens.get(id) }

// APIToken returns the token whose secret has this hash. Whether it has expired
// is the caller's to check, with its own clock.
func (s *Snapshot) APIToken(h access.Hash) (*APIToken, bool) {
	return s.apiTokenByHash.get(string(h[:]))
}

// APITokens returns an account's tokens, oldest first.
func (s *Snapshot) APITokens(accountID string) []*APIToken {
	return sorted(s.apiTokens, func(t *APIToken) bool { return t.AccountID == accountID },
		func(t *APIToken) (time.Time, string) { return t.CreatedAt, t.ID })
}

// Tunnel returns the tunnel with this ID.
func (s *Snapshot) Tunnel(id string) (*Tunnel, bool) { return s.tunnels.get(id) }

// TunnelByName returns the account's tunnel with this name.
func (s *Snapshot) TunnelByName(accountID, name string) (*Tunnel, bool) {
	return s.tunnelByName.get(scoped(accountID, name))
}

// TunnelByHostname returns the tunnel that hostname leads through and the rule
// that says so: the exact one, else the longest wildcard that covers it. A name
// below another account's wildcard leads nowhere unless it was bound before the
// wildcard: nobody takes over a part of somebody else's names.
func (s *Snapshot) TunnelByHostname(hostname string) (*Tunnel, Ingress, bool) {
	found, ok := s.routes.get(hostname)
	since, _ := s.hostnames.get(hostname)
	for wildcard := range wildcards(hostname) {
		r, covered := s.routes.get(wildcard)
		if !covered {
			continue
		}
		claimed, _ := s.hostnames.get(wildcard)
		switch {
		case !ok:
			found, ok, since = r, true, claimed
		case r.tunnel.AccountID != found.tunnel.AccountID && claimed < since:
			return nil, Ingress{}, false
		}
	}
	return found.tunnel, found.ingress, ok
}

// wildcards yields the wildcard names that cover hostname, the longest first.
func wildcards(hostname string) func(func(string) bool) {
	return func(yield func(string) bool) {
		rest := strings.TrimPrefix(hostname, "*.")
		for {
			_, parent, ok := strings.Cut(rest, ".")
			if !ok || !yield("*."+parent) {
				return
			}
			rest = parent
		}
	}
}

// Tunnels returns an account's tunnels, oldest first.
func (s *Snapshot) Tunnels(accountID string) []*Tunnel {
	return sorted(s.tunnels, func(t *Tunnel) bool { return t.AccountID == accountID },
		func(t *Tunnel) (time.Time, string) { return t.CreatedAt, t.ID })
}

// ServiceToken returns the token with this client ID.
func (s *Snapshot) ServiceToken(clientID string) (*access.ServiceToken, bool) {
	return s.serviceTokenByClient.get(clientID)
}

// ServiceTokenByID returns the token with this ID.
func (s *Snapshot) ServiceTokenByID(id string) (*access.ServiceToken, bool) {
	return s.serviceTokens.get(id)
}

// ServiceTokens returns an account's tokens, oldest first.
func (s *Snapshot) ServiceTokens(accountID string) []*access.ServiceToken {
	return sorted(s.serviceTokens, func(t *access.ServiceToken) bool { return t.AccountID == accountID },
		func(t *access.ServiceToken) (time.Time, string) { return t.CreatedAt, t.ID })
}

// LastSeen returns when a service token or API token was last used, or a connector
// of a tunnel came or went, as far as the batched writes have told (seenInterval);
// zero if never.
func (s *Snapshot) LastSeen(id string) time.Time {
	at, _ := s.seen.get(id)
	return at
}

// Application returns the application that protects hostname: that of the
// account whose tunnel the hostname leads through, the exact one, else the
// longest wildcard. A hostname that leads nowhere has none.
func (s *Snapshot) Application(hostname string) (*access.Application, bool) {
	t, _, ok := s.TunnelByHostname(hostname)
	if !ok {
		return nil, false
	}
	if a, ok := s.applicationByHost.get(scoped(t.AccountID, hostname)); ok {
		return a, true
	}
	for wildcard := range wildcards(hostname) {
		if a, ok := s.applicationByHost.get(scoped(t.AccountID, wildcard)); ok {
			return a, true
		}
	}
	return nil, false
}

// ApplicationByID returns the application with this ID.
func (s *Snapshot) ApplicationByID(id string) (*access.Application, bool) {
	return s.applications.get(id)
}

// Applications returns an account's applications, oldest first.
func (s *Snapshot) Applications(accountID string) []*access.Application {
	return sorted(s.applications, func(a *access.Application) bool { return a.AccountID == accountID },
		func(a *access.Application) (time.Time, string) { return a.CreatedAt, a.ID })
}

// Policy returns the reusable policy with this ID.
func (s *Snapshot) Policy(id string) (*access.ReusablePolicy, bool) { return s.policies.get(id) }

// Policies returns an account's reusable policies, oldest first.
func (s *Snapshot) Policies(accountID string) []*access.ReusablePolicy {
	return sorted(s.policies, func(p *access.ReusablePolicy) bool { return p.AccountID == accountID },
		func(p *access.ReusablePolicy) (time.Time, string) { return p.CreatedAt, p.ID })
}

// Database returns the database that a driver names: by ID, or by name in the
// default account.
func (s *Snapshot) Database(name string) (*Database, bool) {
	if d, ok := s.databases.get(name); ok {
		return d, true
	}
	return s.DatabaseByName(DefaultAccountID, name)
}

// DatabaseByName returns the account's database with this name.
func (s *Snapshot) DatabaseByName(accountID, name string) (*Database, bool) {
	return s.databaseByName.get(scoped(accountID, name))
}

// DatabaseByID returns the database with this ID.
func (s *Snapshot) DatabaseByID(id string) (*Database, bool) { return s.databases.get(id) }

// Databases returns an account's databases, oldest first; every account's if
// accountID is empty.
func (s *Snapshot) Databases(accountID string) []*Database {
	return sorted(s.databases, func(d *Database) bool { return accountID == "" || d.AccountID == accountID },
		func(d *Database) (time.Time, string) { return d.CreatedOn, d.ID })
}

// sorted returns what keep keeps, by time and then by ID.
func sorted[T any](t table[*T], keep func(*T) bool, by func(*T) (time.Time, string)) []*T {
	var out []*T
	for _, v := range t.all() {
		if keep(v) {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b *T) int {
		at, aid := by(a)
		bt, bid := by(b)
		return cmp.Or(at.Compare(bt), cmp.Compare(aid, bid))
	})
	return out
}
