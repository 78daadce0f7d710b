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
	tps     float64
	latency float64       // average, in milliseconds
	cpu     time.Duration // of the pooler, for each query
	tunnel  time.Duration // of the connector, for each query
}

// result is an entry's samples of one workload, or why there are none.
type result struct {
	samples []sample
	err     error
}

var protocols = []string{"simple", "extended", "prepared"}

// measure runs all workloads and prints a table of each protocol as soon as it is complete.
func (l *lab) measure(ctx context.Context) error {
	runs := len(protocols) * len(l.clients) * l.rounds * len(l.entries)
	fmt.Printf("%s\n", machine())
	for _, e := range l.entries {
		fmt.Printf("  %-15s %s\n", e.name, e.about)
	}
	fmt.Printf("pgbench -S, medians of %d rounds of %d s: about %v\n", l.rounds, l.seconds,
		(time.Duration(runs) * (time.Duration(l.seconds)*time.Second + 300*time.Millisecond)).Round(10*time.Second))
	for _, protocol := range protocols {
		fmt.Printf("\n%s protocol\n", protocol)
		out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(out, "clients\tway\tqueries/s\tlatency\tof direct\tof pgbouncer\tCPU/query\tconnector\t")
		var failures []string
		for _, clients := range l.clients {
			results, err := l.workload(ctx, protocol, clients)
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
func (l *lab) workload(ctx context.Context, protocol string, clients int) ([]result, error) {
	results := make([]result, len(l.entries))
	for range l.rounds {
		for i, e := range l.entries {
			if results[i].err != nil {
				continue
			}
			s, err := l.round(ctx, e, protocol, clients)
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
	tpsLine     = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)
	latencyLine = regexp.MustCompile(`(?m)^latency average = ([0-9.]+) ms`)
	countLine   = regexp.MustCompile(`(?m)^number of transactions actually processed: ([0-9]+)`)
)

func (l *lab) round(ctx context.Context, e entry, protocol string, clients int) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(l.seconds)*time.Second+30*time.Second)
	defer cancel()
	before, err := cpuOf(e.cpu, e.tunnel)
	if err != nil {
		return sample{}, err
	}
	out, err := l.stage.Output(ctx, harness.Command{Name: "pgbench", Path: l.pgbench, Env: e.target.Env(), Args: []string{"-n", "-S",
		"-M", protocol, "-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(clients, 2)), "-T", strconv.Itoa(l.seconds)}}, "")
	if err != nil {
		return sample{}, err
	}
	after, err := cpuOf(e.cpu, e.tunnel)
	if err != nil {
		return sample{}, err
	}
	var s sample
	var n float64
	for _, figure := range []struct {
		line  *regexp.Regexp
		value *float64
	}{{tpsLine, &s.tps}, {latencyLine, &s.latency}, {countLine, &n}} {
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
func (l *lab) table(out *tabwriter.Writer, clients int, results []result) (failures []string) {
	var direct, pgbouncer float64
	for i, e := range l.entries {
		switch tps := results[i].median(func(s sample) float64 { return s.tps }); {
		case e.name == "direct":
			direct = tps
		case strings.HasPrefix(e.name, "pgbouncer"): // the faster of two
			pgbouncer = max(pgbouncer, tps)
		}
	}
	for i, e := range l.entries {
		r := results[i]
		if r.err != nil {
			fmt.Fprintf(out, "%d\t%s\tfails\t-\t-\t-\t-\t-\t\n", clients, e.name)
			failures = append(failures, fmt.Sprintf("%s with %d clients: %s", e.name, clients, reason(r.err)))
			continue
		}
		tps := r.median(func(s sample) float64 { return s.tps })
		fmt.Fprintf(out, "%d\t%s\t%.0f\t%.2f ms\t%s\t%s\t%s\t%s\t\n", clients, e.name, tps, r.median(func(s sample) float64 { return s.latency }),
			ratio(tps, direct), ratio(tps, pgbouncer), micros(e.cpu, r.median(func(s sample) float64 { return float64(s.cpu) })),
			micros(e.tunnel, r.median(func(s sample) float64 { return float64(s.tunnel) })))
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
