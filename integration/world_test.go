package integration

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"

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
		ctx := context.Background()
		err = harness.Build(ctx, bin, true, "./cmd/sluice", "./cmd/sluice-connector")
		if err == nil {
			err = harness.Build(ctx, bin, false, harness.NATSServer)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// The private network's own names.
const (
	hostname   = "db.internal.example"
	tunnelName = "vpc-1"
)

// world is everything one test needs: an origin, and each component as a process of its own.
type world struct {
	stage  *harness.Stage
	pg     *harness.Postgres
	sluice *harness.Sluice
	store  string // URL of the NATS server that all share

	control, relay, proxy, connector *harness.Process

	connectorToken string         // a file with the token of tunnelName
	token          accessToken    // admitted to hostname
	target         harness.Target // what a driver connects to
}

// accessToken is a service token in the form that a database is configured with.
type accessToken struct{ name, clientID, secret string }

// newStage makes a stage and takes it down at the test's end, when no log may have a secret.
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

// newWorld raises a world that goes with the test, which runs beside others from here on: most of
// its time it waits.
func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	stage := newStage(t)
	var err error
	ctx := within(t)
	w := &world{stage: stage}
	w.pg, err = stage.StartPostgres(ctx, harness.PostgresConfig{Addr: "127.0.0.1"})
	must(t, err)
	w.sluice, err = stage.NewSluice(bin, "127.0.0.1")
	must(t, err)
	w.store, _, err = stage.StartNATS(ctx, bin)
	must(t, err)
	w.sluice.Apart(w.store)
	w.control, err = w.sluice.StartControl(ctx)
	must(t, err)
	must(t, w.startRelay(ctx))
	w.proxy, err = w.sluice.StartProxy(ctx)
	must(t, err)
	w.connectorToken, err = w.sluice.Tunnel(ctx, tunnelName)
	must(t, err)
	must(t, w.startConnector(ctx))
	w.register(ctx, t)
	return w
}

// register makes what lies between a driver and the origin, one command after the other.
func (w *world) register(ctx context.Context, t *testing.T) {
	t.Helper()
	w.run(ctx, t, "tunnel", "route", tunnelName, hostname, w.pg.Origin())
	w.token = w.newToken(ctx, t, "app")
	w.run(ctx, t, "access", "app", "create", "--hostname", hostname)
	w.run(ctx, t, "access", "policy", "create", "--app", hostname, "--decision", "non_identity", "--include-token", w.token.name)
	w.target = w.database(ctx, t, "app", w.token, hostname)
}

// run runs the command line and fails the test with it.
func (w *world) run(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.sluice.CLI(ctx, nil, args...)
	must(t, err)
	return out
}

func (w *world) newToken(ctx context.Context, t *testing.T, name string) accessToken {
	t.Helper()
	token, err := w.sluice.Token(ctx, name)
	must(t, err)
	return accessToken{name, token.ClientID, token.ClientSecret}
}

// database makes a database whose origin is behind a hostname, verified in full.
func (w *world) database(ctx context.Context, t *testing.T, name string, token accessToken, hostname string, more ...string) harness.Target {
	t.Helper()
	target, err := w.sluice.Database(ctx, w.pg, token.secret, name, append(more, "--origin-scheme", "postgres", "--origin-host", hostname,
		"--access-client-id", token.clientID, "--sslmode", "verify-full", "--ca-certificate", w.pg.CAFile,
		"--origin-connection-limit", strconv.Itoa(fewOrigin), "--query-timeout", "10m", "--caching-disabled")...)
	must(t, err)
	return target
}

func (w *world) startRelay(ctx context.Context) (err error) {
	w.relay, err = w.sluice.StartRelay(ctx)
	return err
}

func (w *world) startConnector(ctx context.Context) (err error) {
	w.connector, err = w.sluice.StartConnector(ctx, "connector", w.connectorToken, nil)
	return err
}
