package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

// reference is the way that the others are compared with.
const reference = "relay2"

// workload is a load with its name.
type workload struct {
	name string
	load load
}

// result is what came of one way's rounds of a workload.
type result struct {
	rounds []figures
	cpu    time.Duration // of the parts between load and target, in all rounds
	err    error
}

// measure lets the ways take turns at a load.
func (w *world) measure(ctx context.Context, l load) map[string]*result {
	results := map[string]*result{}
	for range w.rounds {
		for _, way := range w.ways {
			r := results[way.name]
			if r == nil {
				r = &result{}
				results[way.name] = r
			}
			if r.err != nil {
				continue
			}
			before := processorTime(way.parts)
			f, err := w.run(ctx, way, l)
			r.cpu += processorTime(way.parts) - before
			r.rounds, r.err = append(r.rounds, f), err
		}
	}
	return results
}

// median is the middle of the rounds by what of tells of each.
func (r *result) median(of func(figures) float64) float64 {
	all := make([]float64, 0, len(r.rounds))
	for _, f := range r.rounds {
		all = append(all, of(f))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func millis(of func(figures) time.Duration) func(figures) float64 {
	return func(f figures) float64 { return float64(of(f)) / float64(time.Millisecond) }
}

var (
	p50   = millis(func(f figures) time.Duration { return f.P50 })
	p99   = millis(func(f figures) time.Duration { return f.P99 })
	quiet = millis(func(f figures) time.Duration { return f.Quiet })
	took  = millis(func(f figures) time.Duration { return f.Took })
)

// count is what all rounds together have carried.
func (r *result) count() (n int64) {
	for _, f := range r.rounds {
		n += f.Count
	}
	return n
}

// table measures the workloads that are asked for and prints a row for each way.
func (w *world) table(ctx context.Context, title string, workloads []workload) error {
	fmt.Printf("\n%s\n\n", title)
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "workload\tway\trate\tof relay2\tp50 ms\tof relay2\tp99 ms\tof relay2\tprocessor\t")
	for _, load := range workloads {
		if !w.what.MatchString(load.name) {
			continue
		}
		results := w.measure(ctx, load.load)
		base := results[reference]
		for _, way := range w.ways {
			r := results[way.name]
			if r.err != nil {
				fmt.Fprintf(out, "%s\t%s\tfails: %v\t\t\t\t\t\t\t\n", load.name, way.name, r.err)
				continue
			}
			ratio := func(of func(figures) float64) string {
				if base.err != nil || base.median(of) == 0 {
					return "-"
				}
				return fmt.Sprintf("%.2f", r.median(of)/base.median(of))
			}
			rate := r.median(figures.rate)
			if bytes := load.load.Kind == down || load.load.Kind == up; bytes {
				fmt.Fprintf(out, "%s\t%s\t%.0f Mbit/s\t%s\t-\t-\t-\t-\t%.2f s/GB\t\n", load.name, way.name, rate*8/1e6, ratio(figures.rate),
					r.cpu.Seconds()/(float64(r.count())/1e9))
				continue
			}
			fmt.Fprintf(out, "%s\t%s\t%.0f/s\t%s\t%.3f\t%s\t%.3f\t%s\t%.1f us\t\n", load.name, way.name, rate, ratio(figures.rate),
				r.median(p50), ratio(p50), r.median(p99), ratio(p99), float64(r.cpu.Microseconds())/float64(r.count()))
		}
		out.Flush()
	}
	return out.Flush()
}

func measureLoopback(ctx context.Context, o options) (err error) {
	w, err := newWorld(ctx, o, nil)
	if err != nil {
		return err
	}
	defer func() { err = w.close(err) }()
	for _, add := range []func(context.Context) error{w.hops, w.haproxy, w.socat} {
		if err := add(ctx); err != nil {
			return err
		}
	}
	if err := w.tunnels(ctx, 0, true); err != nil {
		return err
	}
	var all []workload
	for _, kind := range []string{down, up} {
		for _, n := range []int{1, 16} {
			all = append(all, workload{fmt.Sprintf("%s/%d", kind, n), load{Kind: kind, Streams: n, Seconds: o.seconds}})
		}
	}
	for _, n := range []int{1, 64} {
		all = append(all, workload{fmt.Sprintf("%s/%d", ping, n), load{Kind: ping, Streams: n, Seconds: o.seconds}})
	}
	for _, n := range []int{1, 16} {
		all = append(all, workload{fmt.Sprintf("%s/%d", open, n), load{Kind: open, Streams: n, Seconds: o.seconds}})
	}
	return w.table(ctx, "Loopback", all)
}

func measureBeside(ctx context.Context, o options) (err error) {
	w, err := newWorld(ctx, o, nil)
	if err != nil {
		return err
	}
	defer func() { err = w.close(err) }()
	if err := w.hops(ctx); err != nil {
		return err
	}
	if err := w.tunnels(ctx, 1, false); err != nil {
		return err
	}
	fmt.Printf("\nRound trips of 64 streams beside one that saturates their session, loopback\n\n")
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "way\tp99 alone, ms\tp99 beside, ms\tgrowth\t")
	results := w.measure(ctx, load{Kind: beside, Streams: 64, Seconds: o.seconds})
	for _, way := range w.ways {
		r := results[way.name]
		if r.err != nil {
			fmt.Fprintf(out, "%s\tfails: %v\t\t\t\n", way.name, r.err)
			continue
		}
		growth := func(f figures) float64 { return p99(f) / quiet(f) }
		fmt.Fprintf(out, "%s\t%.2f\t%.2f\t%.2f\t\n", way.name, r.median(quiet), r.median(p99), r.median(growth))
	}
	return out.Flush()
}

// settle is how long idle streams are left alone before memory is read: the runtime collects at least every two minutes
// (forcegcperiod of runtime/proc.go), and gives back in the background what it has freed.
const settle = 150 * time.Second

func measureIdle(ctx context.Context, o options) (err error) {
	w, err := newWorld(ctx, o, nil)
	if err != nil {
		return err
	}
	defer func() { err = w.close(err) }()
	before := map[string][]int64{}
	for _, protocol := range protocols {
		if !o.ways.MatchString(protocol) {
			continue
		}
		// A target for each: descriptors of one process are limited.
		if w.target, _, err = w.serve(ctx, "target", w.far, setup{}); err != nil {
			return err
		}
		if err := w.tunnel(ctx, protocol, 0, false); err != nil {
			return err
		}
		to := w.ways[len(w.ways)-1]
		before[to.name] = []int64{resident(to.parts[0]), resident(to.parts[1])}
		if _, err := w.start(ctx, "load", w.near, setup{To: to.entry, Load: load{Kind: idle, Streams: o.idle}}); err != nil {
			return err
		}
	}
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return ctx.Err()
	}
	fmt.Printf("\nMemory for each of %d idle streams\n\n", o.idle)
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "way\trelay\tconnector\t")
	for _, way := range w.ways {
		fmt.Fprint(out, way.name, "\t")
		for i, part := range way.parts {
			fmt.Fprintf(out, "%.1f KB\t", float64(resident(part)-before[way.name][i])/1000/float64(o.idle))
		}
		fmt.Fprintln(out)
		for _, part := range way.parts {
			part.Kill() // to end so many streams in order takes longer than anybody here waits
		}
	}
	return out.Flush()
}

// wire is what the link carries in Mbit/s: a good line of an office.
const wire = 200

func measureDistance(ctx context.Context, o options) error {
	for _, rtt := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond} {
		for _, loss := range []float64{0, 0.01} {
			if err := measureAt(ctx, o, harness.Conditions{Delay: rtt / 2, Loss: loss, Rate: wire, Queue: o.queue}); err != nil {
				return err
			}
		}
	}
	return nil
}

func measureAt(ctx context.Context, o options, c harness.Conditions) (err error) {
	w, err := newWorld(ctx, o, &c)
	if err != nil {
		return err
	}
	defer func() { err = w.close(err) }()
	if err := w.raise(ctx); err != nil {
		return err
	}
	var all []workload
	for _, n := range []int{1, 16} {
		all = append(all, workload{fmt.Sprintf("%s/%d", down, n), load{Kind: down, Streams: n, Seconds: o.far}})
	}
	all = append(all, workload{fmt.Sprintf("%s/%d", ping, 64), load{Kind: ping, Streams: 64, Seconds: o.far}})
	return w.table(ctx, fmt.Sprintf("%v of round trip, %g %% loss, %v Mbit/s, TCP with %s", 2*c.Delay, c.Loss*100, c.Rate, o.cc), all)
}

// raise adds what is measured over distance.
func (w *world) raise(ctx context.Context) error {
	if err := w.hops(ctx); err != nil {
		return err
	}
	return w.tunnels(ctx, 0, false)
}

func measureFetch(ctx context.Context, o options) (err error) {
	c := harness.Conditions{Delay: 40 * time.Millisecond, Rate: wire, Queue: o.queue}
	const size = 50e6
	w, err := newWorld(ctx, o, &c)
	if err != nil {
		return err
	}
	defer func() { err = w.close(err) }()
	if err := w.raise(ctx); err != nil {
		return err
	}
	fmt.Printf("\n50 MB over %v of round trip and %v Mbit/s, TCP with %s\n\n", 2*c.Delay, c.Rate, o.cc)
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "way\tseconds\tof relay2\tall rounds\t")
	results := w.measure(ctx, load{Kind: fetch, Streams: 1, Seconds: 1, Bytes: size})
	for _, way := range w.ways {
		r := results[way.name]
		if r.err != nil {
			fmt.Fprintf(out, "%s\tfails: %v\t\t\t\n", way.name, r.err)
			continue
		}
		fmt.Fprintf(out, "%s\t%.2f\t%.2f\t", way.name, r.median(took)/1000, r.median(took)/results[reference].median(took))
		for _, f := range r.rounds {
			fmt.Fprintf(out, "%.2f ", f.Took.Seconds())
		}
		fmt.Fprintln(out, "\t")
	}
	return out.Flush()
}
