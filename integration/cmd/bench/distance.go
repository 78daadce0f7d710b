package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedb/sluice/integration/harness"
)

// A driver on one continent, the proxy in its region's nearest point of presence, and the
// database on the other side of an ocean, as round trips.
const (
	driverTrip = 40 * time.Millisecond
	originTrip = 80 * time.Millisecond
)

// measureDistance counts the round trips of a connection and of queries, with the proxy and the
// relay in the middle:
//
//	driver --40 ms-- proxy, relay --80 ms-- connector, PostgreSQL
func measureDistance(ctx context.Context, o options) (err error) {
	stage, err := harness.NewStage()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	target, driver, err := farAway(ctx, stage, o.bin)
	if err != nil {
		return err
	}
	var connects, firsts, laters []time.Duration
	for i := range o.rounds + 1 { // the first warms the pool
		connect, first, later, err := timeQueries(ctx, target, driver)
		if err != nil {
			return err
		}
		if i > 0 {
			connects, firsts, laters = append(connects, connect), append(firsts, first), append(laters, later...)
		}
	}
	fmt.Printf("\nat a distance: %v from the driver to the proxy and back, %v from there to the origin, medians of %d\n", driverTrip, originTrip, o.rounds)
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "what\ttime\tround trips to the proxy\tto the origin\t")
	connect := middle(connects)
	fmt.Fprintf(out, "connect\t%.1f ms\t%.2f\t-\t\n", ms(connect), float64(connect)/float64(driverTrip))
	for _, query := range []struct {
		what string
		took time.Duration
	}{{"first query", middle(firsts)}, {"later query", middle(laters)}} {
		fmt.Fprintf(out, "%s\t%.1f ms\t1\t%.2f\t\n", query.what, ms(query.took), float64(query.took-driverTrip)/float64(originTrip))
	}
	return out.Flush()
}

func middle(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// farAway raises an installation across three namespaces, and returns how a driver reaches it.
func farAway(ctx context.Context, stage *harness.Stage, bin string) (harness.Target, *harness.Namespace, error) {
	fail := func(err error) (harness.Target, *harness.Namespace, error) { return harness.Target{}, nil, err }
	var namespaces [3]*harness.Namespace
	for i := range namespaces {
		var err error
		if namespaces[i], err = stage.NewNamespace(); err != nil {
			return fail(err)
		}
	}
	driver, edge, private := namespaces[0], namespaces[1], namespaces[2]
	prefix := netip.MustParsePrefix
	if _, err := stage.NewLink(driver, prefix("10.77.1.1/30"), edge, prefix("10.77.1.2/30"), harness.Conditions{Delay: driverTrip / 2}); err != nil {
		return fail(err)
	}
	if _, err := stage.NewLink(edge, prefix("10.77.2.1/30"), private, prefix("10.77.2.2/30"), harness.Conditions{Delay: originTrip / 2}); err != nil {
		return fail(err)
	}
	if err := private.AddRoute(prefix("10.77.1.0/30"), netip.MustParseAddr("10.77.2.1")); err != nil {
		return fail(err)
	}
	pg, err := stage.StartPostgres(ctx, harness.PostgresConfig{Addr: "10.77.2.2", Namespace: private})
	if err != nil {
		return fail(err)
	}
	sluice := stage.NewSluiceIn(edge, bin, "10.77.1.2")
	if _, err := sluice.StartServer(ctx, "--proxy-plaintext"); err != nil {
		return fail(err)
	}
	tokenFile, err := sluice.Tunnel(ctx, "vpc-1")
	if err != nil {
		return fail(err)
	}
	if _, err := sluice.StartConnector(ctx, "connector", tokenFile, private); err != nil {
		return fail(err)
	}
	target, err := sluice.Database(ctx, pg, "", "far", "--tunnel", "vpc-1", "--origin", pg.Origin(), "--ca-certificate", pg.CAFile, "--caching-disabled")
	target.CAFile = ""
	return target, driver, err
}

// timeQueries times a new connection, its first query and five more.
func timeQueries(ctx context.Context, target harness.Target, from *harness.Namespace) (connect, first time.Duration, later []time.Duration, err error) {
	config, err := pgconn.ParseConfig(target.URL())
	if err != nil {
		return 0, 0, nil, err
	}
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return from.Dial(ctx, network, addr)
	}
	begun := time.Now()
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return 0, 0, nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	connect = time.Since(begun)
	for i := range 6 {
		begun := time.Now()
		if _, err := conn.Exec(ctx, "select 1").ReadAll(); err != nil {
			return 0, 0, nil, err
		}
		if took := time.Since(begun); i == 0 {
			first = took
		} else {
			later = append(later, took)
		}
	}
	return connect, first, later, nil
}
