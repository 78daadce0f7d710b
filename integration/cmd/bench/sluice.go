package main

import (
	"context"
	"strconv"

	"github.com/sluicedb/sluice/integration/harness"
)

// addSluice starts an installation, server and connector, and adds the ways with and without
// the tunnel.
func (l *lab) addSluice(ctx context.Context, pg *harness.Postgres) error {
	sluice, err := l.stage.NewSluice(l.bin, "127.0.0.1")
	if err != nil {
		return err
	}
	server, err := sluice.StartServer(ctx, "--proxy-plaintext", "--direct-origins", "any")
	if err != nil {
		return err
	}
	limit := strconv.Itoa(poolSize)
	direct, err := sluice.Database(ctx, pg, "", "direct", "--origin-host", pg.Addr, "--origin-port", strconv.Itoa(pg.Port),
		"--ca-certificate", pg.CAFile, "--origin-connection-limit", limit, "--caching-disabled")
	if err != nil {
		return err
	}
	direct.CAFile = ""
	l.entries = append(l.entries, entry{name: "sluice+tls", about: "the proxy straight to the origin, TLS to it", ways: originTLS, target: direct, cpu: server, metrics: sluice.Metrics})

	tokenFile, err := sluice.Tunnel(ctx, "vpc-1")
	if err != nil {
		return err
	}
	connector, err := sluice.StartConnector(ctx, "connector", tokenFile, nil)
	if err != nil {
		return err
	}
	through, err := sluice.Database(ctx, pg, "", "through", "--tunnel", "vpc-1", "--origin", pg.Origin(),
		"--ca-certificate", pg.CAFile, "--origin-connection-limit", limit, "--caching-disabled")
	if err != nil {
		return err
	}
	through.CAFile = ""
	l.entries = append(l.entries, entry{name: "sluice+tunnel", about: "proxy, relay (in the proxy's process) and connector, TLS from end to end", target: through, cpu: server, tunnel: connector, metrics: sluice.Metrics})
	return nil
}
