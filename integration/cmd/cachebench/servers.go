package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	_ "net/http/pprof" // served beside the metrics
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/postgres"
)

// poolSize is every pooler's number of origin connections: more than two cores can keep busy.
const poolSize = 20

// The proxy's two databases, on one origin.
const (
	cachedName   = "cached"
	uncachedName = "uncached"
)

// A proxy is one in a process of its own without control.
type proxy struct {
	MySQL           bool   // instead of PostgreSQL
	Listen, Metrics string // host:port
	Origin          harness.Target
	CacheBytes      int64
}

// serveProxy runs the proxy that a file describes, until ctx ends.
func serveProxy(ctx context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var p proxy
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	results := cache.New(cache.Config{MaxBytes: p.CacheBytes})
	defer results.Close()
	pooling, stop := context.WithCancel(context.Background())
	var pools sync.WaitGroup
	defer func() { stop(); pools.Wait() }()
	ln, err := net.Listen("tcp", p.Listen)
	if err != nil {
		return err
	}
	http.Handle("/metrics", promhttp.Handler())
	metrics := &http.Server{Addr: p.Metrics}
	go metrics.ListenAndServe()
	defer metrics.Close()
	serve := p.servePostgres
	if p.MySQL {
		serve = p.serveMySQL
	}
	return serve(ctx, results, func(pool func(context.Context)) { pools.Go(func() { pool(pooling) }) }, ln)
}

// dial connects to the origin as an installation does.
func (p *proxy) dial(ctx context.Context) (net.Conn, error) {
	c, err := stream.Dialer(stream.MaxIdle).DialContext(ctx, "tcp", net.JoinHostPort(p.Origin.Host, strconv.Itoa(p.Origin.Port)))
	if err != nil {
		return nil, err
	}
	return stream.Dialled(c), nil
}

func (p *proxy) servePostgres(ctx context.Context, results *cache.Cache, run func(func(context.Context)), ln net.Listener) error {
	verifier, err := pgwire.NewVerifier(p.Origin.Password)
	if err != nil {
		return err
	}
	databases := map[string]*postgres.Database{}
	for name, policy := range map[string]cache.Policy{cachedName: {MaxAge: time.Hour}, uncachedName: {}} {
		db := postgres.NewDatabase(name, postgres.Config{
			Host: p.Origin.Host, Database: p.Origin.Database, User: p.Origin.User, Password: p.Origin.Password,
			Limits: postgres.Limits{MaxConns: poolSize}, Cache: results, Caching: policy, Dial: p.dial,
		}, map[string]*pgwire.Verifier{p.Origin.User: verifier})
		databases[name] = db
		run(db.Run)
	}
	server := &postgres.Server{
		Lookup:         func(name string) (*postgres.Database, bool) { db, ok := databases[name]; return db, ok },
		AllowPlaintext: true, Logger: slog.Default(),
	}
	return server.Serve(ctx, ln)
}

// maxEcho bounds what an echo server is asked to take and to give, in bytes.
const maxEcho = 1 << 20

// serveEcho answers, on each connection, requests of a size with replies of a size: two numbers of four bytes that come first.
func serveEcho(ctx context.Context, addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return ctx.Err()
		}
		go echo(conn)
	}
}

func echo(conn net.Conn) {
	defer conn.Close()
	var sizes [8]byte
	if _, err := io.ReadFull(conn, sizes[:]); err != nil {
		return
	}
	ask, reply := binary.BigEndian.Uint32(sizes[:]), binary.BigEndian.Uint32(sizes[4:])
	if ask > maxEcho || reply > maxEcho {
		return
	}
	in, out := make([]byte, ask), make([]byte, reply)
	for {
		if _, err := io.ReadFull(conn, in); err != nil {
			return
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}
