package control

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sluicedb/sluice/access"
)

// MaxIngress is how many hostnames may lead through one tunnel: deleting it is
// one atomic batch with a message for each, and NATS takes batchLimit.
const MaxIngress = 900

// TunnelSecretPrefix begins every tunnel's secret, so that scanners find one.
const TunnelSecretPrefix = "sltn_"

// Tunnel is what connectors of one private network register as, with the
// hostnames that lead through it. A hostname belongs to one tunnel only.
type Tunnel struct {
	ID         string      `json:"id"` // UUID
	AccountID  string      `json:"account_id"`
	Name       string      `json:"name"`
	Secret     Sealed      `json:"secret"` // given back by Control.TunnelSecret
	SecretHash access.Hash `json:"secret_hash"`
	// SecretVersion grows by one with each rotation. The first is 1; a tunnel of a
	// time before it was counted has 0.
	SecretVersion int       `json:"secret_version,omitempty"`
	Ingress       []Ingress `json:"ingress"`
	// ConfigVersion starts at 1 and grows by one with every change of Ingress.
	ConfigVersion int64     `json:"config_version"`
	CreatedAt     time.Time `json:"created_at"`
	UpdatedAt     time.Time `json:"updated_at"`
}

// LogValue keeps the secret's hash and ciphertext out of logs.
func (t Tunnel) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", t.ID), slog.String("name", t.Name))
}

// SecretIs reports, in constant time, whether secret is the one that connectors
// of t present. A nil t never matches and costs the same work.
func (t *Tunnel) SecretIs(secret string) bool {
	var want access.Hash
	if t != nil {
		want = t.SecretHash
	}
	equal := access.HashSecret(secret).Equal(want)
	return equal && t != nil
}

// Validate reports every fault at once, as a *ValidationError.
func (t *Tunnel) Validate() error {
	var f access.Faults
	if fault := nameFault(t.Name); fault != "" {
		f.Addf("name", "%s", fault)
	}
	if len(t.Ingress) > MaxIngress {
		f.Addf("ingress", "has more than %d hostnames", MaxIngress)
	}
	seen := map[string]int{}
	for i, in := range t.Ingress {
		at := f.In(fmt.Sprintf("ingress[%d]", i))
		if fault := access.HostnameFault(in.Hostname); fault != "" {
			at.Addf("hostname", "%s", fault)
		} else if first, ok := seen[in.Hostname]; ok {
			at.Addf("hostname", "is that of ingress[%d] again: %s", first, in.Hostname)
		} else {
			seen[in.Hostname] = i
		}
		in.validate(at)
	}
	return f.Err()
}

func (t *Tunnel) account() string { return t.AccountID }

// TunnelSecret returns the secret that connectors of t present.
func (c *Control) TunnelSecret(t *Tunnel) (Secret, error) {
	return c.sealer.open(t.Secret, kindTunnel, t.ID, "secret")
}

// tunnelSecretMin is the least that a tunnel's secret that somebody chose holds,
// in bytes before its encoding: Cloudflare's API asks for "at least 32 bytes".
const tunnelSecretMin = 32

// tunnelSecretMax is the most text of one: what a relay looks at of a credential
// (maxCredential in package relay).
const tunnelSecretMax = 256

// setSecret gives t the secret that was chosen, or a new one when that is empty.
func (c *Control) setSecret(t *Tunnel, chosen Secret) error {
	secret := string(chosen)
	switch data, err := base64.StdEncoding.DecodeString(secret); {
	case secret == "":
		secret = access.NewSecret(TunnelSecretPrefix)
	case err != nil || len(data) < tunnelSecretMin || len(secret) > tunnelSecretMax:
		var f access.Faults
		f.Addf("tunnel_secret", "must be the base64 of at least %d random bytes, in at most %d characters; leave it out for one that is made here", tunnelSecretMin, tunnelSecretMax)
		return f.Err()
	}
	t.Secret, t.SecretHash = Plaintext(Secret(secret)), access.HashSecret(secret)
	t.SecretVersion++
	return c.sealer.seal(&t.Secret, kindTunnel, t.ID, "secret")
}

// RotateTunnelSecret changes a tunnel as UpdateTunnel does, and gives it another
// secret: the one that was chosen, the base64 of at least 32 bytes, or a new one
// when that is empty. Relays end the sessions of connectors that registered with
// the old one.
func (c *Control) RotateTunnelSecret(ctx context.Context, accountID, id string, chosen Secret, change func(*Tunnel) error) (*Tunnel, error) {
	var made *Tunnel
	err := c.transact(ctx, func(t *tx) (err error) {
		if made, err = c.updateTunnel(t, accountID, id, change); err != nil {
			return err
		}
		made.SecretVersion = max(made.SecretVersion, 1)
		if err := c.setSecret(made, chosen); err != nil {
			return err
		}
		return t.put(kindTunnel, id, made)
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// CreateTunnel makes a tunnel that no hostname leads through. A name that the
// account has already is ErrExists.
func (c *Control) CreateTunnel(ctx context.Context, accountID, name string) (*Tunnel, error) {
	return c.CreateTunnelWith(ctx, accountID, name, "")
}

// CreateTunnelWith is CreateTunnel with a secret that was chosen, the base64 of at
// least 32 bytes; empty for a new one.
func (c *Control) CreateTunnelWith(ctx context.Context, accountID, name string, chosen Secret) (*Tunnel, error) {
	var made *Tunnel
	err := c.transact(ctx, func(t *tx) error {
		made = &Tunnel{
			ID: newID(), AccountID: accountID, Name: name,
			Ingress: []Ingress{}, ConfigVersion: 1, CreatedAt: t.now, UpdatedAt: t.now,
		}
		if err := made.Validate(); err != nil {
			return err
		}
		if err := c.setSecret(made, chosen); err != nil {
			return err
		}
		if err := t.claim(claimTunnelName, scoped(accountID, name), made.ID); err != nil {
			return err
		}
		return t.createIn(accountID, kindTunnel, made.ID, made)
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// UpdateTunnel changes the name or the ingress of a tunnel. change gets a copy
// and may run more than once. A hostname that leads elsewhere already is
// ErrExists; an ingress with a fault is refused whole.
func (c *Control) UpdateTunnel(ctx context.Context, accountID, id string, change func(*Tunnel) error) (*Tunnel, error) {
	var made *Tunnel
	err := c.transact(ctx, func(t *tx) (err error) {
		made, err = c.updateTunnel(t, accountID, id, change)
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// updateTunnel is UpdateTunnel as a part of a larger change.
func (c *Control) updateTunnel(t *tx, accountID, id string, change func(*Tunnel) error) (*Tunnel, error) {
	old, err := fetch(t, kindTunnel, accountID, id, (*Tunnel).account)
	if err != nil {
		return nil, err
	}
	next := *old
	next.Ingress = slices.Clone(old.Ingress)
	if err := change(&next); err != nil {
		return nil, err
	}
	// What a caller may not change stays as it was.
	next.ID, next.AccountID, next.CreatedAt = old.ID, old.AccountID, old.CreatedAt
	next.Secret, next.SecretHash, next.SecretVersion = old.Secret, old.SecretHash, old.SecretVersion
	next.ConfigVersion = old.ConfigVersion
	if err := next.Validate(); err != nil {
		return nil, err
	}
	if next.Name != old.Name {
		if err := t.claim(claimTunnelName, scoped(accountID, next.Name), id); err != nil {
			return nil, err
		}
		if err := t.release(claimTunnelName, scoped(accountID, old.Name), id); err != nil {
			return nil, err
		}
	}
	if !slices.EqualFunc(old.Ingress, next.Ingress, Ingress.equal) {
		if err := c.moveHostnames(t, old, &next); err != nil {
			return nil, err
		}
		next.ConfigVersion++
	}
	next.UpdatedAt = t.now
	return &next, t.put(kindTunnel, id, &next)
}

// moveHostnames claims what the new ingress adds and releases what it drops.
func (c *Control) moveHostnames(t *tx, old, next *Tunnel) error {
	had, has := map[string]bool{}, map[string]bool{}
	for _, in := range old.Ingress {
		had[in.Hostname] = true
	}
	for _, in := range next.Ingress {
		has[in.Hostname] = true
	}
	for hostname := range had {
		if !has[hostname] {
			if err := t.release(claimHostname, hostname, old.ID); err != nil {
				return err
			}
		}
	}
	for i, in := range next.Ingress {
		if !had[in.Hostname] {
			if err := c.claimHostname(t, next, in.Hostname); err != nil {
				return fmt.Errorf("ingress[%d]: %w", i, err)
			}
		}
	}
	return c.insecureStays(next)
}

// claimHostname takes a hostname for a tunnel. A name below another account's
// wildcard is not free either; a race for one is settled by TunnelByHostname.
func (c *Control) claimHostname(t *tx, owner *Tunnel, hostname string) error {
	snap := c.Snapshot()
	for wildcard := range wildcards(hostname) {
		if r, ok := snap.routes.get(wildcard); ok && r.tunnel.AccountID != owner.AccountID {
			return fmt.Errorf("%s: %w", claimText(claimHostname, hostname), ErrExists)
		}
	}
	return t.claim(claimHostname, hostname, owner.ID)
}

// insecureStays refuses an ingress that would send a database's unencrypted
// connections over a network.
func (c *Control) insecureStays(next *Tunnel) error {
	var f access.Faults
	for _, d := range c.Snapshot().databases.all() {
		if d.AccountID != next.AccountID || d.MTLS.SSLMode != SSLDisable || d.Origin.AccessClientID == "" {
			continue
		}
		if i, ok := next.rule(d.Origin.Host); ok && !localService(next.Ingress[i].Service) {
			f.Addf(fmt.Sprintf("ingress[%d].service", i),
				"must stay a unix socket or a loopback address: database %s connects without TLS", d.Name)
		}
	}
	return f.Err()
}

// rule returns the index of the ingress that hostname leads through: the exact
// one, else the longest wildcard.
func (t *Tunnel) rule(hostname string) (int, bool) {
	at := func(name string) int {
		return slices.IndexFunc(t.Ingress, func(in Ingress) bool { return in.Hostname == name })
	}
	i := at(hostname)
	for wildcard := range wildcards(hostname) {
		if i >= 0 {
			break
		}
		i = at(wildcard)
	}
	return i, i >= 0
}

// DeleteTunnel deletes a tunnel together with its hostnames, or nothing.
// Sessions of its connectors are the relay's to end.
func (c *Control) DeleteTunnel(ctx context.Context, accountID, id string) error {
	return c.transact(ctx, func(t *tx) error {
		old, err := fetch(t, kindTunnel, accountID, id, (*Tunnel).account)
		if err != nil {
			return err
		}
		for _, in := range old.Ingress {
			if err := t.release(claimHostname, in.Hostname, id); err != nil {
				return err
			}
		}
		if err := t.release(claimTunnelName, scoped(accountID, old.Name), id); err != nil {
			return err
		}
		return t.deleteSeen(kindTunnel, id)
	})
}
