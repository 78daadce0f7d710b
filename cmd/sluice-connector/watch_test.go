package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluicedb/sluice/connector"
	"github.com/sluicedb/sluice/protocol/tunnel"
)

// TestTunnel38FilesAreWatched changes a file in each of the ways that operators do: in place, by renaming another over it, and by
// swapping a symlink above it, as Kubernetes does.
func TestTunnel38FilesAreWatched(t *testing.T) {
	dir := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "v1", "rules.yaml"), "one")
	if err := os.Symlink("v1", filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "data", "rules.yaml")
	taken := make(chan string, 10)
	f := &watched{what: "the file", path: path, max: 100, take: func(b []byte) error {
		if strings.HasPrefix(string(b), "bad") {
			return errors.New("bad")
		}
		taken <- string(b)
		return nil
	}}
	if _, err := f.look(true); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	w := newWatcher(slog.New(slog.NewTextHandler(&log, nil)))
	w.files = append(w.files, f)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.run(ctx) })
	defer running.Wait()
	defer cancel()
	want := func(text string) {
		t.Helper()
		select {
		case got := <-taken:
			if got != text {
				t.Fatalf("%q was taken, want %q", got, text)
			}
		case <-time.After(testWait):
			t.Fatalf("%q was not taken", text)
		}
	}
	want("one")
	write(path, "in place")
	want("in place")
	write(filepath.Join(dir, "next"), "renamed")
	if err := os.Rename(filepath.Join(dir, "next"), path); err != nil {
		t.Fatal(err)
	}
	want("renamed")
	write(filepath.Join(dir, "v2", "rules.yaml"), "swapped")
	if err := errors.Join(os.Symlink("v2", filepath.Join(dir, "tmp")), os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, "data"))); err != nil {
		t.Fatal(err)
	}
	want("swapped")
	write(path, "bad rules")
	for deadline := time.Now().Add(testWait); !strings.Contains(log.String(), "stays in force"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a file that is not valid is not reported")
		}
	}
	write(path, "good again")
	want("good again")
	// run listens for it: it has taken changes.
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	want("good again")
}

// TestTunnel38Reload: the command waits for the outcome, and its exit code and error say what is wrong with the file.
func TestTunnel38Reload(t *testing.T) {
	token := tunnel.Token{Tunnel: "t", Secret: "s", Relays: []string{"relay.example:7844"}}
	c, err := connector.New(connector.Config{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ingress:\n  - service: refuse\n")
	rules, err := rulesOf(c, path)
	if err != nil {
		t.Fatal(err)
	}
	w := newWatcher(slog.New(slog.DiscardHandler))
	w.files = append(w.files, rules)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.run(ctx) })
	defer running.Wait()
	defer cancel()
	srv := httptest.NewServer(adminHandler(c, w))
	defer srv.Close()
	admin := srv.Listener.Addr().String()
	reload := func(code int, want string) {
		t.Helper()
		got, stdout, stderr := command(t, nil, "reload", "--metrics-listen", admin)
		if got != code || !strings.Contains(stdout+stderr, want) {
			t.Errorf("exit code %d, want %d:\n%s%s\nwant %q", got, code, stdout, stderr, want)
		}
	}
	inForce := func(want string) {
		t.Helper()
		resp, err := http.Get(srv.URL + "/config")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), want) {
			t.Errorf("in force is %s, %v; want %s", body, err, want)
		}
	}
	const one, two = "tcp://10.0.0.1:5432", "tcp://10.0.0.2:5432"
	write("ingress:\n  - hostname: db.example\n    service: " + one + "\n  - service: refuse\n")
	reload(exitOK, "the files are in force")
	inForce(one)
	write("ingress:\n  - hostname: db.example:1\n    service: " + two + "\n  - service: refuse\n")
	reload(exitError, "rule 1, line 2")
	inForce(one)
	write("ingress:\n  - hostname: db.example\n    service: " + two + "\n  - service: refuse\n")
	reload(exitOK, "the files are in force")
	inForce(two)

	resp, err := http.Post(srv.URL+"/reload", "text/plain", nil) // as a page in a browser could
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a request without the header is answered with %d", resp.StatusCode)
	}
	srv.Close()
	reload(exitError, "no connector answers on this machine")
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestTunnel39Validate: the command's exit code and error say what is wrong and where.
func TestTunnel39Validate(t *testing.T) {
	good, bad := filepath.Join(t.TempDir(), "good.yaml"), filepath.Join(t.TempDir(), "bad.yaml")
	if err := errors.Join(
		os.WriteFile(good, []byte("ingress:\n  - service: refuse\n"), 0o600),
		os.WriteFile(bad, []byte("ingress:\n  - hostname: a:1\n    service: tcp://h:1\n  - service: refuse\n"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	a := &app{out: &out, err: &errs, getenv: func(string) string { return "" }}
	if code := a.execute(t.Context(), []string{"validate", good}); code != exitOK || !strings.Contains(out.String(), "valid") {
		t.Errorf("exit code %d, %s%s", code, out.String(), errs.String())
	}
	if code := a.execute(t.Context(), []string{"validate", bad}); code != exitError || !strings.Contains(errs.String(), "rule 1, line 2") {
		t.Errorf("exit code %d, %s", code, errs.String())
	}
	if code := a.execute(t.Context(), []string{"validate"}); code != exitUsage {
		t.Errorf("exit code %d without a file", code)
	}
}
