package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// stopGrace is how long a process gets between SIGTERM and SIGKILL when its stage closes. The
// components let what runs finish for at most thirty seconds, and a loaded machine takes its time.
const stopGrace = 2 * time.Minute

// Stage is a scratch directory with the processes and namespaces that live on it. Its methods
// may be called concurrently. Close it.
type Stage struct {
	// Dir is the scratch directory, passable but not readable by other users.
	Dir string

	lock   *os.File // held while this process lives, and the stage is its
	thread *thread  // starts the processes, so that they end when this process dies

	mu         sync.Mutex
	processes  []*Process
	namespaces []*Namespace
	secrets    []secret
	closers    []func() error
	detached   bool
}

// secret is a value that must appear in no log and no argument list.
type secret struct{ what, value string }

// NewStage makes a stage in a new directory under the system's temporary one. It also removes the
// directories of stages whose process died before it could: their processes died with it.
func NewStage() (*Stage, error) {
	if err := sweep(os.TempDir()); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", stagePrefix)
	if err != nil {
		return nil, err
	}
	// postgres runs as its own user and must pass through to its data.
	err = os.Chmod(dir, 0o711)
	s := &Stage{Dir: dir}
	if err == nil {
		s.lock, err = lock(s.Path("new"), os.O_CREATE)
	}
	if err == nil { // locked before it has the name that sweep looks for
		err = os.Rename(s.Path("new"), s.Path(lockName))
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.thread = newThread()
	return s, nil
}

// Path joins elements to the stage's directory.
func (s *Stage) Path(elem ...string) string {
	return filepath.Join(append([]string{s.Dir}, elem...)...)
}

// Secret registers a value that CheckLogs must not find in a log or an argument list.
func (s *Stage) Secret(what, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value != "" {
		s.secrets = append(s.secrets, secret{what, value})
	}
}

// CheckLogs looks for every registered secret in the logs and the arguments of all processes
// that were started on the stage, and for data races and panics in their logs. It reports what
// it finds without repeating a secret.
func (s *Stage) CheckLogs() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, p := range s.processes {
		log, args := p.Log(), strings.Join(p.args, "\x00")
		for _, sec := range s.secrets {
			if strings.Contains(log, sec.value) {
				errs = append(errs, fmt.Errorf("the log of %s has the %s", p.Name, sec.what))
			}
			if strings.Contains(args, sec.value) {
				errs = append(errs, fmt.Errorf("the arguments of %s have the %s", p.Name, sec.what))
			}
		}
		for _, sign := range []string{"WARNING: DATA RACE", "\npanic: ", "\nfatal error: "} {
			if i := strings.Index(log, sign); i >= 0 {
				errs = append(errs, fmt.Errorf("the log of %s: %s", p.Name, log[i:min(len(log), i+8<<10)]))
			}
		}
	}
	return errors.Join(errs...)
}

// Logs returns the end of every process's log, for a failure's report.
func (s *Stage) Logs() string {
	const tail = 4 << 10 // bytes of each log: the last thirty lines or so
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, p := range s.processes {
		log := p.Log()
		fmt.Fprintf(&b, "--- %s (%s)\n%s\n", p.Name, p.state(), log[max(0, len(log)-tail):])
	}
	return b.String()
}

// Detach lets the processes outlive this one, unless the stage is closed. It must be called
// before the first process starts. Whoever never closes the stage owns the processes, and what
// their namespaces hold ends with them.
func (s *Stage) Detach() error {
	s.detached = true
	return os.Remove(s.Path(lockName)) // without it the stage is nobody's to sweep
}

// Close ends the stage's processes, all at once since some drain until others are gone, and
// removes its directory.
func (s *Stage) Close() error {
	s.mu.Lock()
	processes, namespaces, closers := s.processes, s.namespaces, s.closers
	s.processes, s.namespaces, s.closers = nil, nil, nil
	s.mu.Unlock()
	var errs []error
	stopped := make(chan error, len(processes))
	for _, p := range processes {
		go func() { stopped <- p.Stop(stopGrace) }()
	}
	for range processes {
		errs = append(errs, <-stopped)
	}
	for _, ns := range namespaces {
		ns.thread.end()
	}
	s.thread.end()
	for _, f := range closers {
		errs = append(errs, f())
	}
	return errors.Join(append(errs, os.RemoveAll(s.Dir), s.lock.Close())...)
}

// onClose registers what Close does once no process runs any more.
func (s *Stage) onClose(f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, f)
}

// Ports that FreePort chooses from: below those that Linux gives to whoever asks for any
// (net.ipv4.ip_local_port_range), so that no connection or listener of another process's takes one
// between the choice and its use.
const (
	firstPort = 10000
	ports     = 32768 - firstPort
)

// FreePort returns a port of the address, chosen at random, that nothing listens on, neither TCP nor
// UDP. Another process that chooses the same in the same moment could take it before the caller does,
// who fails loudly then.
func FreePort(host string) (int, error) {
	var err error
	for range 100 {
		port := firstPort + rand.IntN(ports)
		addr := net.JoinHostPort(host, strconv.Itoa(port))
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err != nil {
			continue
		}
		var u net.PacketConn
		u, err = net.ListenPacket("udp", addr)
		l.Close()
		if err == nil {
			u.Close()
			return port, nil
		}
	}
	return 0, fmt.Errorf("no port of %s is free for both TCP and UDP: %w", host, err)
}

// errStageClosed says that a thread takes no more functions: the stage is being closed.
var errStageClosed = errors.New("the stage is closed")

// thread runs functions on one operating system thread of their own. Linux ties a process's
// parent-death signal and a network namespace to the thread, not to the process.
type thread struct {
	calls chan func()
	quit  chan struct{} // closed by end
	done  chan struct{} // closed when no function runs any more
}

func newThread() *thread {
	t := &thread{calls: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	go t.run()
	return t
}

// run leaves the thread locked when it returns, so that the thread ends with it.
func (t *thread) run() {
	defer close(t.done)
	runtime.LockOSThread()
	for {
		select {
		case f := <-t.calls:
			f()
		case <-t.quit:
			return
		}
	}
}

// do runs f on the thread and returns its error, or errStageClosed when the thread has ended.
func (t *thread) do(f func() error) error {
	result := make(chan error, 1)
	select {
	case t.calls <- func() { result <- f() }:
		return <-result
	case <-t.done:
		return errStageClosed
	}
}

// end lets the function that runs finish, and is called once.
func (t *thread) end() {
	close(t.quit)
	<-t.done
}
