package control

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sluicedb/sluice/access"
)

// Account owns everything else; nothing of one account is visible to another.
type Account struct {
	ID        string    `json:"id"` // 32 hex digits
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
}

// Validate reports every fault at once, as a *ValidationError.
func (a *Account) Validate() error {
	var f access.Faults
	access.ValidateName(&f, "name", a.Name)
	return f.Err()
}

// CreateAccount makes an account with its first API token, of ScopeAdmin, whose
// secret is shown once and never again. Accounts may have the same name.
func (c *Control) CreateAccount(ctx context.Context, name string) (*Account, Secret, error) {
	var made *Account
	var secret string
	err := c.transact(ctx, func(t *tx) error {
		made = &Account{ID: newHexID(), Name: name, CreatedAt: t.now}
		if err := made.Validate(); err != nil {
			return err
		}
		var token *APIToken
		token, secret = newAPIToken(made.ID, firstTokenName, ScopeAdmin, time.Time{}, t.now)
		if err := t.create(kindAccount, made.ID, made); err != nil {
			return err
		}
		return t.create(kindAPIToken, token.ID, token)
	})
	if err != nil {
		return nil, "", err
	}
	return made, Secret(secret), nil
}

// DeleteAccount deletes an account with its API tokens. One that still has
// anything else, and the default account, are refused as a *ValidationError.
func (c *Control) DeleteAccount(ctx context.Context, id string) error {
	return c.transact(ctx, func(t *tx) error {
		if _, err := fetch(t, kindAccount, id, id, func(a *Account) string { return a.ID }); err != nil {
			return err
		}
		refuse := func(format string, v ...any) error {
			return &ValidationError{Faults: []Fault{{Message: fmt.Sprintf(format, v...)}}}
		}
		if id == DefaultAccountID {
			return refuse("the default account cannot be deleted")
		}
		s, err := t.unlessChanged()
		if err != nil {
			return err
		}
		var has []string
		for _, noun := range []struct {
			name  string
			count int
		}{
			{"databases", len(s.Databases(id)) + len(s.pendingOf(id))}, {"tunnels", len(s.Tunnels(id))},
			{"certificates", len(s.Certificates(id))}, {"policies", len(s.Policies(id))},
			{"applications", len(s.Applications(id))}, {"service tokens", len(s.ServiceTokens(id))},
		} {
			if noun.count > 0 {
				has = append(has, fmt.Sprintf("%d %s", noun.count, noun.name))
			}
		}
		if len(has) > 0 {
			return refuse("the account still has %s: delete them first", strings.Join(has, ", "))
		}
		for _, token := range s.APITokens(id) {
			if err := t.deleteSeen(kindAPIToken, token.ID); err != nil {
				return err
			}
		}
		return t.write(nounKey(kindAccount, id), nil)
	})
}
