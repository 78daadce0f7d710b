package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command line's.
type options struct {
	parts   []string
	ways    *regexp.Regexp
	what    *regexp.Regexp
	rounds  int
	seconds float64 // of one measurement on loopback
	far     float64 // of one measurement over distance
	idle    int
	cc      string
	queue   int    // bytes that wait before the slow link, in each direction
	profile string // directory for processor profiles; "" is none
}

// parts are what can be measured, in order.
var parts = []string{"loopback", "beside", "idle", "distance", "fetch"}

func main() {
	var err error
	if role, ok := roles[argument(1)]; ok {
		err = runRole(role, os.Args[2:])
	} else {
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tunnelbench:", err)
		os.Exit(1)
	}
}

func argument(i int) string {
	if i < len(os.Args) {
		return os.Args[i]
	}
	return ""
}

func run() error {
	o := options{}
	only := flag.String("parts", strings.Join(parts, ","), "what to measure")
	ways := flag.String("ways", ".", "regular expression of the ways to measure; relay2 is always there")
	what := flag.String("what", ".", "regular expression of the workloads to measure")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each workload, of which the medians are shown")
	flag.Float64Var(&o.seconds, "seconds", 1, "length of a round on loopback")
	flag.Float64Var(&o.far, "far-seconds", 5, "length of a round over distance: slow starts are part of it")
	flag.IntVar(&o.idle, "idle", 10_000, "idle streams whose memory is measured")
	flag.StringVar(&o.cc, "cc", "reno", "TCP's congestion control over distance: one that a namespace of this machine may have")
	flag.IntVar(&o.queue, "queue", 0, "bytes that wait before the link over distance; 0 for 20,000 packets")
	flag.StringVar(&o.profile, "profile", "", "directory for processor profiles of relays, connectors and clients")
	flag.Parse()
	o.parts = strings.Split(*only, ",")
	for _, p := range o.parts {
		if !slices.Contains(parts, p) {
			return fmt.Errorf("-parts: %q is none of %s", p, strings.Join(parts, ", "))
		}
	}
	var err1, err2 error
	o.ways, err1 = regexp.Compile(*ways)
	o.what, err2 = regexp.Compile(*what)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if o.rounds < 1 || o.seconds <= 0 || o.far <= 0 || o.idle < 1 {
		return errors.New("-rounds, -seconds, -far-seconds and -idle are at least 1")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	return measure(ctx, o)
}

func measure(ctx context.Context, o options) error {
	for _, part := range o.parts {
		var err error
		switch part {
		case "loopback":
			err = measureLoopback(ctx, o)
		case "beside":
			err = measureBeside(ctx, o)
		case "idle":
			err = measureIdle(ctx, o)
		case "distance":
			err = measureDistance(ctx, o)
		case "fetch":
			err = measureFetch(ctx, o)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	return nil
}
