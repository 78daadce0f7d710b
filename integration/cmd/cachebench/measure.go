package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

// sample is one round's figures.
type sample struct {
	answers  float64
	rate     float64       // of them a second
	p50, p99 time.Duration // of one answer
}

// An asker is one connection and what is asked on it.
type asker struct {
	conn  net.Conn
	ask   []byte
	reply int    // bytes
	vary  func() // changes ask before it is sent, nil leaves it
}

// open opens connections to a way and asks once on each.
func open(ctx context.Context, w way, q question, clients int) ([]asker, func(), error) {
	var askers []asker
	done := func() {
		for _, a := range askers {
			a.conn.Close()
		}
	}
	for range clients {
		conn, ask, err := w.open(ctx, q)
		if err != nil {
			done()
			return nil, nil, err
		}
		askers = append(askers, asker{conn: conn, ask: ask})
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		if askers[len(askers)-1].reply, err = w.answerSize(conn, q, ask); err != nil {
			done()
			return nil, nil, fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return askers, done, nil
}

// round asks on all connections for a while, each when it has its answer.
func round(askers []asker, length time.Duration) (sample, error) {
	took := make([][]time.Duration, len(askers))
	errs := make([]error, len(askers))
	began := time.Now()
	deadline := began.Add(length)
	var all sync.WaitGroup
	for i := range askers {
		all.Go(func() { took[i], errs[i] = askers[i].run(deadline) })
	}
	all.Wait()
	spent := time.Since(began)
	every := slices.Concat(took...)
	if err := errors.Join(errs...); err != nil || len(every) == 0 {
		return sample{}, errors.Join(err, errors.New("a connection failed, or nothing was answered"))
	}
	slices.Sort(every)
	at := func(q float64) time.Duration { return every[int(q*float64(len(every)-1))] }
	return sample{float64(len(every)), float64(len(every)) / spent.Seconds(), at(0.5), at(0.99)}, nil
}

func (a *asker) run(deadline time.Time) ([]time.Duration, error) {
	reply := make([]byte, a.reply)
	took := make([]time.Duration, 0, 1<<14)
	_ = a.conn.SetDeadline(deadline.Add(10 * time.Second)) // an answer that takes longer is a failure
	for now := time.Now(); now.Before(deadline); {
		if a.vary != nil {
			a.vary()
		}
		if _, err := a.conn.Write(a.ask); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(a.conn, reply); err != nil {
			return nil, err
		}
		next := time.Now()
		took = append(took, next.Sub(now))
		now = next
	}
	return took, nil
}

const hitsHeading = "connections\tway\thits/s\tof echo\tp50\tp99\tSluice is\t"

// hits measures all ways.
func (l *lab) hits(ctx context.Context) error {
	for _, size := range []int{smallBody, largeBody} {
		for _, extended := range []bool{false, true} {
			q := question{size: size, extended: extended}
			if err := l.replySize(ctx, &q); err != nil {
				return err
			}
			fmt.Printf("\n%v: %d bytes of question, %d of answer\n", q, len(q.query()), q.reply)
			out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
			fmt.Fprintln(out, hitsHeading)
			for _, clients := range l.clients {
				if err := l.compare(ctx, out, q, clients); err != nil {
					return err
				}
			}
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// replySize finds out how long the proxy's answer is, and waits until it is a hit.
func (l *lab) replySize(ctx context.Context, q *question) error {
	askers, done, err := open(ctx, l.ways[len(l.ways)-1], *q, 1)
	if err != nil {
		return err
	}
	defer done()
	q.reply = askers[0].reply
	_, err = round(askers, 2*time.Second) // the proxy reads the catalog meanwhile
	return err
}

// compare measures all ways with a number of connections, by turns.
func (l *lab) compare(ctx context.Context, out io.Writer, q question, clients int) error {
	all := make([][]asker, len(l.ways))
	samples := make([][]sample, len(l.ways))
	for i, w := range l.ways {
		var done func()
		var err error
		if all[i], done, err = open(ctx, w, q, clients); err != nil {
			return err
		}
		defer done()
	}
	for range l.rounds {
		for i, w := range l.ways {
			s, err := round(all[i], l.length)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			samples[i] = append(samples[i], s)
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	own := median(samples[len(samples)-1])
	echo := own
	for i, w := range l.ways {
		m := median(samples[i])
		if w.name == "echo" {
			echo = m
		}
		fmt.Fprintf(out, "%d\t%s\t%.0f\t%.2f\t%v\t%v\t%.2f x\t\n", clients, w.name, m.rate, m.rate/echo.rate, m.p50.Round(100*time.Nanosecond),
			m.p99.Round(time.Microsecond), own.rate/m.rate)
	}
	if l.profile == "" {
		return nil
	}
	kind := "simple"
	if q.extended {
		kind = "extended"
	}
	if q.mysql {
		kind = "mysql-" + kind
	}
	return l.profileRound(ctx, all[len(all)-1], filepath.Join(l.profile, fmt.Sprintf("%s-%d-%d.pprof", kind, q.size, clients)))
}

// median takes that of each figure by itself.
func median(samples []sample) sample {
	at := func(figure func(sample) float64) float64 {
		values := make([]float64, len(samples))
		for i, s := range samples {
			values[i] = figure(s)
		}
		slices.Sort(values)
		return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
	}
	return sample{
		rate: at(func(s sample) float64 { return s.rate }),
		p50:  time.Duration(at(func(s sample) float64 { return float64(s.p50) })),
		p99:  time.Duration(at(func(s sample) float64 { return float64(s.p99) })),
	}
}
