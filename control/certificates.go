package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// CertificateKey returns a client certificate's private key in PEM form.
func (c *Control) CertificateKey(cert *Certificate) (Secret, error) {
	return c.sealer.open(cert.PrivateKey, kindCertificate, cert.ID, "private_key")
}

// CreateCertificate stores a copy of cert, whose AccountID says whose it is.
// Its private key is given as Plaintext. What the certificates say of
// themselves is filled in.
func (c *Control) CreateCertificate(ctx context.Context, cert *Certificate) (*Certificate, error) {
	var made *Certificate
	err := c.transact(ctx, func(t *tx) error {
		next := *cert
		next.ID, next.UploadedOn = newID(), t.now
		if err := next.fill(t.now); err != nil {
			return err
		}
		if len(c.Snapshot().Certificates(next.AccountID)) >= maxCertificatesPerAccount {
			return &LimitError{Text: fmt.Sprintf("the account has %d certificates, which is the most; delete one", maxCertificatesPerAccount)}
		}
		if err := c.sealer.seal(&next.PrivateKey, kindCertificate, next.ID, "private_key"); err != nil {
			return err
		}
		made = &next
		return t.createIn(next.AccountID, kindCertificate, next.ID, &next)
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// DeleteCertificate deletes a certificate. One that a database uses is ErrInUse.
func (c *Control) DeleteCertificate(ctx context.Context, accountID, id string) error {
	return c.transact(ctx, func(t *tx) error {
		if _, err := fetch(t, kindCertificate, accountID, id, (*Certificate).account); err != nil {
			return err
		}
		e, err := t.get(nounKey(kindCertificate, id))
		if err != nil {
			return err
		}
		// A change that makes a database use a certificate writes the certificate
		// last. So the snapshot that has this revision has all its users, and the
		// next user makes this deletion run again.
		snapshot, err := c.snapshotWithCertificate(ctx, id, e.rev)
		if err != nil {
			return err
		}
		if users := snapshot.certificateUsers(accountID, id); len(users) > 0 {
			more := ""
			if len(users) > 1 {
				more = fmt.Sprintf(" and %d more", len(users)-1)
			}
			return fmt.Errorf("certificate is %w by database %s%s", ErrInUse, users[0].Name, more)
		}
		return t.write(nounKey(kindCertificate, id), nil)
	})
}

// snapshotWithCertificate waits until the snapshot has a revision of a
// certificate, or one that came after it.
func (c *Control) snapshotWithCertificate(ctx context.Context, id string, rev uint64) (*Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	for {
		changed := c.Changed()
		s := c.Snapshot()
		if at, _ := s.certificateRevs.get(id); at >= rev || s.revision >= rev {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, errors.Join(ErrUnavailable, ctx.Err())
		}
	}
}

// certificateUsers are the databases that use a certificate.
func (s *Snapshot) certificateUsers(accountID, id string) []*Database {
	return slices.DeleteFunc(s.Databases(accountID), func(d *Database) bool { return !d.MTLS.uses(id) })
}

// Certificate returns the certificate with this ID.
func (s *Snapshot) Certificate(id string) (*Certificate, bool) { return s.certificates.get(id) }

// Certificates returns an account's certificates, oldest first.
func (s *Snapshot) Certificates(accountID string) []*Certificate {
	return sorted(s.certificates, func(c *Certificate) bool { return c.AccountID == accountID },
		func(c *Certificate) (time.Time, string) { return c.UploadedOn, c.ID })
}

// useCertificates checks that the certificates that a database names can be
// what they are named for, and returns them.
func useCertificates(t *tx, d *Database) ([]*Certificate, error) {
	var used []*Certificate
	var wrong ValidationError
	use := func(field, id string, ca bool, kind string) error {
		if id == "" {
			return nil
		}
		cert, err := fetch(t, kindCertificate, d.AccountID, id, (*Certificate).account)
		switch {
		case errors.Is(err, ErrNotFound):
			wrong.Faults = append(wrong.Faults, Fault{Field: field, Message: "no certificate has this id"})
		case err != nil:
			return err
		case cert.CA != ca:
			wrong.Faults = append(wrong.Faults, Fault{Field: field, Message: "must be the id of " + kind})
		default:
			used = append(used, cert)
		}
		return nil
	}
	if err := use("mtls.ca_certificate_id", d.MTLS.CACertificateID, true, "a CA's certificates, not of a client certificate"); err != nil {
		return nil, err
	}
	if err := use("mtls.mtls_certificate_id", d.MTLS.ClientCertificateID, false, "a client certificate, not of a CA's certificates"); err != nil {
		return nil, err
	}
	if len(wrong.Faults) > 0 {
		return nil, &wrong
	}
	return used, nil
}

// holdCertificates writes the certificates that a database comes to use once
// more, so that whoever deletes one at the same time notices. It comes after
// the database itself: see DeleteCertificate.
func holdCertificates(t *tx, used []*Certificate, before MTLS) error {
	for _, cert := range used {
		if before.uses(cert.ID) {
			continue
		}
		e, err := t.get(nounKey(kindCertificate, cert.ID))
		if err != nil {
			return err
		}
		if err := t.write(e.key, e.value); err != nil {
			return err
		}
	}
	return nil
}
