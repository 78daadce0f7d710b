package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedb/sluice/integration/harness"
)

// bin is the directory of the programs under test.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		stage, err := harness.NewStage()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer stage.Close()
		bin = stage.Path("bin")
		if err := harness.Build(context.Background(), bin, false, "./cmd/sluice", "./cmd/sluice-connector", harness.NATSServer); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

const (
	hostname   = "db.internal.example"
	tunnelName = "vpc-1"
	relays     = 3
	connectors = 2
	slots      = 4 // of a connector
	clients    = 100
	// originConns is what the database may have open: a fifth of the clients, so that they wait for each other.
	originConns = 20
)

// part is a process of the installation on a machine of its own.
type part struct {
	name  string
	kind  string // parts of one kind are alike
	host  netip.Addr
	ns    *harness.Namespace
	start func(context.Context) (p *harness.Process, metrics string, err error)

	mu      sync.Mutex
	process *harness.Process
	metrics string // URL
}

// up starts the part, and returns when it is ready.
func (p *part) up(ctx context.Context) error {
	process, metrics, err := p.start(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if process != nil {
		p.process, p.metrics = process, metrics
	}
	return err
}

// revive starts the part again and again until it is ready, as systemd does with the units in deploy/: one that is cut off from its
// store ends.
func (p *part) revive(ctx context.Context) error {
	for {
		err := p.up(ctx)
		if !errors.Is(err, harness.ErrEnded) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(restartPause):
		}
	}
}

func (p *part) running() *harness.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.process
}

// gauges reads the sums of metrics over their labels.
func (p *part) gauges(ctx context.Context, names ...string) ([]float64, error) {
	p.mu.Lock()
	url := p.metrics
	p.mu.Unlock()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.ns.HTTP().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	values := make([]float64, len(names))
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		name, _, _ = strings.Cut(name, "{")
		for i, want := range names {
			if name == want {
				_, number, _ := strings.Cut(lines.Text()[len(name):], " ")
				if !strings.HasPrefix(lines.Text()[len(name):], "{") {
					number = value
				}
				v, err := strconv.ParseFloat(number, 64)
				if err != nil {
					return nil, fmt.Errorf("metric %s of %s: %w", want, p.name, err)
				}
				values[i] += v
			}
		}
	}
	return values, lines.Err()
}

// fleet is the whole installation.
type fleet struct {
	stage   *harness.Stage
	fabric  *harness.Fabric
	control *harness.Sluice
	pg      *harness.Postgres
	parts   []*part // relays, connectors and the proxy
	core    netip.Addr
	origin  netip.Addr
	target  harness.Target
	proxy   *part
}

// newFleet raises a fleet that goes with the test.
func newFleet(ctx context.Context, t *testing.T) *fleet {
	t.Helper()
	stage, err := harness.NewStage()
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(stage.Logs())
		}
		if err := stage.CheckLogs(); err != nil {
			t.Error(err)
		}
		if err := stage.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &fleet{stage: stage, fabric: stage.NewFabric(netip.MustParsePrefix("10.88.0.0/24"))}
	var ns *harness.Namespace
	f.core, ns = f.machine(t, 1)
	f.control = stage.NewSluiceIn(ns, bin, f.core.String())
	store, _, err := stage.StartNATSAt(ctx, bin, ns, netip.AddrPortFrom(f.core, 4222).String())
	must(t, err)
	f.control.Apart(store)
	for i := range relays {
		f.control.Relays = append(f.control.Relays, netip.AddrPortFrom(address(10+i), uint16(f.control.RelayPort)).String())
	}
	_, err = f.control.StartControl(ctx)
	must(t, err)
	f.origin, ns = f.machine(t, 2)
	f.pg, err = stage.StartPostgres(ctx, harness.PostgresConfig{Addr: f.origin.String(), Namespace: ns, Settings: map[string]string{
		"synchronous_commit": "on", // what was acknowledged outlives a killed server
		// A connection whose other end was cut off ends within the time that the test waits at its end.
		"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3", "tcp_user_timeout": "15000",
	}})
	must(t, err)
	f.addRelays(t)
	f.addConnectors(ctx, t)
	f.addProxy(t)
	for _, p := range f.parts {
		must(t, p.up(ctx))
	}
	f.register(ctx, t)
	return f
}

func address(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 88, 0, byte(n)}) }

// machine makes a machine of the fabric.
func (f *fleet) machine(t *testing.T, n int) (netip.Addr, *harness.Namespace) {
	t.Helper()
	ns, err := f.stage.NewNamespace()
	must(t, err)
	must(t, f.fabric.Attach(ns, address(n)))
	return address(n), ns
}

func (f *fleet) addRelays(t *testing.T) {
	for i := range relays {
		host, ns := f.machine(t, 10+i)
		name := fmt.Sprintf("relay-%d", i+1)
		node := f.control.Node(name, ns, host.String())
		f.parts = append(f.parts, &part{name: name, kind: "relay", host: host, ns: ns, start: func(ctx context.Context) (*harness.Process, string, error) {
			p, err := node.StartRelay(ctx)
			return p, node.Metrics, err
		}})
	}
}

func (f *fleet) addConnectors(ctx context.Context, t *testing.T) {
	token, err := f.control.Tunnel(ctx, tunnelName)
	must(t, err)
	for i := range connectors {
		host, ns := f.machine(t, 20+i)
		name := fmt.Sprintf("connector-%d", i+1)
		node := f.control.Node(name, ns, host.String())
		f.parts = append(f.parts, &part{name: name, kind: "connector", host: host, ns: ns, start: func(ctx context.Context) (*harness.Process, string, error) {
			p, err := node.StartConnector(ctx, name, token, ns)
			return p, node.Metrics, err
		}})
	}
}

func (f *fleet) addProxy(t *testing.T) {
	host, ns := f.machine(t, 30)
	node := f.control.Node("proxy", ns, host.String())
	f.proxy = &part{name: "proxy", kind: "proxy", host: host, ns: ns, start: func(ctx context.Context) (*harness.Process, string, error) {
		p, err := node.StartProxy(ctx)
		return p, node.Metrics, err
	}}
	f.parts = append(f.parts, f.proxy)
}

// register makes what lies between a driver and the origin.
func (f *fleet) register(ctx context.Context, t *testing.T) {
	run := func(args ...string) {
		t.Helper()
		_, err := f.control.CLI(ctx, nil, args...)
		must(t, err)
	}
	run("tunnel", "route", tunnelName, hostname, f.pg.Origin())
	token, err := f.control.Token(ctx, "app")
	must(t, err)
	run("access", "app", "create", "--hostname", hostname)
	run("access", "policy", "create", "--app", hostname, "--decision", "non_identity", "--include-token", "app")
	f.target, err = f.control.Database(ctx, f.pg, token.ClientSecret, "app", "--origin-scheme", "postgres", "--origin-host", hostname,
		"--access-client-id", token.ClientID, "--sslmode", "verify-full", "--ca-certificate", f.pg.CAFile,
		"--origin-connection-limit", strconv.Itoa(originConns), "--caching-disabled")
	must(t, err)
	f.target.Host = f.proxy.host.String()
}

// connect connects a driver that stands beside the proxy: the network between the two is not the tunnel's.
func (f *fleet) connect(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(f.target.URL())
	if err != nil {
		return nil, fmt.Errorf("connection string of %s: malformed", f.target.User)
	}
	config.DialFunc = f.proxy.ns.Dial
	return pgx.ConnectConfig(ctx, config)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within is a context that ends with the test or after d.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
