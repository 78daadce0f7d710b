package api

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

const (
	originPassword = "origin-hunter2"
	clientSecret   = "slst_client-hunter2"
)

// eventually polls until get is done, for what is written in the background.
func eventually[T any](t *testing.T, get func() (T, bool)) T {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		got, ok := get()
		if ok {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s; got %+v", got)
		}
		<-tick.C
	}
}

func private(name string) string {
	return `{"name": "` + name + `", "origin": {"scheme": "postgres", "host": "db.internal.example", "database": "app", "user": "app",
		"password": "` + originPassword + `", "access_client_id": "0123456789abcdef0123456789abcdef.access", "access_client_secret": "` + clientSecret + `"}}`
}

func TestDatabases(t *testing.T) {
	w := newWorld(t)
	made := must[v4.Database](w, "POST", "/hyperdrive/configs", private("app"))
	if made.Origin.Port != 0 || made.Origin.AccessClientID == "" || made.MTLS.SSLMode != "require" || made.Caching.MaxAge != 60 ||
		made.Caching.StaleWhileRevalidate != 15 || made.Caching.Disabled || made.Generation != 1 || made.CreatedOn.IsZero() {
		t.Errorf("made %+v", made)
	}
	connection, err := url.Parse(made.Credential.ConnectionString)
	if err != nil {
		t.Fatal("connection string does not parse")
	}
	if password, _ := connection.User.Password(); connection.User.Username() != "app" || password != made.Credential.Password || password == "" ||
		connection.Host != "proxy.example:6432" || connection.Path != "/app" || connection.Query().Get("sslmode") != "verify-full" {
		t.Errorf("connection string %s", connection.Redacted())
	}
	path := "/hyperdrive/configs/" + made.ID
	for _, where := range []string{path, "/hyperdrive/configs", path + "/credentials", "/audit_logs"} {
		got := w.request("GET", where, "")
		for _, secret := range []string{originPassword, clientSecret, made.Credential.Password} {
			if got.status != 200 || strings.Contains(got.body, secret) {
				t.Errorf("GET %s: %d, or a secret is shown", where, got.status)
			}
		}
	}
	w.refused("POST", "/hyperdrive/configs", private("app"), 409, codeExists, "database app: exists already")

	stored, _ := w.control.Snapshot().DatabaseByID(made.ID)
	if password, err := w.control.OriginPassword(stored); err != nil || password.Reveal() != originPassword {
		t.Errorf("the origin's password is not what was sent: %v", err)
	}
	if got := w.request("DELETE", path, ""); got.status != 200 || string(got.Result) != "null" {
		t.Errorf("delete: %d %s", got.status, got.body)
	}
	w.refused("GET", path, "", 404, codeNotFound, "no such database")
}

func TestDatabaseChanges(t *testing.T) {
	w := newWorld(t)
	made := must[v4.Database](w, "POST", "/hyperdrive/configs", private("app"))
	path := "/hyperdrive/configs/" + made.ID
	secrets := func() (password, secret string) {
		d, _ := w.control.Snapshot().DatabaseByID(made.ID)
		p, err := w.control.OriginPassword(d)
		if err != nil {
			t.Fatal(err)
		}
		s, err := w.control.AccessClientSecret(d)
		if err != nil {
			t.Fatal(err)
		}
		return p.Reveal(), s.Reveal()
	}

	// What a PATCH does not name stays, secrets included.
	got := must[v4.Database](w, "PATCH", path, `{"caching": {"max_age": 30}}`)
	if got.Caching.MaxAge != 30 || got.Caching.StaleWhileRevalidate != 15 || got.Origin != made.Origin || got.Generation != 1 {
		t.Errorf("patched %+v", got)
	}
	got = must[v4.Database](w, "PATCH", path, `{"pooling": {"query_timeout": -1, "min_connections": 7, "forward_application_name": true, "session_state": "reset"}, "mtls": {"sslmode": "verify-full", "server_name": "db.example.com"}}`)
	if got.Pooling != (v4.Pooling{QueryTimeout: -1, MinConnections: 7, ForwardApplicationName: true, SessionState: "reset"}) || got.MTLS.ServerName != "db.example.com" || got.Generation != 2 {
		t.Errorf("patched %+v", got)
	}
	w.refused("PATCH", path, `{"pooling": {"query_timeout": -2, "wait_timeout": 1000000, "min_connections": 21, "session_state": "keep"}, "mtls": {"server_name": "a b"}}`, 400, codeInvalid,
		"pooling.query_timeout: must be between 0 and 604800 seconds, 0 for the default, or -1 for no limit",
		"pooling.wait_timeout: must be between 0 and 604800 seconds; 0 is the default",
		`pooling.session_state: must be replay, reset or pin, not "keep"`,
		"pooling.min_connections: must be between 0 and origin_connection_limit, which is 20",
		"mtls.server_name: must be a host name or an address")
	if got = must[v4.Database](w, "PATCH", path, `{"pooling": {"query_timeout": 0}}`); got.Pooling.QueryTimeout != 0 || got.Pooling.MinConnections != 7 {
		t.Errorf("patched %+v", got.Pooling)
	}
	got = must[v4.Database](w, "PATCH", path, `{"origin": {"password": "new-hunter3"}}`)
	if password, secret := secrets(); password != "new-hunter3" || secret != clientSecret || got.Generation != 3 {
		t.Errorf("after a new password: generation %d", got.Generation)
	}
	// Another client's name without its secret would send the old one's.
	w.refused("PATCH", path, `{"origin": {"access_client_id": "ffffffffffffffffffffffffffffffff.access"}}`, 400, codeInvalid,
		"origin.access_client_secret: is required with access_client_id")
	// A port makes the origin a direct one.
	got = must[v4.Database](w, "PATCH", path, `{"origin": {"host": "db.example.com", "port": 5432}}`)
	if got.Origin.Port != 5432 || got.Origin.AccessClientID != "" {
		t.Errorf("direct %+v", got.Origin)
	}
	if _, secret := secrets(); secret != "" {
		t.Error("a direct origin keeps the client secret")
	}
	w.refused("PATCH", path, `{"origin": {"port": 5432, "access_client_id": "a", "access_client_secret": "b"}}`, 400, codeInvalid,
		"origin.port: excludes access_client_id: the tunnel's ingress has the port")
	w.refused("PATCH", path, `{"origin": {"tunnel_id": "vpc-1"}}`, 400, codeInvalid,
		"origin.tunnel_id: is only for a new database; change the tunnel's ingress to move an origin")
	w.refused("PATCH", path, `{"mtls": {"ca_certificate_id": "a", "mtls_certificate_id": "b"}}`, 400, codeInvalid,
		"mtls.ca_certificate_id: no certificate has this id", "mtls.mtls_certificate_id: no certificate has this id")

	// A PUT replaces everything, and back to defaults.
	w.refused("PUT", path, `{"name": "app", "origin": {"host": "db.example.com", "port": 5432, "database": "app", "user": "app"}}`, 400, codeInvalid,
		"origin.password: is required: PUT replaces the whole database; PATCH changes a part")
	got = must[v4.Database](w, "PUT", path, private("renamed"))
	if got.Name != "renamed" || got.Caching.MaxAge != 60 || got.Origin.AccessClientID == "" || got.Origin.Port != 0 {
		t.Errorf("replaced %+v", got)
	}
	if password, secret := secrets(); password != originPassword || secret != clientSecret {
		t.Error("replaced, with other secrets than were sent")
	}
}

func TestDatabaseFaults(t *testing.T) {
	w := newWorld(t)
	w.refused("POST", "/hyperdrive/configs", `{"origin": {"scheme": "oracle", "host": "a b", "port": 70000}, "origin_connection_limit": 1,
		"caching": {"max_age": -1}, "mtls": {"sslmode": "prefer", "ca_certificate": "nonsense"}}`, 400, codeInvalid,
		"name: is required", `origin.scheme: must be postgres, postgresql or mysql, not "oracle"`, "origin.database: is required", "origin.user: is required",
		"origin.port: must be between 1 and 65535", `mtls.sslmode: must be require, verify-ca, verify-full or no-verify, not "prefer"`,
		"origin.host: must consist of labels of 1 to 63 letters, digits, hyphens and underscores, in ASCII form",
		"mtls.ca_certificate: holds no certificate in PEM form", "caching.max_age: must be between 0 and 3600 seconds",
		"origin_connection_limit: must be between 5 and 10000")
	w.refused("POST", "/hyperdrive/configs", `{"name": "a", "origin": {"password": 5432}}`, 400, codeMalformed, "origin.password: must be a string, not number")
	w.refused("GET", "/hyperdrive/configs/none", "", 404, codeNotFound, "no such database")
	w.refused("PATCH", "/hyperdrive/configs/none", "{}", 404, codeNotFound, "no such database")
}

func TestManagedDatabase(t *testing.T) {
	w := newWorld(t)
	tunnel := must[v4.Tunnel](w, "POST", "/cfd_tunnel", `{"name": "vpc-1"}`)
	body := func(name, origin string) string {
		return `{"name": "` + name + `", "origin": {"database": "app", "user": "app", "password": "p", ` + origin + `}}`
	}
	made := must[v4.Database](w, "POST", "/hyperdrive/configs", body("app", `"tunnel_id": "vpc-1", "service": "tcp://10.0.0.5:5432"`))
	if made.Tunnel == nil || made.Tunnel.TunnelID != tunnel.ID || made.Tunnel.Hostname != made.Origin.Host {
		t.Fatalf("made %+v", made)
	}
	app := must[v4.Application](w, "GET", "/access/apps/"+made.Tunnel.ApplicationID, "")
	if app.Domain != made.Origin.Host || len(app.Policies) != 1 || app.Policies[0].Include[0].Value != made.Tunnel.ServiceTokenID {
		t.Errorf("application %+v", app)
	}
	configuration := must[v4.TunnelConfiguration](w, "GET", "/cfd_tunnel/"+tunnel.ID+"/configurations", "")
	if configuration.Config.Ingress[0] != (v4.IngressRule{Hostname: made.Origin.Host, Service: "tcp://10.0.0.5:5432"}) {
		t.Errorf("configuration %+v", configuration)
	}
	for _, tt := range []struct {
		origin string
		want   []string
	}{
		{`"tunnel_id": "vpc-2", "service": "tcp://h:1"`, []string{"origin.tunnel_id: no tunnel has this id or name"}},
		{`"tunnel_id": "vpc-1"`, []string{"origin.service: is required with tunnel_id: tcp://host:port or unix:/path"}},
		{`"service": "tcp://h:1"`, []string{"origin.tunnel_id: is required with service"}},
		{`"tunnel_id": "vpc-1", "service": "tcp://h:1", "port": 1`,
			[]string{"origin.tunnel_id: excludes host, port, access_client_id and access_client_secret: with a tunnel the server makes them"}},
	} {
		w.refused("POST", "/hyperdrive/configs", body("other", tt.origin), 400, codeInvalid, tt.want...)
	}
	// All of it or nothing.
	if tokens := must[[]v4.ServiceToken](w, "GET", "/access/service_tokens", ""); len(tokens) != 1 {
		t.Errorf("%d service tokens after refusals", len(tokens))
	}
	w.request("DELETE", "/hyperdrive/configs/"+made.ID, "")
	if tokens := must[[]v4.ServiceToken](w, "GET", "/access/service_tokens", ""); len(tokens) != 0 {
		t.Errorf("%d service tokens after the delete of what they were made for", len(tokens))
	}
}

func TestCredentials(t *testing.T) {
	w := newWorld(t)
	database := must[v4.Database](w, "POST", "/hyperdrive/configs", private("app"))
	path := "/hyperdrive/configs/" + database.ID + "/credentials"
	blue := must[v4.Credential](w, "POST", path, `{"name": "blue"}`)
	if blue.Password == "" || blue.Password == database.Credential.Password || !strings.Contains(blue.ConnectionString, blue.Password) {
		t.Errorf("made %+v", blue.Name)
	}
	if got := must[[]v4.Credential](w, "GET", path, ""); len(got) != 2 || got[0].Password != "" || got[1].ConnectionString != "postgres://blue@proxy.example:6432/app?sslmode=verify-full" {
		t.Errorf("got %+v", got)
	}
	w.refused("POST", path, `{"name": "blue"}`, 409, codeExists, "credential blue: exists already")
	w.refused("POST", path, `{}`, 400, codeInvalid, "name: is required")
	must[map[string]string](w, "DELETE", path+"/"+database.Credential.ID, "")
	w.refused("DELETE", path+"/"+database.Credential.ID, "", 404, codeNotFound, "no such credential")
	d, _ := w.control.Snapshot().DatabaseByID(database.ID)
	if len(d.Credentials) != 1 || d.Credentials[0].Name != "blue" || d.AccountID != control.DefaultAccountID {
		t.Errorf("left: %d credentials", len(d.Credentials))
	}
}
