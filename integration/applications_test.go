package integration

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sluicedb/sluice/integration/harness"
)

// applications are small programs as people write them, on drivers of today with their defaults.
// Each prints a line for each thing that it does: ok or not ok, the driver, what, and the error;
// tabs between.
var applications = []struct {
	name    string
	command func(*testing.T) harness.Command
}{
	{"node-postgres", node("pg.mjs")},
	{"Postgres.js", node("postgresjs.mjs")},
	{"Drizzle", node("drizzle.mjs")},
	{"Kysely", node("kysely.mjs")},
	{"psycopg2", python("shop_psycopg2.py")},
	{"psycopg 3", python("shop_psycopg3.py")},
	{"asyncpg", python("shop_asyncpg.py")},
	{"SQLAlchemy", python("shop_sqlalchemy.py")},
	{"Django", python("shop_django.py")},
	{"JDBC", java("Shop.java")},
}

func nodeModules(t *testing.T) string {
	t.Helper()
	dir, err := harness.NodeModules(t.Context())
	must(t, err)
	return dir
}

func node(program string) func(*testing.T) harness.Command {
	return func(t *testing.T) harness.Command {
		return harness.Command{Path: "node", Args: []string{filepath.Join(nodeModules(t), program)}}
	}
}

// python runs a program with the interpreter of the machine's own packages.
func python(program string) func(*testing.T) harness.Command {
	return func(t *testing.T) harness.Command {
		return harness.Command{Path: "/usr/bin/python3", Args: []string{"-B", source(t, "python", program)}}
	}
}

func java(program string) func(*testing.T) harness.Command {
	return func(t *testing.T) harness.Command {
		return harness.Command{Path: "java", Args: []string{"-cp", "/usr/share/java/postgresql.jar", source(t, "java", program)}}
	}
}

func source(t *testing.T, elem ...string) string {
	t.Helper()
	root, err := harness.ModuleRoot(t.Context())
	must(t, err)
	return filepath.Join(append([]string{root, "integration"}, elem...)...)
}

// TestApplications runs the applications, against PostgreSQL itself first, which holds them to
// what PostgreSQL does, and prints which driver does what.
func TestApplications(t *testing.T) {
	w := newWorld(t)
	var all matrix
	for _, app := range applications {
		for _, target := range []struct {
			name string
			harness.Target
		}{{"direct", w.pg.Target()}, {"through Sluice", w.target}} {
			t.Run(app.name+"/"+target.name, func(t *testing.T) {
				command := app.command(t)
				command.Name, command.Env = app.name, target.Env()
				out, err := w.stage.Output(within(t), command, "")
				results := all.add(target.name, out)
				for _, r := range results {
					if !r.ok {
						t.Errorf("%s: %s: %s", r.driver, r.what, r.err)
					}
				}
				if err != nil || len(results) == 0 {
					t.Errorf("it ended early: %v", err)
				}
			})
		}
	}
	for _, name := range []string{"lib/pq", "pgx", "golang-migrate"} {
		t.Run(name, func(t *testing.T) {
			for _, target := range []struct {
				name string
				harness.Target
			}{{"direct", w.pg.Target()}, {"through Sluice", w.target}} {
				for _, test := range goApplications[name] {
					ok := t.Run(test.what+"/"+target.name, func(t *testing.T) { test.run(t, target.Target) })
					all.set(target.name, result{ok: ok, driver: name, what: test.what})
				}
			}
		})
	}
	t.Run("session state", w.testSessionState)
	t.Logf("\n%s", all.markdown())
	shown := w.run(within(t), t, "database", "get", "app")
	t.Logf("\n%s", shown)
	for _, want := range []string{"clients:", "lease:", "99% below", "demand"} {
		if !strings.Contains(shown, want) {
			t.Errorf("database get shows no %q", want)
		}
	}
}

// A result is one line of an application's output.
type result struct {
	ok                bool
	driver, what, err string
}

// A matrix is what every driver did, by target.
type matrix struct {
	mu    sync.Mutex
	order [][2]string // driver and what, as they came
	cells map[[3]string]bool
}

func (m *matrix) add(target, output string) (results []result) {
	for line := range strings.Lines(output) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 4)
		if len(f) < 3 || f[0] != "ok" && f[0] != "not ok" {
			continue
		}
		r := result{ok: f[0] == "ok", driver: f[1], what: f[2]}
		if len(f) > 3 {
			r.err = f[3]
		}
		results = append(results, r)
		m.set(target, r)
	}
	return results
}

func (m *matrix) set(target string, r result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cells == nil {
		m.cells = make(map[[3]string]bool)
	}
	if row := [2]string{r.driver, r.what}; !slices.Contains(m.order, row) {
		m.order = append(m.order, row)
	}
	m.cells[[3]string{target, r.driver, r.what}] = r.ok
}

// markdown is the matrix as a table.
func (m *matrix) markdown() string {
	var b strings.Builder
	b.WriteString("| driver | what | direct | through Sluice |\n|---|---|---|---|\n")
	for _, row := range m.order {
		fmt.Fprintf(&b, "| %s | %s |", row[0], row[1])
		for _, target := range []string{"direct", "through Sluice"} {
			ok, ran := m.cells[[3]string{target, row[0], row[1]}]
			switch {
			case !ran:
				b.WriteString(" not run |")
			case ok:
				b.WriteString(" yes |")
			default:
				b.WriteString(" **no** |")
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// testSessionState changes what becomes of a session's settings while clients are logged in.
func (w *world) testSessionState(t *testing.T) {
	ctx := within(t)
	conn := connect(ctx, t, w.target)
	for _, policy := range []string{"reset", "replay"} {
		w.run(ctx, t, "database", "update", "app", "--session-state", policy)
		if shown := w.run(ctx, t, "database", "get", "app"); strings.Contains(shown, "session state reset") != (policy == "reset") {
			t.Errorf("with %s database get shows\n%s", policy, shown)
		}
		for kept := policy == "reset"; kept != (policy == "replay"); { // until the proxy has heard
			_, err := conn.Exec(ctx, "set work_mem = '77kB'")
			must(t, err)
			var value string
			must(t, conn.QueryRow(ctx, "show work_mem").Scan(&value))
			kept = value == "77kB"
		}
	}
}
