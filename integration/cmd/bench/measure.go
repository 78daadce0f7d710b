package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

// sample is one round's figures of one entry.
type sample struct {
	tps           float64
	p50, p95, p99 float64       // of the latency, in milliseconds
	cpu           time.Duration // of the pooler, for each transaction
	tunnel        time.Duration // of the connector, for each transaction
	allocs        float64       // of the pooler, for each transaction, where it is in Go
}

// result is an entry's samples of one workload, or why there are none.
type result struct {
	samples []sample
	err     error
}

// A workload is what pgbench is told to do.
type workload struct {
	title   string
	args    []string
	clients []int
}

func (l *lab) workloads() []workload {
	some := func(n int) []int { return []int{min(n, slices.Max(l.clients))} }
	return []workload{
		{"one row by its key, simple protocol", []string{"-S", "-M", "simple"}, l.clients},
		{"one row by its key, extended protocol", []string{"-S", "-M", "extended"}, l.clients},
		{"one row by its key, prepared statements", []string{"-S", "-M", "prepared"}, l.clients},
		{"TPC-B, prepared statements", []string{"-M", "prepared"}, some(16)},
		{"a connection for each row", []string{"-S", "-C"}, some(8)},
	}
}

// measure runs all workloads and prints a table of each protocol as soon as it is complete.
func (l *lab) measure(ctx context.Context) error {
	runs := 0
	for _, w := range l.workloads() {
		runs += len(w.clients) * l.rounds * len(l.entries)
	}
	fmt.Printf("%s\n", machine())
	for _, e := range l.entries {
		fmt.Printf("  %-15s %s\n", e.name, e.about)
	}
	fmt.Printf("pgbench, medians of %d rounds of %d s: about %v\n", l.rounds, l.seconds,
		(time.Duration(runs) * (time.Duration(l.seconds)*time.Second + 300*time.Millisecond)).Round(10*time.Second))
	for _, w := range l.workloads() {
		fmt.Printf("\n%s\n", w.title)
		out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(out, "clients\tway\ttps\tof direct\tof pgbouncer\tp50\tp95\tp99\tCPU\tof pgbouncer\tconnector\tallocations\t")
		var failures []string
		for _, clients := range w.clients {
			results, err := l.workload(ctx, w, clients)
			if err != nil {
				return err
			}
			failures = append(failures, l.table(out, clients, results)...)
		}
		if err := out.Flush(); err != nil {
			return err
		}
		for _, failure := range failures {
			fmt.Printf("  %s\n", failure)
		}
	}
	return nil
}

// workload measures one: the entries take turns in each round. A failed entry is left out of
// the rounds that follow.
func (l *lab) workload(ctx context.Context, w workload, clients int) ([]result, error) {
	results := make([]result, len(l.entries))
	for range l.rounds {
		for i, e := range l.entries {
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

// What pgbench 15 and later print.
var (
	tpsLine   = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)
	countLine = regexp.MustCompile(`(?m)^number of transactions actually processed: ([0-9]+)`)
)

func (l *lab) round(ctx context.Context, e entry, w workload, clients int) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(l.seconds)*time.Second+30*time.Second)
	defer cancel()
	before, err := cpuOf(e.cpu, e.tunnel)
	if err != nil {
		return sample{}, err
	}
	allocsBefore := e.allocs(ctx)
	logs := l.stage.Path("pgbench")
	out, err := l.stage.Output(ctx, harness.Command{Name: "pgbench", Path: l.pgbench, Env: e.target.Env(), Args: append([]string{"-n",
		"-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(clients, 2)), "-T", strconv.Itoa(l.seconds), "-l", "--log-prefix", logs}, w.args...)}, "")
	if err != nil {
		return sample{}, err
	}
	allocsAfter := e.allocs(ctx)
	after, err := cpuOf(e.cpu, e.tunnel)
	if err != nil {
		return sample{}, err
	}
	var s sample
	var n float64
	for _, figure := range []struct {
		line  *regexp.Regexp
		value *float64
	}{{tpsLine, &s.tps}, {countLine, &n}} {
		match := figure.line.FindStringSubmatch(out)
		if match == nil {
			return s, errors.New("pgbench printed no figures")
		}
		if *figure.value, err = strconv.ParseFloat(match[1], 64); err != nil {
			return s, err
		}
	}
	if n == 0 {
		return s, errors.New("pgbench ran no query")
	}
	s.cpu = time.Duration(float64(after[0]-before[0]) / n)
	s.tunnel = time.Duration(float64(after[1]-before[1]) / n)
	s.allocs = (allocsAfter - allocsBefore) / n
	s.p50, s.p95, s.p99, err = percentiles(logs)
	return s, err
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
func (l *lab) table(out *tabwriter.Writer, clients int, results []result) (failures []string) {
	var direct, pgbouncer, cpu float64
	for i, e := range l.entries {
		switch tps := results[i].median(func(s sample) float64 { return s.tps }); {
		case e.name == "direct":
			direct = tps
		case strings.HasPrefix(e.name, "pgbouncer"): // the faster of two
			if tps > pgbouncer {
				pgbouncer, cpu = tps, results[i].median(func(s sample) float64 { return float64(s.cpu) })
			}
		}
	}
	for i, e := range l.entries {
		r := results[i]
		if r.err != nil {
			fmt.Fprintf(out, "%d\t%s\tfails\t-\t-\t-\t-\t-\t-\t-\t-\t-\t\n", clients, e.name)
			failures = append(failures, fmt.Sprintf("%s with %d clients: %s", e.name, clients, reason(r.err)))
			continue
		}
		tps := r.median(func(s sample) float64 { return s.tps })
		own := r.median(func(s sample) float64 { return float64(s.cpu) })
		fmt.Fprintf(out, "%d\t%s\t%.0f\t%s\t%s\t%.2f ms\t%.2f ms\t%.2f ms\t%s\t%s\t%s\t%s\t\n", clients, e.name, tps, ratio(tps, direct), ratio(tps, pgbouncer),
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

// reason is the first line of what the server said went wrong, or else of what pgbench said.
func reason(err error) string {
	var exit *harness.ExitError
	if !errors.As(err, &exit) {
		return err.Error()
	}
	for line := range strings.Lines(exit.Stderr) {
		if _, text, ok := strings.Cut(line, "ERROR:"); ok {
			return strings.TrimSpace(text)
		}
	}
	first, _, _ := strings.Cut(exit.Stderr, "\n")
	return first
}
