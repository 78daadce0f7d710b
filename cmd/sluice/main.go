package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit codes: the convention of getopt programs, so that a script can tell its own mistake from the server's answer.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
	// exitSignal and the signal's number are what shells report of a program that a signal has ended.
	exitSignal = 128
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// run executes one command on the process's own files and environment. The first SIGINT or SIGTERM asks it to stop, and it lets
// what runs finish; the second ends the process at once.
func run(args []string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2) // both are kept, however close together they come
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go obey(signals, cancel)
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv}
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		a.readPassword = func() ([]byte, error) { return term.ReadPassword(fd) }
	}
	return a.execute(ctx, args)
}

// obey lives as long as the process.
func obey(signals <-chan os.Signal, stop context.CancelFunc) {
	<-signals
	stop()
	if s, ok := (<-signals).(syscall.Signal); ok {
		os.Exit(exitSignal + int(s))
	}
}

// app is what a command may touch of the process it runs in.
type app struct {
	in     io.Reader
	out    io.Writer
	err    io.Writer
	getenv func(string) string
	// readPassword reads a line without echo; nil where standard input is no terminal, and nothing can be asked for.
	readPassword func() ([]byte, error)

	client clientFlags
	json   bool
}

// usageError is a mistake in the command line itself.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// execute runs the command that args name and returns its exit code.
func (a *app) execute(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(joinBool(args))
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	// What is wrong with a command line begins with the command's name already.
	fmt.Fprintf(a.err, "sluice%s\n", strings.TrimPrefix(": "+describe(err), ": sluice"))
	var unwell *unwellError
	if errors.As(err, &unwell) {
		return exitUnwell
	}
	var usage *usageError
	// cobra has no type for an unknown command; it says so in words of its own, before any command of ours has run.
	if errors.As(err, &usage) || cmd == root || strings.HasPrefix(err.Error(), "unknown command ") {
		fmt.Fprintf(a.err, "Run '%s --help' for usage.\n", cmd.CommandPath())
		return exitUsage
	}
	return exitError
}

// joinBool lets --caching-disabled have its value in an argument of its own, as wrangler's may, and as Hyperdrive's documentation
// has it; elsewhere a flag without a value is true, and its value needs a =.
func joinBool(args []string) []string {
	joined := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return append(joined, args[i:]...)
		}
		if args[i] == "--caching-disabled" && i+1 < len(args) && (args[i+1] == "true" || args[i+1] == "false") {
			joined = append(joined, args[i]+"="+args[i+1])
			i++
			continue
		}
		joined = append(joined, args[i])
	}
	return joined
}

// exactArgs is cobra's ExactArgs, with the names of what is missing.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			missing := names[len(args):]
			verb := "is"
			if len(missing) > 1 {
				verb = "are"
			}
			return usagef("%s: %s %s missing", cmd.CommandPath(), strings.Join(missing, " and "), verb)
		case len(args) > len(names):
			return usagef("%s: unexpected argument %q", cmd.CommandPath(), args[len(names)])
		}
		return nil
	}
}
