package mysql

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"strconv"
	"testing"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/proxy"
	"github.com/sluicedb/sluice/proxy/mysql"
)

// fake greets like a server, and answers a login with a packet.
func fake(t *testing.T, caps mywire.Capabilities, answer []byte) (port int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			g := mywire.Greeting{Version: "9.9.9", Salt: mywire.NewSalt(), Capabilities: caps, Plugin: mywire.PluginSHA2}
			b, _ := mywire.AppendPacket(nil, 0, g.Append(nil))
			_, _ = nc.Write(b)
			if _, _, err := mywire.ReadPacket(nc, 1024); err == nil {
				b, _ := mywire.AppendPacket(nil, 2, answer)
				_, _ = nc.Write(b)
			}
			nc.Close()
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port
}

// A test connection says what is wrong with an origin, by Hyperdrive's numbers.
func TestTrial(t *testing.T) {
	state, err := control.Open(t.Context(), control.Config{DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	p := proxy.New(proxy.Config{Source: state, DirectOrigins: proxy.DirectAny, Logger: logger})
	otherCA, err := harness.NewCA("other")
	if err != nil {
		t.Fatal(err)
	}
	const caps = mywire.CapLongPassword | mywire.CapProtocol41 | mywire.CapSecureConnection | mywire.CapPluginAuth
	dialog := (&mywire.AuthSwitch{Plugin: "dialog"}).Append(nil)
	full := mywire.Errorf(mywire.CodeConCount, "Too many connections").Append(nil)
	onBoth(t, func(t *testing.T, s server) {
		ca, err := os.ReadFile(s.caFile)
		if err != nil {
			t.Fatal(err)
		}
		_, port, err := net.SplitHostPort(s.addr)
		if err != nil {
			t.Fatal(err)
		}
		at, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name   string
			change func(*control.Database)
			want   int // 0: none
		}{
			{"right", func(*control.Database) {}, 0},
			{"verified in full", func(d *control.Database) { d.MTLS.SSLMode = control.SSLVerifyFull }, 0},
			{"not verified", func(d *control.Database) { d.MTLS = control.MTLS{SSLMode: control.SSLNoVerify} }, 0},
			{"another name", func(d *control.Database) {
				d.MTLS.SSLMode, d.MTLS.ServerName = control.SSLVerifyFull, "elsewhere.example"
			}, control.TestBadCertificate},
			{"another CA", func(d *control.Database) { d.MTLS.CACertificate = string(otherCA.PEM) }, control.TestBadCertificate},
			{"wrong password", func(d *control.Database) { d.Origin.Password = control.Plaintext("wrong") }, control.TestBadCredentials},
			{"no such user", func(d *control.Database) { d.Origin.User = "nobody" }, control.TestBadCredentials},
			{"no such database", func(d *control.Database) { d.Origin.Database = "nowhere" }, control.TestNoDatabase},
			{"nothing listens", func(d *control.Database) { d.Origin.Port = 1 }, control.TestRefused},
			{"no TLS", func(d *control.Database) { d.Origin.Port = fake(t, caps, full) }, control.TestNoTLS},
		} {
			t.Run(tt.name, func(t *testing.T) {
				d := &control.Database{
					AccountID: control.DefaultAccountID, Name: "app", OriginConnectionLimit: 5,
					Origin: control.Origin{Scheme: "mysql", Host: "127.0.0.1", Port: at, Database: harness.MySQLDatabase, User: s.user, Password: control.Plaintext(control.Secret(s.password))},
					MTLS:   control.MTLS{SSLMode: control.SSLVerifyCA, CACertificate: string(ca)},
				}
				tt.change(d)
				ctx, cancel := context.WithTimeout(t.Context(), control.TestWait)
				defer cancel()
				err := p.Test(ctx, &control.Candidate{Database: d})
				var f *control.TestFailure
				switch {
				case tt.want == 0 && err != nil:
					t.Error(err)
				case tt.want != 0 && (!errors.As(err, &f) || f.Code != tt.want):
					t.Errorf("got %v (%+v), want %d", err, f, tt.want)
				}
			})
		}
	})
	// What no server of the tests says.
	for name, answer := range map[string][]byte{"another plugin": dialog, "full": full} {
		cfg := mysql.Config{User: "u", Password: "p", Database: "d"}
		port := fake(t, caps, answer)
		cfg.Dial = func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		}
		ctx, cancel := context.WithTimeout(t.Context(), control.TestWait)
		defer cancel()
		var plugin *mywire.UnknownPluginError
		var e *mywire.Error
		if err := mysql.Test(ctx, cfg); !errors.As(err, &plugin) && !errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An origin without TLS gets the password encrypted, but for a unix socket, where
// MySQL wants it as it is.
func TestPlaintextOrigin(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		for network, addr := range map[string]string{"tcp": s.addr, "unix": s.socket} {
			// A new user is in no cache of the server's, so that a proof of the password is not enough.
			user := "plain_" + network
			admin := s.admin(t)
			exec(t, admin, "CREATE USER "+user+"@'%' IDENTIFIED BY 'a password'")
			exec(t, admin, "GRANT ALL ON "+harness.MySQLDatabase+".* TO "+user+"@'%'")
			w := newWorld(t, s, func(c *mysql.Config) {
				c.TLS, c.User, c.Password = nil, user, "a password"
				c.Dial = func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, network, addr) }
			})
			want(t, w.connect(t), "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)", user)
		}
	})
}

// An origin that asks for a certificate of its user's gets the one that is configured, and refuses the proxy without it.
func TestClientCertificate(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		admin := s.admin(t)
		exec(t, admin, "CREATE USER certified@'%' IDENTIFIED BY 'a password' REQUIRE SUBJECT '/CN=certified'")
		exec(t, admin, "GRANT ALL ON "+harness.MySQLDatabase+".* TO certified@'%'")
		for name, accepted := range map[string]bool{"certified": true, "somebody": false, "": false} {
			config := s.tls(t)
			if name != "" {
				pair, err := s.process.ClientCertificate(name)
				if err != nil {
					t.Fatal(err)
				}
				config.Certificates = []tls.Certificate{pair}
			}
			w := newWorld(t, s, func(c *mysql.Config) { c.TLS, c.User, c.Password = config, "certified", "a password" })
			var user string
			err := w.connect(t).QueryRowContext(t.Context(), "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)").Scan(&user)
			if accepted && (err != nil || user != "certified") || !accepted && code(err) != mywire.CodeAccessDenied {
				t.Errorf("with a certificate of %q: user %q, %v", name, user, err)
			}
		}
	})
}
