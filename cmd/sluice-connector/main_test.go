package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

const testWait = time.Minute

// output is a stream that tests read while a command writes it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// command runs args with an environment and returns the exit code and what was written.
func command(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs output
	a := &app{out: &out, err: &errs, getenv: func(name string) string { return env[name] }}
	code = a.execute(t.Context(), args)
	return code, out.String(), errs.String()
}

func TestMistakesAreExplained(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("slst_this-is-secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	token := tunnel.Token{Account: "a", Tunnel: "t", Secret: "hidden", Relays: []string{"relay"}}.Encode()
	tests := []struct {
		name string
		env  map[string]string
		args []string
		code int
		want string
	}{
		{"no token", nil, []string{"run"}, exitUsage, "no tunnel token: give --token-file"},
		{"token as an argument", nil, []string{"run", "--token", "x"}, exitUsage, "unknown flag: --token"},
		{"two tokens", map[string]string{tokenVariable: token}, []string{"run", "--token-file", garbage}, exitUsage, "both --token-file and"},
		{"no file", nil, []string{"run", "--token-file", "/does/not/exist"}, exitError, "no such file"},
		{"no token in the file", nil, []string{"run", "--token-file", garbage}, exitError, "not a tunnel token"},
		{"relay without a port", map[string]string{tokenVariable: token}, []string{"run"}, exitUsage, `relay "relay": want host:port`},
		{"protocol", map[string]string{tokenVariable: token}, []string{"run", "--protocol", "http2"}, exitUsage, "auto, quic, websocket"},
		{"level", nil, []string{"run", "--log-level", "loud"}, exitUsage, "--log-level"},
		{"environment", map[string]string{"SLUICE_GRACE_PERIOD": "soon"}, []string{"run"}, exitUsage, "SLUICE_GRACE_PERIOD"},
		{"argument", nil, []string{"run", "now"}, exitUsage, `unexpected argument "now"`},
		{"command", nil, []string{"walk"}, exitUsage, `unknown command "walk"`},
		{"metrics", map[string]string{tokenVariable: tunnel.Token{Tunnel: "t", Secret: "s", Relays: []string{"r:1"}}.Encode()},
			[]string{"run", "--metrics-listen", "here"}, exitUsage, "--metrics-listen"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr := command(t, tt.env, tt.args...)
			if code != tt.code || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, want %d, and on standard error:\n%s\nwant %q", code, tt.code, stderr, tt.want)
			}
			if strings.Contains(stderr, "secret") || strings.Contains(stderr, "hidden") {
				t.Errorf("standard error tells the token:\n%s", stderr)
			}
		})
	}
}

func TestEveryCommandHasHelpWithExamples(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s has no description or no example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk((&app{out: io.Discard, err: io.Discard, getenv: os.Getenv}).rootCommand())
	code, stdout, _ := command(t, nil, "run", "--help")
	if code != exitOK || !strings.Contains(stdout, "Examples:") {
		t.Errorf("exit code %d:\n%s", code, stdout)
	}
	for _, v := range variables {
		if !strings.Contains(stdout, "--"+v[0]) || !strings.Contains(stdout, v[1]) {
			t.Errorf("the help does not tell of --%s and %s", v[0], v[1])
		}
	}
}

func TestVersionAndCompletion(t *testing.T) {
	code, stdout, _ := command(t, nil, "version", "--json")
	var v version
	if err := json.Unmarshal([]byte(stdout), &v); code != exitOK || err != nil || v.Version == "" || v.Go == "" {
		t.Errorf("exit code %d, %v:\n%s", code, err, stdout)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, stdout, _ := command(t, nil, "completion", shell); code != exitOK || !strings.Contains(stdout, "sluice-connector") {
			t.Errorf("%s: exit code %d, %d bytes", shell, code, len(stdout))
		}
	}
	if code, _, _ := command(t, nil, "completion", "tcsh"); code != exitUsage {
		t.Errorf("completion for tcsh exits with %d", code)
	}
}

// TestProgram runs the built program as a user does: a static binary that serves a tunnel, answers health, and stops on a signal.
func TestProgram(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "sluice-connector")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath") // as make build does: it is compiled once
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program is not static")
		}
	}
	// It stands still until the relay has found its sessions dead, and the program's own sides of them are as old when it goes on.
	t.Run("TestTunnel09WakesUp", func(t *testing.T) {
		t.Parallel()
		p := startProgram(t, binary)
		p.signal(syscall.SIGSTOP)
		for _, s := range p.sessions {
			<-s.Done()
		}
		p.signal(syscall.SIGCONT)
		p.registered()
		p.wantPages()
	})
	t.Run("stops when idle", func(t *testing.T) {
		t.Parallel()
		p := startProgram(t, binary)
		p.signal(syscall.SIGTERM)
		if err := p.wait(); err != nil {
			t.Errorf("ended with %v:\n%s", err, p.log)
		}
		if strings.Contains(p.log.String(), "hidden") {
			t.Errorf("the log tells the token:\n%s", p.log)
		}
	})
	t.Run("TestTunnel13SecondSignalEndsItAtOnce", func(t *testing.T) {
		t.Parallel()
		p := startProgram(t, binary)
		st, err := p.sessions[0].Open(t.Context(), &tunnelpb.Open{Hostname: "db.example"})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		p.signal(syscall.SIGTERM)
		select {
		case <-p.sessions[0].GoneAway():
		case <-time.After(testWait):
			t.Fatal("the first signal does not make it leave")
		}
		p.signal(syscall.SIGTERM)
		var exit *exec.ExitError
		if err := p.wait(); !errors.As(err, &exit) || exit.ExitCode() != exitSignal+int(syscall.SIGTERM) {
			t.Errorf("ended with %v, want %d", err, exitSignal+int(syscall.SIGTERM))
		}
	})
}

// program is a running sluice-connector and its sessions at the test's relay.
type program struct {
	t        *testing.T
	cmd      *exec.Cmd
	log      *output
	sessions [4]*tunnel.Session // those that registered last

	begun chan *tunnel.Session
	ended chan error
}

func startProgram(t *testing.T, binary string) *program {
	t.Helper()
	origin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { origin.Close() })
	begun := make(chan *tunnel.Session, 100)
	cert := tunneltest.NewCertificate(t)
	addr, _ := tunneltest.Start(t, &tunnel.Server{
		Authenticate: func(_ context.Context, _ tunnel.Peer, h *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
			if h.GetTunnelId() != "t" || h.GetSecret() != "hidden" {
				return nil, &tunnel.Refusal{Code: tunnelpb.Code_UNAUTHENTICATED}
			}
			return nil, nil
		},
		Handle: func(ctx context.Context, s *tunnel.Session) {
			rules := []*tunnelpb.IngressRule{{Hostname: "db.example", Service: "tcp://" + origin.Addr().String()}}
			if _, err := s.Configure(ctx, &tunnelpb.Configure{Version: 1, Ingress: rules}); err == nil {
				begun <- s
				<-ctx.Done()
			}
		},
	}, cert, tunneltest.Passes)
	file := filepath.Join(t.TempDir(), "vpc-1.token")
	token := tunnel.Token{Account: "a", Tunnel: "t", Secret: "hidden", Relays: []string{addr}, CA: cert.PEM}
	if err := os.WriteFile(file, []byte(token.Encode()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, log: &output{}, begun: begun, ended: make(chan error, 1)}
	p.cmd = exec.Command(binary, "run", "--token-file", file, "--metrics-listen", "127.0.0.1:0")
	p.cmd.Env = []string{} // nothing of the developer's
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() { p.cmd.Process.Kill() })
	p.registered()
	p.wantPages()
	return p
}

// registered waits until four slots have registered anew.
func (p *program) registered() {
	p.t.Helper()
	for i := range p.sessions {
		select {
		case p.sessions[i] = <-p.begun:
		case <-time.After(testWait):
			p.t.Fatalf("no four slots within %v:\n%s", testWait, p.log)
		}
	}
}

// wantPages asks for health, readiness and metrics. A slot counts as registered a moment after the relay has configured it.
func (p *program) wantPages() {
	p.t.Helper()
	url := regexp.MustCompile(`url=(http://[0-9.:]+)/metrics`).FindStringSubmatch(p.log.String())
	if url == nil {
		p.t.Fatalf("the log does not say where metrics are:\n%s", p.log)
	}
	deadline := time.Now().Add(testWait)
	for path, want := range map[string]string{
		"/healthz": "ok", "/ready": `"registered_slots":4`, "/metrics": `sluice_connector_slot_registered{carrier="quic",slot="3"} 1`,
	} {
		for {
			code, body := p.get(url[1] + path)
			if code == 200 && strings.Contains(body, want) {
				break
			}
			if time.Now().After(deadline) {
				p.t.Fatalf("%s answers %d without %s:\n%s", path, code, want, body)
			}
		}
	}
}

// get returns the status and the body of a page.
func (p *program) get(url string) (int, string) {
	p.t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func (p *program) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns how the program ended.
func (p *program) wait() error {
	p.t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(testWait):
		p.t.Fatalf("the program does not end:\n%s", p.log)
		return nil
	}
}
