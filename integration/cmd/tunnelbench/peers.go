package main

import (
	"context"
	"fmt"
	"net"

	"github.com/sluicedb/sluice/integration/harness"
)

// haproxy adds two hops of HAProxy, one thread each.
func (w *world) haproxy(ctx context.Context) error {
	return w.peer("haproxy2", func(name, listen, to string) (*harness.Process, error) {
		return w.stage.StartHAProxy(ctx, harness.HAProxyConfig{Name: name, Listen: listen, Target: to, Threads: 1, MaxConns: 4000})
	})
}

// socat adds two hops of socat, which has a process for each connection.
func (w *world) socat(ctx context.Context) error {
	return w.peer("socat2", func(name, listen, to string) (*harness.Process, error) {
		host, port, err := net.SplitHostPort(listen)
		if err != nil {
			return nil, err
		}
		p, err := w.stage.Start(harness.Command{Name: name, Path: "socat",
			Args: []string{"TCP-LISTEN:" + port + ",bind=" + host + ",fork,reuseaddr,nodelay,backlog=512", "TCP:" + to + ",nodelay"}})
		if err != nil {
			return nil, err
		}
		return p, p.WaitFor(ctx, "its port", harness.Listening(listen))
	})
}

// peer adds two hops of another program on this machine.
func (w *world) peer(name string, start func(name, listen, to string) (*harness.Process, error)) error {
	if !w.options.ways.MatchString(name) {
		return nil
	}
	to, parts := w.target, []*harness.Process(nil)
	for range 2 {
		listen, err := freeAddr(w.near)
		if err != nil {
			return err
		}
		w.count++
		p, err := start(fmt.Sprint(name, "-", w.count), listen, to)
		if err != nil {
			return err
		}
		to, parts = listen, append(parts, p)
	}
	w.ways = append(w.ways, way{name: name, entry: to, parts: parts})
	return nil
}
