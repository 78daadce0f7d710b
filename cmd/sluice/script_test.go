package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sluicedb/sluice/connector"
	"github.com/sluicedb/sluice/protocol/tunnel"
)

// startTimeout and stopTimeout bound a server's start and stop, far above the 100 ms that they take.
const (
	startTimeout = time.Minute
	stopTimeout  = time.Minute
)

// TestScripts runs the command line as people do, against a server in a process of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("GORACE", "atexit_sleep_ms=0") // a second for each command without
			p := &serverProcess{}
			env.Values[serverKey{}] = p
			env.Defer(p.kill)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sluice":  sluiceCmd,
			"server":  serverCmd,
			"connect": connectCmd,
			"capture": captureCmd,
			"follow":  followCmd,
			"nowhere": nowhereCmd,
			"save":    saveCmd,
		},
	})
}

// sluiceCmd runs a command in this process, which takes a millisecond where a process of its own takes a hundred with the race
// detector. It has no standard input and the test's working directory: scripts that need theirs say "exec sluice".
func sluiceCmd(ts *testscript.TestScript, neg bool, args []string) {
	a := &app{in: strings.NewReader(""), out: ts.Stdout(), err: ts.Stderr(), getenv: ts.Getenv}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	code := a.execute(ctx, args)
	switch {
	case code == exitOK && neg:
		ts.Fatalf("sluice %s: succeeded", strings.Join(args, " "))
	case code != exitOK && !neg:
		ts.Fatalf("sluice %s: exit code %d", strings.Join(args, " "), code)
	}
}

// connectCmd is "connect TOKENFILE TUNNEL COUNT": a connector serves the tunnel until the script ends, and COUNT connections of it
// are known.
func connectCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: connect TOKENFILE TUNNEL COUNT")
	}
	token, err := tunnel.ParseToken(ts.ReadFile(args[0]))
	ts.Check(err)
	c, err := connector.New(connector.Config{Token: token, Version: "v1.2.3-test", Logger: slog.New(slog.DiscardHandler)})
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx) }) // it returns nil
	ts.Defer(func() {
		cancel()
		running.Wait()
	})
	for deadline := time.Now().Add(startTimeout); ; {
		var out strings.Builder
		a := &app{in: strings.NewReader(""), out: &out, err: io.Discard, getenv: ts.Getenv}
		a.execute(ctx, []string{"tunnel", "list"})
		if regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(args[1]) + ` .* healthy +` + args[2] + ` `).MatchString(out.String()) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no %s connections after %v:\n%s", args[2], startTimeout, out.String())
		}
	}
}

// followCmd is "follow FIRST NEXT ARGS...": while "sluice audit tail" runs it waits for a record that says FIRST, runs sluice with ARGS,
// waits for a record that says NEXT, and interrupts the tail.
func followCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: follow FIRST NEXT ARGS...")
	}
	reader, writer := io.Pipe()
	a := &app{in: strings.NewReader(""), out: writer, err: ts.Stderr(), getenv: ts.Getenv}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	ended := make(chan int, 1)
	go func() {
		code := a.execute(ctx, []string{"audit", "tail", "-n", "1", "--action", "tunnel.*", "--json"})
		writer.Close()
		ended <- code
	}()
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, 1<<20)
	for i, want := range args[:2] {
		if !lines.Scan() || !strings.Contains(lines.Text(), want) {
			ts.Fatalf("audit tail: line %d is %q, want %s", i+1, lines.Text(), want)
		}
		if i == 0 {
			sluiceCmd(ts, false, args[2:])
		}
	}
	cancel()
	if code := <-ended; code != exitOK {
		ts.Fatalf("audit tail: exit code %d", code)
	}
}

type serverKey struct{}

// serverProcess is a script's server.
type serverProcess struct {
	cmd    *exec.Cmd
	stdout strings.Builder // written by scan, until scanned is closed
	done   chan struct{}   // closed when stdout has ended
}

func (p *serverProcess) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// serverCmd is "server start [flags]", which waits until the server listens and sets SLUICE_API_URL and, on a first start,
// FIRST_TOKEN; and "server stop", which asks it to end and waits.
func serverCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: server start [flags] | server stop")
	}
	p := ts.Value(serverKey{}).(*serverProcess)
	switch args[0] {
	case "start":
		ts.Check(p.start(ts, args[1:]))
	case "stop":
		ts.Check(p.stop())
	default:
		ts.Fatalf("server: unknown argument %q", args[0])
	}
}

func (p *serverProcess) start(ts *testscript.TestScript, args []string) error {
	path, err := exec.LookPath("sluice")
	if err != nil {
		return err
	}
	stderr, err := os.OpenFile(ts.MkAbs("server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer stderr.Close()
	p.cmd = exec.Command(path, append([]string{"server", "--api-listen", "127.0.0.1:0", "--relay-listen", "127.0.0.1:0",
		"--proxy-listen", "127.0.0.1:0", "--mysql-listen", "off", "--metrics-listen", "127.0.0.1:0"}, args...)...)
	p.cmd.Dir, p.cmd.Stderr = ts.MkAbs("."), stderr
	p.cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"))
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.done = make(chan struct{})
	p.stdout.Reset()
	lines := make(chan string, 100)
	go p.scan(bufio.NewScanner(stdout), lines)
	late := time.After(startTimeout)
	for {
		select {
		case <-late:
			return fmt.Errorf("the server does not listen after %v", startTimeout)
		case line, ok := <-lines:
			if !ok {
				return fmt.Errorf("the server ended: %v", p.cmd.Wait())
			}
			field := strings.TrimSpace(line)
			if strings.HasPrefix(field, "slat_") {
				ts.Setenv("FIRST_TOKEN", field)
			}
			if url, ok := strings.CutPrefix(field, "control API:"); ok {
				ts.Setenv("SLUICE_API_URL", strings.TrimSpace(url))
			}
			if url, ok := strings.CutPrefix(field, "metrics:"); ok {
				ts.Setenv("METRICS", strings.TrimSpace(url))
			}
			// The last line that every start prints.
			if strings.HasPrefix(field, "CA:") {
				return nil
			}
		}
	}
}

func (p *serverProcess) scan(scanner *bufio.Scanner, lines chan<- string) {
	defer close(p.done)
	defer close(lines)
	for scanner.Scan() {
		p.stdout.WriteString(scanner.Text() + "\n")
		select {
		case lines <- scanner.Text():
		default: // more than start looks at
		}
	}
}

func (p *serverProcess) stop() error {
	if p.cmd == nil {
		return fmt.Errorf("no server runs")
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		return fmt.Errorf("the server runs on %v after SIGTERM", stopTimeout)
	}
	err := p.cmd.Wait()
	p.cmd = nil
	if err != nil {
		return fmt.Errorf("the server ended with %w", err)
	}
	return nil
}

// captureCmd is "capture VARIABLE REGEXP": it sets a variable to the first group of the regexp in the last command's output.
func captureCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture VARIABLE REGEXP")
	}
	found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("no match for %q", args[1])
	}
	ts.Setenv(args[0], found[1])
}

// saveCmd is "save VARIABLE FILE": it writes a variable, such as a secret, to a file.
func saveCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: save VARIABLE FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(ts.Getenv(args[0])+"\n"), 0o600))
}

// nowhereCmd is "nowhere TEXT PATH...": no file at or below the paths contains the text.
func nowhereCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || args[0] == "" {
		ts.Fatalf("usage: nowhere TEXT PATH...")
	}
	files := 0
	for _, root := range args[1:] {
		ts.Check(filepath.WalkDir(ts.MkAbs(root), func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			if strings.Contains(string(data), args[0]) {
				return fmt.Errorf("%s contains %q", path, args[0])
			}
			return nil
		}))
	}
	if files == 0 {
		ts.Fatalf("no file below %v", args[1:])
	}
}
