package hyperdrive

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	v4 "github.com/sluicedb/sluice/control/api/v4"
	"github.com/sluicedb/sluice/integration/harness"
)

// triesMySQL checks that a database of a MySQL behind the tunnel is not made where its test fails,
// with PostgreSQL's codes, by wrangler and by the command line.
func (r *wrangler) triesMySQL(m *harness.MySQL, token v4.ServiceToken, ca string) {
	r.Helper()
	origin := []string{"--origin-host", "mysql.internal.example", "--origin-scheme", "mysql", "--origin-user", harness.MySQLUser, "--access-client-id", token.ClientID}
	r.refused(`check user and password.* \[code: 2013\]`, append([]string{"hyperdrive", "create", "never", "--database", harness.MySQLDatabase,
		"--origin-password", "wrong-hunter2", "--access-client-secret", token.ClientSecret, "--ca-certificate-id", ca, "--sslmode", "verify-ca"}, origin...)...)
	for _, tt := range []struct{ database, password, sslmode, code string }{
		{harness.MySQLDatabase, "wrong-hunter2", "no-verify", "2013"},
		{"nosuch", m.Password, "no-verify", "20(13|14)"}, // MySQL tells users without rights to it that they are denied
		{harness.MySQLDatabase, m.Password, "require", "2017"},
	} {
		got := r.fails([]string{"SLUICE_ORIGIN_PASSWORD=" + tt.password, "SLUICE_ACCESS_CLIENT_SECRET=" + token.ClientSecret},
			append([]string{"database", "create", "never", "--database", tt.database, "--sslmode", tt.sslmode}, origin...)...)
		if !regexp.MustCompile(`\(code `+tt.code+`\)$`).MatchString(got) || strings.Contains(got, tt.password) {
			r.Errorf("%+v: %s", tt, got)
		}
	}
}

// devMySQL runs `sluice dev` for a MySQL, asks it something with the string that it prints, and
// looks whether all of the proxies' origin connections say whose they are.
func (r *wrangler) devMySQL(m *harness.MySQL) {
	r.Helper()
	dsn := url.URL{Scheme: "mysql", User: url.UserPassword(harness.MySQLUser, m.Password), Host: strings.TrimPrefix(m.Origin(), "tcp://"), Path: "/" + harness.MySQLDatabase}
	args := []string{"dev", "--data-dir", r.stage.Path("dev"), "--metrics-listen", "off"}
	for _, listen := range []string{"api", "relay", "proxy", "mysql"} {
		args = append(args, "--"+listen+"-listen", "127.0.0.1:0")
	}
	stdout := r.stage.Path("dev.out")
	dev, err := r.stage.Start(harness.Command{Name: "dev", Path: bin + "/sluice", Args: args, Env: []string{"SLUICE_DEV_DSN=" + dsn.String()}, Stdout: stdout})
	must(r.T, err)
	printed := regexp.MustCompile(`mysql://(.*):(.*)@(.*)/(.*)\n`)
	var found []string
	must(r.T, dev.WaitFor(r.ctx, "a connection string", func(context.Context) error {
		out, err := os.ReadFile(stdout)
		if found = printed.FindStringSubmatch(string(out)); err == nil && found == nil {
			err = errors.New("none is printed")
		}
		return err
	}))
	ca, err := os.ReadFile(r.stage.Path("dev", "ca.pem"))
	must(r.T, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	config := mysql.NewConfig()
	config.User, config.Passwd, config.Net, config.Addr, config.DBName = found[1], found[2], "tcp", found[3], found[4]
	config.TLS = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
	connector, err := mysql.NewConnector(config)
	must(r.T, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	var schema string
	if err := db.QueryRowContext(r.ctx, "select database()").Scan(&schema); err != nil || schema != harness.MySQLDatabase {
		r.Errorf("through sluice dev: schema %q, %v\n%s", schema, err, dev.Log())
	}
	admin := m.Admin()
	defer admin.Close()
	// The server's two tables are not read at one instant: a connection in the middle of its login or of its end is in one of them.
	ctx, cancel := context.WithTimeout(r.ctx, time.Minute)
	defer cancel()
	must(r.T, harness.WaitFor(ctx, nil, func(ctx context.Context) error {
		var named, all int
		err := admin.QueryRowContext(ctx, `select count(distinct if(attr_name = 'program_name' and attr_value = 'Sluice', processlist_id, null)),
			(select count(*) from information_schema.processlist where user = ?) from performance_schema.session_connect_attrs`, harness.MySQLUser).Scan(&named, &all)
		if err == nil && (named == 0 || named != all) {
			err = fmt.Errorf("%d of %d origin connections are named Sluice", named, all)
		}
		return err
	}))
}
