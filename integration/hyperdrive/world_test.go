package hyperdrive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedb/sluice/integration/harness"
)

// bin is the directory of the programs under test, built once, with the race detector.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		stage, err := harness.NewStage()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer stage.Close()
		bin = stage.Path("bin")
		if err := harness.Build(context.Background(), bin, true, "./cmd/sluice", "./cmd/sluice-connector"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// clientCertificateHBA asks one role for a certificate besides its password.
const clientCertificateHBA = "hostssl all certified all scram-sha-256 clientcert=verify-full"

// world is an origin and a server with all roles.
type world struct {
	*testing.T
	ctx    context.Context
	stage  *harness.Stage
	pg     *harness.Postgres
	sluice *harness.Sluice
}

func newStage(t *testing.T) *harness.Stage {
	t.Helper()
	stage, err := harness.NewStage()
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(stage.Logs())
		}
		if err := stage.CheckLogs(); err != nil {
			t.Error(err)
		}
		if err := stage.Close(); err != nil {
			t.Error(err)
		}
	})
	return stage
}

// newWorld raises a world whose server reaches what directOrigins says, started with more
// flags. The test runs beside others from here on: most of its time it waits.
func newWorld(t *testing.T, directOrigins string, flags ...string) *world {
	t.Helper()
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute) // wrangler takes a second of the processor for each command
	t.Cleanup(cancel)
	w := &world{T: t, ctx: ctx, stage: newStage(t)}
	var err error
	w.pg, err = w.stage.StartPostgres(ctx, harness.PostgresConfig{Addr: "127.0.0.1", HBA: []string{clientCertificateHBA}})
	must(t, err)
	w.startServer(directOrigins, flags...)
	return w
}

func (w *world) startServer(directOrigins string, flags ...string) {
	w.Helper()
	var err error
	w.sluice, err = w.stage.NewSluice(bin, "127.0.0.1")
	must(w.T, err)
	_, err = w.sluice.StartServer(w.ctx, append(flags, "--direct-origins", directOrigins, "--max-databases", "40")...)
	must(w.T, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cli runs the command line, which succeeds.
func (w *world) cli(args ...string) string {
	w.Helper()
	out, err := w.sluice.CLI(w.ctx, nil, args...)
	must(w.T, err)
	return out
}

// do runs the command line with --json, which succeeds.
func (w *world) do(v any, secrets []string, args ...string) {
	w.Helper()
	must(w.T, w.sluice.Do(w.ctx, v, secrets, args...))
}

// fails runs the command line, which fails, and returns what it says on standard error.
func (w *world) fails(secrets []string, args ...string) string {
	w.Helper()
	_, err := w.sluice.CLI(w.ctx, secrets, args...)
	var exit *harness.ExitError
	if !errors.As(err, &exit) {
		w.Fatalf("sluice %s: succeeded, or was not run: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(exit.Stderr)
}

// admin runs SQL as the origin's superuser.
func (w *world) admin(statements ...string) {
	w.Helper()
	conn, err := w.pg.Admin(w.ctx)
	must(w.T, err)
	defer conn.Close(w.ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(w.ctx, sql); err != nil {
			w.Fatalf("%s: %v", sql, err)
		}
	}
}

// query connects and asks something.
func query(ctx context.Context, target harness.Target) (user string, err error) {
	conn, err := target.Connect(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	return currentUser(ctx, conn)
}

func currentUser(ctx context.Context, conn *pgx.Conn) (user string, err error) {
	return user, conn.QueryRow(ctx, "select current_user").Scan(&user)
}

// tunnel makes a tunnel, and starts its connector.
func (w *world) tunnel(name string) {
	w.Helper()
	file, err := w.sluice.Tunnel(w.ctx, name)
	must(w.T, err)
	_, err = w.sluice.StartConnector(w.ctx, "connector-"+name, file, nil)
	must(w.T, err)
}

// closedPort is a port of 127.0.0.1 where nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	port, err := harness.FreePort("127.0.0.1")
	must(t, err)
	return strconv.Itoa(port)
}

// direct are the flags of an origin that is reached without a tunnel.
func direct(host string, port int) []string {
	return []string{"--origin-host", host, "--origin-port", strconv.Itoa(port)}
}

// hangUp is a server that ends every connection at once.
func hangUp(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ended := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port
}
