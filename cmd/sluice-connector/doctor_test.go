package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluicedb/sluice/connector"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

const doctorSecret = "never-in-a-bundle"

// ill is a relay and a token for it in a file.
func ill(t *testing.T, udp tunneltest.UDP) (token tunnel.Token, file string, hellos *atomic.Int32) {
	t.Helper()
	cert := tunneltest.NewCertificate(t)
	hellos = new(atomic.Int32)
	addr, _ := tunneltest.Start(t, &tunnel.Server{
		Authenticate: func(context.Context, tunnel.Peer, *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
			hellos.Add(1)
			return nil, &tunnel.Refusal{Code: tunnelpb.Code_INTERNAL}
		},
		Handle: func(context.Context, *tunnel.Session) {},
	}, cert, udp)
	token = tunnel.Token{Account: "a", Tunnel: "t", Secret: doctorSecret, Relays: []string{addr}, CA: cert.PEM}
	return token, tokenFile(t, token), hellos
}

func tokenFile(t *testing.T, token tunnel.Token) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token.Encode()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func rulesFile(t *testing.T, service string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte("ingress:\n  - hostname: db.example\n    service: "+service+"\n  - service: refuse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestTunnel42Doctor: each fault has its exit code and a mend, and nothing is registered.
func TestTunnel42Doctor(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() }) // after the parallel parts
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	good, bad := rulesFile(t, "tcp://"+ln.Addr().String()), rulesFile(t, "tcp://"+closed.Addr().String())
	token, file, hellos := ill(t, tunneltest.Passes)
	_, noUDP, _ := ill(t, tunneltest.Dropped)
	stranger := token
	stranger.CA = tunneltest.NewCertificate(t).PEM
	nameless := token
	nameless.Relays = []string{"relay.invalid:7844"} // RFC 6761
	gone := token
	gone.Relays = []string{closed.Addr().String()}
	for name, tt := range map[string]struct {
		file, rules string
		exit        int
		want        string
	}{
		"well":             {file, good, exitOK, "accepted in"},
		"no name":          {tokenFile(t, nameless), good, exitDNS, "mend DNS"},
		"no TCP":           {tokenFile(t, gone), good, exitTCP, "HTTPS_PROXY"},
		"no UDP":           {noUDP, good, exitUDP, "let UDP out"},
		"wrong authority":  {tokenFile(t, stranger), good, exitCertificate, "take a new token"},
		"origin is closed": {file, bad, exitOrigin, "is the database up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			a := &app{out: &out, err: &errs, getenv: func(string) string { return "" }}
			code := a.execute(t.Context(), []string{"doctor", "--token-file", tt.file, "--config", tt.rules})
			if code != tt.exit || !strings.Contains(out.String(), tt.want) {
				t.Errorf("exit code %d, want %d and %q:\n%s%s", code, tt.exit, tt.want, out.String(), errs.String())
			}
			if strings.Contains(out.String()+errs.String(), doctorSecret) {
				t.Error("the secret is shown")
			}
		})
	}
	t.Cleanup(func() {
		if n := hellos.Load(); n != 0 {
			t.Errorf("%d Hellos were said", n)
		}
	})
}

func TestDoctorJSON(t *testing.T) {
	_, file, _ := ill(t, tunneltest.Passes)
	var out, errs bytes.Buffer
	a := &app{out: &out, err: &errs, getenv: func(string) string { return "" }}
	if code := a.execute(t.Context(), []string{"doctor", "--token-file", file, "--json", "--metrics-listen", "127.0.0.1:1"}); code != exitOK {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	var found []finding
	if err := json.Unmarshal(out.Bytes(), &found); err != nil || len(found) != 6 {
		t.Errorf("%d findings, %v:\n%s", len(found), err, out.String())
	}
}

// TestTunnel42DiagHasNoSecrets reads every byte of a bundle of a connector that runs.
func TestTunnel42DiagHasNoSecrets(t *testing.T) {
	token, file, _ := ill(t, tunneltest.Passes)
	c, err := connector.New(connector.Config{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := connector.ParseRules([]byte("ingress:\n  - hostname: db.example\n    service: tcp://10.0.0.5:5432\n  - service: refuse\n"))
	if err != nil {
		t.Fatal(err)
	}
	c.SetRules(rules)
	admin := httptest.NewServer(adminHandler(c, newWatcher(slog.New(slog.DiscardHandler))))
	defer admin.Close()
	output := filepath.Join(t.TempDir(), "diag.zip")
	var out, errs bytes.Buffer
	a := &app{out: &out, err: &errs, getenv: func(string) string { return "" }}
	args := []string{"diag", "--token-file", file, "--metrics-listen", admin.Listener.Addr().String(), "--output", output}
	if code := a.execute(t.Context(), args); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	z, err := zip.OpenReader(output)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	seen := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		seen[f.Name] = string(body)
		if strings.Contains(string(body), doctorSecret) || strings.Contains(string(body), token.Encode()) {
			t.Errorf("%s has the secret", f.Name)
		}
	}
	for name, want := range map[string]string{
		"about.json": `"tunnel": "t"`, "doctor.json": `"check": "tcp"`, "ready.json": `"ready":false`, "config.json": "10.0.0.5:5432",
		"metrics.txt": "sluice_connector_slot_registered", "goroutines.txt": "goroutine profile",
	} {
		if !strings.Contains(seen[name], want) {
			t.Errorf("%s has no %q: %.200s", name, want, seen[name])
		}
	}
	if info, err := os.Stat(output); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the bundle's mode: %v, %v", info.Mode(), err)
	}
	if code := a.execute(t.Context(), args); code != exitUsage {
		t.Errorf("exit code %d for a file that exists", code)
	}
}

// TestInstallService installs below a directory and takes it away again.
func TestInstallService(t *testing.T) {
	token, file, _ := ill(t, tunneltest.Dropped)
	root := t.TempDir()
	var out, errs bytes.Buffer
	a := &app{out: &out, err: &errs, getenv: func(string) string { return "" }}
	for range 2 { // again takes what is new
		if code := a.execute(t.Context(), []string{"install-service", "--token-file", file, "--root", root}); code != exitOK {
			t.Fatalf("exit code %d: %s", code, errs.String())
		}
	}
	unit, err := os.ReadFile(filepath.Join(root, unitPath))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"DynamicUser=yes\n", "CapabilityBoundingSet=\n", "NoNewPrivileges=yes\n", "LoadCredential=token:" + tokenPath + "\n"} {
		if !strings.Contains(string(unit), want) {
			t.Errorf("the unit has no %q", want)
		}
	}
	if strings.Contains(string(unit), token.Secret) || strings.Contains(string(unit), token.Encode()) {
		t.Error("the unit has the token")
	}
	got, err := os.ReadFile(filepath.Join(root, tokenPath))
	if err != nil || string(got) != token.Encode() {
		t.Errorf("the token file: %v", err)
	}
	if info, err := os.Stat(filepath.Join(root, tokenPath)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token file's mode: %v, %v", info, err)
	}
	if code := a.execute(t.Context(), []string{"uninstall-service", "--root", root}); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	for _, path := range []string{unitPath, tokenPath} {
		if _, err := os.Stat(filepath.Join(root, path)); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if code := a.execute(t.Context(), []string{"uninstall-service", "--root", root}); code != exitError {
		t.Errorf("exit code %d where nothing is installed", code)
	}
	if code := a.execute(t.Context(), []string{"install-service", "--root", root}); code != exitUsage {
		t.Errorf("exit code %d without a token", code)
	}
}

// TestUnitIsTheDeployedOne: what the program installs is what deploy/ has for those who install by hand.
func TestUnitIsTheDeployedOne(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", unitName))
	if err != nil {
		t.Fatal(err)
	}
	if _, body, _ := strings.Cut(string(text), "\n\n"); body != unitFor("/usr/local/bin/sluice-connector") {
		t.Errorf("deploy/%s differs from what install-service writes:\n%s", unitName, unitFor("/usr/local/bin/sluice-connector"))
	}
}
