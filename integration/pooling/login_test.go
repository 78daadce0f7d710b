package pooling

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/proxy/pool"
	"github.com/sluicedb/sluice/proxy/postgres"
)

// withTLS makes a world whose proxy offers TLS, and what a driver trusts it by.
func withTLS(t *testing.T, change func(*postgres.Server), changes ...func(*postgres.Config)) (*world, *tls.Config) {
	t.Helper()
	ca, err := harness.NewCA("proxy")
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := ca.Issue("localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.PEM)
	w := newServer(t, func(s *postgres.Server) {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
		if change != nil {
			change(s)
		}
	}, append([]func(*postgres.Config){maxConns(2)}, changes...)...)
	return w, &tls.Config{RootCAs: roots, ServerName: "localhost"}
}

// raw connects without a word.
func (w *world) raw(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", w.addr.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// request is one of the packets that are a code alone.
func request(code uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 8), code)
}

const (
	codeSSL    = 80877103
	codeGSSENC = 80877104
)

func ask1(t *testing.T, conn net.Conn, code uint32) byte {
	t.Helper()
	if _, err := conn.Write(request(code)); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		t.Fatal(err)
	}
	return b[0]
}

func startupMessage(params map[string]string, version uint32) []byte {
	b, err := (&pgproto3.StartupMessage{ProtocolVersion: version, Parameters: params}).Encode(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// Drivers that insist on it bind their login to the proxy's certificate.
func TestPooling46ChannelBinding(t *testing.T) {
	t.Parallel()
	w, trust := withTLS(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, mode := range []string{"require", "prefer", "disable"} {
		cfg, err := pgconn.ParseConfig(w.url() + "&channel_binding=" + mode)
		if err != nil {
			t.Fatal(err)
		}
		cfg.TLSConfig = trust
		conn, err := pgconn.ConnectConfig(ctx, cfg)
		if err != nil {
			t.Errorf("%s: %v", mode, err)
			continue
		}
		conn.Close(ctx)
		cfg.Password = "wrong"
		if _, err := pgconn.ConnectConfig(ctx, cfg); code(err) != "28P01" {
			t.Errorf("%s, with a wrong password: %v", mode, err)
		}
	}
}

func TestTLSRequired(t *testing.T) {
	t.Parallel()
	w, trust := withTLS(t, func(s *postgres.Server) { s.AllowPlaintext = false })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := pgconn.Connect(ctx, w.url()); code(err) != "28000" {
		t.Errorf("without TLS: %v", err)
	}
	cfg, err := pgconn.ParseConfig(w.url())
	if err != nil {
		t.Fatal(err)
	}
	cfg.TLSConfig = trust
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	res, err := conn.Exec(ctx, "select 1; select repeat('x', 1000000)").ReadAll()
	if err != nil || len(res) != 2 || len(res[1].Rows[0][0]) != 1000000 {
		t.Fatalf("in TLS: %v", err)
	}
	// A cancel request comes in TLS too.
	done := make(chan error, 1)
	go func() { _, err := conn.Exec(ctx, "select pg_sleep(64)").ReadAll(); done <- err }()
	eventually(t, "runs", func() bool { return running(t, "pg_sleep(64)") == 1 })
	if err := conn.CancelRequest(ctx); err != nil {
		t.Error(err)
	}
	if err := <-done; code(err) != "57014" {
		t.Errorf("canceled: %v", err)
	}
}

// exchange logs in as far as it goes and notes the messages.
func exchange(t *testing.T, w *world, user, database, password string) (types []string, last string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cfg, err := pgconn.ParseConfig(w.url())
	if err != nil {
		t.Fatal(err)
	}
	cfg.User, cfg.Database, cfg.Password = user, database, password
	cfg.BuildFrontend = func(r io.Reader, wr io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(&counted{r: r, types: &types}, wr)
	}
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err == nil {
		conn.Close(ctx)
		return types, ""
	}
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		t.Fatalf("%s: %v", user, err)
	}
	return types, pe.Severity + " " + pe.Code + " " + pe.Hint
}

// A counted notes the type and length of every message that is read.
type counted struct {
	r     io.Reader
	b     []byte
	types *[]string
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.b = append(c.b, p[:n]...)
	for len(c.b) >= 9 && len(c.b) >= 1+int(binary.BigEndian.Uint32(c.b[1:])) {
		*c.types = append(*c.types, string(c.b[0])+string(rune('0'+c.b[8])))
		c.b = c.b[1+int(binary.BigEndian.Uint32(c.b[1:])):]
	}
	return n, err
}

func TestPooling46(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	wrong, e := exchange(t, w, testUser, testDatabase, "wrong")
	if e != "FATAL 28P01 " {
		t.Errorf("wrong password: %s", e)
	}
	for _, tt := range [][2]string{{"nobody", testDatabase}, {testUser, "nothing"}, {"nobody", "nothing"}} {
		got, e := exchange(t, w, tt[0], tt[1], testPassword)
		if e != "FATAL 28P01 " || !slices.Equal(got[:2], wrong[:2]) || len(got) != len(wrong) {
			t.Errorf("%v: %s, %v; a wrong password: %v", tt, e, got, wrong)
		}
	}
	if got := w.db.Stats().Dials; got != [pool.Occasions]uint64{} {
		t.Errorf("%d connections to the origin for drivers that were not let in", got)
	}
}

func TestPooling47(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	for name, b := range map[string][]byte{
		"a start-up packet of a gigabyte": {0x40, 0, 0, 0, 0, 3, 0, 0},
		"one of nothing":                  {0, 0, 0, 0},
		"HTTP":                            []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
	} {
		conn := w.raw(t)
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); err != nil && isTimeout(err) || bytes.HasPrefix(got, []byte("R")) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	// The same of a message in the middle of the exchange.
	conn := w.raw(t)
	if _, err := conn.Write(startupMessage(map[string]string{"user": testUser, "database": testDatabase}, 196608)); err != nil {
		t.Fatal(err)
	}
	fe := pgproto3.NewFrontend(conn, conn)
	if m, err := fe.Receive(); err != nil {
		t.Fatal(err)
	} else if _, ok := m.(*pgproto3.AuthenticationSASL); !ok {
		t.Fatalf("%T", m)
	}
	before := heap()
	if _, err := conn.Write([]byte{'p', 0x3f, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	m, err := fe.Receive()
	if e, ok := m.(*pgproto3.ErrorResponse); err != nil || !ok || e.Code != "08P01" {
		t.Errorf("%+v, %v", m, err)
	}
	if after := heap(); after > before+8<<20 {
		t.Errorf("%d bytes were taken for it", after-before)
	}
}

// Who does not log in is gone after the time for it, whatever he did so far.
func TestPooling74(t *testing.T) {
	t.Parallel()
	w, _ := withTLS(t, func(s *postgres.Server) { s.LoginTimeout = 500 * time.Millisecond })
	began := time.Now()
	var conns []net.Conn
	for _, b := range [][]byte{{}, {0}, request(codeSSL), startupMessage(map[string]string{"user": testUser, "database": testDatabase}, 196608)} {
		conn := w.raw(t)
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for i, conn := range conns {
		if _, err := io.Copy(io.Discard, conn); err != nil && isTimeout(err) {
			t.Errorf("%d: still connected", i)
		}
	}
	if d := time.Since(began); d < 400*time.Millisecond {
		t.Errorf("after %v", d)
	}
	// A byte now and then does not help.
	conn := w.raw(t)
	closed := make(chan struct{})
	go func() { defer close(closed); _, _ = io.Copy(io.Discard, conn) }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	packet := startupMessage(map[string]string{"user": testUser, "options": string(bytes.Repeat([]byte(" "), 5000))}, 196608)
	deadline := time.After(patience)
	for i := 0; ; i++ {
		select {
		case <-closed:
			return
		case <-deadline:
			t.Fatal("still connected")
		case <-tick.C:
			_, _ = conn.Write(packet[i : i+1])
		}
	}
}
