package control

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

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
// ErrExists.
func (c *Control) CreateDatabase(ctx context.Context, d *Database) (*NewDatabase, error) {
	var made *NewDatabase
	err := c.transact(ctx, func(t *tx) (err error) {
		made, err = c.createDatabase(t, d, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// createDatabase is CreateDatabase as a part of a larger change; owner is the
// tunnel as that change leaves it, if it makes one.
func (c *Control) createDatabase(t *tx, d *Database, owner *Tunnel) (*NewDatabase, error) {
	made := *d
	made.ID, made.Generation, made.CreatedOn, made.ModifiedOn = newHexID(), 1, t.now, t.now
	made.Credentials = nil
	made.fillDefaults()
	if err := made.Validate(); err != nil {
		return nil, err
	}
	if err := c.insecureHere(&made, owner); err != nil {
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
	return &NewDatabase{Database: &made, Credential: credential, Password: password}, t.create(kindDatabase, made.ID, &made)
}

// CreateManagedDatabase makes a database behind a tunnel with all that it
// needs: a hostname that leads to service, a service token, an application
// whose one policy admits that token alone, and the database itself; all of it
// or nothing. d names neither host, port nor access client.
func (c *Control) CreateManagedDatabase(ctx context.Context, tunnelID, service string, d *Database) (*NewDatabase, error) {
	var f access.Faults
	const taken = "must be left out: the tunnel's hostname takes its place"
	if d.Origin.Host != "" {
		f.Addf("origin.host", taken)
	}
	if d.Origin.Port != 0 {
		f.Addf("origin.port", taken)
	}
	if d.Origin.AccessClientID != "" {
		f.Addf("origin.access_client_id", taken)
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	var made *NewDatabase
	err := c.transact(ctx, func(t *tx) (err error) {
		made, err = c.createManaged(t, tunnelID, service, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

func (c *Control) createManaged(t *tx, tunnelID, service string, d *Database) (*NewDatabase, error) {
	if fault := nameFault(d.Name); fault != "" {
		return nil, &ValidationError{Faults: []Fault{{Field: "name", Message: fault}}}
	}
	var hostname string
	owner, err := c.updateTunnel(t, d.AccountID, tunnelID, func(next *Tunnel) (err error) {
		hostname, err = freeHostname(t, d.Name, next.Name)
		next.Ingress = append(next.Ingress, Ingress{Hostname: hostname, Service: service})
		return err
	})
	if err != nil {
		return nil, err
	}
	token, secret, err := createServiceToken(t, d.AccountID, "database "+d.Name, 0)
	if err != nil {
		return nil, err
	}
	app, err := createApplication(t, &access.Application{
		AccountID: d.AccountID, Name: "database " + d.Name, Hostname: hostname,
		Policies: []access.Policy{{
			Name: "the proxy's service token", Decision: access.NonIdentity,
			Include: []access.Rule{{Selector: access.SelectServiceToken, Value: token.ID}},
		}},
	})
	if err != nil {
		return nil, err
	}
	whole := *d
	whole.Origin.Host, whole.Origin.AccessClientID, whole.Origin.AccessClientSecret = hostname, token.ClientID, Plaintext(secret)
	whole.Managed = &Managed{TunnelID: tunnelID, Hostname: hostname, ServiceTokenID: token.ID, ApplicationID: app.ID}
	made, err := c.createDatabase(t, &whole, owner)
	if err != nil {
		return nil, err
	}
	made.TunnelID, made.Hostname, made.ServiceToken, made.ApplicationID = tunnelID, hostname, token.ID, app.ID
	return made, nil
}

// freeHostname returns <database>.<tunnel>.internal, or the same with random
// letters if that leads somewhere already.
func freeHostname(t *tx, database, tunnel string) (string, error) {
	base := label(database)
	name := base
	for {
		hostname := name + "." + label(tunnel) + ".internal"
		e, err := t.get(claimKey(claimHostname, hostname))
		if err != nil || e.value == nil {
			return hostname, err
		}
		name = base[:min(len(base), 50)] + "-" + strings.ToLower(access.RandomText(8))
	}
}

// label makes a name of ours into one label of a hostname.
func label(name string) string {
	out := strings.Map(func(r rune) rune {
		if r == '.' || r == '_' {
			return '-'
		}
		return r
	}, strings.ToLower(name))
	return strings.TrimRight(out, "-")
}

// UpdateDatabase changes a database. change gets a copy and may run more than
// once; secrets are changed with Plaintext. Generation grows when Origin or
// MTLS changed. Credentials have methods of their own.
func (c *Control) UpdateDatabase(ctx context.Context, accountID, id string, change func(*Database) error) (*Database, error) {
	return c.updateDatabase(ctx, accountID, id, func(_ *tx, next *Database) error {
		credentials := next.Credentials
		err := change(next)
		next.Credentials = credentials
		return err
	})
}

func (c *Control) updateDatabase(ctx context.Context, accountID, id string, change func(*tx, *Database) error) (*Database, error) {
	var made *Database
	err := c.transact(ctx, func(t *tx) error {
		old, err := fetch(t, kindDatabase, accountID, id, (*Database).account)
		if err != nil {
			return err
		}
		next := *old
		next.Credentials = slices.Clone(old.Credentials)
		if err := change(t, &next); err != nil {
			return err
		}
		next.ID, next.AccountID, next.CreatedOn, next.Generation, next.Managed = id, accountID, old.CreatedOn, old.Generation, old.Managed
		if err := next.Validate(); err != nil {
			return err
		}
		if err := c.insecureHere(&next, nil); err != nil {
			return err
		}
		if next.Name != old.Name {
			if err := t.claim(claimDatabase, scoped(accountID, next.Name), id); err != nil {
				return err
			}
			if err := t.release(claimDatabase, scoped(accountID, old.Name), id); err != nil {
				return err
			}
		}
		if err := c.keepFormer(&next, old); err != nil {
			return err
		}
		if !reflect.DeepEqual(next.Origin, old.Origin) || next.MTLS != old.MTLS {
			next.Generation++
		}
		next.ModifiedOn = t.now
		if err := c.sealDatabase(&next); err != nil {
			return err
		}
		made = &next
		return t.put(kindDatabase, id, &next)
	})
	if err != nil {
		return nil, err
	}
	return made, nil
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

// deleteManaged deletes what is still there of a managed database's company.
func (c *Control) deleteManaged(t *tx, accountID string, m *Managed) error {
	_, err := c.updateTunnel(t, accountID, m.TunnelID, func(next *Tunnel) error {
		next.Ingress = slices.DeleteFunc(next.Ingress, func(in Ingress) bool { return in.Hostname == m.Hostname })
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err := deleteApplication(t, accountID, m.ApplicationID); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	_, err = fetch(t, kindServiceToken, accountID, m.ServiceTokenID, tokenAccount)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return t.deleteSeen(kindServiceToken, m.ServiceTokenID)
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
	return Credential{ID: newHexID(), Name: name, Verifier: verifier, CreatedOn: t.now}, password, err
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
