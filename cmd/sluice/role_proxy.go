package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/protocol/tunnel/client"
	"github.com/sluicedb/sluice/proxy"
	"github.com/sluicedb/sluice/relay"
)

func (a *app) proxyCommand() *cobra.Command {
	var relays []string
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Run a proxy alone, for PostgreSQL and MySQL, which reaches private origins through relays of other processes",
		Example: `  sluice proxy --store nats://nats-1:4222,nats-2:4222 --keyset-file keyset.json \
    --public-host proxy.example.com --relay relay.example.com:7844`,
		Args: exactArgs(),
	}
	flags := newServerFlags(cmd, stateFlags|proxyFlags, "./data")
	cmd.Flags().StringSliceVar(&relays, "relay", nil, "host:port of a relay (repeatable)")
	withEnv(cmd.Flags(), "relay", "SLUICE_RELAY")
	cmd.Flags().BoolVar(&flags.reusePort, "reuse-port", false, "share the ports with another process that does too: the next one takes over before SIGTERM ends this one")
	withEnv(cmd.Flags(), "reuse-port", "SLUICE_REUSE_PORT")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := flags.checkApart("proxy"); err != nil {
			return err
		}
		if len(relays) == 0 {
			return usagef("--relay is missing: host:port of a relay that reaches the private origins")
		}
		n, err := a.newNode(flags)
		if err != nil {
			return err
		}
		defer n.close()
		return n.runProxy(cmd.Context(), relays)
	}
	return cmd
}

func (n *node) runProxy(ctx context.Context, relays []string) error {
	ln, err := n.listen(ctx, "proxy-listen", n.flags.proxyListen)
	if err != nil {
		return err
	}
	mysql, err := n.listenUnlessOff(ctx, "mysql-listen", n.flags.mysqlListen)
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
	tunnels, err := n.addRelayClient(relays)
	if err != nil {
		return err
	}
	if err := n.addProxy(ln, mysql, remoteDial(tunnels)); err != nil {
		return err
	}
	n.addMetrics(metrics)
	n.printListening([2]string{"PostgreSQL", reachable(ln)}, mysqlLine(mysql), metricsLine(metrics))
	return n.run(ctx)
}

// dialFunc opens a byte stream through a tunnel, for a proxy.
type dialFunc func(context.Context, proxy.Target) (net.Conn, error)

// mysqlLine is for printListening.
func mysqlLine(ln net.Listener) [2]string {
	if ln == nil {
		return [2]string{"MySQL", "off"}
	}
	return [2]string{"MySQL", reachable(ln)}
}

// addProxy serves the proxy of each dialect that has a listener. dial is its only
// way through tunnels.
func (n *node) addProxy(postgres, mysql net.Listener, dial dialFunc) error {
	id, err := processID()
	if err != nil {
		return err
	}
	var fleet proxy.Fleet
	if n.flags.store != "" { // an embedded store has one proxy
		fleet = n.control
	}
	p := proxy.New(proxy.Config{
		Source:         n.control,
		Dial:           dial,
		DirectOrigins:  proxy.DirectOrigins(n.flags.directOrigins),
		TLS:            n.control.ServerTLS(),
		AllowPlaintext: n.flags.proxyPlaintext,
		QueryTimeout:   n.flags.queryTimeout,
		CacheMemory:    int64(n.flags.cacheMemory) << 20,
		Fleet:          fleet,
		Logger:         n.logger.With("role", "proxy"),
	})
	for _, collector := range p.Collectors() {
		if err := n.registry.Register(collector); err != nil {
			return fmt.Errorf("metrics of proxy: %w", err)
		}
	}
	n.roles = append(n.roles,
		role{name: "test connections", run: func(ctx context.Context) error { return n.control.ServeTests(ctx, p.Test) }},
		role{name: "pool status", run: func(ctx context.Context) error { return n.control.ServePools(ctx, p.Pool) }},
		role{name: "cache status", run: func(ctx context.Context) error { return n.control.ServeCaches(ctx, p.Cache) }},
		role{name: "explanations", run: func(ctx context.Context) error { return n.control.ServeExplain(ctx, p.Explain) }},
		role{name: "connection counts", run: func(ctx context.Context) error { return n.control.ServeConnections(ctx, p.Connections) }},
		role{name: "proxy state", run: func(ctx context.Context) error {
			return n.control.ServeProxy(ctx, id, buildVersion().Version, p.States)
		}},
		role{name: "proxy", run: func(ctx context.Context) error { return p.Serve(ctx, postgres, mysql) }},
	)
	return nil
}

// addRelayClient keeps sessions with relays of other processes, whose certificates are from this store's CA.
func (n *node) addRelayClient(relays []string) (*client.Client, error) {
	id, err := processID()
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(n.control.CA()) {
		return nil, errors.New("the store's CA certificate is not PEM")
	}
	c := &client.Client{
		Relays: relays, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, PeerID: id,
		Version: buildVersion().Version, Logger: n.logger.With("role", "relay client"),
	}
	n.roles = append(n.roles, role{name: "relay client", run: c.Run})
	return c, nil
}

// remoteDial goes through relays of other processes.
func remoteDial(tunnels *client.Client) dialFunc {
	return func(ctx context.Context, target proxy.Target) (net.Conn, error) {
		return tunnels.Dial(ctx, client.Target{Hostname: target.Hostname, ClientID: target.ClientID, ClientSecret: target.ClientSecret})
	}
}

// localDial goes through the relay of this process. To policies the proxy is what asks, from this machine.
func localDial(r *relay.Relay) dialFunc {
	return func(ctx context.Context, target proxy.Target) (net.Conn, error) {
		return r.Open(ctx, relay.OpenRequest{Hostname: target.Hostname, ClientID: target.ClientID, ClientSecret: target.ClientSecret, Remote: netip.IPv6Loopback()})
	}
}
