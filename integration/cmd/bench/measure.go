package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

// sample is one round's figures of one entry.
type sample struct {
	count         float64       // of what the lab counts
	rate          float64       // a second
	p50, p95, p99 float64       // of the latency of a transaction, in milliseconds
	cpu           time.Duration // of the pooler, for each
	tunnel        time.Duration // of the connector, for each
	allocs        float64       // of the pooler, for each, where it is in Go
}

// result is an entry's samples of one workload, or why there are none.
type result struct {
	samples []sample
	err     error
}

// A workload is what the lab's program is told to do.
type workload struct {
	name, title string
	args        []string
	clients     int // the most; 0: as many as were asked for, each number by itself
	ways        ways
	abroad      bool // the other dialect's proxy is loaded too
}

// numbers are the numbers of clients of a workload.
func (l *lab) numbers(w workload) []int {
	if w.clients == 0 {
		return l.clients
	}
	return []int{min(w.clients, slices.Max(l.clients))}
}

// measure runs a workload and prints its table.
func (l *lab) measure(ctx context.Context, w workload) error {
	entries := slices.DeleteFunc(l.on(w.ways), func(e entry) bool { return e.abroad && !w.abroad })
	fmt.Printf("\n%s\n", w.title)
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "clients\tway\t%s\t", l.counted)
	for _, peer := range l.peers {
		fmt.Fprintf(out, "of %s\t", peer)
	}
	fmt.Fprintf(out, "p50\tp95\tp99\tCPU\tof %s\tconnector\tallocations\t\n", l.peers[len(l.peers)-1])
	var failures []string
	for _, clients := range l.numbers(w) {
		results, err := l.workload(ctx, w, entries, clients)
		if err != nil {
			return err
		}
		failures = append(failures, l.table(out, entries, clients, results)...)
		for _, e := range entries {
			if l.profile != "" && e.alone {
				if err := l.profileRound(ctx, e, w, clients); err != nil {
					return err
				}
			}
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, failure := range failures {
		fmt.Printf("  %s\n", failure)
	}
	return nil
}

// workload measures one: the entries take turns in each round. A failed entry is left out of
// the rounds that follow.
func (l *lab) workload(ctx context.Context, w workload, entries []entry, clients int) ([]result, error) {
	results := make([]result, len(entries))
	for range l.rounds {
		for i, e := range entries {
			if results[i].err != nil {
				continue
			}
			s, err := l.round(ctx, e, w, clients)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				results[i].err = err
				continue
			}
			results[i].samples = append(results[i].samples, s)
		}
	}
	return results, nil
}

// round loads an entry once.
func (l *lab) round(ctx context.Context, e entry, w workload, clients int) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(l.seconds)*time.Second+30*time.Second)
	defer cancel()
	before, err := cpuOf(e.cpu, e.tunnel)
	if err != nil {
		return sample{}, err
	}
	allocsBefore := e.allocs(ctx)
	s, err := l.load(l, ctx, e, w, clients)
	if err != nil {
		return sample{}, err
	}
	if s.count == 0 {
		return s, errors.New("no query was run")
	}
	allocsAfter := e.allocs(ctx)
	after, err := cpuOf(e.cpu, e.tunnel)
	if err != nil {
		return sample{}, err
	}
	s.cpu = time.Duration(float64(after[0]-before[0]) / s.count)
	s.tunnel = time.Duration(float64(after[1]-before[1]) / s.count)
	s.allocs = (allocsAfter - allocsBefore) / s.count
	return s, nil
}

func cpuOf(processes ...*harness.Process) (times [2]time.Duration, err error) {
	for i, p := range processes {
		if p != nil {
			if times[i], err = p.CPU(); err != nil {
				return times, err
			}
		}
	}
	return times, nil
}

// table writes the rows of one number of clients, and returns why some are empty.
func (l *lab) table(out *tabwriter.Writer, entries []entry, clients int, results []result) (failures []string) {
	rates := make([]float64, len(l.peers)) // of the faster one where several are called so
	var cpu float64                        // of the last
	for i, e := range entries {
		rate := results[i].median(func(s sample) float64 { return s.rate })
		for j, peer := range l.peers {
			if !strings.HasPrefix(e.name, peer) || e.abroad || rate <= rates[j] {
				continue
			}
			if rates[j] = rate; j == len(l.peers)-1 {
				cpu = results[i].median(func(s sample) float64 { return float64(s.cpu) })
			}
		}
	}
	for i, e := range entries {
		r := results[i]
		if r.err != nil {
			fmt.Fprintf(out, "%d\t%s\tfails\t%s-\t-\t-\t-\t-\t-\t-\t\n", clients, e.name, strings.Repeat("-\t", len(l.peers)))
			failures = append(failures, fmt.Sprintf("%s with %d clients: %s", e.name, clients, reason(r.err)))
			continue
		}
		rate := r.median(func(s sample) float64 { return s.rate })
		own := r.median(func(s sample) float64 { return float64(s.cpu) })
		fmt.Fprintf(out, "%d\t%s\t%.0f\t", clients, e.name, rate)
		for _, peer := range rates {
			fmt.Fprintf(out, "%s\t", ratio(rate, peer))
		}
		fmt.Fprintf(out, "%.2f ms\t%.2f ms\t%.2f ms\t%s\t%s\t%s\t%s\t\n",
			r.median(func(s sample) float64 { return s.p50 }), r.median(func(s sample) float64 { return s.p95 }), r.median(func(s sample) float64 { return s.p99 }),
			micros(e.cpu, own), ratio(own, cpu), micros(e.tunnel, r.median(func(s sample) float64 { return float64(s.tunnel) })),
			e.count(r.median(func(s sample) float64 { return s.allocs })))
	}
	return failures
}

// median returns the median of a figure over the rounds, 0 where there are none.
func (r result) median(figure func(sample) float64) float64 {
	if len(r.samples) == 0 {
		return 0
	}
	values := make([]float64, len(r.samples))
	for i, s := range r.samples {
		values[i] = figure(s)
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

func ratio(value, of float64) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", value/of)
}

func micros(p *harness.Process, nanoseconds float64) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f us", nanoseconds/1000)
}

// reason is the first line of what the server said went wrong, or else of what the program said.
func reason(err error) string {
	var exit *harness.ExitError
	if !errors.As(err, &exit) {
		return err.Error()
	}
	for line := range strings.Lines(exit.Stderr) {
		for _, sign := range []string{"ERROR:", "FATAL:"} { // of pgbench and of sysbench
			if _, text, ok := strings.Cut(line, sign); ok {
				return strings.TrimSpace(text)
			}
		}
	}
	first, _, _ := strings.Cut(exit.Stderr, "\n")
	return first
}
