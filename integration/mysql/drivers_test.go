package mysql

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

// applications are small programs as people write them, on drivers of today with their defaults.
// Each prints a line for each thing that it does: ok or not ok, the driver, what, and the error;
// tabs between.
var applications = []struct {
	name    string
	program []string
}{
	{"mysql2", []string{"node", "mysql2.mjs"}},
	{"mysqljs", []string{"node", "mysqljs.mjs"}},
	{"Drizzle", []string{"node", "drizzle-mysql.mjs"}},
	{"Kysely", []string{"node", "kysely-mysql.mjs"}},
	{"PyMySQL", []string{"python", "shop_mysql.py", "PyMySQL"}},
	{"mysqlclient", []string{"python", "shop_mysql.py", "mysqlclient"}},
	{"SQLAlchemy", []string{"python", "shop_sqlalchemy_mysql.py"}},
	{"MariaDB JDBC", []string{"java", "ShopMySQL.java"}},
}

// Every application runs as it is, over TLS, its clients taking turns on few origin connections.
func TestPooling50Applications(t *testing.T) {
	modules, err := harness.NodeModules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root, err := harness.ModuleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stage, err := harness.NewStage()
	if err != nil {
		t.Fatal(err)
	}
	defer stage.Close()
	onBoth(t, func(t *testing.T, s server) {
		for _, app := range applications {
			t.Run(app.name, func(t *testing.T) {
				w := newWorld(t, s, maxConns(3))
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
				defer cancel()
				command := harness.Command{Name: app.name, Env: w.env(t)}
				source := filepath.Join(root, "integration", app.program[0], app.program[1])
				switch app.program[0] {
				case "node":
					command.Path, command.Args = "node", []string{filepath.Join(modules, app.program[1])}
				case "python": // the machine's own packages
					command.Path, command.Args = "/usr/bin/python3", append([]string{"-B", source}, app.program[2:]...)
				case "java":
					command.Path, command.Args = "java", []string{"-cp", "/usr/share/java/mariadb-java-client.jar", source}
				}
				out, err := stage.Output(ctx, command, "")
				if err != nil || out == "" {
					t.Errorf("it ended early: %v", err)
				}
				for line := range strings.Lines(out) {
					if !strings.HasPrefix(line, "ok\t") {
						t.Error(line)
					}
				}
				t.Logf("\n%s", out)
			})
		}
	})
}

// env names the proxy as the applications expect it.
func (w *world) env(t *testing.T) []string {
	t.Helper()
	host, port, err := net.SplitHostPort(w.addr)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"MYSQL_HOST=" + host, "MYSQL_PORT=" + port, "MYSQL_USER=" + testUser, "MYSQL_PASSWORD=" + testPassword,
		"MYSQL_DATABASE=" + testDatabase, "MYSQL_CA=" + driverCA}
}
