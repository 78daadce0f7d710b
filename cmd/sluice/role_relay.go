package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/relay"
)

// samePortAttempts is how often a port that the system gave for TCP is tried for UDP as well: only for port 0, in tests and in dev.
const samePortAttempts = 20

func (a *app) relayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "relay",
		Short:   "Run a relay alone, where sessions of connectors and of proxies meet",
		Example: "  sluice relay --store nats://nats-1:4222,nats-2:4222 --keyset-file keyset.json --public-host relay.example.com",
		Args:    exactArgs(),
	}
	flags := newServerFlags(cmd, stateFlags|relayFlags, "./data")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := flags.checkApart("relay"); err != nil {
			return err
		}
		n, err := a.newNode(flags)
		if err != nil {
			return err
		}
		defer n.close()
		return n.runRelay(cmd.Context())
	}
	return cmd
}

func (n *node) runRelay(ctx context.Context) error {
	tcp, udp, err := n.listenRelay(ctx)
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
	announce := n.flags.relayAdvertise
	if len(announce) == 0 && len(n.flags.publicHosts) > 0 {
		announce = n.relayAddresses(portOf(tcp.Addr()))
	}
	if _, err := n.addRelay(tcp, udp, announce); err != nil {
		return err
	}
	n.addMetrics(metrics)
	n.printListening([2]string{"relay", reachable(tcp) + " (udp and tcp)"}, metricsLine(metrics))
	return n.run(ctx)
}

// listenRelay opens the relay's two sockets on one port.
func (n *node) listenRelay(ctx context.Context) (net.Listener, net.PacketConn, error) {
	const flag = "relay-listen"
	host, port, err := net.SplitHostPort(n.flags.relayListen)
	if err != nil {
		return nil, nil, listenError(flag, n.flags.relayListen, err)
	}
	config, packets := stream.Listening(), net.ListenConfig{}
	for attempt := 1; ; attempt++ {
		tcp, err := config.Listen(ctx, "tcp", n.flags.relayListen)
		if err != nil {
			return nil, nil, listenError(flag, n.flags.relayListen, err)
		}
		udp, err := packets.ListenPacket(ctx, "udp", net.JoinHostPort(host, portOf(tcp.Addr())))
		if err == nil {
			n.closers = append(n.closers, tcp.Close, udp.Close)
			return tcp, udp, nil
		}
		err = errors.Join(err, tcp.Close())
		if port != "0" || attempt == samePortAttempts {
			return nil, nil, listenError(flag, n.flags.relayListen, err)
		}
	}
}

// addRelay serves a relay. announce are the relays that peers are told of; nil for what their token says.
func (n *node) addRelay(tcp net.Listener, udp net.PacketConn, announce []string) (*relay.Relay, error) {
	id, err := processID()
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name this relay: %w", err)
	}
	// A key of this relay's own: with a shared one, another relay could be made to end its connections.
	resetKey, err := n.control.DerivedKey("stateless reset of " + host + " " + tcp.Addr().String())
	if err != nil {
		return nil, err
	}
	peering, err := n.peering(tcp.Addr())
	if err != nil {
		return nil, err
	}
	r := relay.New(n.control, relay.Config{
		ID:                id,
		TLS:               n.control.ServerTLS(),
		Announce:          announce,
		Peering:           peering,
		Version:           buildVersion().Version,
		StatelessResetKey: &resetKey,
		Logger:            n.logger.With("role", "relay"),
	})
	n.ready = append(n.ready, func() error {
		if !r.Ready() {
			return errors.New("the relay is draining")
		}
		return nil
	})
	for _, collector := range r.Collectors() {
		if err := n.registry.Register(collector); err != nil {
			return nil, fmt.Errorf("metrics of relay: %w", err)
		}
	}
	n.roles = append(n.roles, role{name: "relay", run: func(ctx context.Context) error { return r.Serve(ctx, udp, tcp) }})
	return r, nil
}

// peering is how the relays of a NATS cluster forward to each other. Behind an embedded store there is one relay.
func (n *node) peering(listen net.Addr) (relay.Peering, error) {
	if n.flags.store == "" {
		return relay.Peering{}, nil
	}
	address := n.flags.relayPeer
	if address == "" {
		host, port, err := net.SplitHostPort(listen.String())
		if err != nil {
			return relay.Peering{}, err
		}
		if ip, err := netip.ParseAddr(host); err != nil || ip.IsUnspecified() {
			if host, err = ownAddress(); err != nil {
				return relay.Peering{}, err
			}
		}
		address = net.JoinHostPort(host, port)
	} else if _, _, err := net.SplitHostPort(address); err != nil {
		return relay.Peering{}, usagef("--relay-peer-address %q: want host:port", address)
	}
	return relay.Peering{Address: address, TLS: n.control.RelayTLS(), Verify: n.control.VerifyRelay}, nil
}

// ownAddress is the first address of this machine that others can reach; the loopback interface's when there is none.
func ownAddress() (string, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("find this machine's address (or give --relay-peer-address): %w", err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			return p.Addr().String(), nil
		}
	}
	return netip.IPv6Loopback().String(), nil
}

// processID names this process to its peers and in logs: the host's name, and random digits since a host may run several.
func processID() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name this process: %w", err)
	}
	var random [4]byte
	// crypto/rand's Read never fails.
	_, _ = rand.Read(random[:])
	return host + "-" + hex.EncodeToString(random[:]), nil
}
