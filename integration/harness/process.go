package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrEnded says that a process ended while it was waited for.
var ErrEnded = errors.New("ended")

// poll is how often a condition outside this process is looked at again.
const poll = 20 * time.Millisecond

// Command says how a process is started. Name, Path and Args are required.
type Command struct {
	Name      string     // names the log, unique on the stage for what runs at one time
	Path      string     // the program
	Args      []string   // without the program's name
	Env       []string   // in addition to PATH, HOME and LANG; later entries win
	User      *Account   // nil is the user who runs the tests
	Namespace *Namespace // nil is the machine's own network
	Stop      os.Signal  // asks it to end, nil is SIGTERM
	Stdout    string     // a file for its standard output alone, "" is the log
}

// Process is a process that a stage started. Its methods may be called concurrently.
type Process struct {
	Name string

	args    []string
	logPath string
	ask     os.Signal
	cmd     *exec.Cmd
	done    chan struct{} // closed when the process has ended and was waited for
	err     error         // how it ended; read after done
}

// Account is a system user to run a process as.
type Account struct{ UID, GID uint32 }

// LookupAccount finds a system user by name.
func LookupAccount(name string) (*Account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return &Account{uint32(uid), uint32(gid)}, errors.Join(err1, err2)
}

// environ is the whole environment of what a stage starts: nothing of the caller's own leaks in.
// The race detector would have each program wait a second at its end.
func (s *Stage) environ(extra []string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + s.Dir, "LANG=C.UTF-8", "GORACE=atexit_sleep_ms=0"}, extra...)
}

// Start starts a process with its output in a log of the stage. It is ended by Close, if not
// before.
func (s *Stage) Start(c Command) (*Process, error) {
	logPath := s.Path(c.Name + ".log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &Process{Name: c.Name, args: c.Args, logPath: logPath, ask: c.Stop, done: make(chan struct{})}
	if p.ask == nil {
		p.ask = syscall.SIGTERM
	}
	p.cmd = exec.Command(c.Path, c.Args...)
	p.cmd.Env = s.environ(c.Env)
	p.cmd.Dir = s.Dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if c.Stdout != "" {
		out, err := os.OpenFile(c.Stdout, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		defer out.Close()
		p.cmd.Stdout = out
	}
	// A group of its own: Ctrl-C at a terminal reaches this process, which then ends the others in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !s.detached {
		p.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if c.User != nil {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.User.UID, Gid: c.User.GID}
	}
	thread := s.thread
	if c.Namespace != nil {
		thread = c.Namespace.thread
	}
	if err := thread.do(p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	s.mu.Lock()
	s.processes = append(s.processes, p)
	s.mu.Unlock()
	go p.wait()
	return p, nil
}

func (p *Process) wait() {
	p.err = p.cmd.Wait()
	close(p.done)
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.done }

// userHZ is the unit of times in /proc/PID/stat: a hundredth of a second on every Linux that Go
// runs on (USER_HZ of asm-generic/param.h).
const userHZ = 100

// CPU is the processor time that the process has used, in user and in kernel mode.
func (p *Process) CPU() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, err
	}
	// proc(5): after the name in brackets come state and on; utime and stime are fields 14 and 15
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("%s: malformed /proc stat", p.Name)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / userHZ, errors.Join(err1, err2)
}

// Log returns what the process and those of the same name before it have written.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.logPath)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (p *Process) state() string {
	select {
	case <-p.done:
		if p.err == nil {
			return "ended"
		}
		return p.err.Error()
	default:
		return "running"
	}
}

// Signal sends a signal. A process that has ended is no error.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return nil
}

// Stop asks the process to end and returns when it has. After grace it is killed, and that is
// an error.
func (p *Process) Stop(grace time.Duration) error {
	if err := p.Signal(p.ask); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(grace):
		p.Kill()
		return fmt.Errorf("%s did not end within %v of %v", p.Name, grace, p.ask)
	}
}

// Kill ends the process and all its descendants with SIGKILL and waits for the process.
func (p *Process) Kill() {
	select {
	case <-p.done:
		return
	default:
	}
	family := descendants(p.PID())
	p.cmd.Process.Kill()
	for _, pid := range family {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.done
}

// descendants lists the living processes below pid. PostgreSQL's are in sessions of their own,
// so that no signal to a group reaches them.
func descendants(pid int) []int {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var list []int
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(b)) {
			if child, err := strconv.Atoi(field); err == nil {
				list = append(append(list, child), descendants(child)...)
			}
		}
	}
	return list
}

// WaitFor polls probe until it returns nil, the process ends or ctx does.
func (p *Process) WaitFor(ctx context.Context, what string, probe func(context.Context) error) error {
	err := WaitFor(ctx, p.done, probe)
	if err != nil {
		return fmt.Errorf("wait for %s of %s (%s): %w", what, p.Name, p.state(), err)
	}
	return nil
}

// WaitFor polls probe until it returns nil, and returns its last error when stop is closed, with
// ErrEnded, or ctx ends before that. stop may be nil.
func WaitFor(ctx context.Context, stop <-chan struct{}, probe func(context.Context) error) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-stop:
			return fmt.Errorf("%w: %w", ErrEnded, err)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// Output runs a program to its end and returns its standard output. The error has the end of
// its standard error, or of its output where that is empty.
func (s *Stage) Output(ctx context.Context, c Command, stdin string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Env = s.environ(c.Env)
	cmd.Dir = s.Dir
	cmd.Stdin = strings.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // a grandchild may hold the pipes after the child was killed
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if c.User != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.User.UID, Gid: c.User.GID}
	}
	var err error
	if c.Namespace != nil {
		err = c.Namespace.thread.do(cmd.Start)
	} else {
		err = cmd.Start()
	}
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		const tail = 2 << 10
		text := strings.TrimSpace(errOut.String())
		if text == "" { // some tell what is wrong where nobody looks for it
			text = strings.TrimSpace(out.String())
		}
		return out.String(), &ExitError{Name: c.Name, Stderr: text[max(0, len(text)-tail):], Err: err}
	}
	return out.String(), nil
}

// ExitError is how a program that Output ran has failed.
type ExitError struct {
	Name   string
	Stderr string // the end of what it wrote to standard error
	Err    error
}

func (e *ExitError) Error() string { return fmt.Sprintf("%s: %v: %s", e.Name, e.Err, e.Stderr) }
func (e *ExitError) Unwrap() error { return e.Err }
