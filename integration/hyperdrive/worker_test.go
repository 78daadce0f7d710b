package hyperdrive

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	v4 "github.com/sluicedb/sluice/control/api/v4"
	"github.com/sluicedb/sluice/integration/harness"
)

// TestWorker runs a Worker under `wrangler dev`. The local connection string of its Hyperdrive
// binding is the proxy's, which reaches the database through a tunnel.
func TestWorker(t *testing.T) {
	w := newWorld(t, "none", "--proxy-plaintext") // workerd's sockets to a local database have no TLS
	r := w.newWrangler()
	w.admin("create role visitor login password 'visitor'", "grant all on schema public to visitor")
	r.made("cert", "upload", "certificate-authority", "--ca-cert", w.pg.CAFile, "--name", "origin-ca")
	r.throughTunnel()
	var credential v4.Credential
	r.do(&credential, nil, "database", "credential", "create", "through", "worker")
	target := harness.Target{Host: "127.0.0.1", Port: r.sluice.ProxyPort, User: "worker", Password: credential.Password, Database: "through"}
	conn, err := target.Connect(w.ctx)
	must(t, err)
	defer conn.Close(context.WithoutCancel(w.ctx))
	_, err = conn.Exec(w.ctx, "create table visits (who text primary key, tags text, seen timestamptz default now())")
	must(t, err)

	mysql := r.mysqlThroughTunnel()
	address := r.dev(target, mysql)
	var all sync.WaitGroup
	const visits = 30
	for driver, refused := range map[string]string{"postgres.js": "23505", "pg": "23505", "mysql2": "ER_DUP_ENTRY", "mysql": "ER_DUP_ENTRY"} {
		for i := range visits {
			all.Go(func() {
				who := fmt.Sprintf("%s %d", driver, i)
				want := map[string]any{"visit": map[string]any{"who": who, "tags": "a,b", "recent": true}, "undone": "undone", "n": 1.0, "twice": refused, "together": true}
				got, err := visit(w.ctx, address+"/"+driver+"?who="+url.QueryEscape(who))
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s: %v, %v", who, got, err)
				}
			})
		}
	}
	all.Wait()
	var n, backends int
	must(t, conn.QueryRow(w.ctx, "select count(*), (select count(*) from pg_stat_activity where application_name = 'Sluice') from visits").Scan(&n, &backends))
	if n != 2*visits || backends > 20 {
		t.Errorf("%d visits, on %d origin connections", n, backends)
	}
}

// mysqlThroughTunnel raises a MySQL, makes a database of it that a tunnel leads to, and returns the connection
// string of a Worker's binding to it.
func (r *wrangler) mysqlThroughTunnel() string {
	r.Helper()
	m, err := r.stage.StartMySQL(r.ctx, harness.MySQLConfig{Addr: "127.0.0.1"})
	must(r.T, err)
	var origin v4.Certificate
	r.do(&origin, nil, "cert", "upload", "certificate-authority", "--ca-cert", m.CAFile, "--name", "mysql-ca")
	token, err := r.sluice.Token(r.ctx, "mysql-app")
	must(r.T, err)
	r.cli("tunnel", "route", "vpc-1", "mysql.internal.example", m.Origin())
	r.cli("access", "app", "create", "--hostname", "mysql.internal.example")
	r.cli("access", "policy", "create", "--app", "mysql.internal.example", "--decision", "non_identity", "--include-token", "mysql-app")
	r.made("hyperdrive", "create", "mysql", "--origin-host", "mysql.internal.example", "--origin-scheme", "mysql", "--database", harness.MySQLDatabase,
		"--origin-user", harness.MySQLUser, "--origin-password", m.Password, "--access-client-id", token.ClientID, "--access-client-secret", token.ClientSecret,
		"--ca-certificate-id", origin.ID, "--sslmode", "verify-ca")
	r.triesMySQL(m, token, origin.ID)
	r.devMySQL(m)
	var credential v4.Credential
	r.do(&credential, nil, "database", "credential", "create", "mysql", "worker")
	u := url.URL{Scheme: "mysql", User: url.UserPassword("worker", credential.Password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(r.sluice.MySQLPort)), Path: "/mysql"}
	db, err := sql.Open("mysql", fmt.Sprintf("worker:%s@tcp(%s)/mysql", credential.Password, u.Host))
	must(r.T, err)
	defer db.Close()
	_, err = db.ExecContext(r.ctx, "create table visits (who varchar(100) primary key, tags text, seen timestamp default current_timestamp)")
	must(r.T, err)
	return u.String()
}

// dev starts the Worker, and returns where it listens.
func (r *wrangler) dev(target harness.Target, mysql string) string {
	r.Helper()
	root, err := harness.ModuleRoot(r.ctx)
	must(r.T, err)
	dir := filepath.Join(filepath.Dir(r.program), "..", "..", "..", "worker") // beside node_modules, which it is bundled from
	must(r.T, os.MkdirAll(dir, 0o755))
	for _, name := range []string{"worker.mjs", "wrangler.json"} {
		data, err := os.ReadFile(filepath.Join(root, "integration", "wrangler", "worker", name))
		must(r.T, err)
		must(r.T, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	port, inspector := closedPort(r.T), closedPort(r.T)
	env := append(r.env, "WRANGLER_HYPERDRIVE_LOCAL_CONNECTION_STRING_HYPERDRIVE="+target.URL(),
		"WRANGLER_HYPERDRIVE_LOCAL_CONNECTION_STRING_HYPERDRIVE_MYSQL="+mysql)
	dev, err := r.stage.Start(harness.Command{Name: "wrangler-dev", Path: "node", Env: env, Args: []string{r.program, "dev", "--cwd", dir,
		"--ip", "127.0.0.1", "--port", port, "--inspector-port", inspector, "--persist-to", filepath.Join(r.home, "state")}})
	must(r.T, err)
	address := "http://" + net.JoinHostPort("127.0.0.1", port)
	ctx, cancel := context.WithTimeout(r.ctx, 5*time.Minute)
	defer cancel()
	err = dev.WaitFor(ctx, "the Worker", func(ctx context.Context) error {
		body, err := get(ctx, address)
		if err == nil && string(body) != "ready" {
			err = fmt.Errorf("it says %q", body)
		}
		return err
	})
	if err != nil {
		r.Fatalf("%v\n%s", err, strings.ReplaceAll(dev.Log(), target.Password, "..."))
	}
	return address
}

func get(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}

func visit(ctx context.Context, address string) (answer map[string]any, err error) {
	body, err := get(ctx, address)
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	return answer, err
}
