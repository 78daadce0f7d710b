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
	rounds  int
	seconds int
	clients []int
	// databases is how many the control plane is measured with, 0 for none.
	databases int
	scale     int
	idle      int    // clients
	bulk      int    // megabytes
	bin       string // directory of the programs
	sid       string // the root of a Debian sid tree with a newer PgBouncer, "" is none
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	o := options{}
	clients := flag.String("clients", "1,16,64", "numbers of clients; \"\" to leave the proxy out")
	sid := flag.Bool("sid", false, "measure the PgBouncer of the Debian sid tree as well")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each workload, of which the medians are shown")
	flag.IntVar(&o.seconds, "seconds", 2, "length of a round")
	flag.IntVar(&o.scale, "scale", 10, "size of pgbench's tables: 100,000 rows each")
	flag.IntVar(&o.databases, "databases", 10_000, "databases that the control plane is measured with; 0 for none")
	flag.IntVar(&o.idle, "idle", 10000, "idle clients whose memory is measured; 0 for none")
	flag.IntVar(&o.bulk, "bulk", 1024, "megabytes of one result; 0 for none")
	flag.StringVar(&o.bin, "bin", "", "directory of the programs, bin/ of the checkout when absent")
	flag.Parse()
	for field := range strings.SplitSeq(*clients, ",") {
		if *clients == "" {
			break
		}
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return fmt.Errorf("-clients: %q is no number of clients", field)
		}
		o.clients = append(o.clients, n)
	}
	if o.rounds < 1 || o.seconds < 1 || o.scale < 1 {
		return errors.New("-rounds, -seconds and -scale are at least 1")
	}
	if *sid {
		if o.sid = os.Getenv("SLUICE_SID"); o.sid == "" {
			o.sid = "/var/cache/sluice/sid"
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	if o.bin == "" {
		root, err := harness.ModuleRoot(ctx)
		if err != nil {
			return err
		}
		o.bin = filepath.Join(root, "bin")
	}
	if len(o.clients) > 0 {
		if err := measureProxy(ctx, o); err != nil {
			return err
		}
	}
	if o.databases < 1 {
		return nil
	}
	return measureControl(ctx, o.bin, o.databases)
}

func measureProxy(ctx context.Context, o options) (err error) {
	l, err := newLab(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stage.Close()) }()
	if err := l.measure(ctx); err != nil {
		return err
	}
	if err := l.measureBulk(ctx); err != nil {
		return err
	}
	return l.measureIdle(ctx)
}
