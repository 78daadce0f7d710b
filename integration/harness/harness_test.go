package harness

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func newStage(t *testing.T) *Stage {
	t.Helper()
	s, err := NewStage()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Logs())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestCloseEndsWhatWasStartedAndLeavesNothing(t *testing.T) {
	s, err := NewStage()
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Start(Command{Name: "sleeper", Path: "/bin/sh", Args: []string{"-c", "sleep 1000 & wait"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	// its child must go as well
	if err := p.WaitFor(ctx, "a child", func(context.Context) error {
		if len(descendants(p.PID())) == 1 {
			return nil
		}
		return os.ErrNotExist
	}); err != nil {
		t.Fatal(err)
	}
	child := descendants(p.PID())[0]
	p.Kill()
	if err := WaitFor(ctx, nil, func(context.Context) error {
		if state, _ := os.ReadFile("/proc/" + strconv.Itoa(child) + "/stat"); len(state) == 0 || strings.Contains(string(state), ") Z ") {
			return nil
		}
		return os.ErrExist
	}); err != nil {
		t.Errorf("child %d still runs: %v", child, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
		t.Errorf("directory left: %v", err)
	}
}

func TestSweepRemovesWhatADeadProcessLeft(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"sluice-dead", "sluice-held", "sluice-detached", "other"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if name == "sluice-detached" {
			continue
		}
		f, err := lock(filepath.Join(dir, name, lockName), os.O_CREATE)
		if err != nil {
			t.Fatal(err)
		}
		if name == "sluice-held" {
			defer f.Close()
			continue
		}
		f.Close()
	}
	if err := sweep(dir); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if want := 3; err != nil || len(left) != want {
		t.Errorf("left %q, %v, want all but the dead one's", left, err)
	}
}

func TestCheckLogsReadsLogsAndArguments(t *testing.T) {
	s := newStage(t)
	p, err := s.Start(Command{Name: "leak", Path: "/bin/echo", Args: []string{"password hunter22"}})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	if err := s.CheckLogs(); err != nil {
		t.Fatal(err)
	}
	s.Secret("origin password", "hunter22")
	err = s.CheckLogs()
	if err == nil {
		t.Fatal("a secret in a log and an argument was not found")
	}
	if got := err.Error(); strings.Contains(got, "hunter22") || strings.Count(got, "origin password") != 2 {
		t.Errorf("got %q, want the log and the arguments named and no secret", got)
	}
}

func TestPostgresInItsOwnNamespaceIsReachedOnlyFromThere(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("no root: the namespace's fall-back is what the demo uses")
		return
	}
	s := newStage(t)
	ns, err := s.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	private := netip.MustParseAddr("192.0.2.5")
	if err := ns.AddAddress(private); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pg, err := s.StartPostgres(ctx, PostgresConfig{Addr: private.String(), Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pg.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := conn.QueryRow(ctx, "select 41 + 1").Scan(&n); err != nil || n != 42 {
		t.Errorf("got %d, %v", n, err)
	}
	conn.Close(ctx)
	if got := pg.Connections(); got != 1 {
		t.Errorf("the server counts %d connections, want 1", got)
	}
	dialCtx, cancelDial := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancelDial()
	if c, err := new(net.Dialer).DialContext(dialCtx, "tcp", "192.0.2.5:5432"); err == nil {
		c.Close()
		t.Error("the machine reaches the namespace's address")
	}
	pg.Kill()
	if err := pg.Start(ctx); err != nil {
		t.Errorf("start after a kill: %v", err)
	}
}

func TestMySQLAndMariaDBAnswer(t *testing.T) {
	for name, mariaDB := range map[string]bool{"MySQL": false, "MariaDB": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			m, err := s.StartMySQL(ctx, MySQLConfig{MariaDB: mariaDB, Addr: "127.0.0.1"})
			if err != nil {
				t.Fatal(err)
			}
			db := m.Connect()
			defer db.Close()
			var version, cipher string
			row := db.QueryRowContext(ctx, "SELECT version(), (SELECT variable_value FROM performance_schema.session_status WHERE variable_name = 'Ssl_cipher')")
			if err := row.Scan(&version, &cipher); err != nil || strings.Contains(version, "MariaDB") != mariaDB || cipher == "" {
				t.Errorf("version %q, cipher %q, %v", version, cipher, err)
			}
			m.Kill()
			if err := m.Start(ctx); err != nil {
				t.Errorf("start after a kill: %v", err)
			}
		})
	}
}

// TestThreadEndsBesideItsCallers ends a thread while others use it: each function runs or is refused, and none is left waiting.
func TestThreadEndsBesideItsCallers(t *testing.T) {
	thread := newThread()
	const callers = 8
	var ran atomic.Int64
	var begun, working sync.WaitGroup
	begun.Add(callers)
	for range callers {
		working.Go(func() {
			calls := int64(0)
			for ; thread.do(func() error { ran.Add(1); return nil }) == nil; calls++ {
				if calls == 0 {
					begun.Done()
				}
			}
			ran.Add(-calls)
		})
	}
	begun.Wait()
	thread.end()
	working.Wait()
	if n := ran.Load(); n != 0 {
		t.Errorf("%d functions ran more than were told to have", n)
	}
	if err := thread.do(func() error { return nil }); !errors.Is(err, errStageClosed) {
		t.Errorf("after the end: got %v, want errStageClosed", err)
	}
}
