package mysql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/proxy/dialect"
	"github.com/sluicedb/sluice/proxy/mysql"
)

// onBoth runs a test on every server.
func onBoth(t *testing.T, test func(t *testing.T, s server)) {
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) { test(t, s) })
	}
}

// patience bounds every wait for something that takes no time to speak of: a loaded machine takes long over it.
const patience = time.Minute

const (
	testUser     = "driver"
	testPassword = "pw"
	testDatabase = "app"
)

// logger tells what SLUICE_TEST_LOG asks for.
var logger = func() *slog.Logger {
	if os.Getenv("SLUICE_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}()

// A world is a proxy in front of a server.
type world struct {
	server
	addr string
	db   *mysql.Database
	srv  *mysql.Server
	stop func()
}

// tls is for connections to the server; nil where it has no certificate of its own.
func (s server) tls(t testing.TB) *tls.Config {
	if s.caFile == "" {
		return nil
	}
	pem, err := os.ReadFile(s.caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
}

// admin connects to the server itself, as one that may do everything.
func (s server) admin(t testing.TB) *sql.Conn {
	t.Helper()
	return connectDSN(t, fmt.Sprintf("root@unix(%s)/", s.socket))
}

func maxConns(n int) func(*mysql.Config) { return func(c *mysql.Config) { c.MaxConns = n } }

func newWorld(t testing.TB, s server, changes ...func(*mysql.Config)) *world {
	t.Helper()
	return newServer(t, s, func(*mysql.Server) {}, changes...)
}

// newServer is newWorld with another server of the proxy.
func newServer(t testing.TB, s server, serve func(*mysql.Server), changes ...func(*mysql.Config)) *world {
	t.Helper()
	cfg := mysql.Config{
		Dial: func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", s.addr)
		},
		Database: harness.MySQLDatabase, User: s.user, Password: s.password, TLS: s.tls(t),
		Limits: dialect.Limits{MaxConns: 5, QueryTimeout: patience, WaitTimeout: patience},
	}
	for _, change := range changes {
		change(&cfg)
	}
	w := &world{server: s, db: mysql.NewDatabase(testDatabase, cfg, map[string]*mywire.Verifier{testUser: mywire.NewVerifier(testPassword)})}
	w.srv = &mysql.Server{
		Lookup: func(name string) (*mysql.Database, bool) { return w.db, name == testDatabase },
		TLS:    &tls.Config{Certificates: []tls.Certificate{certificate}}, AllowPlaintext: true, Grace: 2 * time.Second, Logger: logger,
	}
	serve(w.srv)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = ln.Addr().String()
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

// connect connects with go-sql-driver; one connection.
func (w *world) connect(t testing.TB, params ...string) *sql.Conn {
	t.Helper()
	dsn := fmt.Sprintf("%s:%s@tcp(%s)/%s?parseTime=true", testUser, testPassword, w.addr, testDatabase)
	for _, p := range params {
		dsn += "&" + p
	}
	return connectDSN(t, dsn)
}

func connectDSN(t testing.TB, dsn string) *sql.Conn {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func exec(t testing.TB, c *sql.Conn, query string, args ...any) sql.Result {
	t.Helper()
	res, err := c.ExecContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return res
}

// value is the first column of the first row, as text; "" for NULL.
func value(t testing.TB, c *sql.Conn, query string, args ...any) string {
	t.Helper()
	var v sql.NullString
	if err := c.QueryRowContext(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v.String
}

func want(t testing.TB, c *sql.Conn, query, want string, args ...any) {
	t.Helper()
	if got := value(t, c, query, args...); got != want {
		t.Errorf("%s: got %q, want %q", query, got, want)
	}
}

// code is the number of a server's error; 0 if it has none.
func code(err error) uint16 {
	if e, ok := err.(*driver.MySQLError); ok {
		return e.Number
	}
	return 0
}
