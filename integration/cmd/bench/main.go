package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

// options are the command line's.
type options struct {
	rounds    int
	seconds   int
	clients   []int
	databases int // that the control plane is measured with
	scale     int
	idle      int    // clients
	bulk      int    // megabytes
	bin       string // directory of the programs
	sid       string // the root of a Debian sid tree with a newer PgBouncer, "" is none
	only      string // names of entries, "" are all
	profile   string // directory for profiles of the proxy's processor time, "" is none
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	o := options{}
	clients := flag.String("clients", "1,16,64", "numbers of clients")
	only := flag.String("only", "", "what is measured, all unless given: "+scenarioNames())
	flag.StringVar(&o.only, "ways", "", "names of ways that are measured, all unless given")
	sid := flag.Bool("sid", false, "measure the PgBouncer of the Debian sid tree as well")
	serve := flag.String("serve", "", "be the proxy that this file describes (the benchmark starts itself so)")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each workload, of which the medians are shown")
	flag.IntVar(&o.seconds, "seconds", 2, "length of a round")
	flag.IntVar(&o.scale, "scale", 10, "size of the tables: 100,000 rows each")
	flag.IntVar(&o.databases, "databases", 10_000, "databases that the control plane is measured with")
	flag.IntVar(&o.idle, "idle", 10_000, "idle clients whose memory is measured")
	flag.IntVar(&o.bulk, "bulk", 1024, "megabytes of one result")
	flag.StringVar(&o.bin, "bin", "", "directory of the programs, bin/ of the checkout when absent")
	flag.StringVar(&o.profile, "profile", "", "directory for profiles of the proxy's processor time, one of each of its workloads")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *serve != "" {
		return serveLone(ctx, *serve)
	}
	for field := range strings.SplitSeq(*clients, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return fmt.Errorf("-clients: %q is no number of clients", field)
		}
		o.clients = append(o.clients, n)
	}
	if o.rounds < 1 || o.seconds < 1 || o.scale < 1 || o.idle < 1 || o.bulk < 1 || o.databases < 1 {
		return errors.New("-rounds, -seconds, -scale, -idle, -bulk and -databases are at least 1")
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if *sid {
		if o.sid = os.Getenv("SLUICE_SID"); o.sid == "" {
			o.sid = "/var/cache/sluice/sid"
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Hour)
	defer cancel()
	if o.bin == "" {
		root, err := harness.ModuleRoot(ctx)
		if err != nil {
			return err
		}
		o.bin = filepath.Join(root, "bin")
	}
	fmt.Println(machine())
	return measure(ctx, o, chosen)
}

// measure raises the labs that scenarios need, one at a time, and runs the scenarios.
func measure(ctx context.Context, o options, chosen []scenario) (err error) {
	var l *lab
	closeLab := func() {
		if l != nil {
			err = errors.Join(err, l.stage.Close())
		}
		l = nil
	}
	defer closeLab()
	for i, s := range chosen {
		if s.alone != nil {
			if err := s.alone(ctx, o); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			continue
		}
		if i > 0 && chosen[i-1].mysql != s.mysql {
			closeLab()
		}
		if l == nil {
			raise := newPostgres
			if s.mysql {
				raise = newMySQL
			}
			if l, err = raise(ctx, o); err != nil {
				return err
			}
			l.introduce()
		}
		if err := s.run(l, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}
