package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedb/sluice/integration/harness"
)

// measureBulk times one large result through every entry, and looks at the pooler's memory after it.
func (l *lab) measureBulk(ctx context.Context) error {
	fmt.Printf("\none result of %d MB\n", l.bulk)
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "way\tMB/s\tmemory before\tafter\t")
	for _, e := range l.on(plaintext) {
		before := memoryOf(e.cpu)
		began := time.Now()
		n, err := bulk(ctx, e.target, l.bulk)
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		fmt.Fprintf(out, "%s\t%.0f\t%s\t%s\t\n", e.name, float64(n)/(1<<20)/time.Since(began).Seconds(), megabytes(before), megabytes(memoryOf(e.cpu)))
	}
	return out.Flush()
}

// bulk copies rows of a kilobyte out of the target.
func bulk(ctx context.Context, target harness.Target, mb int) (int64, error) {
	conn, err := pgconn.Connect(ctx, target.URL())
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var n counter
	_, err = conn.CopyTo(ctx, &n, fmt.Sprintf("copy (select repeat('x', 1023) from generate_series(1, %d)) to stdout", mb<<10))
	return int64(n), err
}

// A counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// measureIdle connects many clients to each pooler and shows what each of them takes.
func (l *lab) measureIdle(ctx context.Context) error {
	for _, w := range []ways{plaintext, driverTLS} {
		fmt.Printf("\n%d idle clients, %s\n", l.idle, map[ways]string{plaintext: "plaintext", driverTLS: "TLS"}[w])
		out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(out, "way\tmemory for each client\t")
		for _, e := range l.on(w) {
			if e.cpu == nil || e.tunnel != nil || e.abroad {
				continue
			}
			before := memoryOf(e.cpu)
			closings, err := l.connectAll(ctx, e.target, l.idle)
			if err == nil {
				fmt.Fprintf(out, "%s\t%.1f KB\t\n", e.name, float64(memoryOf(e.cpu)-before)/1024/float64(l.idle))
			} else {
				fmt.Fprintf(out, "%s\tfails: %v\t\n", e.name, err)
			}
			for _, closing := range closings {
				if closing != nil {
					closing()
				}
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func connectPostgres(ctx context.Context, target harness.Target) (func(), error) {
	conn, err := pgconn.Connect(ctx, target.URL())
	if err != nil {
		return nil, err
	}
	return func() { conn.Close(context.WithoutCancel(ctx)) }, nil
}

// connectAll logs n clients in, 16 at a time.
func (l *lab) connectAll(ctx context.Context, target harness.Target, n int) ([]func(), error) {
	closings := make([]func(), n)
	errs := make(chan error, 16)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < n; i += 16 {
				var err error
				if closings[i], err = l.connect(ctx, target); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return closings, err
	default:
		return closings, nil
	}
}

// memoryOf is a process's memory in bytes, 0 where there is no process.
func memoryOf(p *harness.Process) int64 {
	if p == nil {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.PID()))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

func megabytes(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
}
