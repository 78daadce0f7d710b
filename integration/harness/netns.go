package harness

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespace is a network of its own without a name: nothing but the stage and the processes
// started in it hold it, and it is gone, links included, when they are.
type Namespace struct {
	thread *thread
	tid    int
}

// NewNamespace makes an empty network namespace with its loopback up. It takes root and a
// kernel that allows it; callers that can do without fall back on the error.
func (s *Stage) NewNamespace() (*Namespace, error) {
	ns := &Namespace{thread: newThread()}
	err := ns.thread.do(func() error {
		ns.tid = unix.Gettid()
		return unix.Unshare(unix.CLONE_NEWNET)
	})
	if err == nil {
		err = ns.ip("link", "set", "lo", "up")
	}
	if err != nil {
		ns.thread.end()
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	s.mu.Lock()
	s.namespaces = append(s.namespaces, ns)
	s.mu.Unlock()
	return ns, nil
}

// AddAddress gives the namespace an address that only it can reach.
func (ns *Namespace) AddAddress(addr netip.Addr) error {
	return ns.ip("addr", "add", netip.PrefixFrom(addr, addr.BitLen()).String(), "dev", "lo")
}

// AddRoute lets the namespace reach a prefix by way of a neighbour's address.
func (ns *Namespace) AddRoute(to netip.Prefix, via netip.Addr) error {
	return ns.ip("route", "add", to.String(), "via", via.String())
}

// Link joins the namespace with the machine's own network: outside and inside are the two ends
// of one link, and share a prefix.
func (ns *Namespace) Link(outside, inside netip.Prefix) error {
	name := "sl" + strconv.Itoa(ns.tid) // at most 15 bytes: IFNAMSIZ of linux/if.h
	steps := []func() error{
		func() error {
			return ip("link", "add", name, "type", "veth", "peer", "name", "up0", "netns", strconv.Itoa(ns.tid))
		},
		func() error { return ip("addr", "add", outside.String(), "dev", name) },
		func() error { return ip("link", "set", name, "up") },
		func() error { return ns.ip("addr", "add", inside.String(), "dev", "up0") },
		func() error { return ns.ip("link", "set", "up0", "up") },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("link a namespace: %w", err)
		}
	}
	return nil
}

// Dial connects from inside the namespace. addr is a numeric address: a lookup would run
// outside.
func (ns *Namespace) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return ns.DialBy(ctx, new(net.Dialer), network, addr)
}

// DialBy is Dial with a dialer of the caller's.
func (ns *Namespace) DialBy(ctx context.Context, d *net.Dialer, network, addr string) (conn net.Conn, err error) {
	err = ns.thread.do(func() (err error) {
		// The socket is made on the calling thread and stays in its namespace.
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

func (ns *Namespace) ip(args ...string) error {
	return ns.thread.do(func() error { return ip(args...) })
}

func ip(args ...string) error {
	cmd := exec.Command("ip", args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args[:2], " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
