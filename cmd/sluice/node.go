package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sys/unix"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/stream"
)

// node is one process of Sluice while it is put together: it listens first, so that a port in use leaves nothing half started and
// no first token unseen, then opens the state, then adds roles, then runs.
type node struct {
	app      *app
	flags    *serverFlags
	logger   *slog.Logger
	registry *prometheus.Registry
	control  *control.Control
	roles    []role
	ready    []func() error // what /ready asks, besides the store
	closers  []func() error
}

func (a *app) newNode(flags *serverFlags) (*node, error) {
	handler, err := flags.logHandler(a.err)
	if err != nil {
		return nil, &usageError{err: err}
	}
	n := &node{app: a, flags: flags, logger: slog.New(handler), registry: prometheus.NewRegistry()}
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return n, nil
}

// close undoes what was opened, last first. What a role has closed already does not count as an error.
func (n *node) close() error {
	var errs []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		if err := n.closers[i](); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	n.closers = nil
	return errors.Join(errs...)
}

func (n *node) listen(ctx context.Context, flag, address string) (net.Listener, error) {
	config := stream.Listening()
	if n.flags.reusePort {
		options := config.Control
		config.Control = func(network, address string, raw syscall.RawConn) error {
			if options != nil {
				if err := options(network, address, raw); err != nil {
					return err
				}
			}
			return reusePort(raw)
		}
	}
	ln, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, listenError(flag, address, err)
	}
	n.closers = append(n.closers, ln.Close)
	return ln, nil
}

// reusePort lets several processes listen on one port; the system spreads connections over them.
func reusePort(raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	return errors.Join(err, failed)
}

// openState opens the store. What it prints on a first start is the only time that the token is seen, so it comes before anything
// else can fail.
func (n *node) openState(ctx context.Context) error {
	// What the store's own code creates is this user's alone as well.
	unix.Umask(0o077)
	c, err := control.Open(ctx, control.Config{
		DataDir: n.flags.dataDir, StoreURL: n.flags.store, KeysetFile: n.flags.keysetFile, PublicHosts: n.flags.publicHosts,
		MaxDatabases: n.flags.maxDatabases, SigningLife: n.flags.signingLife,
		Logger: n.logger,
	})
	if err != nil {
		return fmt.Errorf("open the state: %w", err)
	}
	n.control = c
	n.closers = append(n.closers, c.Close)
	for _, collector := range c.Collectors() {
		if err := n.registry.Register(collector); err != nil {
			return fmt.Errorf("metrics of control: %w", err)
		}
	}
	n.roles = append(n.roles, role{name: "control", run: c.Run})
	return nil
}

// run runs the roles that were added, until ctx ends, and closes everything.
func (n *node) run(ctx context.Context) error {
	err := runRoles(ctx, n.roles...)
	return errors.Join(err, n.close())
}

// portOf returns the port that a listener has: the one of its flag, or what the system gave for port 0.
func portOf(addr net.Addr) string {
	switch addr := addr.(type) {
	case *net.TCPAddr:
		return strconv.Itoa(addr.Port)
	case *net.UDPAddr:
		return strconv.Itoa(addr.Port)
	}
	return "0"
}

// reachable is how a person on this machine reaches a listener.
func reachable(ln net.Listener) string {
	host, port, err := net.SplitHostPort(ln.Addr().String())
	if ip := net.ParseIP(host); err != nil || ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
