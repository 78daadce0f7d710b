package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
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
			{Hostname: "db.example:5432", Service: "tcp://10.0.0.1:5432"}, {Hostname: "*.example.com", Service: "tcp://h:0"}, {Hostname: "a.*.example", Service: "http://h"},
			{Hostname: "*.example.com", Service: "unix:run/x"}, {Hostname: "db.example/path", Service: ""}, {Hostname: "ok.example", Service: "tcp://h:1/path"}, {Hostname: "ok2.example", Service: "unix:/a/../b"}, {Hostname: "DB.example", Service: "tcp://[::1]:5432"},
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
			`origin.scheme must be postgres, postgresql or mysql, not ""`,
			"origin.database is required",
			"origin.user is required",
			"origin.port must be between 1 and 65535",
			"origin.host is required",
			`mtls.sslmode must be require, verify-ca, verify-full or no-verify, not ""`,
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
			`origin.scheme must be postgres, postgresql or mysql, not "oracle"`,
			"origin.database is longer than 63 bytes",
			"origin.user must not contain a NUL",
			"origin.password must have at most 1024 bytes and no NUL",
			"origin.port must be left out with access_client_id: the tunnel's hostname names the service",
			"origin.access_client_secret is required with access_client_id",
			"origin.host must not be a wildcard",
			`mtls.sslmode must be require, verify-ca, verify-full or no-verify, not "prefer"`,
			"mtls.ca_certificate does not parse: certificate 1 is damaged",
			"caching.max_age must be between 0 and 3600 seconds",
			"caching.stale_while_revalidate must be between 0 and 3600 seconds",
			"origin_connection_limit must be between 5 and 10000",
			"credentials[1].name is that of another credential: a",
			"credentials[2].name must begin with a letter or digit and consist of letters, digits, '_', '.' and '-'",
		}},
		{"API token", &APIToken{CreatedAt: time.Unix(9, 0), ExpiresAt: time.Unix(9, 0)}, []string{"name is required", `scope must be read, edit or admin, not ""`, "expires_at is in the past"}},
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

func TestParseCertificates(t *testing.T) {
	c := open(t, t.TempDir())
	ca := string(c.CA())
	if _, fault := parseCertificates(ca + ca); fault != "" {
		t.Errorf("two good certificates: %s", fault)
	}
	for text, want := range map[string]string{
		"nothing": "holds no certificate in PEM form",
		"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n": `must hold certificates only, not "PRIVATE KEY"`,
		ca + "rubbish":                         "has something after its certificates that is not PEM",
		strings.Repeat(" ", maxCertificates+1): "has more than 256 KiB",
	} {
		if _, got := parseCertificates(text); got != want {
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
	account, _, err := c.CreateAccount(ctx, "other")
	if err != nil {
		t.Fatal(err)
	}
	other := account.ID
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
			text, err := json.Marshal(Tunnel{ID: id, AccountID: account, Name: id, Ingress: []Ingress{{Hostname: hostname, Service: "tcp://h:1"}}})
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
