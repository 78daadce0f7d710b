package hyperdrive

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	v4 "github.com/sluicedb/sluice/control/api/v4"
	"github.com/sluicedb/sluice/integration/harness"
)

// trial is a database that cannot be made, and why.
type trial struct {
	name    string
	secrets []string // environment, besides the origin's right password
	args    []string
	code    int
	says    string // a regular expression
}

// try makes the database of each trial, in vain, and checks that nothing of it is left.
func (w *world) try(trials []trial) {
	w.Helper()
	for _, tt := range trials {
		args := append([]string{"database", "create", "never", "--origin-user", harness.PostgresUser, "--database", harness.PostgresDatabase}, tt.args...)
		got := w.fails(append([]string{"SLUICE_ORIGIN_PASSWORD=" + w.pg.Password}, tt.secrets...), args...)
		want := fmt.Sprintf(`^sluice: %s \(code %d\)$`, tt.says, tt.code)
		if !regexp.MustCompile(want).MatchString(got) {
			w.Errorf("%s: got\n  %s\nwant\n  %s", tt.name, got, want)
		}
		if strings.Contains(got, w.pg.Password) {
			w.Errorf("%s: the password is shown", tt.name)
		}
	}
	var databases []v4.Database
	w.do(&databases, nil, "database", "list")
	if i := slices.IndexFunc(databases, func(d v4.Database) bool { return d.Name == "never" }); i >= 0 {
		w.Error("a database that failed its test is there")
	}
}

// TestFailedTests provokes every code of a direct origin.
func TestFailedTests(t *testing.T) {
	w := newWorld(t, "any")
	w.admin("create role certified login password 'certified'", "create database full_up connection limit 0",
		"create database walled", "revoke connect on database walled from public")
	ca := []string{"--sslmode", "verify-full", "--ca-certificate", w.pg.CAFile}
	at := func(more ...string) []string { return append(append(direct(w.pg.Addr, w.pg.Port), ca...), more...) }

	plain := newStage(t)
	noTLS, err := plain.StartPostgres(w.ctx, harness.PostgresConfig{Addr: "127.0.0.1", Settings: map[string]string{"ssl": "off"}})
	must(t, err)
	strangers, err := harness.NewCA("strangers")
	must(t, err)
	foreign := w.stage.Path("foreign.pem")
	must(t, os.WriteFile(foreign, strangers.PEM, 0o600))
	cert, key, err := strangers.Issue("certified")
	must(t, err)
	stranger := w.uploadPair("stranger", cert, key)

	w.try([]trial{
		{"hostname", nil, append(direct("nosuch.invalid", 5432), ca...), 2008,
			"The hostname nosuch.invalid does not resolve: check its spelling, and that it is in the DNS that the server asks."},
		{"route", nil, append(direct("255.255.255.255", 5432), ca...), 2010, // which TCP never reaches
			"No connection to the origin could be made: check its host and port, routes and firewalls."},
		{"refused", nil, append([]string{"--origin-host", "127.0.0.1", "--origin-port", closedPort(t)}, ca...), 2011,
			"The connection was refused: nothing listens at the origin's host and port, or a firewall rejects it."},
		{"no TLS", nil, append(direct(noTLS.Addr, noTLS.Port), ca...), 2012, "The origin does not support TLS: turn it on there."},
		{"password", []string{"SLUICE_ORIGIN_PASSWORD=wrong-hunter2"}, at(), 2013,
			`The origin refused the login \(password authentication failed for user "app", SQLSTATE 28P01\): check user and password, which are case-sensitive.`},
		{"user", nil, at("--origin-user", "nobody"), 2013,
			`The origin refused the login \(password authentication failed for user "nobody", SQLSTATE 28P01\): .*`},
		{"database", nil, at("--database", "nosuch"), 2014,
			`The origin refused the login \(database "nosuch" does not exist, SQLSTATE 3D000\): check the database's name at the origin.`},
		{"connection limit", nil, at("--database", "full_up"), 2015,
			`The origin refused the login \(too many connections for database "full_up", SQLSTATE 53300\): raise its connection limit, or end connections that it has.`},
		{"connect privilege", nil, at("--database", "walled"), 2015,
			`The origin refused the login \(permission denied for database "walled", SQLSTATE 42501\): see the origin's log.`},
		{"hangs up", nil, append(direct("127.0.0.1", hangUp(t)), ca...), 2015,
			`The connection failed \(connection_failed\), for a reason that the proxy does not know.`},
		{"no CA", nil, direct(w.pg.Addr, w.pg.Port), 2017, `The origin's certificate does not verify \(x509: certificate signed by unknown authority.*\): .*`},
		{"another CA", nil, append(direct(w.pg.Addr, w.pg.Port), "--sslmode", "verify-ca", "--ca-certificate", foreign), 2017,
			`The origin's certificate does not verify \(x509: certificate signed by unknown authority.*\): .*`},
		{"another name", nil, append(direct("127.0.0.2", w.pg.Port), ca...), 2011, ".*"}, // it listens on one address alone
		{"no client certificate", []string{"SLUICE_ORIGIN_PASSWORD=certified"}, at("--origin-user", "certified"), 2018,
			`The origin refused the login \(connection requires a valid client certificate, SQLSTATE 28000\): it asks for a client certificate: upload one, and give the database its id.`},
		{"another's client certificate", []string{"SLUICE_ORIGIN_PASSWORD=certified"}, at("--origin-user", "certified", "--mtls-certificate-id", stranger), 2018,
			`The origin ended the TLS handshake \(tls: unknown certificate authority\): it wants a client certificate of another CA, or none of this version of TLS.`},
		{"MySQL", nil, append([]string{"--origin-host", "127.0.0.1", "--origin-port", closedPort(t), "--origin-scheme", "mysql"}, ca...), 2011,
			"The connection was refused: nothing listens at the origin's host and port, or a firewall rejects it."},
	})
	w.testQueryFails(ca)
}

// testQueryFails provokes what an origin that is a pooler does: it lets its user in, and has nothing to run a query on. Sluice is one.
func (w *world) testQueryFails(ca []string) {
	w.Helper()
	inner, err := w.sluice.Database(w.ctx, w.pg, "", "inner", append(direct(w.pg.Addr, w.pg.Port), ca...)...)
	must(w.T, err)
	if _, err := query(w.ctx, inner); err != nil {
		w.Fatal(err)
	}
	must(w.T, w.pg.Stop())
	w.try([]trial{{"query", []string{"SLUICE_ORIGIN_PASSWORD=" + inner.Password},
		append(direct("127.0.0.1", w.sluice.ProxyPort), "--origin-user", inner.User, "--database", "inner", "--sslmode", "verify-full", "--ca-certificate", w.sluice.CAFile),
		2016, `The login worked and the empty test query failed \(Server connection attempt failed: (connection_refused, SQLSTATE 58000|the database system is shutting down, SQLSTATE 57P03)\): check that the user may run queries on the database.`}})
	w.fails(nil, "database", "test", "inner")
}

// TestFailedTunnelTests provokes what is wrong on the way through a tunnel, where the server reaches nothing without one.
func TestFailedTunnelTests(t *testing.T) {
	w := newWorld(t, "none")
	w.tunnel("vpc-1")
	w.cli("tunnel", "create", "idle")
	token, err := w.sluice.Token(w.ctx, "app")
	must(t, err)
	for hostname, tunnel := range map[string]string{"db.example": "vpc-1", "walled.example": "vpc-1", "idle.example": "idle"} {
		w.cli("tunnel", "route", tunnel, hostname, w.pg.Origin())
		w.cli("access", "app", "create", "--hostname", hostname)
		if hostname != "walled.example" {
			w.cli("access", "policy", "create", "--app", hostname, "--decision", "non_identity", "--include-token", "app")
		}
	}
	// A hostname keeps its policy when it is routed elsewhere.
	through := func(hostname string, more ...string) []string {
		return append([]string{"--origin-host", hostname, "--access-client-id", token.ClientID, "--ca-certificate", w.pg.CAFile}, more...)
	}
	secret := []string{"SLUICE_ACCESS_CLIENT_SECRET=" + token.ClientSecret}
	const denied = "No policy of the hostname's application admits the service token: add one that does."
	w.try([]trial{
		{"direct", nil, direct(w.pg.Addr, w.pg.Port), 2009, `The server reaches origins through tunnels only \(--direct-origins none\): put this one behind a tunnel.`},
		{"no tunnel", secret, through("nowhere.example"), 2019, "The hostname leads through no tunnel: route it to one."},
		{"no connector", secret, through("idle.example"), 2020, "No connector of the tunnel is connected: start sluice-connector with the tunnel's token."},
		{"denied", secret, through("walled.example"), 2021, denied},
		{"unauthenticated", []string{"SLUICE_ACCESS_CLIENT_SECRET=wrong-hunter3"}, through("db.example"), 2022,
			"Access client ID and secret are not those of a valid service token."},
		{"password", append(secret, "SLUICE_ORIGIN_PASSWORD=wrong-hunter2"), through("db.example"), 2013, "The origin refused the login .*"},
		{"name", secret, through("db.example", "--sslmode", "verify-full"), 2017,
			`The origin's certificate does not verify \(x509: certificate is valid for .*, not db.example\): .*`},
	})
	w.cli("tunnel", "route", "vpc-1", "db.example", "tcp://127.0.0.1:"+closedPort(t))
	w.try([]trial{
		{"refused", secret, through("db.example"), 2011, "The origin refused the connector's connection: .*"},
		// The automatic way: all of it is taken away again.
		{"managed, refused", nil, []string{"--tunnel", "vpc-1", "--origin", "tcp://127.0.0.1:" + closedPort(t)}, 2011, "The origin refused the connector's connection: .*"},
		{"managed, unreachable", nil, []string{"--tunnel", "vpc-1", "--origin", "tcp://255.255.255.255:5432"}, 2010, "The connector cannot reach the address .*"},
		{"managed, no connector", nil, []string{"--tunnel", "idle", "--origin", w.pg.Origin()}, 2020, "No connector .*"},
		{"managed, password", []string{"SLUICE_ORIGIN_PASSWORD=wrong-hunter2"}, []string{"--tunnel", "vpc-1", "--origin", w.pg.Origin(), "--ca-certificate", w.pg.CAFile}, 2013, "The origin refused the login .*"},
	})
	var tokens []v4.ServiceToken
	w.do(&tokens, nil, "access", "token", "list")
	var apps []v4.Application
	w.do(&apps, nil, "access", "app", "list")
	if got := w.cli("tunnel", "get", "vpc-1"); len(tokens) != 1 || len(apps) != 3 || strings.Contains(got, "never") {
		t.Errorf("left behind: %d service tokens, %d applications, tunnel\n%s", len(tokens), len(apps), got)
	}
	// And all of it is there when it works.
	target, err := w.sluice.Database(w.ctx, w.pg, "", "managed", "--tunnel", "vpc-1", "--origin", w.pg.Origin(), "--ca-certificate", w.pg.CAFile)
	must(t, err)
	if user, err := query(w.ctx, target); err != nil || user != harness.PostgresUser {
		t.Errorf("%q: %v", user, err)
	}
	w.cli("database", "test", "managed")
}

// TestDirectOriginsArePublic: unless the server says otherwise, whatever name leads there.
func TestDirectOriginsArePublic(t *testing.T) {
	w := newWorld(t, "public")
	want := func(host, addr string) string {
		return host + " resolves to " + addr + `, which is not a public address: put the origin behind a tunnel, or start the server with --direct-origins any.`
	}
	var trials []trial
	for _, host := range []string{"127.0.0.1", "10.1.5.0", "192.168.2.1", "169.254.169.254", "100.64.0.1", "::1", "fd00::1", "0.0.0.0"} {
		trials = append(trials, trial{host, nil, direct(host, w.pg.Port), 2009, regexp.QuoteMeta(want(host, host))})
	}
	trials = append(trials, trial{"a name", nil, direct("localhost", w.pg.Port), 2009, "localhost resolves to (127.0.0.1|::1), which is not a public address: .*"})
	w.try(trials)
	// The test is not all that stands between: drivers are refused as well.
	target, err := w.sluice.Database(w.ctx, w.pg, "", "skipped", append(direct(w.pg.Addr, w.pg.Port), "--skip-test")...)
	must(t, err)
	if _, err := query(w.ctx, target); err == nil || !strings.Contains(err.Error(), "address_not_admitted") {
		t.Errorf("got %v, want address_not_admitted", err)
	}
}

// uploadPair uploads a client certificate and returns its id.
func (w *world) uploadPair(name string, cert, key []byte) string {
	w.Helper()
	certFile, keyFile := w.stage.Path(name+".pem"), w.stage.Path(name+"-key.pem")
	must(w.T, os.WriteFile(certFile, cert, 0o600))
	must(w.T, os.WriteFile(keyFile, key, 0o600))
	var certificate v4.Certificate
	w.do(&certificate, nil, "cert", "upload", "mtls-certificate", "--cert", certFile, "--key", keyFile, "--name", name)
	return certificate.ID
}

// TestClientCertificate: the proxy shows it, to the test and to drivers' queries.
func TestClientCertificate(t *testing.T) {
	w := newWorld(t, "any")
	w.admin("create role certified login password 'certified'")
	pair, err := w.pg.ClientCertificate("certified")
	must(t, err)
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	must(t, err)
	w.uploadPair("client", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	w.cli("cert", "upload", "certificate-authority", "--ca-cert", w.pg.CAFile, "--name", "origin-ca")
	var made v4.Database
	w.do(&made, []string{"SLUICE_CONNECTION_STRING=" + fmt.Sprintf("postgres://certified:certified@%s:%d/%s?sslmode=verify-full", w.pg.Addr, w.pg.Port, harness.PostgresDatabase)},
		"database", "create", "certified", "--ca-certificate-id", "origin-ca", "--mtls-certificate-id", "client")
	target := harness.Target{Host: "127.0.0.1", Port: w.sluice.ProxyPort, User: "certified", Password: made.Credential.Password, Database: "certified", CAFile: w.sluice.CAFile}
	if user, err := query(w.ctx, target); err != nil || user != "certified" {
		t.Errorf("%q: %v", user, err)
	}
	if got := w.fails(nil, "cert", "delete", "client"); !strings.Contains(got, "certificate is in use by database certified (code 1005)") {
		t.Errorf("delete: %s", got)
	}
	if got := w.fails(nil, "database", "update", "certified", "--mtls-certificate-id", ""); !strings.Contains(got, "(code 2018)") {
		t.Errorf("without the certificate: %s", got)
	}
	w.cli("database", "delete", "certified")
	w.cli("cert", "delete", "--name", "client")
	w.cli("cert", "delete", "origin-ca")
}
