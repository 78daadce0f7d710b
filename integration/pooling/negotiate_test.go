package pooling

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/postgres"
)

func TestPooling45(t *testing.T) {
	t.Parallel()
	w, trust := withTLS(t, nil)
	params := map[string]string{"user": testUser, "database": testDatabase}

	// Plaintext right behind the request for TLS never counts as the driver's.
	conn := w.raw(t)
	if _, err := conn.Write(append(request(codeSSL), startupMessage(params, 196608)...)); err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(conn)
	if len(got) == 0 || got[0] != 'S' || bytes.Contains(got, []byte("SCRAM")) {
		t.Errorf("plaintext behind SSLRequest: %q", got)
	}

	// GSSENC, then TLS, on one socket; and the other way round.
	conn = w.raw(t)
	if a := ask1(t, conn, codeGSSENC); a != 'N' {
		t.Errorf("GSSENC: %q", a)
	}
	if a := ask1(t, conn, codeSSL); a != 'S' {
		t.Errorf("TLS: %q", a)
	}
	secure := tls.Client(conn, trust)
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	if _, err := secure.Write(startupMessage(params, 196608)); err != nil {
		t.Fatal(err)
	}
	if m, err := pgproto3.NewFrontend(secure, secure).Receive(); err != nil {
		t.Error(err)
	} else if _, ok := m.(*pgproto3.AuthenticationSASL); !ok {
		t.Errorf("in TLS: %T", m)
	}
	// For ever asking is not for ever answered.
	conn = w.raw(t)
	for range 10 {
		if _, err := conn.Write(request(codeGSSENC)); err != nil {
			break
		}
	}
	if got, _ := io.ReadAll(conn); len(got) > 5 {
		t.Errorf("%d answers", len(got))
	}
	directTLS(t, w, trust, params)
}

// directTLS begins with TLS, as drivers do that are told so: they name the protocol
// that they mean to speak, and who does not, or another, is refused.
func directTLS(t *testing.T, w *world, trust *tls.Config, params map[string]string) {
	t.Helper()
	named := func(protocols ...string) *tls.Config {
		cfg := trust.Clone()
		cfg.NextProtos = protocols
		return cfg
	}
	x, err := w.tryWireAs(t, func(cfg *pgconn.Config) { cfg.TLSConfig, cfg.SSLNegotiation = named("postgresql"), "direct" })
	if err != nil {
		t.Fatal(err)
	}
	x.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
	for _, protocols := range [][]string{nil, {"h2", "http/1.1"}} {
		secure := tls.Client(w.raw(t), named(protocols...))
		_ = secure.Handshake() // in TLS 1.3 it is the first read that fails
		_, _ = secure.Write(startupMessage(params, 196608))
		if n, err := secure.Read(make([]byte, 1)); n > 0 || isTimeout(err) {
			t.Errorf("direct TLS with ALPN %q: %d bytes, %v", protocols, n, err)
		}
	}
	// Only at the very beginning.
	conn := w.raw(t)
	if a := ask1(t, conn, codeGSSENC); a != 'N' {
		t.Errorf("GSSENC: %q", a)
	}
	if err := tls.Client(conn, named("postgresql")).Handshake(); err == nil {
		t.Error("direct TLS behind a request")
	}
	// Whoever asks for TLS first may name the protocol and need not, but no other.
	for _, tt := range []struct {
		protocol string
		good     bool
	}{{"postgresql", true}, {"h2", false}} {
		conn := w.raw(t)
		ask1(t, conn, codeSSL)
		if err := tls.Client(conn, named(tt.protocol)).Handshake(); (err == nil) != tt.good {
			t.Errorf("TLS that was asked for, with ALPN %q: %v", tt.protocol, err)
		}
	}
}

// Newer protocols and unknown options are negotiated, once; version 2 is refused.
// The secret of the key to cancel by is as long as the version has it.
func TestPooling44(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	for _, tt := range []struct {
		asked, got uint32 // minor versions
		option     bool
	}{{0, 0, false}, {0, 0, true}, {2, 2, false}, {2, 2, true}, {9999, 2, false}, {9999, 2, true}} {
		params := map[string]string{"user": testUser, "database": testDatabase}
		var unknown []string
		if tt.option {
			params["_pq_.x"], unknown = "y", []string{"_pq_.x"}
		}
		conn := w.raw(t)
		if _, err := conn.Write(startupMessage(params, 3<<16|tt.asked)); err != nil {
			t.Fatal(err)
		}
		fe := pgproto3.NewFrontend(conn, conn)
		m, err := fe.Receive()
		if tt.option || tt.asked != tt.got {
			if n, ok := m.(*pgproto3.NegotiateProtocolVersion); err != nil || !ok || n.NewestMinorProtocol != 3<<16|tt.got || !slices.Equal(n.UnrecognizedOptions, unknown) {
				t.Fatalf("%+v: %+v, %v", tt, m, err)
			}
			m, err = fe.Receive()
		}
		if _, ok := m.(*pgproto3.AuthenticationSASL); err != nil || !ok {
			t.Errorf("%+v: %T, %v", tt, m, err)
		}
	}
	conn := w.raw(t)
	if _, err := conn.Write(append([]byte{0, 0, 0, 9, 0, 2, 0, 0}, 0)); err != nil {
		t.Fatal(err)
	}
	m, err := pgproto3.NewFrontend(conn, conn).Receive()
	if e, ok := m.(*pgproto3.ErrorResponse); err != nil || !ok || e.Code != "0A000" {
		t.Errorf("version 2: %+v, %v", m, err)
	}
	if x := w.wire(t); len(x.secret) != 4 {
		t.Errorf("3.0: a secret of %d bytes", len(x.secret))
	}
	x, err := w.tryWireAs(t, func(cfg *pgconn.Config) { cfg.MinProtocolVersion, cfg.MaxProtocolVersion = "3.2", "3.2" })
	if err != nil {
		t.Fatal(err)
	}
	if len(x.secret) != 32 {
		t.Errorf("3.2: a secret of %d bytes", len(x.secret))
	}
	x.send(q("select pg_sleep(61)"))
	eventually(t, "runs", func() bool { return running(t, "pg_sleep(61)") == 1 })
	w.cancel(t, x.pid, x.secret[:4]) // of part of the key, and of more, nothing comes
	w.cancel(t, x.pid, append(bytes.Clone(x.secret), 0))
	if running(t, "pg_sleep(61)") != 1 {
		t.Error("cancelled without the key")
	}
	w.cancel(t, x.pid, x.secret)
	x.got("T E:57014 Z:I")
}

// A connection that ends with an error of the origin's own ends as libpq wants it, in TLS:
// it says nothing of a fault of the network.
func TestPooling45Goodbye(t *testing.T) {
	t.Parallel()
	w, _ := withTLS(t, nil)
	target := harness.Target{Host: "127.0.0.1", Port: w.addr.Port, User: testUser, Password: testPassword, Database: testDatabase}
	cmd := exec.CommandContext(t.Context(), "psql", "-X", "-c", "select 1")
	cmd.Env = append(append(cmd.Environ(), target.Env()...), "PGSSLMODE=require", "PGOPTIONS=-c work_mem=much")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), `invalid value for parameter "work_mem"`) || strings.Contains(string(out), "SYSCALL") {
		t.Errorf("%v: %s", err, out)
	}
}

// psql on PostgreSQL 18's libpq insists on what is new in it.
func TestPooling44Libpq(t *testing.T) {
	t.Parallel()
	w, _ := withTLS(t, func(s *postgres.Server) { s.AllowPlaintext = false })
	target := harness.Target{Host: "127.0.0.1", Port: w.addr.Port, User: testUser, Password: testPassword, Database: testDatabase}
	env := append(target.Env(), "LD_LIBRARY_PATH="+newestLibpq(t), "PGSSLMODE=require", "PGSSLNEGOTIATION=direct",
		"PGMINPROTOCOLVERSION=3.2", "PGCHANNELBINDING=require")
	psql := func(sql string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "psql", "-X", "-A", "-t", "-v", "VERBOSITY=verbose", "-c", sql)
		cmd.Env = append(cmd.Environ(), env...)
		return cmd
	}
	out, err := psql("select 'in ' || 'TLS'").CombinedOutput()
	if err != nil || string(out) != "in TLS\n" {
		t.Fatalf("%s, %v", out, err)
	}
	cmd := psql("select pg_sleep(62)")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "runs", func() bool { return running(t, "pg_sleep(62)") == 1 })
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(said.String(), "57014") {
		t.Errorf("interrupted: %v: %s", err, &said)
	}
}

// newestLibpq is where the libpq of PostgreSQL 18 is.
func newestLibpq(t *testing.T) string {
	t.Helper()
	root, err := harness.ModuleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bin, err := exec.CommandContext(t.Context(), filepath.Join(root, "scripts", "postgres.sh"), "18").Output()
	if err != nil {
		t.Fatalf("PostgreSQL 18 is not to be had: %v", err)
	}
	return filepath.Join(filepath.Dir(strings.TrimSpace(string(bin))), "lib")
}

// An origin, a pooler perhaps, that answers a newer protocol with an error is spoken
// to in 3.0.
func TestOldOrigin(t *testing.T) {
	t.Parallel()
	ca, err := harness.NewCA("pooler")
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
	var pooler sync.WaitGroup
	var refused, dialled atomic.Int32
	w := newWorld(t, maxConns(1), asRole("trusted", ""), func(c *postgres.Config) {
		dial, verified := c.Dial, c.TLS
		c.TLS = &tls.Config{InsecureSkipVerify: true}
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			origin, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			dialled.Add(1)
			near, far := net.Pipe()
			pooler.Go(func() {
				defer origin.Close()
				defer far.Close()
				var request [8]byte
				_, _ = io.ReadFull(far, request[:])
				_, _ = far.Write([]byte{'S'})
				client := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{cert}})
				start, err := pgwire.ReadStartup(client)
				if err != nil {
					return
				}
				if start.Minor != 0 {
					refused.Add(1)
					_, _ = client.Write(pgwire.Fatalf(pgwire.CodeProtocolViolation, "unsupported startup packet").Append(nil))
					return
				}
				if ok, err := pgwire.RequestTLS(origin); !ok || err != nil {
					return
				}
				server := tls.Client(origin, verified)
				_, _ = server.Write(startupMessage(map[string]string{"user": "trusted", "database": start.Param("database")}, 3<<16))
				var back sync.WaitGroup
				back.Go(func() { _, _ = io.Copy(client, server); far.Close() })
				_, _ = io.Copy(server, client)
				origin.Close()
				back.Wait()
			})
			return near, nil
		}
	})
	for range 2 {
		if got := w.wire(t).value("select current_user"); got != "trusted" {
			t.Errorf("as %s", got)
		}
		w.db.Renew()
	}
	if refused.Load() != 1 || dialled.Load() < 3 {
		t.Errorf("refused %d of %d times", refused.Load(), dialled.Load())
	}
	w.stop()
	pooler.Wait()
}
