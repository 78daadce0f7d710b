package integration

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

// TestDemo runs what `make demo` runs, with a network namespace and without one.
func TestDemo(t *testing.T) {
	demo := buildCommand(t, "demo")
	for _, test := range []struct {
		name string
		args []string
	}{{"in a namespace", nil}, {"without namespaces", []string{"-no-namespace"}}} {
		t.Run(test.name, func(t *testing.T) {
			out, err := exec.CommandContext(within(t, 3*time.Minute), demo, append(test.args, "-bin", bin)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range []string{"refused, and PostgreSQL saw no connection", "query, median of", "The way it took"} {
				if !strings.Contains(string(out), want) {
					t.Errorf("the demo printed no %q:\n%s", want, out)
				}
			}
		})
	}
}

// TestDemoKept: what KEEP=1 leaves can be used, and ends by the command that it names.
func TestDemoKept(t *testing.T) {
	ctx := within(t, 3*time.Minute)
	out, err := exec.CommandContext(ctx, buildCommand(t, "demo"), "-keep", "-bin", bin).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	stop := regexp.MustCompile(`(/\S+)/stop`).FindStringSubmatch(string(out))
	if stop == nil {
		t.Fatalf("the demo names no command to end it:\n%s", out)
	}
	defer func() {
		if out, err := exec.CommandContext(ctx, stop[0]).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		if _, err := os.Stat(stop[1]); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", stop[1], err)
		}
		for _, pid := range regexp.MustCompile(`process (\d+)`).FindAllStringSubmatch(string(out), -1) {
			if _, err := os.Stat("/proc/" + pid[1]); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("process %s is left", pid[1])
			}
		}
	}()
	var commands []string
	for line := range strings.Lines(string(out)[strings.Index(string(out), "Left running"):]) {
		if _, command, ok := strings.Cut(line, "$ "); ok && !strings.Contains(command, stop[0]) {
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	if len(commands) < 4 {
		t.Fatalf("the demo names %d commands:\n%s", len(commands), out)
	}
	script := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.Join(commands, "\n"))
	script.Stdin = strings.NewReader("select 'kept';\n") // psql reads it
	script.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if got, err := script.CombinedOutput(); err != nil || !strings.Contains(string(got), "kept") || !strings.Contains(string(got), tunnelName) {
		t.Errorf("%v\n%s", err, got)
	}
}

// TestBench runs what `make bench` runs, as short as it goes: each way answers in each workload.
func TestBench(t *testing.T) {
	bench := buildCommand(t, "bench")
	out, err := exec.CommandContext(within(t, 3*time.Minute), bench, "-bin", bin, "-rounds", "1", "-seconds", "1", "-clients", "1", "-scale", "1", "-idle", "20", "-bulk", "10", "-databases", "150").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, way := range []string{"direct", "pgbouncer", "sluice", "sluice+tunnel"} {
		rows := regexp.MustCompile(`(?m)^ +1 +`+regexp.QuoteMeta(way)+` +[1-9]`).FindAllString(string(out), -1)
		want := 5
		if way == "pgbouncer" {
			want = 3 // one older than 1.21 may fail where statements are prepared, and the benchmark says so
		}
		if len(rows) < want {
			t.Errorf("%s has figures for %d workloads of 5:\n%s", way, len(rows), out)
		}
	}
	for _, line := range []string{`150 databases in one account`, `one page of 100, median +[0-9.]+ ms .*, 2 pages`, `resident, started anew +[1-9]`, `start until ready +[1-9]`} {
		if !regexp.MustCompile(line).Match(out) {
			t.Errorf("%q is not in what the control plane measured:\n%s", line, out)
		}
	}
	if !regexp.MustCompile(`(?m)^ +sluice +[0-9]+ +[0-9.-]+ KB`).Match(out) {
		t.Errorf("no memory of idle clients:\n%s", out)
	}
}

// buildCommand builds a program of integration/cmd; it uses the programs that are tested.
func buildCommand(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, harness.Build(t.Context(), dir, false, "./integration/cmd/"+name))
	return filepath.Join(dir, name)
}
