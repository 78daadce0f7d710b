package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseDSN(t *testing.T) {
	for _, tt := range []struct{ dsn, service, user, password, database, err string }{
		{"postgres://u:p@h/d", "tcp://h:5432", "u", "p", "d", ""},
		{"postgresql://u:p%40w@10.0.0.1:5433/d?sslmode=require", "tcp://10.0.0.1:5433", "u", "p@w", "d", ""},
		{"postgres://u:p@[::1]:5433", "tcp://[::1]:5433", "u", "p", "u", ""},
		{"postgres://u:p@/d?host=/run/postgresql", "unix:/run/postgresql/.s.PGSQL.5432", "u", "p", "d", ""},
		{"postgres://u@h/d", "tcp://h:5432", "u", "", "d", ""},
		{"mysql://u:p@h/d", "tcp://h:3306", "u", "p", "d", ""},
		{"mysql://u:p@h:3307/d?sslmode=verify-ca", "tcp://h:3307", "u", "p", "d", ""},
		{"mysql://u@/d?socket=/run/mysqld/mysqld.sock", "unix:/run/mysqld/mysqld.sock", "u", "", "d", ""},
		{"mysql://u:hunter2@h", "", "", "", "", "the DSN names no database: mysql://user:password@host/database"},
		{"mysql://u:hunter2@/d?host=/run", "", "", "", "", "the DSN names no host: mysql://user:password@host/database"},
		{"oracle://u:hunter2@h/d", "", "", "", "", "the DSN must begin with postgres://, postgresql:// or mysql://"},
		{"postgres://u:hunter2@h:port/d", "", "", "", "", "the DSN is not a URL of the form postgres://user:password@host:port/database"},
		{"postgres://u:hunter2@/d", "", "", "", "", "the DSN names no host: postgres://user:password@host/database"},
		{"postgres://h/d", "", "", "", "", "the DSN names no user: postgres://user:password@host/database"},
		{"postgres://u:hunter2@h/d?sslmode=maybe", "", "", "", "", "the DSN's sslmode is none of disable, allow, prefer, require, verify-ca and verify-full"},
	} {
		got, err := parseDSN(tt.dsn)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got.service != tt.service || got.user != tt.user || got.password != tt.password || got.database != tt.database || text != tt.err {
			t.Errorf("parseDSN(%q) = %+v, %q; want %+v", tt.dsn, got, text, tt)
		}
	}
}

func FuzzParseDSN(f *testing.F) {
	f.Add("postgres://u:p@h:5432/d?sslmode=require")
	f.Add("postgres://u:p@/d?host=/run")
	f.Add("mysql://u:p@/d?socket=/run/s")
	f.Fuzz(func(t *testing.T, dsn string) {
		origin, err := parseDSN(dsn)
		if err == nil && (origin.service == "" || origin.user == "" || origin.database == "") {
			t.Fatalf("%q is accepted as %+v", dsn, origin)
		}
	})
}

// fakePostgres answers the request for TLS, with a certificate or without TLS, and ends. It returns its address.
func fakePostgres(t *testing.T, certificate *tls.Certificate) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-served })
	go func() {
		defer close(served)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			answerTLSRequest(conn, certificate)
		}
	}()
	return ln.Addr().String()
}

func answerTLSRequest(conn net.Conn, certificate *tls.Certificate) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(conn, make([]byte, 8)); err != nil {
		return
	}
	if certificate == nil {
		_, _ = conn.Write([]byte("N"))
		return
	}
	_, _ = conn.Write([]byte("S"))
	_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*certificate}}).Handshake()
}

func selfSigned(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dev"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestProbe(t *testing.T) {
	plain, encrypted := fakePostgres(t, nil), fakePostgres(t, selfSigned(t))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte("the CA"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, address, query string
		sslmode              string
		insecure             bool
		ca, err              string
	}{
		{"plain", plain, "", "disable", true, "", ""},
		{"plain, preferred", plain, "sslmode=prefer", "disable", true, "", ""},
		{"plain, but required", plain, "sslmode=require", "", false, "", "has no TLS, which the DSN's sslmode requires"},
		{"TLS", encrypted, "", "verify-ca", false, "BEGIN CERTIFICATE", ""},
		{"TLS, required", encrypted, "sslmode=require", "verify-ca", false, "BEGIN CERTIFICATE", ""},
		{"TLS, disabled", encrypted, "sslmode=disable", "disable", true, "", ""},
		{"verified", encrypted, "sslmode=verify-full&sslrootcert=" + ca, "verify-full", false, "the CA", ""},
		{"with a CA", encrypted, "sslrootcert=" + ca, "verify-ca", false, "the CA", ""},
		{"nobody there", "127.0.0.1:1", "", "", false, "", "the database does not answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			origin, err := parseDSN("postgres://u:hunter2@" + tt.address + "/d?" + tt.query)
			if err != nil {
				t.Fatal(err)
			}
			got, err := origin.probe(t.Context())
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || got.sslmode != tt.sslmode || got.insecure != tt.insecure || !strings.Contains(got.ca, tt.ca) || (tt.ca == "") != (got.ca == "") {
				t.Errorf("got %+v, %v; want %+v", got, err, tt)
			}
		})
	}
}

// TestDev: the whole of it comes up, connector included, prints a connection string, leaves nothing behind, and takes its password
// from the environment.
func TestDev(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, print := io.Pipe()
	var stderr strings.Builder
	a := &app{in: strings.NewReader(""), out: print, err: &stderr, getenv: func(name string) string {
		if name == "SLUICE_DEV_DSN" {
			return "postgres://u:origin-hunter2@" + fakePostgres(t, nil) + "/d"
		}
		return ""
	}}
	ended := make(chan int, 1)
	go func() {
		ended <- a.execute(ctx, []string{"dev", "--api-listen", "127.0.0.1:0", "--relay-listen", "127.0.0.1:0",
			"--proxy-listen", "127.0.0.1:0", "--mysql-listen", "off", "--metrics-listen", "127.0.0.1:0"})
		print.Close()
	}()
	var connection *url.URL
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "hunter2") {
			t.Error("the origin's password is printed")
		}
		if text := strings.TrimSpace(lines.Text()); strings.HasPrefix(text, "postgres://") {
			var err error
			if connection, err = url.Parse(text); err != nil {
				t.Fatal("the connection string does not parse")
			}
			conn, err := net.Dial("tcp", connection.Host)
			if err != nil {
				t.Errorf("the proxy does not listen: %v", err)
			} else {
				conn.Close()
			}
			cancel()
		}
	}
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	if connection == nil {
		t.Fatalf("no connection string: %s", stderr.String())
	}
	if ca := connection.Query().Get("sslrootcert"); ca == "" || !errors.Is(statErr(ca), os.ErrNotExist) {
		t.Errorf("the state is still there: %s", ca)
	}
	if strings.Contains(stderr.String(), "hunter2") {
		t.Error("the origin's password is logged")
	}
}

func statErr(name string) error {
	_, err := os.Stat(name)
	return err
}

func TestDevPassword(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, dsn, file, env, typed, want string }{
		{"in the DSN", "postgres://u:in-dsn@h/d", file, "in-env", "typed", "in-dsn"},
		{"in a file", "postgres://u@h/d", file, "in-env", "typed", "from-file"},
		{"in the environment", "postgres://u@h/d", "", "in-env", "typed", "in-env"},
		{"typed", "postgres://u@h/d", "", "", "typed", "typed"},
		{"nowhere", "postgres://u@h/d", "", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var errs strings.Builder
			a := &app{err: &errs, getenv: func(string) string { return tt.env }}
			if tt.typed != "" {
				a.readPassword = func() ([]byte, error) { return []byte(tt.typed), nil }
			}
			got, err := a.devOrigin([]string{tt.dsn}, &secret{flag: "origin-password", variable: "SLUICE_ORIGIN_PASSWORD", title: "password", file: tt.file})
			if err != nil || got.password != tt.want {
				t.Errorf("got %q, %v; want %q", got.password, err, tt.want)
			}
		})
	}
}

// TestDevSaysWhatIsWrong: a database that lets nobody in is reported, with the reason, and what is up stays up.
func TestDevSaysWhatIsWrong(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stderr, print := io.Pipe()
	a := &app{in: strings.NewReader(""), out: io.Discard, err: print, getenv: func(string) string { return "" }}
	ended := make(chan int, 1)
	go func() {
		ended <- a.execute(ctx, []string{"dev", "postgres://u:hunter2@" + fakePostgres(t, nil) + "/d", "--log-level", "error",
			"--api-listen", "127.0.0.1:0", "--relay-listen", "127.0.0.1:0", "--proxy-listen", "127.0.0.1:0", "--mysql-listen", "off", "--metrics-listen", "off"})
		print.Close()
	}()
	said := false
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "the database cannot be used yet: Server connection attempt failed") {
			said = true
			cancel()
		}
		if strings.Contains(lines.Text(), "hunter2") {
			t.Error("the origin's password is printed")
		}
	}
	if code := <-ended; code != exitOK || !said {
		t.Errorf("exit code %d, said %t", code, said)
	}
}
