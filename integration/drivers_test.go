package integration

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedb/sluice/integration/harness"
)

// driverTests are what every driver does all day. They run against PostgreSQL itself too, which
// holds the tests to what PostgreSQL does.
var driverTests = []struct {
	name string
	run  func(*testing.T, *harness.Stage, harness.Target)
}{
	{"psql", testPsql},
	{"psql errors", testPsqlErrors},
	{"psql copy", testPsqlCopy},
	{"psql interrupt", testPsqlInterrupt},
	{"node-postgres", testNodePostgres},
	{"pgx queries", testQueries},
	{"pgx transactions", testTransactions},
	{"pgx prepared statements", testPreparedStatements},
	{"pgx pipeline", testPipeline},
	{"pgx errors", testErrors},
	{"pgx copy in", testCopyIn},
	{"pgx copy out", testCopyOut},
	{"pgx failed copy", testFailedCopy},
	{"pgx cancel", testCancel},
}

func TestDrivers(t *testing.T) {
	w := newWorld(t)
	for _, target := range []struct {
		name string
		harness.Target
	}{{"direct", w.pg.Target()}, {"through Sluice", w.target}} {
		for _, test := range driverTests {
			t.Run(target.name+"/"+test.name, func(t *testing.T) { test.run(t, w.stage, target.Target) })
		}
	}
	// What knows its answer needs no PostgreSQL to be held to it.
	t.Run("pgx 100 MB of rows", func(t *testing.T) { testManyRows(t, w.target) })
	t.Run("pgx 100 MB in one row", func(t *testing.T) { testLargeRow(t, w.target) })
	t.Run("generic WebSocket client", func(t *testing.T) { testGenericClient(t, w) })
}

// connect connects and closes at the test's end.
func connect(ctx context.Context, t *testing.T, target harness.Target) *pgx.Conn {
	t.Helper()
	conn, err := target.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		conn.Close(ctx)
	})
	return conn
}

// within is a context for one test's work: far above what it takes on a loaded machine, far below the suite's time.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// psql runs a script and returns its unaligned output.
func psql(ctx context.Context, s *harness.Stage, target harness.Target, script string) (string, error) {
	return s.Output(ctx, harness.Command{Name: "psql", Path: "psql", Env: target.Env(),
		Args: []string{"-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-f", "-"}}, script)
}

func testPsql(t *testing.T, s *harness.Stage, target harness.Target) {
	ctx := within(t)
	got, err := psql(ctx, s, target, `
		select 'a', 1, null, 'ünï';
		select 1; select 2;
		begin; create table psql_t (id int primary key, v text); insert into psql_t values (1, 'one'), (2, 'two'); commit;
		begin; delete from psql_t; rollback;
		select count(*) from psql_t;
		select 1 as a \; select 2 as b;
		drop table psql_t;
		select 'done' where true`+"\n;\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := "a|1||ünï\n1\n2\n2\n1\n2\ndone\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	info, err := s.Output(ctx, harness.Command{Name: "psql", Path: "psql", Env: target.Env(), Args: []string{"-X", "-c", `\conninfo`}}, "")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(info, "SSL connection") || !strings.Contains(info, `database "`+target.Database+`"`) {
		t.Errorf(`\conninfo: %q`, info)
	}
}

func testPsqlErrors(t *testing.T, s *harness.Stage, target harness.Target) {
	for _, test := range []struct{ name, sql, want string }{
		{"syntax", "selec 1;", "ERROR:  42601: syntax error"},
		{"division", "select 1/0;", "ERROR:  22012: division by zero"},
		{"table", "select * from no_such_table;", "ERROR:  42P01: relation"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := psql(within(t), s, target, test.sql)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func testPsqlCopy(t *testing.T, s *harness.Stage, target harness.Target) {
	ctx := within(t)
	var rows strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&rows, "%d\tvalue %d\n", i, i)
	}
	got, err := psql(ctx, s, target, "create table psql_copy (id int, v text);\ncopy psql_copy from stdin;\n"+rows.String()+
		"\\.\ncopy (select * from psql_copy order by id) to stdout;\ndrop table psql_copy;\n")
	if err != nil {
		t.Fatal(err)
	}
	if got != rows.String() {
		t.Errorf("%d bytes in, %d other bytes out", rows.Len(), len(got))
	}
}

// testPsqlInterrupt is a person's Ctrl-C in the middle of a query.
func testPsqlInterrupt(t *testing.T, s *harness.Stage, target harness.Target) {
	ctx := within(t)
	cmd := exec.CommandContext(ctx, "psql", "-X", "-v", "VERBOSITY=verbose", "-c", "select 'psql interrupt', pg_sleep(50)")
	cmd.Env = append(cmd.Environ(), target.Env()...)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	other := connect(ctx, t, target)
	err := harness.WaitFor(ctx, nil, func(ctx context.Context) error {
		var n int
		err := other.QueryRow(ctx, "select count(*) from pg_stat_activity where state = 'active' and query like '%psql interrupt%pg_sleep(50)%' and query not like '%pg_stat_activity%'").Scan(&n)
		if err == nil && n == 0 {
			err = fmt.Errorf("the query does not run yet")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || ctx.Err() != nil {
		t.Errorf("psql ended with %v, %v", err, ctx.Err())
	}
	if want := "57014: canceling statement due to user request"; !strings.Contains(output.String(), want) {
		t.Errorf("psql says %q, want %q", output.String(), want)
	}
}

func testNodePostgres(t *testing.T, s *harness.Stage, target harness.Target) {
	out, err := s.Output(within(t), harness.Command{Name: "node", Path: "node", Env: append(target.Env(), "PGSSLROOTCERT="+target.CAFile),
		Args: []string{"--test", "--test-reporter=tap", nodeModules(t) + "/driver.test.mjs"}}, "")
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
