package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	_ "net/http/pprof" // served beside the metrics
	"os"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/proxy/dialect"
	"github.com/sluicedb/sluice/proxy/mysql"
	"github.com/sluicedb/sluice/proxy/postgres"
)

// A lone is a proxy in a process of its own without control, for what an installation does not
// allow: plaintext straight to the origin.
type lone struct {
	MySQL           bool   // instead of PostgreSQL
	Listen, Metrics string // host:port
	Origin          harness.Target
	Cert, Key       string // PEM, offered to drivers
	Conns           int
}

// A server serves drivers, whose name, password and database are the origin's.
type server interface {
	Serve(ctx context.Context, ln net.Listener) error
}

// serveLone runs the proxy that a file describes, until ctx ends.
func serveLone(ctx context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var l lone
	if err := json.Unmarshal(text, &l); err != nil {
		return err
	}
	pair, err := tls.X509KeyPair([]byte(l.Cert), []byte(l.Key))
	if err != nil {
		return err
	}
	make := l.postgres
	if l.MySQL {
		make = l.mysql
	}
	server, run, err := make(&tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", l.Listen)
	if err != nil {
		return err
	}
	http.Handle("/metrics", promhttp.Handler())
	metrics := &http.Server{Addr: l.Metrics}
	go metrics.ListenAndServe()
	defer metrics.Close()
	pooling, stop := context.WithCancel(context.Background())
	var pool sync.WaitGroup
	pool.Go(func() { run(pooling) })
	defer func() { stop(); pool.Wait() }()
	return server.Serve(ctx, ln)
}

// dial connects as a proxy does to an origin that it reaches without a tunnel.
func (l *lone) dial(ctx context.Context) (net.Conn, error) {
	c, err := stream.Dialer(stream.MaxIdle).DialContext(ctx, "tcp", net.JoinHostPort(l.Origin.Host, strconv.Itoa(l.Origin.Port)))
	if err != nil {
		return nil, err
	}
	return stream.Dialled(c), nil
}

func (l *lone) postgres(certificate *tls.Config) (server, func(context.Context), error) {
	verifier, err := pgwire.NewVerifier(l.Origin.Password)
	if err != nil {
		return nil, nil, err
	}
	db := postgres.NewDatabase(l.Origin.Database, postgres.Config{
		Host: l.Origin.Host, Database: l.Origin.Database, User: l.Origin.User, Password: l.Origin.Password,
		Limits: postgres.Limits{MaxConns: l.Conns}, Dial: l.dial,
	}, map[string]*pgwire.Verifier{l.Origin.User: verifier})
	return &postgres.Server{
		Lookup: func(name string) (*postgres.Database, bool) { return db, name == l.Origin.Database },
		TLS:    certificate, AllowPlaintext: true, Logger: slog.Default(),
	}, db.Run, nil
}

func (l *lone) mysql(certificate *tls.Config) (server, func(context.Context), error) {
	db := mysql.NewDatabase(l.Origin.Database, mysql.Config{
		Database: l.Origin.Database, User: l.Origin.User, Password: l.Origin.Password,
		Limits: dialect.Limits{MaxConns: l.Conns}, Dial: l.dial,
	}, map[string]*mywire.Verifier{l.Origin.User: mywire.NewVerifier(l.Origin.Password)})
	return &mysql.Server{
		Lookup: func(name string) (*mysql.Database, bool) { return db, name == l.Origin.Database },
		TLS:    certificate, AllowPlaintext: true, Logger: slog.Default(),
	}, db.Run, nil
}

// startLone starts one on the stage; its addresses, certificate and pool are the lab's.
func (l *lab) startLone(ctx context.Context, name string, proxy lone) (entry, error) {
	var ports [2]int
	for i := range ports {
		var err error
		if ports[i], err = harness.FreePort("127.0.0.1"); err != nil {
			return entry{}, err
		}
	}
	address := func(i int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i])) }
	proxy.Listen, proxy.Metrics, proxy.Origin.CAFile = address(0), address(1), ""
	proxy.Cert, proxy.Key, proxy.Conns = string(l.cert), string(l.key), poolSize
	text, err := json.Marshal(proxy)
	if err != nil {
		return entry{}, err
	}
	file := l.stage.Path(name + ".json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return entry{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return entry{}, err
	}
	p, err := l.stage.Start(harness.Command{Name: name, Path: self, Args: []string{"-serve", file}})
	if err != nil {
		return entry{}, err
	}
	target := proxy.Origin
	target.Host, target.Port = "127.0.0.1", ports[0]
	e := entry{name: name, about: "the proxy straight to the origin", target: target, cpu: p, alone: true, metrics: fmt.Sprintf("http://%s/metrics", address(1))}
	return e, p.WaitFor(ctx, "a listener", harness.Listening(address(0)))
}
