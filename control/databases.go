package control

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/sluicedb/sluice/access"
)

// OriginPassword returns the password that d's origin asks for, "" if none was
// given.
func (c *Control) OriginPassword(d *Database) (Secret, error) {
	return c.sealer.open(d.Origin.Password, kindDatabase, d.ID, "origin.password")
}

// FormerOriginPassword returns the password that d's origin may still ask for
// after a change, "" if there is none.
func (c *Control) FormerOriginPassword(d *Database) (Secret, error) {
	return c.sealer.open(d.Origin.FormerPassword, kindDatabase, d.ID, "origin.password")
}

// keepFormer keeps the password that a new one replaces, so that it can be
// changed here first and at the origin after that, without a failed login. What
// belongs to another user or host is forgotten.
func (c *Control) keepFormer(next, old *Database) error {
	next.Origin.FormerPassword = old.Origin.FormerPassword
	if next.Origin.User != old.Origin.User || next.Origin.Host != old.Origin.Host {
		next.Origin.FormerPassword = Sealed{}
		return nil
	}
	given := next.Origin.Password.plain
	if given == nil || old.Origin.Password.IsZero() {
		return nil
	}
	before, err := c.OriginPassword(old)
	if err != nil {
		return err
	}
	if before != *given {
		next.Origin.FormerPassword = old.Origin.Password
	}
	return nil
}

// AccessClientSecret returns the client secret that goes with
// d.Origin.AccessClientID.
func (c *Control) AccessClientSecret(d *Database) (Secret, error) {
	return c.sealer.open(d.Origin.AccessClientSecret, kindDatabase, d.ID, "origin.access_client_secret")
}

func (c *Control) sealDatabase(d *Database) error {
	return errors.Join(
		c.sealer.seal(&d.Origin.Password, kindDatabase, d.ID, "origin.password"),
		c.sealer.seal(&d.Origin.AccessClientSecret, kindDatabase, d.ID, "origin.access_client_secret"),
	)
}

// CreateDatabase stores a copy of d, whose AccountID says whose it is, with one
// client credential of the same name. What d leaves out gets its default. Its
// origin secrets are given as Plaintext. A name that the account has already is
// ErrExists. What test finds wrong keeps the database from being made; nil: no
// test.
func (c *Control) CreateDatabase(ctx context.Context, d *Database, test Test) (*NewDatabase, error) {
	whole := *d
	whole.ID = newHexID()
	if test != nil {
		candidate, err := c.rehearse(ctx, func(t *tx) (*Database, error) {
			made, err := c.createDatabase(t, &whole, nil)
			if err != nil {
				return nil, err
			}
			return made.Database, nil
		})
		if err != nil {
			return nil, err
		}
		if err := test(ctx, candidate); err != nil {
			return nil, err
		}
	}
	var made *NewDatabase
	err := c.transact(ctx, func(t *tx) (err error) {
		made, err = c.createDatabase(t, &whole, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// createDatabase is CreateDatabase as a part of a larger change; d has its ID,
// and owner is the tunnel as that change leaves it, if it makes one.
func (c *Control) createDatabase(t *tx, d *Database, owner *Tunnel) (*NewDatabase, error) {
	made := *d
	made.Version, made.Generation, made.CacheEpoch, made.CreatedOn, made.ModifiedOn = 1, 1, 0, t.now, t.now
	made.Credentials = nil
	made.fillDefaults()
	if err := made.Validate(); err != nil {
		return nil, err
	}
	if err := c.insecureHere(&made, owner); err != nil {
		return nil, err
	}
	used, err := useCertificates(t, &made)
	if err != nil {
		return nil, err
	}
	credential, password, err := newCredential(t, made.Name)
	if err != nil {
		return nil, err
	}
	made.Credentials = []Credential{credential}
	if err := c.sealDatabase(&made); err != nil {
		return nil, err
	}
	if err := t.claim(claimDatabase, scoped(made.AccountID, made.Name), made.ID); err != nil {
		return nil, err
	}
	if err := c.roomForDatabase(made.AccountID); err != nil {
		return nil, err
	}
	if err := t.createIn(made.AccountID, kindDatabase, made.ID, &made); err != nil {
		return nil, err
	}
	return &NewDatabase{Database: &made, Credential: credential, Password: password}, holdCertificates(t, used, MTLS{})
}

// roomForDatabase refuses a database beyond what the account may have. Changes
// at the same moment may each find the last place.
func (c *Control) roomForDatabase(accountID string) error {
	s := c.Snapshot()
	if c.maxDatabases == 0 || len(s.Databases(accountID))+len(s.pendingOf(accountID)) < c.maxDatabases {
		return nil
	}
	return &LimitError{Text: fmt.Sprintf("the account has %d databases, which is the most; delete one, or raise the server's --max-databases", c.maxDatabases)}
}

// UpdateDatabase changes a database. change gets a copy and may run more than
// once; secrets are changed with Plaintext. Generation grows when Origin or
// MTLS changed, and then test, unless it is nil, must find nothing wrong; what
// somebody else changed in the meantime is ErrConflict. Credentials have methods
// of their own.
func (c *Control) UpdateDatabase(ctx context.Context, accountID, id string, change func(*Database) error, test Test) (*Database, error) {
	settings := func(_ *tx, next *Database) error {
		kept := *next
		err := change(next)
		next.Credentials, next.Version, next.CacheEpoch = kept.Credentials, kept.Version+1, kept.CacheEpoch
		return err
	}
	if test == nil {
		return c.updateDatabase(ctx, accountID, id, settings)
	}
	var generation int64
	candidate, err := c.rehearse(ctx, func(t *tx) (*Database, error) {
		return c.changeDatabase(t, accountID, id, func(t *tx, next *Database) error {
			generation = next.Generation
			return settings(t, next)
		})
	})
	if err != nil {
		return nil, err
	}
	if candidate.Database.Generation != generation {
		if err := test(ctx, candidate); err != nil {
			return nil, err
		}
	}
	return c.updateDatabase(ctx, accountID, id, func(t *tx, next *Database) error {
		if next.Version+1 != candidate.Database.Version {
			return fmt.Errorf("database %s: %w", next.Name, ErrConflict)
		}
		return settings(t, next)
	})
}

func (c *Control) updateDatabase(ctx context.Context, accountID, id string, change func(*tx, *Database) error) (*Database, error) {
	var made *Database
	err := c.transact(ctx, func(t *tx) (err error) {
		made, err = c.changeDatabase(t, accountID, id, change)
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// changeDatabase changes a database as a part of a larger change.
func (c *Control) changeDatabase(t *tx, accountID, id string, change func(*tx, *Database) error) (*Database, error) {
	old, err := fetch(t, kindDatabase, accountID, id, (*Database).account)
	if err != nil {
		return nil, err
	}
	next := *old
	next.Credentials = slices.Clone(old.Credentials)
	if err := change(t, &next); err != nil {
		return nil, err
	}
	next.ID, next.AccountID, next.CreatedOn, next.Generation, next.Managed = id, accountID, old.CreatedOn, old.Generation, old.Managed
	if err := next.Validate(); err != nil {
		return nil, err
	}
	if err := c.insecureHere(&next, nil); err != nil {
		return nil, err
	}
	used, err := useCertificates(t, &next)
	if err != nil {
		return nil, err
	}
	if next.Name != old.Name {
		if err := t.claim(claimDatabase, scoped(accountID, next.Name), id); err != nil {
			return nil, err
		}
		if err := t.release(claimDatabase, scoped(accountID, old.Name), id); err != nil {
			return nil, err
		}
	}
	if err := c.keepFormer(&next, old); err != nil {
		return nil, err
	}
	if err := c.keepSecrets(&next, old); err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(next.Origin, old.Origin) || next.MTLS != old.MTLS {
		next.Generation++
	}
	next.ModifiedOn = t.now
	if err := c.sealDatabase(&next); err != nil {
		return nil, err
	}
	if err := t.put(kindDatabase, id, &next); err != nil {
		return nil, err
	}
	return &next, holdCertificates(t, used, old.MTLS)
}

// keepSecrets leaves a secret that is given again as it is sealed: saying the
// same password once more, as some clients do with every change, is no change.
func (c *Control) keepSecrets(next, old *Database) error {
	keep := func(now *Sealed, before Sealed, field string) error {
		if now.plain == nil {
			return nil
		}
		was, err := c.sealer.open(before, kindDatabase, old.ID, field)
		if err == nil && was == *now.plain {
			*now = before
		}
		return err
	}
	return errors.Join(
		keep(&next.Origin.Password, old.Origin.Password, "origin.password"),
		keep(&next.Origin.AccessClientSecret, old.Origin.AccessClientSecret, "origin.access_client_secret"),
	)
}

// PurgeCache makes caches forget what they have of a database: they obey its
// next CacheEpoch as soon as their snapshot has it.
func (c *Control) PurgeCache(ctx context.Context, accountID, id string) (*Database, error) {
	return c.updateDatabase(ctx, accountID, id, func(_ *tx, next *Database) error {
		next.CacheEpoch++
		return nil
	})
}

// DeleteDatabase deletes a database, and what CreateManagedDatabase made with
// it, or nothing.
func (c *Control) DeleteDatabase(ctx context.Context, accountID, id string) error {
	return c.transact(ctx, func(t *tx) error {
		old, err := fetch(t, kindDatabase, accountID, id, (*Database).account)
		if err != nil {
			return err
		}
		if old.Managed != nil {
			if err := c.deleteManaged(t, accountID, old.Managed); err != nil {
				return err
			}
		}
		if err := t.release(claimDatabase, scoped(accountID, old.Name), id); err != nil {
			return err
		}
		return t.write(nounKey(kindDatabase, id), nil)
	})
}

// CreateCredential adds a client credential and returns its password, which is
// shown once and never again. Several may be live, so that they rotate without
// a gap.
func (c *Control) CreateCredential(ctx context.Context, accountID, databaseID, name string) (*Credential, Secret, error) {
	var made Credential
	var password Secret
	_, err := c.updateDatabase(ctx, accountID, databaseID, func(t *tx, next *Database) (err error) {
		if _, ok := next.Credential(name); ok {
			return fmt.Errorf("credential %s: %w", name, ErrExists)
		}
		made, password, err = newCredential(t, name)
		next.Credentials = append(next.Credentials, made)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return &made, password, nil
}

func newCredential(t *tx, name string) (Credential, Secret, error) {
	password := Secret(access.RandomText(generatedPasswordCharacters))
	verifier, err := NewVerifier(password)
	return Credential{ID: newHexID(), Name: name, Verifier: verifier, MySQLVerifier: newMySQLVerifier(password), CreatedOn: t.now}, password, err
}

// DeleteCredential revokes a client credential.
func (c *Control) DeleteCredential(ctx context.Context, accountID, databaseID, id string) error {
	_, err := c.updateDatabase(ctx, accountID, databaseID, func(_ *tx, next *Database) error {
		n := len(next.Credentials)
		next.Credentials = slices.DeleteFunc(next.Credentials, func(c Credential) bool { return c.ID == id })
		if len(next.Credentials) == n {
			return fmt.Errorf("credential %w", ErrNotFound)
		}
		return nil
	})
	return err
}
