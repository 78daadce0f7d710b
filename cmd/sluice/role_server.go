package main

import (
	"context"
	"fmt"
	"net"

	"github.com/spf13/cobra"
)

func (a *app) serverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run control API, relay and proxy in one process",
		Long: `Run control API, relay and proxy in one process, on an embedded store in --data-dir, or on a NATS cluster with
--store. The first start makes what is needed and prints the first API token, once. SIGTERM lets what runs
finish; a second one ends the process at once.`,
		Example: `  sluice server --data-dir ./data
  sluice server --data-dir /var/lib/sluice --public-host sluice.example.com`,
		Args: exactArgs(),
	}
	flags := newServerFlags(cmd, stateFlags|apiFlags|relayFlags|proxyFlags, "./data")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := flags.check(); err != nil {
			return err
		}
		n, err := a.newNode(flags)
		if err != nil {
			return err
		}
		defer n.close()
		ports, err := n.listenAll(cmd.Context())
		if err != nil {
			return err
		}
		if err := n.openState(cmd.Context()); err != nil {
			return err
		}
		n.printFirstToken()
		if err := n.addAll(ports); err != nil {
			return err
		}
		n.printServer(ports)
		return n.run(cmd.Context())
	}
	return cmd
}

// ports are the listeners of a process with all roles.
type ports struct {
	api, relayTCP, proxy net.Listener
	relayUDP             net.PacketConn
	mysql, metrics       net.Listener // nil when there is none
}

func (n *node) listenAll(ctx context.Context) (p ports, err error) {
	if p.api, err = n.listen(ctx, "api-listen", n.flags.apiListen); err != nil {
		return p, err
	}
	if p.relayTCP, p.relayUDP, err = n.listenRelay(ctx); err != nil {
		return p, err
	}
	if p.proxy, err = n.listen(ctx, "proxy-listen", n.flags.proxyListen); err != nil {
		return p, err
	}
	if p.mysql, err = n.listenUnlessOff(ctx, "mysql-listen", n.flags.mysqlListen); err != nil {
		return p, err
	}
	p.metrics, err = n.listenMetrics(ctx)
	return p, err
}

// addAll adds every role. The proxy is last: it stops first, while what it reaches origins through still runs: the relay, and
// between, the roles that the caller has besides.
func (n *node) addAll(p ports, besides ...role) error {
	relays := n.relayAddresses(portOf(p.relayTCP.Addr()))
	n.addMetrics(p.metrics)
	mysqlPort := "6033" // where another proxy may listen
	if p.mysql != nil {
		mysqlPort = portOf(p.mysql.Addr())
	}
	n.addAPI(p.api, relays, n.proxyAddress(n.flags.proxyAdvertise, portOf(p.proxy.Addr())), n.proxyAddress(n.flags.mysqlAdvertise, mysqlPort))
	r, err := n.addRelay(p.relayTCP, p.relayUDP, n.flags.relayAdvertise)
	if err != nil {
		return err
	}
	n.roles = append(n.roles, besides...)
	return n.addProxy(p.proxy, p.mysql, localDial(r))
}

// printServer says where everything is and what to do first.
func (n *node) printServer(p ports) {
	api := "https://" + reachable(p.api)
	n.printListening(
		[2]string{"control API", api},
		[2]string{"relay", reachable(p.relayTCP) + " (udp and tcp)"},
		[2]string{"PostgreSQL", reachable(p.proxy)},
		mysqlLine(p.mysql),
		metricsLine(p.metrics),
	)
	if _, first := n.control.FirstToken(); first {
		fmt.Fprintf(n.app.out, "\nNext, in another terminal; it asks for the API token above:\n\n  sluice login --api-url %s --ca-file %s\n", api, n.caFile())
	}
}
