package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sluicedb/sluice/access"
)

// APITokenPrefix begins every API token, so that scanners find one.
const APITokenPrefix = "slat_"

// firstTokenName is the name of the token that an account begins with, and of
// those that ResetToken puts in its place.
const firstTokenName = "first"

// maxAPITokens bounds an account's API tokens: far more than people and
// programs that have one each.
const maxAPITokens = 1000

// Scope is how far an API token reaches within its account.
type Scope string

// The scopes, each with what the one before it has. A token of the default
// account with ScopeAdmin also makes accounts, backups and new sealing keys.
const (
	ScopeRead  Scope = "read"  // see everything but secrets
	ScopeEdit  Scope = "edit"  // change everything but API tokens and accounts
	ScopeAdmin Scope = "admin" // everything
)

// Includes reports whether a token of scope s may do what needs scope need. A
// scope that is not known includes nothing.
func (s Scope) Includes(need Scope) bool {
	order := []Scope{ScopeRead, ScopeEdit, ScopeAdmin}
	has, needed := slices.Index(order, s), slices.Index(order, need)
	return has >= 0 && needed >= 0 && has >= needed
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
		if n := len(c.Snapshot().APITokens(accountID)); n >= maxAPITokens {
			return &ValidationError{Faults: []Fault{{Message: fmt.Sprintf("the account has %d API tokens already: delete some first", n)}}}
		}
		return t.createIn(accountID, kindAPIToken, made.ID, made)
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

// DeleteAPIToken revokes an API token. The account's last one that may make
// others is refused, as a *ValidationError: nobody could come back in.
func (c *Control) DeleteAPIToken(ctx context.Context, accountID, id string) error {
	return c.transact(ctx, func(t *tx) error {
		token, err := fetch(t, kindAPIToken, accountID, id, (*APIToken).account)
		if err != nil {
			return err
		}
		admin := func(o *APIToken) bool { return o.Scope == ScopeAdmin && !o.Expired(t.now) }
		another := func(o *APIToken) bool { return o.ID != id && admin(o) }
		if !admin(token) {
			return t.deleteSeen(kindAPIToken, id)
		}
		s, err := t.unlessChanged()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(s.APITokens(accountID), another) {
			return &ValidationError{Faults: []Fault{{Message: "this is the account's last admin token: make another before you delete it"}}}
		}
		return t.deleteSeen(kindAPIToken, id)
	})
}

// ResetToken makes a new first token of an account, with ScopeAdmin, in place
// of those that have its name: for an owner of the data directory who has lost
// it, or whom somebody has stolen it from.
func (c *Control) ResetToken(ctx context.Context, accountID string) (*APIToken, Secret, error) {
	var made *APIToken
	var secret string
	err := c.transact(ctx, func(t *tx) error {
		if _, err := fetch(t, kindAccount, accountID, accountID, func(a *Account) string { return a.ID }); err != nil {
			return err
		}
		for _, old := range c.Snapshot().APITokens(accountID) {
			if old.Name == firstTokenName {
				if err := t.deleteSeen(kindAPIToken, old.ID); err != nil {
					return err
				}
			}
		}
		made, secret = newAPIToken(accountID, firstTokenName, ScopeAdmin, time.Time{}, t.now)
		return t.create(kindAPIToken, made.ID, made)
	})
	if err != nil {
		return nil, "", err
	}
	return made, Secret(secret), nil
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
