package control

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sluicedb/sluice/access"
)

func policyAccount(p *access.ReusablePolicy) string { return p.AccountID }

// CreatePolicy stores a policy that applications of the account may share.
func (c *Control) CreatePolicy(ctx context.Context, accountID string, p access.Policy) (*access.ReusablePolicy, error) {
	var made *access.ReusablePolicy
	err := c.transact(ctx, func(t *tx) (err error) {
		p.ID = newID()
		made, err = createPolicy(t, accountID, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// createPolicy stores p under its ID.
func createPolicy(t *tx, accountID string, p access.Policy) (*access.ReusablePolicy, error) {
	p.Reusable = true
	made := &access.ReusablePolicy{Policy: p, AccountID: accountID, CreatedAt: t.now, UpdatedAt: t.now}
	if err := made.Validate(); err != nil {
		return nil, err
	}
	return made, t.createIn(accountID, kindPolicy, made.ID, made)
}

// UpdatePolicy changes name, decision or rules of a reusable policy, for every
// application that it is part of. change gets a copy and may run more than once.
func (c *Control) UpdatePolicy(ctx context.Context, accountID, id string, change func(*access.Policy) error) (*access.ReusablePolicy, error) {
	var made *access.ReusablePolicy
	err := c.transact(ctx, func(t *tx) error {
		next, err := fetch(t, kindPolicy, accountID, id, policyAccount)
		if err != nil {
			return err
		}
		if err := change(&next.Policy); err != nil {
			return err
		}
		next.ID, next.Reusable, next.UpdatedAt = id, true, t.now
		if err := next.Validate(); err != nil {
			return err
		}
		made = next
		return t.put(kindPolicy, id, next)
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// DeletePolicy deletes a reusable policy that is part of no application, else it
// returns ErrInUse.
func (c *Control) DeletePolicy(ctx context.Context, accountID, id string) error {
	return c.transact(ctx, func(t *tx) error {
		old, err := fetch(t, kindPolicy, accountID, id, policyAccount)
		if err != nil {
			return err
		}
		if n := len(old.Applications); n > 0 {
			return fmt.Errorf("policy %s is part of %d applications: %w", old.Name, n, ErrInUse)
		}
		return t.write(nounKey(kindPolicy, id), nil)
	})
}

// MakePolicyReusable turns an application's own policy into one that others may
// share, under the same ID and at the same place.
func (c *Control) MakePolicyReusable(ctx context.Context, accountID, applicationID, id string) (*access.ReusablePolicy, error) {
	var made *access.ReusablePolicy
	err := c.transact(ctx, func(t *tx) error {
		app, err := fetch(t, kindApplication, accountID, applicationID, applicationAccount)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(app.Policies, func(p access.Policy) bool { return p.ID == id })
		if i < 0 {
			return fmt.Errorf("policy %w", ErrNotFound)
		}
		if app.Policies[i].Reusable {
			return fmt.Errorf("reusable policy: %w", ErrExists)
		}
		if made, err = createPolicy(t, accountID, app.Policies[i]); err != nil {
			return err
		}
		made.Applications = []string{applicationID}
		app.Policies[i] = access.Policy{ID: id, Reusable: true}
		app.UpdatedAt = t.now
		return errors.Join(t.put(kindPolicy, id, made), t.put(kindApplication, applicationID, app))
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// share notes at the reusable policies which applications they are part of, when
// an application's policies change from old to next. Both a policy and the
// applications that it is part of are then written by one change, so that neither
// can be deleted unseen by the other.
func share(t *tx, accountID, applicationID string, old, next []access.Policy) error {
	had, has := map[string]bool{}, map[string]bool{}
	for _, p := range old {
		had[p.ID] = had[p.ID] || p.Reusable
	}
	var f access.Faults
	for i, p := range next {
		if !p.Reusable {
			continue
		}
		has[p.ID] = true
		next[i] = access.Policy{ID: p.ID, Reusable: true}
		if had[p.ID] {
			continue
		}
		shared, err := fetch(t, kindPolicy, accountID, p.ID, policyAccount)
		switch {
		case errors.Is(err, ErrNotFound):
			f.Addf(fmt.Sprintf("policies[%d].id", i), "is that of no reusable policy: %q", clip(p.ID))
			continue
		case err != nil:
			return err
		}
		shared.Applications = append(shared.Applications, applicationID)
		if err := t.put(kindPolicy, p.ID, shared); err != nil {
			return err
		}
	}
	for id, was := range had {
		if !was || has[id] {
			continue
		}
		shared, err := fetch(t, kindPolicy, accountID, id, policyAccount)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		shared.Applications = slices.DeleteFunc(shared.Applications, func(app string) bool { return app == applicationID })
		if err := t.put(kindPolicy, id, shared); err != nil {
			return err
		}
	}
	return f.Err()
}
