package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/control/api"
	"github.com/sluicedb/sluice/protocol/tunnel"
)

func (a *app) controlCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "control",
		Short: "Run the control API alone, beside relays and proxies of other processes; back up, restore, rotate keys",
		Example: `  sluice control --store nats://nats-1:4222,nats-2:4222 --keyset-file keyset.json \
    --public-host control.example.com --relay-advertise relay.example.com:7844 --proxy-advertise proxy.example.com:6432`,
		Args: exactArgs(),
	}
	flags := newServerFlags(cmd, stateFlags|apiFlags, "./data")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := flags.checkApart("control"); err != nil {
			return err
		}
		n, err := a.newNode(flags)
		if err != nil {
			return err
		}
		defer n.close()
		return n.runControl(cmd.Context())
	}
	cmd.AddCommand(a.backupCommand(), a.restoreCommand(), a.rotateKeysCommand(), a.signingKeysCommand(), a.rotateSigningKeyCommand(), a.resetTokenCommand())
	return cmd
}

func (n *node) runControl(ctx context.Context) error {
	apiListener, err := n.listen(ctx, "api-listen", n.flags.apiListen)
	if err != nil {
		return err
	}
	metrics, err := n.listenMetrics(ctx)
	if err != nil {
		return err
	}
	if err := n.openState(ctx); err != nil {
		return err
	}
	n.printFirstToken()
	n.addMetrics(metrics)
	n.addAPI(apiListener, n.relayAddresses("7844"), n.proxyAddress(n.flags.proxyAdvertise, "6432"), n.proxyAddress(n.flags.mysqlAdvertise, "6033"))
	n.printListening([2]string{"control API", "https://" + reachable(apiListener)}, metricsLine(metrics))
	return n.run(ctx)
}

// addAPI serves the control API. Tunnel tokens name the relays, connection strings the proxies.
func (n *node) addAPI(ln net.Listener, relays []string, proxy, mysql string) {
	server := api.New(api.Config{
		Control: n.control,
		TunnelToken: func(t *control.Tunnel, secret control.Secret) (string, error) {
			return tunnel.Token{Account: t.AccountID, Tunnel: t.ID, Secret: secret.Reveal(), Relays: relays, CA: string(n.control.CA())}.Encode(), nil
		},
		ProxyAddr: proxy,
		MySQLAddr: mysql,
		Test:      n.control.TestCandidate,
		Logger:    n.logger.With("role", "api"),
	})
	n.roles = append(n.roles, role{name: "API", run: func(ctx context.Context) error { return server.Serve(ctx, ln) }})
}

// relayAddresses are what tunnel tokens name: what was advertised, else the public host.
func (n *node) relayAddresses(port string) []string {
	if len(n.flags.relayAdvertise) > 0 {
		return n.flags.relayAdvertise
	}
	return []string{net.JoinHostPort(n.flags.publicHost(), port)}
}

// proxyAddress is what connection strings name.
func (n *node) proxyAddress(advertised, port string) string {
	if advertised != "" {
		return advertised
	}
	return net.JoinHostPort(n.flags.publicHost(), port)
}

// printFirstToken shows the API token that a first start made. It goes to standard output alone, never to a log.
func (n *node) printFirstToken() {
	if token, ok := n.control.FirstToken(); ok {
		fmt.Fprintf(n.app.out, "The first API token, shown this once:\n\n  %s\n\n", token.Reveal())
	}
}

// printListening shows where the roles are.
func (n *node) printListening(lines ...[2]string) {
	if n.flags.dataDir != "" {
		lines = append(lines, [2]string{"CA", n.caFile()})
	}
	// Standard output may be closed; the server runs on.
	_ = n.app.printFields(lines)
}

// caFile is where control keeps the CA certificate for people.
func (n *node) caFile() string {
	name := filepath.Join(n.flags.dataDir, "ca.pem")
	if absolute, err := filepath.Abs(name); err == nil {
		return absolute
	}
	return name
}

func metricsLine(ln net.Listener) [2]string {
	if ln == nil {
		return [2]string{}
	}
	return [2]string{"metrics", "http://" + ln.Addr().String() + "/metrics"}
}
