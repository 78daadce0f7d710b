package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sluicedb/sluice/access"
)

func tokenAccount(t *access.ServiceToken) string { return t.AccountID }

func applicationAccount(a *access.Application) string { return a.AccountID }

// CreateServiceToken makes a service token and returns its client secret, which
// is shown once and never again. A zero duration never ends.
func (c *Control) CreateServiceToken(ctx context.Context, accountID, name string, duration time.Duration) (*access.ServiceToken, Secret, error) {
	var made *access.ServiceToken
	var secret Secret
	err := c.transact(ctx, func(t *tx) (err error) {
		made, secret, err = createServiceToken(t, accountID, name, duration)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return made, secret, nil
}

// createServiceToken is CreateServiceToken as a part of a larger change.
func createServiceToken(t *tx, accountID, name string, duration time.Duration) (*access.ServiceToken, Secret, error) {
	made, secret, err := access.NewServiceToken(name, duration, t.now)
	if err != nil {
		return nil, "", err
	}
	made.ID, made.AccountID = newID(), accountID
	return &made, Secret(secret), t.createIn(accountID, kindServiceToken, made.ID, &made)
}

// UpdateServiceToken changes name, duration or the disabled flag; another duration
// counts from now. change gets a copy and may run more than once; what it does to
// anything else is undone.
func (c *Control) UpdateServiceToken(ctx context.Context, accountID, id string, change func(*access.ServiceToken) error) (*access.ServiceToken, error) {
	return c.updateServiceToken(ctx, accountID, id, func(t *tx, next *access.ServiceToken) error {
		old := *next
		old.Secrets = slices.Clone(next.Secrets)
		if err := change(next); err != nil {
			return err
		}
		next.Secrets, next.SecretVersion, next.ExpiresAt = old.Secrets, old.SecretVersion, old.ExpiresAt
		if next.Duration != old.Duration {
			next.Refresh(t.now)
		}
		if next.Disabled && !old.Disabled {
			next.Disable()
		}
		return nil
	})
}

// RotateServiceToken gives a service token a new secret and returns it. The old
// one stays valid until graceUntil, zero ends it now. While an older one is
// still in its grace the answer is access.ErrTwoSecrets. from is the version of
// the secret that is meant, 0 for whichever it is; another one is ErrConflict.
func (c *Control) RotateServiceToken(ctx context.Context, accountID, id string, from int, graceUntil time.Time) (*access.ServiceToken, Secret, error) {
	var secret string
	made, err := c.updateServiceToken(ctx, accountID, id, func(t *tx, next *access.ServiceToken) (err error) {
		if from != 0 && max(next.SecretVersion, 1) != from {
			return fmt.Errorf("%w: the secret has been rotated meanwhile", ErrConflict)
		}
		secret, err = next.Rotate(t.now, graceUntil)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return made, Secret(secret), nil
}

// RefreshServiceToken lets a service token live for its duration from now on.
// One that does not expire stays as it is.
func (c *Control) RefreshServiceToken(ctx context.Context, accountID, id string) (*access.ServiceToken, error) {
	return c.updateServiceToken(ctx, accountID, id, func(t *tx, next *access.ServiceToken) error {
		next.Refresh(t.now)
		return nil
	})
}

func (c *Control) updateServiceToken(ctx context.Context, accountID, id string, change func(*tx, *access.ServiceToken) error) (*access.ServiceToken, error) {
	var made *access.ServiceToken
	err := c.transact(ctx, func(t *tx) error {
		next, err := fetch(t, kindServiceToken, accountID, id, tokenAccount)
		if err != nil {
			return err
		}
		clientID, created := next.ClientID, next.CreatedAt
		if err := change(t, next); err != nil {
			return err
		}
		next.ID, next.AccountID, next.ClientID, next.CreatedAt, next.UpdatedAt = id, accountID, clientID, created, t.now
		if err := next.Validate(); err != nil {
			return err
		}
		made = next
		return t.put(kindServiceToken, id, next)
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// DeleteServiceToken revokes a service token. Policies that name it match it no
// longer.
func (c *Control) DeleteServiceToken(ctx context.Context, accountID, id string) error {
	return c.transact(ctx, func(t *tx) error {
		if _, err := fetch(t, kindServiceToken, accountID, id, tokenAccount); err != nil {
			return err
		}
		return t.deleteSeen(kindServiceToken, id)
	})
}

// CreateApplication stores a copy of a, whose AccountID says whose it is. IDs
// and times are filled in. A second application for a hostname is ErrExists.
func (c *Control) CreateApplication(ctx context.Context, a *access.Application) (*access.Application, error) {
	var made *access.Application
	err := c.transact(ctx, func(t *tx) (err error) {
		made, err = createApplication(t, a)
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// createApplication is CreateApplication as a part of a larger change.
func createApplication(t *tx, a *access.Application) (*access.Application, error) {
	made := *a
	made.ID, made.CreatedAt, made.UpdatedAt = newID(), t.now, t.now
	made.Policies = withPolicyIDs(a.Policies)
	if err := made.Validate(); err != nil {
		return nil, err
	}
	if err := t.claim(claimApplication, scoped(made.AccountID, made.Hostname), made.ID); err != nil {
		return nil, err
	}
	if err := share(t, made.AccountID, made.ID, nil, made.Policies); err != nil {
		return nil, err
	}
	return &made, t.createIn(made.AccountID, kindApplication, made.ID, &made)
}

// UpdateApplication changes name, hostname or policies. change gets a copy and
// may run more than once; policies without an ID get one.
func (c *Control) UpdateApplication(ctx context.Context, accountID, id string, change func(*access.Application) error) (*access.Application, error) {
	var made *access.Application
	err := c.transact(ctx, func(t *tx) error {
		next, err := fetch(t, kindApplication, accountID, id, applicationAccount)
		if err != nil {
			return err
		}
		hostname, created, had := next.Hostname, next.CreatedAt, slices.Clone(next.Policies)
		if err := change(next); err != nil {
			return err
		}
		next.ID, next.AccountID, next.CreatedAt, next.UpdatedAt = id, accountID, created, t.now
		next.Policies = withPolicyIDs(next.Policies)
		if err := next.Validate(); err != nil {
			return err
		}
		if next.Hostname != hostname {
			if err := t.claim(claimApplication, scoped(accountID, next.Hostname), id); err != nil {
				return err
			}
			if err := t.release(claimApplication, scoped(accountID, hostname), id); err != nil {
				return err
			}
		}
		if err := share(t, accountID, id, had, next.Policies); err != nil {
			return err
		}
		made = next
		return t.put(kindApplication, id, next)
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// withPolicyIDs returns a copy in which every policy has an ID.
func withPolicyIDs(policies []access.Policy) []access.Policy {
	out := append([]access.Policy{}, policies...)
	for i := range out {
		if out[i].ID == "" {
			out[i].ID = newID()
		}
	}
	return out
}

// DeleteApplication deletes an application with its policies: from then on
// nobody is admitted to its hostname.
func (c *Control) DeleteApplication(ctx context.Context, accountID, id string) error {
	return c.transact(ctx, func(t *tx) error {
		return deleteApplication(t, accountID, id)
	})
}

// deleteApplication is DeleteApplication as a part of a larger change.
func deleteApplication(t *tx, accountID, id string) error {
	old, err := fetch(t, kindApplication, accountID, id, applicationAccount)
	if err != nil {
		return err
	}
	if err := t.release(claimApplication, scoped(accountID, old.Hostname), id); err != nil {
		return err
	}
	if err := share(t, accountID, id, old.Policies, nil); err != nil {
		return err
	}
	return t.write(nounKey(kindApplication, id), nil)
}
