package hyperdrive

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
	"github.com/sluicedb/sluice/integration/harness"
)

// wranglerProgram returns wrangler's entry, of the package that integration/wrangler pins.
func wranglerProgram(t *testing.T) string {
	t.Helper()
	packages, err := harness.Packages(t.Context(), "wrangler")
	must(t, err)
	return filepath.Join(packages, "node_modules", "wrangler", "bin", "wrangler.js")
}

// wrangler runs Cloudflare's own command line against a world's server.
type wrangler struct {
	*world
	program, home string
	env           []string
}

// newWrangler gives wrangler a home of its own. It is told to send nothing anywhere, and asks a
// closed port of this machine whether there is a newer one.
func (w *world) newWrangler() *wrangler {
	w.Helper()
	home := w.stage.Path("home")
	must(w.T, os.Mkdir(home, 0o700))
	must(w.T, os.WriteFile(filepath.Join(home, ".npmrc"), []byte("registry=http://127.0.0.1:"+closedPort(w.T)+"/\n"), 0o600))
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_CONFIG_HOME=" + home, "TMPDIR=" + home, "NO_COLOR=1", "CI=1", "TZ=UTC",
		"WRANGLER_SEND_METRICS=false", "WRANGLER_SEND_ERROR_REPORTS=false", "NODE_EXTRA_CA_CERTS=" + w.sluice.CAFile,
		"CLOUDFLARE_ACCOUNT_ID=" + control.DefaultAccountID}
	for _, variable := range w.sluice.Env() {
		if token, ok := strings.CutPrefix(variable, "SLUICE_API_TOKEN="); ok {
			env = append(env, "CLOUDFLARE_API_TOKEN="+token)
		}
		if address, ok := strings.CutPrefix(variable, "SLUICE_API_URL="); ok {
			env = append(env, "CLOUDFLARE_API_BASE_URL="+address+"/client/v4")
		}
	}
	return &wrangler{world: w, program: wranglerProgram(w.T), home: home, env: env}
}

// client is one of the same server's API.
func (r *wrangler) client() *apiclient.Client {
	r.Helper()
	ca, err := os.ReadFile(r.sluice.CAFile)
	must(r.T, err)
	config := apiclient.Config{CA: ca}
	for _, variable := range r.env {
		if token, ok := strings.CutPrefix(variable, "CLOUDFLARE_API_TOKEN="); ok {
			config.Token = token
		}
		if address, ok := strings.CutPrefix(variable, "CLOUDFLARE_API_BASE_URL="); ok {
			config.URL = strings.TrimSuffix(address, "/client/v4")
		}
	}
	client, err := apiclient.New(config)
	must(r.T, err)
	return client
}

// call runs wrangler and returns what it prints, on both outputs.
func (r *wrangler) call(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "node", append([]string{r.program}, args...)...)
	cmd.Env, cmd.Dir = r.env, r.home
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must runs wrangler, which succeeds and says what is wanted.
func (r *wrangler) must(want string, args ...string) string {
	r.Helper()
	out, err := r.call(r.ctx, args...)
	if err != nil || !regexp.MustCompile(want).MatchString(out) {
		r.Fatalf("wrangler %s: %v, want %q:\n%s", strings.Join(args[:2], " "), err, want, out)
	}
	return out
}

// refused runs wrangler, which fails with an error of the server's.
func (r *wrangler) refused(want string, args ...string) {
	r.Helper()
	out, err := r.call(r.ctx, args...)
	if err == nil || !regexp.MustCompile(want).MatchString(out) {
		r.Errorf("wrangler %s: %v, want %q:\n%s", strings.Join(args[:2], " "), err, want, out)
	}
}

var createdID = regexp.MustCompile(`config: ([0-9a-f]{32})|ID: ([0-9a-f-]{36})`)

// made runs wrangler, which makes something, and returns its id.
func (r *wrangler) made(args ...string) string {
	r.Helper()
	found := createdID.FindStringSubmatch(r.must(createdID.String(), args...))
	return found[1] + found[2]
}

// get returns a database as the API has it.
func (r *wrangler) get(id string) (d v4.Database) {
	r.Helper()
	r.do(&d, nil, "database", "get", id)
	return d
}

// connectionString is the origin's, with a user's password.
func (w *world) connectionString(user, password, query string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: w.pg.Addr + ":" + strconv.Itoa(w.pg.Port), Path: "/" + harness.PostgresDatabase, RawQuery: query}
	return u.String()
}

// TestWrangler drives every hyperdrive and cert command of wrangler, with every flag that it has.
func TestWrangler(t *testing.T) {
	w := newWorld(t, "any")
	r := w.newWrangler()
	w.admin("create role certified login password 'certified'", "create role other login password 'other-hunter5'")

	ca := r.made("cert", "upload", "certificate-authority", "--ca-cert", w.pg.CAFile, "--name", "origin-ca")
	client := r.clientPair()

	// A connection string, certificates and a strict mode.
	app := r.made("hyperdrive", "create", "app", "--connection-string="+w.connectionString("certified", "certified", ""),
		"--ca-certificate-id", ca, "--mtls-certificate-id", client, "--sslmode", "verify-full")
	if got := r.get(app); got.Name != "app" || got.Origin.User != "certified" || got.MTLS != (v4.MTLS{SSLMode: "verify-full", CACertificateID: ca, MTLSCertificateID: client}) ||
		got.Caching != (v4.Caching{MaxAge: 60, StaleWhileRevalidate: 15}) {
		t.Errorf("made %+v", got)
	}
	// Each setting for itself.
	parts := r.made("hyperdrive", "create", "parts", "--origin-host", w.pg.Addr, "--origin-port", strconv.Itoa(w.pg.Port), "--origin-scheme", "postgresql",
		"--database", harness.PostgresDatabase, "--origin-user", harness.PostgresUser, "--origin-password", w.pg.Password,
		"--ca-certificate-id", ca, "--sslmode", "verify-ca", "--max-age", "30", "--swr", "0")
	if got := r.get(parts); got.Origin.Scheme != "postgresql" || got.Origin.Port != w.pg.Port || got.Caching != (v4.Caching{MaxAge: 30}) {
		t.Errorf("made %+v", got)
	}
	r.refused(`database app: exists already \[code: 1003\]`, "hyperdrive", "create", "app", "--connection-string="+w.connectionString("certified", "certified", ""),
		"--ca-certificate-id", ca, "--mtls-certificate-id", client, "--sslmode", "verify-full")
	r.refused(`check user and password, which are case-sensitive. \[code: 2013\]`, "hyperdrive", "create", "no", "--connection-string="+w.connectionString("app", "wrong-hunter2", ""),
		"--ca-certificate-id", ca, "--sslmode", "verify-full")
	r.refused(`The origin's certificate does not verify.* \[code: 2017\]`, "hyperdrive", "create", "no", "--connection-string="+w.connectionString("app", w.pg.Password, ""))

	r.changes(parts)
	through := r.throughTunnel()
	r.lists(app, parts, through)

	// What is in use stays.
	r.refused(`certificate is in use by database app and 2 more \[code: 1005\]`, "cert", "delete", "--id", ca)
	for _, id := range []string{app, parts, through} {
		r.must("Deleted", "hyperdrive", "delete", id)
	}
	r.refused(`no such database \[code: 1002\]`, "hyperdrive", "get", app)
	r.must("Deleted certificate "+ca, "cert", "delete", "--id", ca)
	r.must("Deleted certificate "+client, "cert", "delete", "--name", "client")
	if out := r.must("", "cert", "list"); strings.Contains(out, "ID:") {
		t.Errorf("certificates after all were deleted:\n%s", out)
	}
}

// clientPair uploads a client certificate, and finds both in the list.
func (r *wrangler) clientPair() string {
	r.Helper()
	pair, err := r.pg.ClientCertificate("certified")
	must(r.T, err)
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	must(r.T, err)
	certFile, keyFile := r.stage.Path("client.pem"), r.stage.Path("client-key.pem")
	must(r.T, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600))
	must(r.T, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	id := r.made("cert", "upload", "mtls-certificate", "--cert", certFile, "--key", keyFile, "--name", "client")
	r.refused(`private_key: must be a private key, not "CERTIFICATE" \[code: 1001\]`, "cert", "upload", "mtls-certificate", "--cert", certFile, "--key", certFile)
	out := r.must("Name: origin-ca(.|\n)*CA: true(.|\n)*Name: client", "cert", "list")
	if !strings.Contains(out, "ID: "+id) || strings.Contains(out, "Invalid Date") {
		r.Errorf("cert list:\n%s", out)
	}
	return id
}

// changes changes every setting of a database that wrangler can.
func (r *wrangler) changes(id string) {
	r.Helper()
	r.must("Updated "+id, "hyperdrive", "update", id, "--name", "renamed")
	// As Hyperdrive's documentation has it; the same password once more is no change of the connection.
	r.must(`"disabled": true`, "hyperdrive", "update", id, "--origin-password", r.pg.Password, "--caching-disabled", "true")
	if got := r.get(id); got.Name != "renamed" || !got.Caching.Disabled || got.Generation != 1 {
		r.Errorf("changed %+v", got)
	}
	r.must(`"max_age": 3600`, "hyperdrive", "update", id, "--caching-disabled", "false", "--max-age", "3600", "--swr", "20")
	r.refused(`caching.max_age: must be between 0 and 3600 seconds \[code: 1001\]`, "hyperdrive", "update", id, "--max-age", "3601")
	r.must("Updated", "hyperdrive", "update", id, "--origin-host", "localhost", "--origin-port", strconv.Itoa(r.pg.Port), "--origin-scheme", "postgres",
		"--database", "postgres", "--origin-user", "other", "--origin-password", "other-hunter5")
	if got := r.get(id); got.Origin != (v4.Origin{Scheme: "postgres", Host: "localhost", Port: r.pg.Port, Database: "postgres", User: "other"}) || got.Generation != 2 {
		r.Errorf("changed %+v, generation %d", got.Origin, got.Generation)
	}
	r.refused(`\[code: 2014\]`, "hyperdrive", "update", id, "--database", "nosuch")
	r.must("Updated", "hyperdrive", "update", id, "--connection-string="+r.connectionString("app", r.pg.Password, ""))
}

// throughTunnel makes a database behind a tunnel, with a service token.
func (r *wrangler) throughTunnel() string {
	r.Helper()
	r.tunnel("vpc-1")
	token, err := r.sluice.Token(r.ctx, "app")
	must(r.T, err)
	r.cli("tunnel", "route", "vpc-1", "db.internal.example", r.pg.Origin())
	r.cli("access", "app", "create", "--hostname", "db.internal.example")
	r.cli("access", "policy", "create", "--app", "db.internal.example", "--decision", "non_identity", "--include-token", "app")
	var origin v4.Certificate
	r.do(&origin, nil, "cert", "get", "origin-ca")
	id := r.made("hyperdrive", "create", "through", "--origin-host", "db.internal.example", "--origin-scheme", "postgres", "--database", harness.PostgresDatabase,
		"--origin-user", harness.PostgresUser, "--origin-password", r.pg.Password, "--access-client-id", token.ClientID, "--access-client-secret", token.ClientSecret,
		"--ca-certificate-id", origin.ID, "--sslmode", "verify-full", "--caching-disabled")
	out := r.must(`"access_client_id": "`+regexp.QuoteMeta(token.ClientID)+`"`, "hyperdrive", "get", id)
	if strings.Contains(out, token.ClientSecret) || strings.Contains(out, r.pg.Password) || strings.Contains(out, `"port"`) {
		r.Error("get shows a secret, or a port")
	}
	// Only a driver needs more: a credential, which wrangler knows nothing of.
	var credential v4.Credential
	r.do(&credential, nil, "database", "credential", "create", "through", "driver")
	target := harness.Target{Host: "127.0.0.1", Port: r.sluice.ProxyPort, User: "driver", Password: credential.Password, Database: "through", CAFile: r.sluice.CAFile}
	if user, err := query(r.ctx, target); err != nil || user != harness.PostgresUser {
		r.Errorf("%q: %v", user, err)
	}
	return id
}

// lists makes more databases than a page holds, and finds all in wrangler's list.
func (r *wrangler) lists(ids ...string) {
	r.Helper()
	const more = 20 // a page
	client := r.client()
	defer client.Close()
	for i := range more {
		name, host, port, text := fmt.Sprintf("more-%d", i), "h.example", 1, "x"
		d, err := client.CreateDatabase(r.ctx, v4.DatabaseWrite{Name: &name, SkipTest: true,
			Origin: &v4.OriginWrite{Host: &host, Port: &port, Database: &text, User: &text, Password: &text}})
		must(r.T, err)
		ids = append(ids, d.ID)
	}
	out := r.must("Listing Hyperdrive configs", "hyperdrive", "list")
	if missing := slices.DeleteFunc(ids, func(id string) bool { return strings.Contains(out, id) }); len(missing) > 0 {
		r.Errorf("list lacks %d databases:\n%s", len(missing), out)
	}
}
