package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedb/sluice/access"
)

// DefaultAccountID is the account that the first start makes. Every node and
// every store has the same, so that a client can be configured before.
const DefaultAccountID = "00000000000000000000000000000001"

// Account owns everything else; nothing of one account is visible to another.
type Account struct {
	ID        string    `json:"id"` // 32 hex digits
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
}

// APITokenPrefix begins every API token, so that scanners find one.
const APITokenPrefix = "slat_"

// Scope is how far an API token reaches within its account.
type Scope string

// The scopes, each with what the one before it has.
const (
	ScopeRead  Scope = "read"  // see everything but secrets
	ScopeEdit  Scope = "edit"  // change everything but API tokens and accounts
	ScopeAdmin Scope = "admin" // everything
)

// Includes reports whether a token of scope s may do what needs scope need. A
// scope that is not known includes nothing.
func (s Scope) Includes(need Scope) bool {
	order := []Scope{ScopeRead, ScopeEdit, ScopeAdmin}
	return slices.Index(order, s) >= slices.Index(order, need) && slices.Contains(order, s) && slices.Contains(order, need)
}

// APIToken admits to the control API. Only the hash of its secret is stored.
type APIToken struct {
	ID        string      `json:"id"` // 32 hex digits
	AccountID string      `json:"account_id"`
	Name      string      `json:"name"`
	Scope     Scope       `json:"scope"`
	Hash      access.Hash `json:"hash"`
	ExpiresAt time.Time   `json:"expires_at,omitzero"` // zero: never
	CreatedAt time.Time   `json:"created_at"`
}

// Validate reports every fault at once, as a *ValidationError.
func (t *APIToken) Validate() error {
	var f access.Faults
	access.ValidateName(&f, "name", t.Name)
	if !t.Scope.Includes(ScopeRead) {
		f.Addf("scope", "must be read, edit or admin, not %q", clip(string(t.Scope)))
	}
	if !t.ExpiresAt.IsZero() && !t.ExpiresAt.After(t.CreatedAt) {
		f.Addf("expires_at", "is in the past")
	}
	return f.Err()
}

// Expired reports whether the token has ended at now.
func (t *APIToken) Expired(now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt)
}

func (t *APIToken) account() string { return t.AccountID }

// CreateAPIToken makes an API token and returns its secret, which is shown once
// and never again. A zero expires never ends.
func (c *Control) CreateAPIToken(ctx context.Context, accountID, name string, scope Scope, expires time.Time) (*APIToken, Secret, error) {
	var made *APIToken
	var secret string
	err := c.transact(ctx, func(t *tx) error {
		made, secret = newAPIToken(accountID, name, scope, expires, t.now)
		if err := made.Validate(); err != nil {
			return err
		}
		return t.create(kindAPIToken, made.ID, made)
	})
	if err != nil {
		return nil, "", err
	}
	return made, Secret(secret), nil
}

func newAPIToken(accountID, name string, scope Scope, expires, now time.Time) (*APIToken, string) {
	secret := access.NewSecret(APITokenPrefix)
	return &APIToken{
		ID: newHexID(), AccountID: accountID, Name: name, Scope: scope,
		Hash: access.HashSecret(secret), ExpiresAt: expires, CreatedAt: now,
	}, secret
}

// DeleteAPIToken revokes an API token.
func (c *Control) DeleteAPIToken(ctx context.Context, accountID, id string) error {
	return c.transact(ctx, func(t *tx) error {
		if _, err := fetch(t, kindAPIToken, accountID, id, (*APIToken).account); err != nil {
			return err
		}
		return t.deleteSeen(kindAPIToken, id)
	})
}

// deleteSeen deletes a noun and the record of its last use.
func (t *tx) deleteSeen(kind, id string) error {
	if err := t.write(nounKey(kind, id), nil); err != nil {
		return err
	}
	seen, err := t.get(nounKey(kindSeen, id))
	if err != nil || seen.value == nil {
		return err
	}
	return t.write(nounKey(kindSeen, id), nil)
}

// newID returns a random UUID, which tunnels and access nouns have for an ID.
func newID() string { return uuid.NewString() }

// newHexID returns the same without hyphens, which databases have.
func newHexID() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }

// maxNounName is the longest name of a tunnel, database or credential in bytes:
// PostgreSQL's NAMEDATALEN less one (src/include/pg_config_manual.h), because
// drivers send the latter two as database and user.
const maxNounName = 63

// nameFault says what is wrong with a name that goes into URLs, file names and
// hostnames, or returns "".
func nameFault(name string) string {
	switch {
	case name == "":
		return "is required"
	case len(name) > maxNounName:
		return "is longer than 63 bytes"
	}
	for i := range len(name) {
		c := name[i]
		letter := (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
		if !letter && (i == 0 || !strings.ContainsRune("_.-", rune(c))) {
			return "must begin with a letter or digit and consist of letters, digits, '_', '.' and '-'"
		}
	}
	return ""
}
