package control

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/access"
)

// testWait bounds every wait of the tests on real input and output.
const testWait = time.Minute

// quiet drops log lines.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// open starts an embedded control that ends with the test; it does not run.
func open(t testing.TB, dir string) *Control {
	t.Helper()
	c, err := Open(t.Context(), Config{DataDir: dir, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// run runs c until the test ends.
func run(t testing.TB, c *Control) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// await waits until ok holds for a snapshot.
func await(t testing.TB, c *Control, what string, ok func(*Snapshot) bool) {
	t.Helper()
	deadline := time.After(testWait)
	for {
		changed := c.Changed()
		if ok(c.Snapshot()) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, testWait)
		}
	}
}

// eventually waits until ok holds for what has no channel to wait on.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	for attempt := 0; !ok(); attempt++ {
		if pause(ctx, attempt) != nil {
			t.Fatalf("%s: not within %v", what, testWait)
		}
	}
}

func TestBootstrap(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c, err := Open(t.Context(), Config{DataDir: dir, Logger: quiet(), PublicHosts: []string{"db.example", "192.0.2.7"}})
	if err != nil {
		t.Fatal(err)
	}
	secret, ok := c.FirstToken()
	if !ok || !access.WellFormedSecret(APITokenPrefix, secret.Reveal()) {
		t.Fatal("the first start gives no API token")
	}
	tok, ok := c.Snapshot().APIToken(access.HashSecret(secret.Reveal()))
	if !ok || tok.AccountID != DefaultAccountID {
		t.Fatal("the first API token is not known")
	}
	if _, ok := c.Snapshot().Account(DefaultAccountID); !ok {
		t.Error("no default account")
	}
	ca := c.CA()
	for name, want := range map[string]fs.FileMode{"": 0o700, "keyset.json": 0o600, "ca.pem": 0o600, "lock": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
	if _, err := Open(t.Context(), Config{DataDir: dir, Logger: quiet()}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second process in the directory: got %v, want ErrLocked", err)
	}
	serve(t, c, ca, "db.example", "192.0.2.7", "localhost", "127.0.0.1")
	assertion, err := c.Signer().Sign(access.Assertion{ApplicationID: "app", Hostname: "h"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	c = open(t, dir)
	if _, ok := c.FirstToken(); ok {
		t.Error("the second start gives a first token")
	}
	if _, ok := c.Snapshot().APIToken(access.HashSecret(secret.Reveal())); !ok {
		t.Error("the second start does not know the first token")
	}
	if string(c.CA()) != string(ca) {
		t.Error("the second start has another CA")
	}
	if _, err := c.Verifier().Verify(assertion, "app", "h", time.Now()); err != nil {
		t.Errorf("the second start does not verify the first's assertion: %v", err)
	}
	serve(t, c, ca, "localhost")
}

// serve checks that the server certificate is good for each host.
func serve(t *testing.T, c *Control, ca []byte, hosts ...string) {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatal("CA is not PEM")
	}
	for _, host := range hosts {
		a, b := net.Pipe()
		server := tls.Server(a, c.ServerTLS())
		done := make(chan error, 1)
		go func() { done <- server.HandshakeContext(t.Context()) }()
		err := tls.Client(b, &tls.Config{RootCAs: pool, ServerName: host}).HandshakeContext(t.Context())
		if err := errors.Join(err, <-done); err != nil {
			t.Errorf("%s: %v", host, err)
		}
		_ = a.Close()
		_ = b.Close()
	}
}

func TestDerivedKeyLasts(t *testing.T) {
	dir := t.TempDir()
	key := func(c *Control, purpose string) [32]byte {
		t.Helper()
		k, err := c.DerivedKey(purpose)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	c, err := Open(t.Context(), Config{DataDir: dir, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	first, other := key(c, "reset a"), key(c, "reset b")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if first == other || first == ([32]byte{}) {
		t.Error("two purposes have one key")
	}
	if key(open(t, dir), "reset a") != first {
		t.Error("the next start derives another key")
	}
	if key(open(t, t.TempDir()), "reset a") == first {
		t.Error("another installation derives the same key")
	}
}

func TestServerCertificateIsRenewed(t *testing.T) {
	c := open(t, t.TempDir())
	now := time.Now()
	first, err := c.authority.certificate(now)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := c.authority.certificate(now.Add(serverLife - renewBefore - time.Hour)); again != first {
		t.Error("renewed too early")
	}
	later, err := c.authority.certificate(now.Add(serverLife - renewBefore + time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if later == first || !later.Leaf.NotAfter.After(first.Leaf.NotAfter) {
		t.Error("not renewed in time")
	}
}

func TestKeysetIsGuarded(t *testing.T) {
	dir := t.TempDir()
	c, err := Open(t.Context(), Config{DataDir: dir, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "keyset.json")
	reopen := func() error {
		c, err := Open(t.Context(), Config{DataDir: dir, Logger: quiet()})
		if err == nil {
			err = errors.Join(errors.New("opened"), c.Close())
		}
		return err
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := reopen(); err == nil || errors.Is(err, ErrKeyset) {
		t.Errorf("a keyset that others read: got %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := reopen(); !errors.Is(err, ErrKeyset) {
		t.Errorf("no keyset: got %v, want ErrKeyset", err)
	}
	if _, err := makeKeyset(path); err != nil {
		t.Fatal(err)
	}
	if err := reopen(); !errors.Is(err, ErrKeyset) {
		t.Errorf("another keyset: got %v, want ErrKeyset", err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := reopen(); err == nil {
		t.Error("a damaged keyset is taken")
	}
	if err := createFile(path, good); !errors.Is(err, fs.ErrExist) {
		t.Errorf("createFile on a file: got %v, want ErrExist", err)
	}
	if err := replaceFile(path, good); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestOpenReportsFaults(t *testing.T) {
	var v *ValidationError
	if _, err := Open(t.Context(), Config{Logger: quiet()}); !errors.As(err, &v) {
		t.Errorf("no data directory: got %v", err)
	}
	_, err := Open(t.Context(), Config{DataDir: t.TempDir(), Logger: quiet(), PublicHosts: []string{"a:1", "ok", "b/c"}})
	if !errors.As(err, &v) || len(v.Faults) != 2 || v.Faults[1].Field != "public_hosts[2]" {
		t.Errorf("two bad hosts: got %v", err)
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "letter"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{DataDir: foreign, Logger: quiet()}); err == nil {
		t.Error("somebody else's directory is taken")
	}
	_, err = Open(t.Context(), Config{DataDir: t.TempDir(), Logger: quiet(), StoreURL: "nats://u:hunter2@host:port%zz"})
	if !errors.As(err, &v) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a bad URL: got %v", err)
	}
	if _, err := Open(t.Context(), Config{DataDir: t.TempDir(), Logger: quiet(), StoreURL: "nats://127.0.0.1:1"}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("no store: got %v, want ErrUnavailable", err)
	}
}
