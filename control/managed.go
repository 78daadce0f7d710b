package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluicedb/sluice/access"
)

// pendingDatabase is a managed database whose way was made so that its
// connection can be tested, and that is not there until the test has passed.
type pendingDatabase struct {
	ID       string    `json:"id"` // the database's
	Database *Database `json:"database"`
}

const (
	// pendingMax is how long a test may take before what was made for it is taken
	// away: several times what a request may last, and some difference of clocks.
	pendingMax = 3 * time.Minute
	reapEvery  = time.Minute
)

func (p *pendingDatabase) account() string {
	if p.Database == nil {
		return ""
	}
	return p.Database.AccountID
}

// pendingOf returns an account's pending databases, every account's if
// accountID is empty.
func (s *Snapshot) pendingOf(accountID string) []*pendingDatabase {
	return sorted(s.pending, func(p *pendingDatabase) bool {
		return p.Database != nil && (accountID == "" || p.Database.AccountID == accountID)
	}, func(p *pendingDatabase) (time.Time, string) { return p.Database.CreatedOn, p.ID })
}

// CreateManagedDatabase makes a database behind a tunnel with all that it
// needs: a hostname that leads to service, a service token, an application
// whose one policy admits that token alone, and the database itself; all of it
// or nothing. d names neither host, port nor access client. A test needs the way
// to be there: what was made for one that fails, or is never finished, is taken
// away, and nobody else can have used it, since its token is nobody else's. nil:
// no test.
func (c *Control) CreateManagedDatabase(ctx context.Context, tunnelID, service string, d *Database, test Test) (*NewDatabase, error) {
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
	whole := *d
	whole.ID = newHexID()
	var made *NewDatabase
	candidate := &Candidate{Fresh: true}
	err := c.transact(ctx, func(t *tx) (err error) {
		if made, err = c.createManaged(t, tunnelID, service, &whole); err != nil || test == nil {
			return err
		}
		candidate.Database = made.Database
		if candidate.Certificates, err = useCertificates(t, made.Database); err != nil {
			return err
		}
		return t.suspend(made.Database)
	})
	if err != nil {
		return nil, err
	}
	if test == nil {
		return made, nil
	}
	err = test(ctx, candidate)
	if err == nil {
		err = c.finishPending(ctx, made.Database)
	}
	if err != nil {
		return nil, errors.Join(err, c.abandonPending(ctx, made.Database))
	}
	return made, nil
}

// suspend puts a database that this change creates aside.
func (t *tx) suspend(d *Database) error {
	key := nounKey(kindDatabase, d.ID)
	t.ops = slices.DeleteFunc(t.ops, func(o op) bool { return o.key == key })
	return t.createIn(d.AccountID, kindPending, d.ID, &pendingDatabase{ID: d.ID, Database: d})
}

// finishPending makes a pending database a real one.
func (c *Control) finishPending(ctx context.Context, d *Database) error {
	return c.transact(ctx, func(t *tx) error {
		pending, err := fetch(t, kindPending, d.AccountID, d.ID, (*pendingDatabase).account)
		if errors.Is(err, ErrNotFound) {
			return fmt.Errorf("database %s: %w", d.Name, ErrConflict) // it took too long
		} else if err != nil {
			return err
		}
		d := pending.Database // whose secrets a rotation of keys may have sealed anew
		used, err := useCertificates(t, d)
		if err != nil {
			return err
		}
		if err := t.write(nounKey(kindPending, d.ID), nil); err != nil {
			return err
		}
		if err := t.createIn(d.AccountID, kindDatabase, d.ID, d); err != nil {
			return err
		}
		return holdCertificates(t, used, MTLS{})
	})
}

// abandonPending takes away what was made for a pending database. Who asked for
// it may be gone, so that it has a time of its own.
func (c *Control) abandonPending(ctx context.Context, d *Database) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitWait)
	defer cancel()
	return c.transact(ctx, func(t *tx) error {
		if _, err := fetch(t, kindPending, d.AccountID, d.ID, (*pendingDatabase).account); errors.Is(err, ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		if err := c.deleteManaged(t, d.AccountID, d.Managed); err != nil {
			return err
		}
		if err := t.release(claimDatabase, scoped(d.AccountID, d.Name), d.ID); err != nil {
			return err
		}
		return t.write(nounKey(kindPending, d.ID), nil)
	})
}

// reapPending takes away, until ctx ends, what nodes that died have left.
func (c *Control) reapPending(ctx context.Context) error {
	tick := time.NewTicker(reapEvery)
	defer tick.Stop()
	for {
		c.reapBefore(ctx, time.Now().Add(-pendingMax))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reapBefore takes away what was begun before a time.
func (c *Control) reapBefore(ctx context.Context, before time.Time) {
	for _, p := range c.Snapshot().pendingOf("") {
		if p.Database.Managed == nil || p.Database.CreatedOn.After(before) {
			continue
		}
		if err := c.abandonPending(ctx, p.Database); err != nil {
			c.logger.Warn("unfinished database is still there", "database", p.Database.Name, "err", err)
		}
	}
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
