package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicedb/sluice/connector"
	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/client"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

// opensPerSecond is the load of the restarts: 200 a second, of which the race detector on a small machine leaves a fifth.
const opensPerSecond = 200 / slowness

// opensAtOnce are as many as wait for each other's processor time on a loaded machine: beyond, the load would grow of itself.
const opensAtOnce = 8

// sibling is another relay of the same state and certificate.
func (g *rig) sibling(id string) *rig {
	g.t.Helper()
	return newRig(g.t, func(c *Config) { c.ID = id }, func(s *rig) {
		s.state, s.cert, s.token, s.secret = g.state, g.cert, g.token, g.secret
	})
}

// serves leads the tunnel's hostname to service.
func (g *rig) serves(service string) {
	g.state.change(func() {
		t := *g.state.tunnels[tunnelID]
		t.ConfigVersion++
		t.Ingress = []control.Ingress{{Hostname: host, Service: service}}
		g.state.tunnels[tunnelID] = &t
	})
}

// realConnector runs a connector at relays until the test ends or stop is called, which waits for it.
func (g *rig) realConnector(relays ...*rig) (c *connector.Connector, stop func()) {
	g.t.Helper()
	token := tunnel.Token{Tunnel: tunnelID, Secret: tunnelSecret, CA: g.cert.PEM}
	for _, r := range relays {
		token.Relays = append(token.Relays, r.addr)
	}
	c, err := connector.New(connector.Config{Token: token, Logger: slog.New(slog.DiscardHandler), Grace: 5 * time.Second})
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	stop = func() { cancel(); running.Wait() }
	g.t.Cleanup(stop)
	return c, stop
}

// proxy is a client of relays, as a proxy in another process is, until the test ends.
func (g *rig) proxy(relays ...*rig) *client.Client {
	c := &client.Client{TLS: &tls.Config{RootCAs: g.cert.Pool}, PeerID: "proxy", Logger: slog.New(slog.DiscardHandler)}
	for _, r := range relays {
		c.Relays = append(c.Relays, r.addr)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	g.t.Cleanup(func() { cancel(); running.Wait() })
	return c
}

func (g *rig) target() client.Target {
	return client.Target{Hostname: host, ClientID: g.token.ClientID, ClientSecret: g.secret}
}

// slots waits until r has n usable sessions of the tunnel.
func (g *rig) slots(n int) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("%d slots at %s", n, g.cfg.ID), func() bool { return len(g.registry.candidates(tunnelID, nil)) >= n })
}

// openLoop is a loop of opens: a byte there and back, and the end. It goes on whatever the answers are, at most opensAtOnce at a time.
type openLoop struct {
	done    atomic.Int64
	failed  atomic.Int64
	lost    atomic.Int64 // streams that broke after they were open, where a relay is killed
	killing bool
	slowest atomic.Int64 // nanoseconds until a stream was open
	first   sync.Once
	why     error
}

// during runs the loop while f does.
func (o *openLoop) during(t *testing.T, c *client.Client, target client.Target, f func()) {
	t.Helper()
	stop := make(chan struct{})
	var opens, loop sync.WaitGroup
	loop.Go(func() {
		tick := time.NewTicker(time.Second / opensPerSecond)
		defer tick.Stop()
		places := make(chan struct{}, opensAtOnce)
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			select {
			case places <- struct{}{}:
				opens.Go(func() { o.once(t.Context(), c, target); <-places })
			default:
			}
		}
	})
	f()
	close(stop)
	loop.Wait()
	opens.Wait()
	t.Logf("%d opens, %d failed, the slowest took %v", o.done.Load(), o.failed.Load(), time.Duration(o.slowest.Load()))
	if o.failed.Load() > 0 {
		t.Errorf("%d of %d opens failed, the first with: %v", o.failed.Load(), o.done.Load(), o.why)
	}
}

func (o *openLoop) once(ctx context.Context, c *client.Client, target client.Target) {
	err := pingOnce(ctx, c, target, &o.slowest)
	o.done.Add(1)
	switch {
	case err == nil:
	case o.killing && errors.Is(err, errBroken):
		o.lost.Add(1)
	default:
		o.failed.Add(1)
		o.first.Do(func() { o.why = err })
	}
}

var errBroken = errors.New("the open stream broke")

// pingOnce opens, sends a byte there and back, and closes. What was sent on an open stream may be lost with a killed relay; the
// open itself may not fail.
func pingOnce(ctx context.Context, c *client.Client, target client.Target, slowest *atomic.Int64) error {
	start := time.Now()
	st, err := c.Dial(ctx, target)
	took := int64(time.Since(start))
	for was := slowest.Load(); took > was && !slowest.CompareAndSwap(was, took); was = slowest.Load() {
	}
	if err != nil {
		return err
	}
	defer st.Close()
	st.SetDeadline(time.Now().Add(testWait))
	if _, err := st.Write([]byte{1}); err != nil {
		return fmt.Errorf("%w: write: %w", errBroken, err)
	}
	if _, err := io.ReadFull(st, make([]byte, 1)); err != nil {
		return fmt.Errorf("%w: read: %w", errBroken, err)
	}
	return nil
}

// TestTunnel11RollingRestartOfRelays stops one of two relays under load, and then the other when the first is back.
func TestTunnel11RollingRestartOfRelays(t *testing.T) {
	a := newRig(t, nil)
	a.serves("tcp://" + echoOrigin(t))
	b := a.sibling("relay-2")
	a.realConnector(a, b)
	a.slots(2)
	b.slots(2)
	var load openLoop
	load.during(t, a.proxy(a, b), a.target(), func() {
		eventually(t, "load", func() bool { return load.done.Load() > 20 })
		a.stop()
		a.ended()
		b.slots(4)
		n := load.done.Load()
		eventually(t, "load on the other", func() bool { return load.done.Load() > n+20 })
	})
	if n := a.registry.len(); n != 0 {
		t.Errorf("%d sessions are left at the relay that has stopped", n)
	}
}

// TestTunnel11ReplacementComesFirst: until every slot has registered elsewhere the relay that drains takes streams.
func TestTunnel11ReplacementComesFirst(t *testing.T) {
	a := newRig(t, nil)
	a.serves("tcp://" + echoOrigin(t))
	b := a.sibling("relay-2")
	a.realConnector(a, b)
	a.slots(2)
	proxy := a.client(tunnel.CarrierQUIC)
	st, err := proxy.Open(t.Context(), &tunnelpb.Open{Hostname: host})
	if err != nil {
		t.Fatal(err)
	}
	a.stop()
	b.slots(4)
	eventually(t, "end of new streams at the first", a.refusing.Load)
	exchange(t, st, "a transaction that runs on")
	st.Close()
	a.ended()
}

// TestTunnel14RollingRestartOfConnectors replaces two replicas one after the other under load.
func TestTunnel14RollingRestartOfConnectors(t *testing.T) {
	g := newRig(t, nil)
	g.serves("tcp://" + echoOrigin(t))
	_, stop1 := g.realConnector(g)
	_, stop2 := g.realConnector(g)
	g.slots(8)
	var load openLoop
	load.during(t, g.proxy(g), g.target(), func() {
		for _, stop := range []func(){stop1, stop2} {
			n := load.done.Load()
			eventually(t, "load", func() bool { return load.done.Load() > n+20 })
			stop()
			g.slots(4)
			g.realConnector(g)
			g.slots(8)
		}
	})
}

// TestTunnel05KilledRelay drops one of two relays without a word, as kill -9 and a lost machine do.
func TestTunnel05KilledRelay(t *testing.T) {
	t.Parallel()
	a := newRig(t, nil)
	a.serves("tcp://" + echoOrigin(t))
	b := a.sibling("relay-2")
	gate := &tunneltest.Gate{}
	k := newRig(t, func(c *Config) { c.ID = "relay-killed" }, func(s *rig) {
		s.state, s.cert, s.token, s.secret, s.gate = a.state, a.cert, a.token, a.secret, gate
	})
	a.realConnector(k, b)
	k.slots(2)
	b.slots(2)
	proxy := a.proxy(k, b)
	survivor, err := a.proxy(b).Dial(t.Context(), a.target())
	if err != nil {
		t.Fatal(err)
	}
	defer survivor.Close()
	for range 3 {
		if err := pingOnce(t.Context(), proxy, a.target(), new(atomic.Int64)); err != nil {
			t.Fatal(err)
		}
	}
	k.kill()
	lost := time.Now()
	if err := pingOnce(t.Context(), proxy, a.target(), new(atomic.Int64)); err != nil {
		t.Errorf("an open after the relay was lost: %v", err)
	}
	exchange(t, survivor, "a stream through the other relay")
	t.Logf("the open took %v", time.Since(lost))
	b.slots(4)
	t.Logf("the slots moved within %v", time.Since(lost))
}
