package pooling

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/pool"
	"github.com/sluicedb/sluice/proxy/postgres"
)

// loginMethods and loginRoles are ways of logging in to an origin.
var loginMethods = []string{
	"hostssl all cleartext all password",
	"hostssl all hashed all md5",
	"hostssl all certified all cert",
	"hostssl all trusted all trust",
}

const loginRoles = "create role cleartext login password 'origin secret';" +
	"create role certified login; create role trusted login; create role rotating login password 'one';" +
	"set password_encryption = 'md5'; create role hashed login password 'origin secret'"

func asRole(role, password string) func(*postgres.Config) {
	return func(c *postgres.Config) { c.User, c.Password = role, password }
}

func TestOriginLogin(t *testing.T) {
	t.Parallel()
	certificate, err := pg.ClientCertificate("certified")
	if err != nil {
		t.Fatal(err)
	}
	withCertificate := func(c *postgres.Config) { c.TLS.Certificates = []tls.Certificate{certificate} }
	for _, tt := range []struct {
		name, role, password string
		change               func(*postgres.Config)
		fails                string
	}{
		{"password", "cleartext", "origin secret", nil, ""},
		{"wrong password", "cleartext", "another", nil, "28P01"},
		{"password to whoever answers", "cleartext", "origin secret", func(c *postgres.Config) { c.TLS = &tls.Config{InsecureSkipVerify: true} }, "58000"},
		{"md5", "hashed", "origin secret", nil, ""},
		{"wrong md5", "hashed", "another", nil, "28P01"},
		{"scram", "rotating", "one", nil, ""},
		{"wrong scram", "rotating", "another", nil, "28P01"},
		{"certificate", "certified", "", withCertificate, ""},
		{"no certificate", "certified", "", nil, "28000"},
		{"trust", "trusted", "", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.change == nil {
				tt.change = func(*postgres.Config) {}
			}
			w := newWorld(t, maxConns(1), asRole(tt.role, tt.password), tt.change)
			x, err := w.tryWire(t)
			if got := code(err); got != tt.fails {
				t.Fatalf("log in: %v", err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), "Server connection attempt failed: ") {
					t.Errorf("says %v", err)
				}
				return
			}
			if got := x.value("select current_user || coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false)::text"); got != tt.role+"true" {
				t.Errorf("the origin sees %s", got)
			}
		})
	}
}

// Somebody between proxy and origin who answers TLS with a certificate of their
// own gets nowhere with a password's exchange that they pass on, even where
// certificates are not verified: it is bound to the channel.
func TestOriginChannelBinding(t *testing.T) {
	t.Parallel()
	ca, err := harness.NewCA("somebody")
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := ca.Issue("localhost")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	var between sync.WaitGroup
	w := newWorld(t, maxConns(1), func(c *postgres.Config) {
		dial, verified := c.Dial, c.TLS
		c.TLS = &tls.Config{InsecureSkipVerify: true}
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			origin, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			near, far := net.Pipe()
			between.Go(func() { passOn(far, origin, &tls.Config{Certificates: []tls.Certificate{cert}}, verified) })
			return near, nil
		}
	})
	if _, err := w.tryWire(t); err == nil || !strings.Contains(err.Error(), "Server connection attempt failed") {
		t.Errorf("log in: %v", err)
	}
	w.stop()
	between.Wait()
}

// passOn ends TLS on both sides and passes everything on.
func passOn(driver, origin net.Conn, serve, ask *tls.Config) {
	defer driver.Close()
	defer origin.Close()
	var request [8]byte
	if _, err := io.ReadFull(driver, request[:]); err != nil {
		return
	}
	if _, err := driver.Write([]byte{'S'}); err != nil {
		return
	}
	if ok, err := pgwire.RequestTLS(origin); !ok || err != nil {
		return
	}
	near, far := tls.Server(driver, serve), tls.Client(origin, ask)
	var back sync.WaitGroup
	back.Go(func() { _, _ = io.Copy(near, far); driver.Close() })
	_, _ = io.Copy(far, near)
	origin.Close()
	back.Wait()
}

// The password changes at the origin while clients work. They notice nothing when
// it is changed in the configuration before, and no old connection is left.
func TestPooling70(t *testing.T) {
	t.Parallel()
	var cfg postgres.Config
	w := newWorld(t, maxConns(3), asRole("rotating", "one"), func(c *postgres.Config) { cfg = *c })
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 10 {
		x := w.wire(t)
		wg.Go(func() {
			for !stop.Load() {
				x.send(q("begin"), q("select 1"), q("commit"))
				if s, err := x.tryReady(3); err != nil || s != "C:BEGIN Z:T T D:1 C:SELECT_1 Z:T C:COMMIT Z:I" {
					t.Errorf("%s, %v", s, err)
					return
				}
			}
		})
	}
	renewed := func() {
		t.Helper()
		before := w.db.Stats()
		w.db.Renew()
		eventually(t, "old connections are gone", func() bool {
			s := w.db.Stats()
			return s.Retired[pool.Renewed] >= before.Retired[pool.Renewed]+uint64(before.Live) && s.Live == 3
		})
	}
	cfg.Password, cfg.FormerPassword = "two", "one"
	w.db.SetConfig(cfg)
	renewed() // with the former one
	admin, err := pg.Admin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	if _, err := admin.Exec(t.Context(), "alter role rotating password 'two'"); err != nil {
		t.Fatal(err)
	}
	renewed() // with the new one
	stop.Store(true)
	wg.Wait()
	if s := w.db.Stats(); s.DialErrors != 0 {
		t.Errorf("%d failed dials", s.DialErrors)
	}
	if _, err := admin.Exec(t.Context(), "alter role rotating password 'one'"); err != nil {
		t.Fatal(err)
	}
}

// The origin's name leads to a standby, until it leads to the new primary: the
// first refused write is the last.
func TestFailoverToPrimary(t *testing.T) {
	t.Parallel()
	stage, err := harness.NewStage()
	if err != nil {
		t.Fatal(err)
	}
	defer stage.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	standby, err := stage.StartPostgres(ctx, harness.PostgresConfig{Addr: "127.0.0.1", HBA: []string{"host all all all trust"}})
	if err == nil {
		err = standby.Demote(ctx)
	}
	if err != nil {
		t.Fatal(err, stage.Logs())
	}
	var primary atomic.Bool
	w := newWorld(t, maxConns(3), func(c *postgres.Config) {
		c.TLS.InsecureSkipVerify = true // two servers, two authorities
		dial := c.Dial
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			if primary.Load() {
				return dial(ctx)
			}
			var d net.Dialer
			return d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", standby.Port))
		}
	})
	x, y := w.wire(t), w.wire(t)
	y.want("C:BEGIN Z:T", q("begin")) // with a connection to the standby
	x.want("T D:t C:SELECT_1 Z:I", q("select pg_is_in_recovery()"))
	primary.Store(true)
	x.want("E:25006 Z:I", q("create table failover (a int)"))
	x.want("C:CREATE_TABLE Z:I", q("create table failover (a int)"))
	x.want("C:DROP_TABLE Z:I", q("drop table failover"))
	y.want("T D:t C:SELECT_1 Z:T", q("select pg_is_in_recovery()"))
	y.want("C:COMMIT Z:I", q("commit"))
	y.want("T D:f C:SELECT_1 Z:I", q("select pg_is_in_recovery()"))
	if n := w.db.Counts().Failovers; n != 1 {
		t.Errorf("%d failovers noticed", n)
	}
}
