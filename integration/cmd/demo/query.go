package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedb/sluice/integration/harness"
)

// How often the measurement connects and queries: enough for a median that holds still.
const (
	connects = 50
	queries  = 2000
)

// whereami is what the database itself knows about the way.
const whereami = `select current_setting('server_version') as postgresql, inet_server_addr() as its_address, ` +
	`inet_client_addr() as asked_from, version as tls from pg_stat_ssl where pid = pg_backend_pid()`

// psql runs a query through the proxy with the password in its environment.
func (d *demo) psql(ctx context.Context, sql string) (string, error) {
	d.show.command("psql \"%s\" \\\n      -c \"%s\"", d.url(), strings.ReplaceAll(sql, `"`, `\"`))
	return d.stage.Output(ctx, harness.Command{Name: "psql", Path: "psql", Env: d.target.Env(), Args: []string{"-X", "-q", "-x", "-P", "border=0", "-c", sql}}, "")
}

// url is the connection string as a person types it, who has the password elsewhere.
func (d *demo) url() string {
	return fmt.Sprintf("postgres://%s@%s:%d/%s?sslmode=verify-full&sslrootcert=%s", d.target.User, d.target.Host, d.target.Port, d.target.Database, d.target.CAFile)
}

// firstQuery asks the database where it is.
func (d *demo) firstQuery(ctx context.Context) error {
	d.show.title("psql, through the proxy")
	start := time.Now()
	conn, err := d.target.Connect(ctx)
	if err != nil {
		return err
	}
	if err := d.ask(ctx, conn); err != nil {
		return err
	}
	d.cold = time.Since(start)
	if err := conn.Close(ctx); err != nil {
		return err
	}
	out, err := d.psql(ctx, whereami)
	if err != nil {
		return err
	}
	d.show.output(out)
	d.show.title("The way it took")
	inside := ""
	if d.ns != nil {
		inside = " in the private network"
	}
	for _, line := range []string{
		"psql",
		"  | TLS to the proxy, verified with the server's own CA",
		fmt.Sprintf("sluice server, process %d: proxy on %s:%d, relay on %s:%d", d.server.PID(), d.host, d.sluice.ProxyPort, d.host, d.sluice.RelayPort),
		"  | a stream in a session that the connector dialled, admitted by the policy",
		fmt.Sprintf("sluice-connector, process %d%s", d.connector.PID(), inside),
		fmt.Sprintf("  | %s, the one service that its tunnel names for %s", d.pg.Origin(), hostname),
		fmt.Sprintf("PostgreSQL, process %d", d.pg.Process().PID()),
	} {
		d.show.say("%s", line)
	}
	d.show.good("inside the stream TLS goes on from the proxy to PostgreSQL: relay and connector carry bytes they cannot read")
	return nil
}

func (d *demo) ask(ctx context.Context, conn *pgx.Conn) error {
	var one int
	return conn.QueryRow(ctx, "select 1").Scan(&one)
}

// figures are medians.
type figures struct{ connect, query, slow time.Duration }

// measure compares with a neighbour of the database, who connects to it directly.
func (d *demo) measure(ctx context.Context) error {
	d.show.title("What the way costs on this machine")
	postgres := func(connect func(context.Context) (*pgx.Conn, error)) connecting {
		return func(ctx context.Context) (session, error) {
			conn, err := connect(ctx)
			if err != nil {
				return session{}, err
			}
			return session{ask: func() error { return d.ask(ctx, conn) }, close: func() error { return conn.Close(ctx) }}, nil
		}
	}
	return d.compare(ctx, d.cold, postgres(d.pg.Connect), postgres(d.target.Connect))
}

// A session is a driver's connection.
type session struct{ ask, close func() error }

type connecting func(context.Context) (session, error)

// compare times both ways and shows it.
func (d *demo) compare(ctx context.Context, cold time.Duration, near, far connecting) error {
	direct, err := timed(ctx, near)
	if err != nil {
		return err
	}
	through, err := timed(ctx, far)
	if err != nil {
		return err
	}
	out := tabwriter.NewWriter(d.show.out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(out, "  \tdirect, inside the network\tthrough Sluice\t\n")
	fmt.Fprintf(out, "  connect and first answer, the very first\t\t%s\t(opens the origin's connection)\n", short(cold))
	fmt.Fprintf(out, "  connect and first answer, median of %d\t%s\t%s\t%s\n", connects, short(direct.connect), short(through.connect), times(through.connect, direct.connect))
	fmt.Fprintf(out, "  query, median of %d\t%s\t%s\t%s\n", queries, short(direct.query), short(through.query), times(through.query, direct.query))
	fmt.Fprintf(out, "  query, 99th percentile\t%s\t%s\t%s\n", short(direct.slow), short(through.slow), times(through.slow, direct.slow))
	return out.Flush()
}

func times(a, b time.Duration) string { return fmt.Sprintf("%.1f times", float64(a)/float64(b)) }

func timed(ctx context.Context, connect connecting) (f figures, err error) {
	var toConnect, toQuery []time.Duration
	for range connects {
		start := time.Now()
		conn, err := connect(ctx)
		if err == nil {
			err = conn.ask()
			toConnect = append(toConnect, time.Since(start))
			err = errors.Join(err, conn.close())
		}
		if err != nil {
			return f, err
		}
	}
	conn, err := connect(ctx)
	if err != nil {
		return f, err
	}
	defer conn.close()
	for range queries {
		start := time.Now()
		if err := conn.ask(); err != nil {
			return f, err
		}
		toQuery = append(toQuery, time.Since(start))
	}
	slices.Sort(toConnect)
	slices.Sort(toQuery)
	return figures{toConnect[connects/2], toQuery[queries/2], toQuery[queries*99/100]}, nil
}

// refuse takes the policy away, asks again, and gives it back.
func (d *demo) refuse(ctx context.Context) error {
	d.show.title("Without the policy")
	if err := d.cli(ctx, "access", "policy", "delete", policyName, "--app", hostname); err != nil {
		return err
	}
	if err := d.untilRefused(ctx); err != nil {
		return err
	}
	before := d.pg.Connections()
	out, err := d.psql(ctx, "select 1")
	var exit *harness.ExitError
	switch {
	case err == nil:
		d.show.bad("the query was answered: %s", out)
		return errors.New("a query went through without a policy")
	case !errors.As(err, &exit):
		return err
	}
	d.show.output(exit.Stderr)
	if after := d.pg.Connections(); after != before {
		return fmt.Errorf("PostgreSQL saw %d connections of a client that no policy admits", after-before)
	}
	d.show.good("refused, and PostgreSQL saw no connection")
	if err := d.admit(ctx); err != nil {
		return err
	}
	if err := harness.WaitFor(ctx, d.server.Exited(), d.once); err != nil {
		return err
	}
	d.show.good("with it, the query is answered again")
	return nil
}

// untilRefused waits for the change to arrive: within a second for who comes, within five for
// whose connection is open, and longer on a machine that has no time for it.
func (d *demo) untilRefused(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return harness.WaitFor(ctx, d.server.Exited(), func(ctx context.Context) error {
		if d.once(ctx) == nil {
			return errors.New("queries are still answered")
		}
		return nil
	})
}

// once connects and asks.
func (d *demo) once(ctx context.Context) error {
	conn, err := d.target.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return d.ask(ctx, conn)
}

// byHand says how to look at it.
func (d *demo) byHand() {
	d.show.title("By hand")
	d.show.say("README.md has these commands for your own database; the shortest way is")
	d.show.command("sluice dev postgres://user@host/database")
	d.show.command("sluice dev mysql://user@host/database")
}

// leave keeps everything running, and writes down how to use and how to end it.
func (d *demo) leave() error {
	env := append(d.sluice.Env(), "PGPASSWORD="+d.target.Password)
	if d.my != nil {
		env = append(env, "MYSQL_PWD="+d.myTarget.Password)
	}
	var text strings.Builder
	for _, variable := range env {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&text, "export %s='%s'\n", name, value)
	}
	fmt.Fprintf(&text, "export PATH='%s':\"$PATH\"\n", d.bin)
	if err := os.WriteFile(d.stage.Path("env"), []byte(text.String()), 0o600); err != nil {
		return err
	}
	mysql := ""
	if d.my != nil {
		mysql = fmt.Sprintf("end TERM %d\n", d.my.Process().PID())
	}
	stop := fmt.Sprintf("#!/bin/sh\nend() { kill -s \"$1\" \"$2\"; while kill -0 \"$2\" 2>/dev/null; do sleep 0.1; done; }\nend TERM %d\nend TERM %d\nend INT %d\n%srm -rf '%s'\n",
		d.connector.PID(), d.server.PID(), d.pg.Process().PID(), mysql, d.stage.Dir)
	if err := os.WriteFile(d.stage.Path("stop"), []byte(stop), 0o700); err != nil {
		return err
	}
	d.show.title("Left running")
	d.show.command(". %s", d.stage.Path("env"))
	d.show.command(`psql "%s"`, d.url())
	if client := mysqlClient(); client != "" && d.my != nil {
		d.show.command("%s %s", client, strings.Join(mysqlArgs(d.myTarget), " "))
	}
	d.show.command("sluice tunnel list")
	d.show.command("sluice audit list")
	if d.ns != nil {
		d.show.command("nsenter -n -t %d ss -tan    # inside the private network", d.connector.PID())
	}
	d.show.command("%s    # ends it", d.stage.Path("stop"))
	return nil
}
