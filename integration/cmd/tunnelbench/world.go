package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

// protocols are the carriers.
var protocols = []string{"quic", "websocket"}

// startTimeout is how long a process may take to be ready: a relay makes its state and its keys, a load opens 10,000 streams.
const startTimeout = 3 * time.Minute

// place is where processes run: a namespace and its address, or this machine's loopback.
type place struct {
	ns   *harness.Namespace
	addr string
}

// way is one path from the load to the target.
type way struct {
	name  string
	entry string             // TCP address
	parts []*harness.Process // what stands between: of a tunnel relay and connector, behind a client if there is one
}

// world is what is measured. Load, relays and clients are near; connectors and the target are far.
type world struct {
	options
	stage     *harness.Stage
	near, far place
	link      *harness.Link
	target    string
	ways      []way
	count     int
}

// newWorld raises the target. With conditions near and far are namespaces with a link between them.
func newWorld(ctx context.Context, o options, c *harness.Conditions) (w *world, err error) {
	stage, err := harness.NewStage()
	if err != nil {
		return nil, err
	}
	w = &world{options: o, stage: stage, near: place{addr: "127.0.0.1"}, far: place{addr: "127.0.0.1"}}
	if c != nil {
		err = w.apart(*c)
	}
	if err == nil {
		w.target, _, err = w.serve(ctx, "target", w.far, setup{})
	}
	if err != nil {
		return nil, w.close(err)
	}
	return w, nil
}

// close ends the world, and adds what its processes said to an error.
func (w *world) close(err error) error {
	if err != nil {
		err = errors.Join(err, errors.New(w.stage.Logs()))
	}
	return errors.Join(err, w.stage.Close())
}

// apart makes namespaces of near and far.
func (w *world) apart(c harness.Conditions) (err error) {
	w.near.addr, w.far.addr = "10.77.1.1", "10.77.1.2"
	for _, p := range []*place{&w.near, &w.far} {
		if p.ns, err = w.stage.NewNamespace(); err != nil {
			return err
		}
		if _, err = w.stage.Output(context.Background(), harness.Command{Name: "congestion control", Path: "/bin/sh", Namespace: p.ns,
			Args: []string{"-c", "echo " + w.cc + " >/proc/sys/net/ipv4/tcp_congestion_control"}}, ""); err != nil {
			return err
		}
	}
	prefix := func(p place) netip.Prefix { return netip.PrefixFrom(netip.MustParseAddr(p.addr), 30) }
	w.link, err = w.stage.NewLink(w.near.ns, prefix(w.near), w.far.ns, prefix(w.far), c)
	return err
}

// start starts a role of this program and waits until it is ready.
func (w *world) start(ctx context.Context, role string, at place, s setup) (*harness.Process, error) {
	w.count++
	name := role + strconv.Itoa(w.count)
	s.Ready = w.stage.Path(name + ".ready")
	if w.profile != "" && role != "target" && role != "load" {
		s.Profile = filepath.Join(w.profile, name+"."+s.Protocol+".cpu")
	}
	p, err := w.spawn(name, role, at, s)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return p, p.WaitFor(ctx, "readiness", func(context.Context) error {
		_, err := os.Stat(s.Ready)
		return err
	})
}

func (w *world) command(name, role string, at place, s setup) (harness.Command, error) {
	self, err := os.Executable()
	if err != nil {
		return harness.Command{}, err
	}
	file := w.stage.Path(name + ".json")
	return harness.Command{Name: name, Path: self, Args: []string{role, "-setup", file}, Namespace: at.ns}, writeJSON(file, s)
}

func (w *world) spawn(name, role string, at place, s setup) (*harness.Process, error) {
	c, err := w.command(name, role, at, s)
	if err != nil {
		return nil, err
	}
	return w.stage.Start(c)
}

// serve starts a role that listens, and returns where.
func (w *world) serve(ctx context.Context, role string, at place, s setup) (string, *harness.Process, error) {
	addr, err := freeAddr(at)
	if err != nil {
		return "", nil, err
	}
	s.Listen = addr
	p, err := w.start(ctx, role, at, s)
	return addr, p, err
}

// freeAddr chooses a port. What is free here is free in a namespace too: nothing else runs there.
func freeAddr(at place) (string, error) {
	port, err := harness.FreePort("127.0.0.1")
	return net.JoinHostPort(at.addr, strconv.Itoa(port)), err
}

// run runs a load against a way.
func (w *world) run(ctx context.Context, to way, l load) (f figures, err error) {
	w.count++
	c, err := w.command("load"+strconv.Itoa(w.count), "load", w.near, setup{To: to.entry, Load: l})
	if err != nil {
		return f, err
	}
	ctx, cancel := context.WithTimeout(ctx, 4*l.duration()+time.Minute)
	defer cancel()
	out, err := w.stage.Output(ctx, c, "")
	if err != nil {
		return f, fmt.Errorf("%s: %w", to.name, err)
	}
	return f, json.Unmarshal([]byte(out), &f)
}

// hops adds two hops of a plain relay.
func (w *world) hops(ctx context.Context) error {
	second, q, err := w.serve(ctx, "plain", w.far, setup{To: w.target})
	if err != nil {
		return err
	}
	first, p, err := w.serve(ctx, "plain", w.near, setup{To: second})
	w.ways = append(w.ways, way{name: reference, entry: first, parts: []*harness.Process{p, q}})
	return err
}

// tunnel adds a relay and a connector on one carrier, and the same with a client before them.
func (w *world) tunnel(ctx context.Context, protocol string, slots int, clients bool) error {
	at, err := freeAddr(w.near)
	if err != nil {
		return err
	}
	w.count++
	s := setup{Relay: at, To: w.target, Protocol: protocol, Slots: slots, Dir: w.stage.Path(fmt.Sprint("data", w.count)),
		Credentials: w.stage.Path(fmt.Sprint("credentials", w.count))}
	entry, r, err := w.serve(ctx, "relay", w.near, s)
	if err != nil {
		return err
	}
	c, err := w.start(ctx, "connector", w.far, s)
	if err != nil {
		return err
	}
	w.ways = append(w.ways, way{name: protocol, entry: entry, parts: []*harness.Process{r, c}})
	if name := protocol + "+client"; clients && w.options.ways.MatchString(name) {
		through, p, err := w.serve(ctx, "client", w.near, s)
		if err != nil {
			return err
		}
		w.ways = append(w.ways, way{name: name, entry: through, parts: []*harness.Process{p, r, c}})
	}
	return nil
}

// tunnels adds the ways through a tunnel that are asked for.
func (w *world) tunnels(ctx context.Context, slots int, clients bool) error {
	for _, protocol := range protocols {
		if w.options.ways.MatchString(protocol) {
			if err := w.tunnel(ctx, protocol, slots, clients); err != nil {
				return err
			}
		}
	}
	return nil
}
