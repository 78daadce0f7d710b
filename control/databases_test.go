package control

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/protocol/mywire"
)

func TestManagedDatabase(t *testing.T) {
	c := open(t, t.TempDir())
	ctx := t.Context()
	tunnel, err := c.CreateTunnel(ctx, DefaultAccountID, "VPC.1")
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateManagedDatabase(ctx, tunnel.ID, "tcp://10.0.0.5:5432", managed("orders"), nil)
	if err != nil {
		t.Fatal(err)
	}
	snap := c.Snapshot()
	d, ok := snap.Database("orders")
	if !ok || d.Origin.Host != "orders.vpc-1.internal" || made.Hostname != d.Origin.Host {
		t.Fatalf("got %+v", d)
	}
	secret, err := c.AccessClientSecret(d)
	if err != nil {
		t.Fatal(err)
	}
	decide := func(id string, secret Secret) access.Decision {
		return access.Decide(c.Snapshot(), access.Request{Hostname: d.Origin.Host, ClientID: id, ClientSecret: secret.Reveal(), Time: time.Now()})
	}
	if got := decide(d.Origin.AccessClientID, secret); got.Outcome != access.Allowed || got.ApplicationID != made.ApplicationID {
		t.Errorf("its own token: %+v", got)
	}
	stranger, strangerSecret, err := c.CreateServiceToken(ctx, DefaultAccountID, "other", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := decide(stranger.ClientID, strangerSecret); got.Outcome != access.Denied || got.Reason != access.ReasonNoPolicy {
		t.Errorf("another token: %+v", got)
	}
	if pw, err := c.OriginPassword(d); err != nil || pw.Reveal() != "origin-password-orders" {
		t.Errorf("origin password (err %v)", err)
	}
	if d.Caching != (Caching{MaxAge: 60, StaleWhileRevalidate: 15}) || d.MTLS.SSLMode != SSLRequire || d.OriginConnectionLimit != 20 || d.Generation != 1 {
		t.Errorf("defaults: %+v %+v %d", d.Caching, d.MTLS, d.OriginConnectionLimit)
	}
	before := c.Snapshot()
	if _, err := c.CreateManagedDatabase(ctx, tunnel.ID, "tcp://10.0.0.5:5432", managed("orders"), nil); !errors.Is(err, ErrExists) {
		t.Errorf("the same name: got %v, want ErrExists", err)
	}
	bad := managed("bad")
	bad.Origin.Host, bad.Origin.Port, bad.Origin.AccessClientID = "h", 1, "x"
	if _, err := c.CreateManagedDatabase(ctx, tunnel.ID, "tcp://10.0.0.5:5432", bad, nil); len(faults(err)) != 3 {
		t.Errorf("host, port and client given: got %v", err)
	}
	if _, err := c.CreateManagedDatabase(ctx, tunnel.ID, "http://x", managed("bad"), nil); len(faults(err)) != 1 {
		t.Errorf("bad service: got %v", err)
	}
	after := c.Snapshot()
	if len(after.ServiceTokens(DefaultAccountID)) != len(before.ServiceTokens(DefaultAccountID)) || after.routes.size != before.routes.size || len(after.Applications(DefaultAccountID)) != 1 {
		t.Error("a refused creation left something behind")
	}
	second := managed("orders.2")
	second.Name = "orders-x"
	if _, err := c.UpdateTunnel(ctx, DefaultAccountID, tunnel.ID, func(next *Tunnel) error {
		next.Ingress = append(next.Ingress, Ingress{Hostname: "orders-x.vpc-1.internal", Service: "tcp://h:1"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	other, err := c.CreateManagedDatabase(ctx, tunnel.ID, "tcp://10.0.0.6:5432", second, nil)
	if err != nil || !strings.HasPrefix(other.Hostname, "orders-x-") {
		t.Errorf("a hostname that is taken: %v, got %+v", err, other)
	}
	if err := c.DeleteDatabase(ctx, DefaultAccountID, d.ID); err != nil {
		t.Fatal(err)
	}
	snap = c.Snapshot()
	_, token := snap.ServiceTokenByID(made.ServiceToken)
	_, app := snap.ApplicationByID(made.ApplicationID)
	_, _, routed := snap.TunnelByHostname(made.Hostname)
	if token || app || routed {
		t.Errorf("left behind: token %v, application %v, hostname %v", token, app, routed)
	}
	// Deleting the tunnel first does not keep the database from being deleted.
	if err := c.DeleteTunnel(ctx, DefaultAccountID, tunnel.ID); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteDatabase(ctx, DefaultAccountID, other.Database.ID); err != nil {
		t.Error(err)
	}
}

func TestUpdateDatabase(t *testing.T) {
	c := open(t, t.TempDir())
	ctx := t.Context()
	d := managed("db")
	d.Origin.Host = "10.0.0.9"
	made, err := c.CreateDatabase(ctx, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	if made.Database.Origin.Port != DefaultPostgresPort {
		t.Errorf("port %d", made.Database.Origin.Port)
	}
	id := made.Database.ID
	update := func(change func(*Database)) *Database {
		t.Helper()
		got, err := c.UpdateDatabase(ctx, DefaultAccountID, id, func(next *Database) error { change(next); return nil }, nil)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := update(func(d *Database) { d.Caching.MaxAge = 5; d.Generation = 99; d.Credentials = nil; d.AccountID = "x" }); got.Generation != 1 || len(got.Credentials) != 1 || got.AccountID != DefaultAccountID {
		t.Errorf("a change of caching: generation %d, %d credentials, account %s", got.Generation, len(got.Credentials), got.AccountID)
	}
	if got := update(func(d *Database) { d.Origin.Password = Plaintext("rotated") }); got.Generation != 2 {
		t.Errorf("a new password: generation %d, want 2", got.Generation)
	} else if pw, err := c.OriginPassword(got); err != nil || pw.Reveal() != "rotated" {
		t.Errorf("the new password (err %v)", err)
	}
	update(func(d *Database) { d.Name = "renamed" })
	if _, ok := c.Snapshot().Database("db"); ok {
		t.Error("the old name still leads there")
	}
	if got, ok := c.Snapshot().Database("renamed"); !ok || got.ID != id {
		t.Error("the new name leads nowhere")
	}
	if _, err := c.UpdateDatabase(ctx, "00000000000000000000000000000002", id, func(*Database) error { return nil }, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("another account: got %v, want ErrNotFound", err)
	}
	cred, password, err := c.CreateCredential(ctx, DefaultAccountID, id, "second")
	if err != nil {
		t.Fatal(err)
	}
	checkVerifiers(t, *cred, password)
	checkVerifiers(t, made.Credential, made.Password)
	if _, _, err := c.CreateCredential(ctx, DefaultAccountID, id, "second"); !errors.Is(err, ErrExists) {
		t.Errorf("the same credential: got %v, want ErrExists", err)
	}
	if err := c.DeleteCredential(ctx, DefaultAccountID, id, made.Credential.ID); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteCredential(ctx, DefaultAccountID, id, made.Credential.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted twice: got %v, want ErrNotFound", err)
	}
	got, _ := c.Snapshot().DatabaseByID(id)
	if _, ok := got.Credential("second"); !ok || len(got.Credentials) != 1 || got.Generation != 2 {
		t.Errorf("%d credentials at generation %d", len(got.Credentials), got.Generation)
	}
}

// The password that a new one replaces is kept: of the same user at the same host.
func TestFormerOriginPassword(t *testing.T) {
	c := open(t, t.TempDir())
	ctx := t.Context()
	d := managed("db")
	d.Origin.Host = "10.0.0.9"
	made, err := c.CreateDatabase(ctx, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name   string
		change func(*Database)
		former string
	}{
		{"nothing of it", func(d *Database) { d.Caching.MaxAge = 1 }, ""},
		{"a new password", func(d *Database) { d.Origin.Password = Plaintext("two") }, "origin-password-db"},
		{"the same again", func(d *Database) { d.Origin.Password = Plaintext("two") }, "origin-password-db"},
		{"everything replaced", func(d *Database) {
			d.Origin = Origin{Scheme: "postgres", Host: d.Origin.Host, Port: 5432, Database: "x", User: d.Origin.User, Password: Plaintext("three")}
		}, "two"},
		{"another user", func(d *Database) { d.Origin.User, d.Origin.Password = "other", Plaintext("four") }, ""},
		{"of that user", func(d *Database) { d.Origin.Password = Plaintext("five") }, "four"},
		{"another host", func(d *Database) { d.Origin.Host = "10.0.0.10" }, ""},
	} {
		got, err := c.UpdateDatabase(ctx, DefaultAccountID, made.Database.ID, func(next *Database) error { step.change(next); return nil }, nil)
		if err != nil {
			t.Fatal(err)
		}
		if former, err := c.FormerOriginPassword(got); err != nil || former.Reveal() != step.former {
			t.Errorf("%s: got %q, %v", step.name, former.Reveal(), err)
		}
	}
}

// checkVerifiers checks a credential's verifiers: PostgreSQL's as a SCRAM server does
// (RFC 5802 section 3), MySQL's by the wire's own.
func checkVerifiers(t *testing.T, c Credential, password Secret) {
	t.Helper()
	if string(c.MySQLVerifier) != mywire.NewVerifier(password.Reveal()).String() {
		t.Error("the verifier for MySQL is not that of the password")
	}
	v := c.Verifier
	if len(password.Reveal()) < 32 {
		t.Errorf("a password of %d characters", len(password.Reveal()))
	}
	parts := strings.FieldsFunc(string(v), func(r rune) bool { return r == '$' || r == ':' })
	if len(parts) != 5 || parts[0] != "SCRAM-SHA-256" {
		t.Fatalf("%d parts in the verifier", len(parts))
	}
	iterations, err := strconv.Atoi(parts[1])
	if err != nil || iterations != 4096 {
		t.Errorf("iterations %q", parts[1])
	}
	salt, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	salted, err := pbkdf2.Key(sha256.New, password.Reveal(), salt, iterations, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	key := func(name string) []byte { h := hmac.New(sha256.New, salted); h.Write([]byte(name)); return h.Sum(nil) }
	stored := sha256.Sum256(key("Client Key"))
	if parts[3] != base64.StdEncoding.EncodeToString(stored[:]) || parts[4] != base64.StdEncoding.EncodeToString(key("Server Key")) {
		t.Error("the verifier is not that of the password")
	}
}

func TestInsecureOrigin(t *testing.T) {
	c := open(t, t.TempDir())
	ctx := t.Context()
	tunnel, err := c.CreateTunnel(ctx, DefaultAccountID, "vpc")
	if err != nil {
		t.Fatal(err)
	}
	plain := func(name string) *Database {
		d := managed(name)
		d.MTLS.SSLMode, d.Origin.Insecure = SSLDisable, true
		return d
	}
	for service, ok := range map[string]bool{
		"unix:/run/postgresql/.s.PGSQL.5432": true, "tcp://127.0.0.1:5432": true, "tcp://[::1]:5432": true, "tcp://localhost:5432": true,
		"tcp://10.0.0.1:5432": false, "tcp://db:5432": false, "tcp://127.0.0.1.evil.example:5432": false,
	} {
		made, err := c.CreateManagedDatabase(ctx, tunnel.ID, service, plain("d"+strings.ToLower(access.RandomText(8))), nil)
		if (err == nil) != ok {
			t.Errorf("%s: got %v, want ok %v", service, err, ok)
		}
		if err != nil {
			continue
		}
		// The ingress cannot be moved onto a network under it.
		_, err = c.UpdateTunnel(ctx, DefaultAccountID, tunnel.ID, func(next *Tunnel) error {
			i, _ := next.rule(made.Hostname)
			next.Ingress[i].Service = "tcp://10.0.0.1:5432"
			return nil
		})
		if got := faults(err); len(got) != 1 || !strings.Contains(got[0], "must stay a unix socket or a loopback address") {
			t.Errorf("%s moved to a network: got %v", service, got)
		}
	}
	// Two nodes at once can get there all the same; who dials notices.
	made, err := c.CreateManagedDatabase(ctx, tunnel.ID, "unix:/run/x", plain("raced"), nil)
	if err != nil || !c.Snapshot().MayBePlaintext(made.Database) {
		t.Fatalf("a unix socket: %v", err)
	}
	err = c.transact(ctx, func(t *tx) error {
		owner, _, _ := c.Snapshot().TunnelByHostname(made.Hostname)
		next := *owner
		next.Ingress = []Ingress{{Hostname: made.Hostname, Service: "tcp://10.0.0.1:5432"}}
		return t.put(kindTunnel, tunnel.ID, &next)
	})
	if err != nil || c.Snapshot().MayBePlaintext(made.Database) {
		t.Errorf("moved to a network behind the check: %v", err)
	}
	d := plain("consent")
	d.Origin.Insecure = false
	if _, err := c.CreateManagedDatabase(ctx, tunnel.ID, "unix:/run/x", d, nil); len(faults(err)) != 1 {
		t.Errorf("without consent: got %v", err)
	}
	d = plain("direct")
	d.Origin.Host = "127.0.0.1"
	if _, err := c.CreateDatabase(ctx, d, nil); len(faults(err)) != 1 {
		t.Errorf("a direct origin: got %v", err)
	}
}
