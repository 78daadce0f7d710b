package control

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/access"
)

// faults returns the faults of err as "field message" lines.
func faults(err error) []string {
	var v *ValidationError
	if !errors.As(err, &v) {
		return []string{fmt.Sprint(err)}
	}
	var out []string
	for _, f := range v.Faults {
		out = append(out, f.Field+" "+f.Message)
	}
	return out
}

func TestValidateReportsEveryFault(t *testing.T) {
	long := strings.Repeat("x", 64)
	tests := []struct {
		name string
		noun interface{ Validate() error }
		want []string
	}{
		{"tunnel", &Tunnel{Name: "a b", Ingress: []Ingress{
			{"db.example:5432", "tcp://10.0.0.1:5432"}, {"*.example.com", "tcp://h:0"}, {"a.*.example", "http://h"},
			{"*.example.com", "unix:run/x"}, {"db.example/path", ""}, {"ok.example", "tcp://h:1/path"}, {"ok2.example", "unix:/a/../b"}, {"DB.example", "tcp://[::1]:5432"},
		}}, []string{
			"name must begin with a letter or digit and consist of letters, digits, '_', '.' and '-'",
			"ingress[0].hostname must be a name alone, without scheme, port or path",
			"ingress[1].service must have a port between 1 and 65535",
			"ingress[2].hostname may have a wildcard only as its whole first label",
			"ingress[2].service must be tcp://host:port or unix:/path",
			"ingress[3].hostname is that of ingress[1] again: *.example.com",
			"ingress[3].service must name an absolute path after unix:, without '.', '..' or a trailing slash",
			"ingress[4].hostname must be a name alone, without scheme, port or path",
			"ingress[4].service is required: tcp://host:port or unix:/path",
			"ingress[5].service must be tcp://host:port alone, without user, path or query",
			"ingress[6].service must name an absolute path after unix:, without '.', '..' or a trailing slash",
			"ingress[7].hostname must be lower case",
		}},
		{"too many hostnames", &Tunnel{Name: "a", Ingress: manyIngress(MaxIngress + 1)}, []string{"ingress has more than 900 hostnames"}},
		{"empty database", &Database{}, []string{
			"name is required",
			`origin.scheme must be postgres or postgresql, not ""`,
			"origin.database is required",
			"origin.user is required",
			"origin.port must be between 1 and 65535",
			"origin.host is required",
			`mtls.sslmode must be require, verify-ca or verify-full, not ""`,
			"origin_connection_limit must be between 5 and 10000",
		}},
		{"database full of faults", &Database{
			Name: long,
			Origin: Origin{Scheme: "oracle", Host: "*.x.example", Port: 5432, Database: long, User: "a\x00", AccessClientID: "x",
				Password: Plaintext(Secret(strings.Repeat("p", maxPassword+1)))},
			MTLS:    MTLS{SSLMode: "prefer", CACertificate: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
			Caching: Caching{MaxAge: 3601, StaleWhileRevalidate: -1}, OriginConnectionLimit: 4,
			Credentials: []Credential{{Name: "a"}, {Name: "a"}, {Name: "b c"}},
		}, []string{
			"name is longer than 63 bytes",
			`origin.scheme must be postgres or postgresql, not "oracle"`,
			"origin.database is longer than 63 bytes",
			"origin.user must not contain a NUL",
			"origin.password must have at most 1024 bytes and no NUL",
			"origin.port must be left out with access_client_id: the tunnel's hostname names the service",
			"origin.access_client_secret is required with access_client_id",
			"origin.host must not be a wildcard",
			`mtls.sslmode must be require, verify-ca or verify-full, not "prefer"`,
			"mtls.ca_certificate does not parse: certificate 1 is damaged",
			"caching.max_age must be between 0 and 3600 seconds",
			"caching.stale_while_revalidate must be between 0 and 3600 seconds",
			"origin_connection_limit must be between 5 and 10000",
			"credentials[1].name is that of another credential: a",
			"credentials[2].name must begin with a letter or digit and consist of letters, digits, '_', '.' and '-'",
		}},
		{"API token", &APIToken{CreatedAt: time.Unix(9, 0), ExpiresAt: time.Unix(9, 0)}, []string{"name is required", "expires_at is in the past"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := faults(tt.noun.Validate()); !slices.Equal(got, tt.want) {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func manyIngress(n int) []Ingress {
	out := make([]Ingress, n)
	for i := range out {
		out[i] = Ingress{Hostname: fmt.Sprintf("h%d.example", i), Service: "tcp://10.0.0.1:5432"}
	}
	return out
}

func TestCertificatesFault(t *testing.T) {
	c := open(t, t.TempDir())
	ca := string(c.CA())
	if fault := certificatesFault(ca + ca); fault != "" {
		t.Errorf("two good certificates: %s", fault)
	}
	for text, want := range map[string]string{
		"nothing": "holds no certificate in PEM form",
		"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n": `must hold certificates only, not "PRIVATE KEY"`,
		ca + "rubbish":                         "has something after its certificates that is not PEM",
		strings.Repeat(" ", maxCertificates+1): "has more than 256 KiB",
	} {
		if got := certificatesFault(text); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTunnel34HostnameBelongsToOneTunnel(t *testing.T) {
	c := open(t, t.TempDir())
	ctx := t.Context()
	create := func(account, name string) *Tunnel {
		t.Helper()
		made, err := c.CreateTunnel(ctx, account, name)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	set := func(tun *Tunnel, hostnames ...string) error {
		_, err := c.UpdateTunnel(ctx, tun.AccountID, tun.ID, func(next *Tunnel) error {
			next.Ingress = nil
			for _, h := range hostnames {
				next.Ingress = append(next.Ingress, Ingress{Hostname: h, Service: "tcp://10.0.0.1:5432"})
			}
			return nil
		})
		return err
	}
	const other = "00000000000000000000000000000002"
	a, b, x := create(DefaultAccountID, "a"), create(DefaultAccountID, "b"), create(other, "a")
	if _, err := c.CreateTunnel(ctx, DefaultAccountID, "a"); !errors.Is(err, ErrExists) {
		t.Errorf("second tunnel of a name: got %v, want ErrExists", err)
	}
	if err := set(a, "one.example", "*.wild.example"); err != nil {
		t.Fatal(err)
	}
	if err := set(b, "two.example", "one.example"); !errors.Is(err, ErrExists) {
		t.Errorf("hostname of another tunnel: got %v, want ErrExists", err)
	}
	if _, _, ok := c.Snapshot().TunnelByHostname("two.example"); ok {
		t.Error("a part of a refused ingress is in force")
	}
	if err := set(b, "x.wild.example"); err != nil {
		t.Errorf("a name below the same account's wildcard: %v", err)
	}
	if err := set(x, "y.wild.example"); !errors.Is(err, ErrExists) {
		t.Errorf("a name below another account's wildcard: got %v, want ErrExists", err)
	}
	for hostname, want := range map[string]*Tunnel{
		"one.example": a, "x.wild.example": b, "z.wild.example": a, "a.b.wild.example": a, "wild.example": nil, "none.example": nil,
	} {
		got, _, ok := c.Snapshot().TunnelByHostname(hostname)
		if ok != (want != nil) || (ok && got.ID != want.ID) {
			t.Errorf("%s leads to %v, want %v", hostname, got, want)
		}
	}
	// The name is free once its tunnel has given it up.
	if err := set(a, "*.wild.example"); err != nil {
		t.Fatal(err)
	}
	if err := set(x, "one.example"); err != nil {
		t.Errorf("a name that was given up: %v", err)
	}
	if err := c.DeleteTunnel(ctx, DefaultAccountID, x.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("another account's tunnel: got %v, want ErrNotFound", err)
	}
	for _, id := range []string{"", "no-such", "a.b", "*", ">", strings.Repeat("a", 65)} {
		if err := c.DeleteTunnel(ctx, DefaultAccountID, id); !errors.Is(err, ErrNotFound) {
			t.Errorf("tunnel %q: got %v, want ErrNotFound", id, err)
		}
	}
	if err := c.DeleteTunnel(ctx, other, x.ID); err != nil {
		t.Fatal(err)
	}
	if err := set(b, "one.example"); err != nil {
		t.Errorf("a deleted tunnel's hostname: %v", err)
	}
	if again := create(other, "a"); again.ID == x.ID {
		t.Error("the same ID twice")
	}
	got, _ := c.Snapshot().Tunnel(a.ID)
	if got.ConfigVersion != 3 {
		t.Errorf("version %d after two changes, want 3", got.ConfigVersion)
	}
	secret, err := c.TunnelSecret(got)
	if err != nil || !got.SecretIs(secret.Reveal()) || got.SecretIs(secret.Reveal()+"x") || (*Tunnel)(nil).SecretIs("") {
		t.Errorf("tunnel secret (err %v)", err)
	}
}

// TestWildcardRaceIsSettled plays two accounts that claimed a wildcard and a
// name below it at the same time on two nodes.
func TestWildcardRaceIsSettled(t *testing.T) {
	entries := func(wildcard, exact uint64) []entry {
		tunnel := func(id, account, hostname string) entry {
			text, err := json.Marshal(Tunnel{ID: id, AccountID: account, Name: id, Ingress: []Ingress{{hostname, "tcp://h:1"}}})
			if err != nil {
				t.Fatal(err)
			}
			return entry{key: nounKey(kindTunnel, id), value: text}
		}
		return []entry{
			tunnel("a", "one", "*.example.com"), tunnel("b", "two", "db.example.com"),
			{key: claimKey(claimHostname, "*.example.com"), value: []byte("a"), rev: wildcard},
			{key: claimKey(claimHostname, "db.example.com"), value: []byte("b"), rev: exact},
		}
	}
	r := newReplica(quiet())
	r.reset(entries(1, 2), 2)
	if got, _, ok := r.snap.Load().TunnelByHostname("db.example.com"); ok {
		t.Errorf("the later name below another's wildcard leads to %s", got.ID)
	}
	r.reset(entries(2, 1), 2)
	if got, _, ok := r.snap.Load().TunnelByHostname("db.example.com"); !ok || got.ID != "b" {
		t.Error("the earlier name must stay with its owner")
	}
}

func TestManagedDatabase(t *testing.T) {
	c := open(t, t.TempDir())
	ctx := t.Context()
	tunnel, err := c.CreateTunnel(ctx, DefaultAccountID, "VPC.1")
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateManagedDatabase(ctx, tunnel.ID, "tcp://10.0.0.5:5432", managed("orders"))
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
	if _, err := c.CreateManagedDatabase(ctx, tunnel.ID, "tcp://10.0.0.5:5432", managed("orders")); !errors.Is(err, ErrExists) {
		t.Errorf("the same name: got %v, want ErrExists", err)
	}
	bad := managed("bad")
	bad.Origin.Host, bad.Origin.Port, bad.Origin.AccessClientID = "h", 1, "x"
	if _, err := c.CreateManagedDatabase(ctx, tunnel.ID, "tcp://10.0.0.5:5432", bad); len(faults(err)) != 3 {
		t.Errorf("host, port and client given: got %v", err)
	}
	if _, err := c.CreateManagedDatabase(ctx, tunnel.ID, "http://x", managed("bad")); len(faults(err)) != 1 {
		t.Errorf("bad service: got %v", err)
	}
	after := c.Snapshot()
	if len(after.ServiceTokens(DefaultAccountID)) != len(before.ServiceTokens(DefaultAccountID)) || after.routes.size != before.routes.size || len(after.Applications(DefaultAccountID)) != 1 {
		t.Error("a refused creation left something behind")
	}
	second := managed("orders.2")
	second.Name = "orders-x"
	if _, err := c.UpdateTunnel(ctx, DefaultAccountID, tunnel.ID, func(next *Tunnel) error {
		next.Ingress = append(next.Ingress, Ingress{"orders-x.vpc-1.internal", "tcp://h:1"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	other, err := c.CreateManagedDatabase(ctx, tunnel.ID, "tcp://10.0.0.6:5432", second)
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
	made, err := c.CreateDatabase(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	if made.Database.Origin.Port != DefaultPostgresPort {
		t.Errorf("port %d", made.Database.Origin.Port)
	}
	id := made.Database.ID
	update := func(change func(*Database)) *Database {
		t.Helper()
		got, err := c.UpdateDatabase(ctx, DefaultAccountID, id, func(next *Database) error { change(next); return nil })
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
	if _, err := c.UpdateDatabase(ctx, "00000000000000000000000000000002", id, func(*Database) error { return nil }); !errors.Is(err, ErrNotFound) {
		t.Errorf("another account: got %v, want ErrNotFound", err)
	}
	cred, password, err := c.CreateCredential(ctx, DefaultAccountID, id, "second")
	if err != nil {
		t.Fatal(err)
	}
	checkVerifier(t, cred.Verifier, password)
	checkVerifier(t, made.Credential.Verifier, made.Password)
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

// checkVerifier checks a verifier as a SCRAM server does (RFC 5802 section 3).
func checkVerifier(t *testing.T, v Verifier, password Secret) {
	t.Helper()
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
		made, err := c.CreateManagedDatabase(ctx, tunnel.ID, service, plain("d"+strings.ToLower(access.RandomText(8))))
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
	d := plain("consent")
	d.Origin.Insecure = false
	if _, err := c.CreateManagedDatabase(ctx, tunnel.ID, "unix:/run/x", d); len(faults(err)) != 1 {
		t.Errorf("without consent: got %v", err)
	}
	d = plain("direct")
	d.Origin.Host = "127.0.0.1"
	if _, err := c.CreateDatabase(ctx, d); len(faults(err)) != 1 {
		t.Errorf("a direct origin: got %v", err)
	}
}
