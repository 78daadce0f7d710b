package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the command line's.
type options struct {
	parts   []string
	ways    []string // names, none are all
	clients []int
	rounds  int
	length  time.Duration // of one measurement
	entries int           // of the part memory
	profile string        // directory for profiles of the proxy's processor time, "" is none
}

// parts are what can be measured, in order.
var parts = []string{"mysql", "hits", "misses", "memory"}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cachebench:", err)
		os.Exit(1)
	}
}

func run() error {
	o := options{}
	chosen := flag.String("parts", strings.Join(parts, ","), "what to measure")
	ways := flag.String("ways", "", "names of ways that are measured, all unless given")
	clients := flag.String("clients", "1,8,64", "numbers of connections")
	serve := flag.String("serve", "", "be the proxy that this file describes (the benchmark starts itself so)")
	echo := flag.String("echo", "", "be the echo server at this address (the benchmark starts itself so)")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each measurement, of which the medians are shown")
	flag.DurationVar(&o.length, "length", 500*time.Millisecond, "length of a round")
	flag.IntVar(&o.entries, "entries", 100_000, "entries whose memory is measured")
	flag.StringVar(&o.profile, "profile", "", "directory for profiles of the proxy's processor time, one of each kind of hit")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case *serve != "":
		return serveProxy(ctx, *serve)
	case *echo != "":
		return serveEcho(ctx, *echo)
	}
	for field := range strings.SplitSeq(*clients, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return fmt.Errorf("-clients: %q is no number of connections", field)
		}
		o.clients = append(o.clients, n)
	}
	if o.rounds < 1 || o.length <= 0 || o.entries < 1 {
		return errors.New("-rounds, -length and -entries are above 0")
	}
	if *ways != "" {
		o.ways = strings.Split(*ways, ",")
	}
	o.parts = strings.Split(*chosen, ",")
	for _, p := range o.parts {
		if !slices.Contains(parts, p) {
			return fmt.Errorf("-parts: %q is none of %s", p, strings.Join(parts, ", "))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	return measure(ctx, o)
}

func measure(ctx context.Context, o options) (err error) {
	fmt.Printf("%d cores, %s; medians of %d rounds of %v\n", runtime.NumCPU(), runtime.Version(), o.rounds, o.length)
	if slices.Contains(o.parts, "mysql") {
		if err := mysqlHits(ctx, o); err != nil {
			return fmt.Errorf("mysql: %w", err)
		}
		if len(o.parts) == 1 {
			return nil
		}
	}
	l, err := newLab(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stage.Close()) }()
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"hits", l.hits}, {"misses", l.misses}, {"memory", l.memory}} {
		if !slices.Contains(o.parts, part.name) {
			continue
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}
