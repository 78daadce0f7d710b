package caching

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/protocol/stream/bufconn"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/postgres"
)

// pg is one PostgreSQL for all tests of the package.
var pg *harness.Postgres

func TestMain(m *testing.M) {
	os.Exit(func() int {
		stage, err := harness.NewStage()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer stage.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
		defer cancel()
		pg, err = stage.StartPostgres(ctx, harness.PostgresConfig{
			Addr: "127.0.0.1", Settings: map[string]string{"max_connections": "200"},
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err, stage.Logs())
			return 1
		}
		admin, err := pg.Admin(ctx)
		if err == nil {
			_, err = admin.Exec(ctx, "grant pg_read_all_settings to "+pg.Target().User)
			admin.Close(ctx)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return max(m.Run(), leaks())
	}())
}

// patience bounds every wait for what takes no time to speak of: a loaded machine takes long over it.
const patience = time.Minute

// leaks is 1 if the proxies of the tests left goroutines or read buffers behind.
func leaks() int {
	deadline := time.Now().Add(patience)
	for {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		n := bytes.Count(stacks, []byte("sluice/proxy/")) + bytes.Count(stacks, []byte("protocol/pgwire."))
		if buffers := bufconn.BuffersInUse(); n > 0 || buffers > 0 {
			if time.Now().Before(deadline) {
				runtime.Gosched()
				continue
			}
			fmt.Fprintf(os.Stderr, "%d read buffers are held after the end; goroutines:\n%s\n", buffers, stacks)
			return 1
		}
		return 0
	}
}

const (
	testUser     = "driver"
	testPassword = "a driver's password"
	testDatabase = "app"
)

// A world is a proxy in front of pg.
type world struct {
	addr *net.TCPAddr
	db   *postgres.Database
	srv  *postgres.Server
	stop func() // and wait

	cache *cache.Cache
	clock clock
	log   logged
	down  atomic.Bool // the origin cannot be dialled
	kept  int         // origin connections that clients keep
}

// logged is what the proxy has logged.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// clock is the time that results live by. It stands still unless tests move it, so that
// nothing gets old because a machine is slow, or let it run.
type clock struct {
	began time.Time
	ahead atomic.Int64
	runs  atomic.Bool
}

func (k *clock) now() time.Time {
	t := k.began
	if k.runs.Load() {
		t = time.Now()
	}
	return t.Add(time.Duration(k.ahead.Load()))
}

func (k *clock) advance(d time.Duration) { k.ahead.Add(int64(d)) }

// newWorld starts a proxy with a pool and a cache of its own; it ends with the test.
func newWorld(t testing.TB, changes ...func(*postgres.Config)) *world {
	t.Helper()
	pem, err := os.ReadFile(pg.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	target := pg.Target()
	w := &world{clock: clock{began: time.Now()}}
	w.cache = cache.New(cache.Config{MaxBytes: 64 << 20, Now: w.clock.now, NoJitter: true})
	t.Cleanup(w.cache.Close)
	addr := net.JoinHostPort(target.Host, strconv.Itoa(target.Port))
	cfg := postgres.Config{
		Dial: func(ctx context.Context) (net.Conn, error) {
			if w.down.Load() {
				return nil, syscall.ECONNREFUSED
			}
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		},
		Host: target.Host, Database: target.Database, User: target.User, Password: target.Password,
		TLS:    &tls.Config{RootCAs: roots, ServerName: target.Host},
		Limits: postgres.Limits{MaxConns: 5, QueryTimeout: patience, WaitTimeout: patience},
		Cache:  w.cache, Caching: cache.Policy{MaxAge: time.Minute, Stale: 15 * time.Second},
	}
	for _, change := range changes {
		change(&cfg)
	}
	w.db = postgres.NewDatabase(testDatabase, cfg, map[string]*pgwire.Verifier{testUser: cheapVerifier(t)})
	w.srv = &postgres.Server{
		Lookup:         func(name string) (*postgres.Database, bool) { return w.db, name == testDatabase },
		AllowPlaintext: true, Grace: 2 * time.Second, Logger: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = ln.Addr().(*net.TCPAddr)
	poolCtx, stopPool := context.WithCancel(context.Background())
	ctx, stop := context.WithCancel(context.Background())
	poolDone, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(poolDone); w.db.Run(poolCtx) }()
	go func() {
		defer close(done)
		if err := w.srv.Serve(ctx, ln); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	w.stop = sync.OnceFunc(func() {
		stop()
		<-done
		stopPool()
		<-poolDone
	})
	t.Cleanup(w.stop)
	return w
}

// cheapVerifier is testPassword's with so few iterations that hundreds of logins
// under the race detector take no time to speak of.
func cheapVerifier(t testing.TB) *pgwire.Verifier {
	t.Helper()
	v := &pgwire.Verifier{Iterations: 16, Salt: []byte("salt of the tests")}
	key, err := pbkdf2.Key(sha256.New, testPassword, v.Salt, v.Iterations, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	sum := func(text string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	v.StoredKey = sha256.Sum256(sum("Client Key"))
	v.ServerKey = [sha256.Size]byte(sum("Server Key"))
	return v
}

// url is a connection string for drivers.
func (w *world) url() string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", testUser, "a%20driver%27s%20password", w.addr, testDatabase)
}

// connect connects with pgx, in its default mode of statements that are prepared.
func (w *world) connect(t testing.TB, params ...string) *pgx.Conn {
	t.Helper()
	return w.by(t, pgx.QueryExecModeCacheStatement, params...)
}

// by connects with pgx in a mode.
func (w *world) by(t testing.TB, mode pgx.QueryExecMode, params ...string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cfg, err := pgx.ParseConfig(w.url())
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(params); i += 2 {
		cfg.RuntimeParams[params[i]] = params[i+1]
	}
	cfg.DefaultQueryExecMode = mode
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}
