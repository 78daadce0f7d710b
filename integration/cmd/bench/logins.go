package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// loginClients is how many log in at the same time.
const loginClients = 8

// measureLogins counts logins with SCRAM, a new connection each. The drivers' part of it is
// the larger one (RFC 7677 has 4096 rounds of hashing), so that the pooler's own shows in its
// processor time.
func (l *lab) measureLogins(ctx context.Context) error {
	fmt.Printf("\nlogins with SCRAM-SHA-256, %d at a time\n", loginClients)
	entries := l.on(plaintext)
	results := make([]result, len(entries))
	for range l.rounds {
		for i, e := range entries {
			if e.cpu == nil || e.tunnel != nil || results[i].err != nil {
				continue
			}
			s, err := l.logins(ctx, e)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			results[i].err = err
			results[i].samples = append(results[i].samples, s)
		}
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "way\tlogins/s\tCPU\t")
	for i, e := range entries {
		switch r := results[i]; {
		case r.err != nil:
			fmt.Fprintf(out, "%s\tfails: %v\t-\t\n", e.name, r.err)
		case len(r.samples) > 0:
			fmt.Fprintf(out, "%s\t%.0f\t%s\t\n", e.name, r.median(func(s sample) float64 { return s.rate }), micros(e.cpu, r.median(func(s sample) float64 { return float64(s.cpu) })))
		}
	}
	return out.Flush()
}

// logins logs in again and again for the length of a round.
func (l *lab) logins(ctx context.Context, e entry) (sample, error) {
	length := time.Duration(l.seconds) * time.Second
	before, err := cpuOf(e.cpu)
	if err != nil {
		return sample{}, err
	}
	var n atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	begun := time.Now()
	for range loginClients {
		wg.Go(func() {
			for time.Since(begun) < length && failed.Load() == nil {
				c, err := pgconn.Connect(ctx, e.target.URL())
				if err != nil {
					failed.Store(&err)
					return
				}
				c.Close(ctx)
				n.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return sample{}, *err
	}
	took := time.Since(begun)
	after, err := cpuOf(e.cpu)
	count := float64(n.Load())
	return sample{count: count, rate: count / took.Seconds(), cpu: time.Duration(float64(after[0]-before[0]) / count)}, err
}
