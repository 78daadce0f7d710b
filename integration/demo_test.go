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

	"github.com/sluicedb/sluice/integration/harness"
)

// TestDemo runs what `make demo` runs, with a network namespace and without one.
func TestDemo(t *testing.T) {
	t.Parallel()
	demo := buildCommand(t, "demo")
	for _, test := range []struct {
		name string
		args []string
	}{{"in a namespace", nil}, {"without namespaces", []string{"-no-namespace"}}} {
		t.Run(test.name, func(t *testing.T) {
			out, err := exec.CommandContext(within(t), demo, append(test.args, "-bin", bin)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			checkDemo(t, string(out))
		})
	}
}

func checkDemo(t *testing.T, out string) {
	t.Helper()
	for _, want := range []string{"refused, and PostgreSQL saw no connection", "query, median of", "The way it took", "MySQL at tcp://", "TLSv1.3"} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo printed no %q:\n%s", want, out)
		}
	}
}

// TestDemoKept runs what `make demo KEEP=1` runs: what it leaves can be used, and ends by the command that it names.
func TestDemoKept(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	out, err := exec.CommandContext(ctx, buildCommand(t, "demo"), "-keep", "-bin", bin).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	checkDemo(t, string(out))
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
	t.Parallel()
	bench := buildCommand(t, "bench")
	out, err := exec.CommandContext(within(t), bench, "-bin", bin, "-only", "simple,extended,prepared,tpcb,connect,tls,logins,calls,bulk,idle,distance,control", "-rounds", "1", "-seconds", "1", "-clients", "1", "-scale", "1", "-idle", "20", "-bulk", "10", "-databases", "150").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, way := range []string{"direct", "pgbouncer", "sluice", "sluice+tls", "sluice+tunnel"} {
		rows := regexp.MustCompile(`(?m)^ +1 +`+regexp.QuoteMeta(way)+` +[0-9]`).FindAllString(string(out), -1) // a second may be too short for one
		want := 5
		switch way {
		case "sluice":
			want = 6 // with TLS to the driver as well
		case "sluice+tls":
			want = 1
		case "pgbouncer":
			want = 3 // one older than 1.21 may fail where statements are prepared, and the benchmark says so
		}
		if len(rows) < want {
			t.Errorf("%s has figures for %d workloads:\n%s", way, len(rows), out)
		}
	}
	for _, line := range []string{`150 databases in one account`, `one page of 100, median +[0-9.]+ ms .*, 2 pages`, `resident, started anew +[1-9]`, `start until ready +[1-9]`} {
		if !regexp.MustCompile(line).Match(out) {
			t.Errorf("%q is not in what the control plane measured:\n%s", line, out)
		}
	}
	for what, line := range map[string]string{
		"memory of idle clients": `(?m)^ +sluice +[0-9.-]+ KB`, "logins": `(?m)^ +sluice +[0-9]+ +[0-9.]+ us`,
		"system calls": `(?m)^ +1 +sluice +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+$`, "a query at a distance": `(?m)^ +later query +[0-9.]+ ms`,
	} {
		if !regexp.MustCompile(line).Match(out) {
			t.Errorf("no %s:\n%s", what, out)
		}
	}
}

// TestBenchMySQL runs what `make bench-mysql` runs, as short as it goes.
func TestBenchMySQL(t *testing.T) {
	t.Parallel()
	bench := buildCommand(t, "bench")
	out, err := exec.CommandContext(within(t), bench, "-only", "mysql-point,mysql-readwrite-prepared,mysql-calls,mysql-idle", "-rounds", "1", "-seconds", "1", "-clients", "1", "-scale", "1", "-idle", "20").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, way := range []string{"direct", "haproxy", "router", "router-share", "sluice"} {
		if rows := regexp.MustCompile(`(?m)^ +1 +`+way+` +[1-9].* ms `).FindAllString(string(out), -1); len(rows) != 3 {
			t.Errorf("%s has figures for %d workloads:\n%s", way, len(rows), out)
		}
	}
	if rows := regexp.MustCompile(`(?m)^ +1 +sluice-postgres +[1-9].* ms `).FindAllString(string(out), -1); len(rows) != 2 {
		t.Errorf("the PostgreSQL proxy has figures for %d workloads:\n%s", len(rows), out)
	}
	for what, line := range map[string]string{
		"memory of idle clients": `(?m)^ +sluice +[0-9.-]+ KB`, "system calls": `(?m)^ +1 +sluice +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+$`,
	} {
		if !regexp.MustCompile(line).Match(out) {
			t.Errorf("no %s:\n%s", what, out)
		}
	}
}

// TestBenchCacheMySQL runs the part of `make bench-cache` that is MySQL's, as short as it goes.
func TestBenchCacheMySQL(t *testing.T) {
	t.Parallel()
	bench := buildCommand(t, "cachebench")
	out, err := exec.CommandContext(within(t), bench, "-parts", "mysql", "-rounds", "1", "-length", "20ms", "-clients", "1").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, way := range []string{"echo", "origin", "sluice"} {
		if rows := regexp.MustCompile(`(?m)^ +1 +`+way+` +[1-9]`).FindAllString(string(out), -1); len(rows) != 4 {
			t.Errorf("%s has figures for %d questions:\n%s", way, len(rows), out)
		}
	}
}

// buildCommand builds a program of integration/cmd; it uses the programs that are tested.
func buildCommand(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, harness.Build(t.Context(), dir, false, "./integration/cmd/"+name))
	return filepath.Join(dir, name)
}
