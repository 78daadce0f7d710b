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
)

// Exit codes: the convention of getopt programs, so that a script can tell its own mistake from the network's.
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
// streams finish; the second ends the process at once.
func run(args []string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2) // both are kept, however close together they come
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go obey(signals, cancel)
	a := &app{out: os.Stdout, err: os.Stderr, getenv: os.Getenv}
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
	out    io.Writer
	err    io.Writer
	getenv func(string) string
}

// usageError is a mistake in the command line or in the environment that stands for it.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// exitCodeError is an error with an exit code of its own.
type exitCodeError struct {
	code int
	err  error
}

func (e *exitCodeError) Error() string { return e.err.Error() }
func (e *exitCodeError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// execute runs the command that args name and returns its exit code.
func (a *app) execute(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	// What is wrong with a command line begins with the command's name already.
	fmt.Fprintf(a.err, "sluice-connector%s\n", strings.TrimPrefix(": "+err.Error(), ": sluice-connector"))
	var failed *exitCodeError
	if errors.As(err, &failed) {
		return failed.code
	}
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(a.err, "Run '%s --help' for usage.\n", cmd.CommandPath())
		return exitUsage
	}
	return exitError
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice-connector",
		Short: "Serve a tunnel from inside a private network",
		Long: `sluice-connector runs beside a database, dials out to Sluice's relays and joins the streams that they open to the services
that the tunnel's hostnames lead to. It needs one token and no inbound port.`,
		Example: `  sluice tunnel token vpc-1 > vpc-1.token        # where the sluice command line is set up
  sluice-connector run --token-file vpc-1.token  # in the private network`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.ArbitraryArgs,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q", args[0])
			}
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef("%s: %w", cmd.CommandPath(), err) })
	root.AddCommand(a.runCommand(), a.validateCommand(), a.reloadCommand(), a.doctorCommand(), a.diagCommand(), a.installCommand(), a.uninstallCommand(), a.versionCommand(), a.completionCommand())
	root.SetHelpCommand(&cobra.Command{
		Use:     "help [command]",
		Short:   "Show the help of a command",
		Example: "  sluice-connector help run",
		Args:    cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			target, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("no command %q to help with", strings.Join(args, " "))
			}
			return target.Help()
		},
	})
	return root
}

// noArgs refuses arguments as a mistake in usage.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s: unexpected argument %q", cmd.CommandPath(), args[0])
	}
	return nil
}
