package mysql

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/proxy/mysql"
)

// TestPoolingTLS: drivers with TLS, of which one that sends in the clear is refused.
func TestPoolingTLS(t *testing.T) {
	ca, err := harness.NewCA("proxy")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.Issue("localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	onBoth(t, func(t *testing.T, s server) {
		w := newServer(t, s, func(srv *mysql.Server) {
			srv.TLS, srv.AllowPlaintext = &tls.Config{Certificates: []tls.Certificate{pair}}, false
		}, maxConns(1))
		a, b := w.connect(t, "tls=skip-verify"), w.connect(t, "tls=skip-verify", "interpolateParams=true")
		for range 3 {
			want(t, a, "SELECT ?", "x", "x")
			want(t, b, "SELECT ?", "y", "y")
			want(t, a, "SELECT LENGTH(REPEAT('x', 100000))", "100000")
			if n := len(value(t, b, "SELECT REPEAT('x', 100000)")); n != 100_000 {
				t.Errorf("%d bytes", n)
			}
		}
		if _, err := w.dial(rawCaps, testUser, testPassword); err == nil {
			t.Error("a driver without TLS was let in")
		}
	})
}

// TestPoolingDrain: at the end the idle are told goodbye, and who is in a transaction
// may end it.
func TestPoolingDrain(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newServer(t, s, func(srv *mysql.Server) { srv.Grace = patience }, maxConns(2))
		a, b := w.raw(t), w.raw(t)
		a.exec(t, "CREATE TABLE IF NOT EXISTS drained (id int)")
		a.exec(t, "BEGIN")
		a.exec(t, "INSERT INTO drained VALUES (1)")
		b.want(t, "SELECT 1", "1")
		ended := make(chan struct{})
		go func() { defer close(ended); w.stop() }()
		if e := b.goodbye(t); e.Code != mywire.CodeServerShutdown {
			t.Errorf("the idle: %v", e)
		}
		a.want(t, "SELECT COUNT(*) > 0 FROM drained", "1")
		a.exec(t, "DELETE FROM drained")
		a.exec(t, "COMMIT")
		if e := a.goodbye(t); e.Code != mywire.CodeServerShutdown {
			t.Errorf("behind its transaction: %v", e)
		}
		<-ended
	})
}

// TestPoolingSilent: who is silent in a transaction for too long is disconnected.
func TestPoolingSilent(t *testing.T) {
	var cfg mysql.Config
	w := newWorld(t, servers[0], maxConns(1), func(c *mysql.Config) { cfg = *c })
	a, b := w.raw(t), w.raw(t)
	a.exec(t, "BEGIN")
	a.want(t, "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'none'", "0")
	cfg.IdleTransactionTimeout = 300 * time.Millisecond
	w.db.SetConfig(cfg)
	if e := a.goodbye(t); e.Code != mywire.CodeClientInteraction {
		t.Errorf("%v", e)
	}
	b.want(t, "SELECT 1", "1")
}

// goodbye is what the proxy says without having been asked.
func (r *raw) goodbye(t testing.TB) *mywire.Error {
	t.Helper()
	r.seq = 255 // the number of what comes unasked is 0
	return r.expectError(t)
}
