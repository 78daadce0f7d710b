package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

// asked numbers the questions of misses: no two are the same.
var asked atomic.Int64

// digits is how long a number in a question is.
const digits = 10

// varying makes an asker ask for another row each time: by a parameter, or by a text that nobody has asked before.
func varying(a *asker, byParameter bool) {
	number := fmt.Sprintf("%0*d", digits, 0)
	if byParameter {
		a.ask = extended(fmt.Sprintf("SELECT body FROM bodies WHERE id = $1::bigint %% %d", rows), number)
	} else {
		a.ask = pgwire.AppendQuery(nil, fmt.Sprintf("SELECT body FROM bodies WHERE id = %s::bigint %% %d", number, rows))
	}
	at := bytes.Index(a.ask, []byte(number))
	a.vary = func() {
		n := asked.Add(1)
		for i := digits - 1; i >= 0; i-- {
			a.ask[at+i] = byte('0' + n%10)
			n /= 10
		}
	}
}

// varied opens connections to a database of the proxy, each of which asks for another row each time.
func varied(ctx context.Context, w way, byParameter bool, clients int) ([]asker, func(), error) {
	q := question{size: smallBody, extended: true}
	askers, done, err := open(ctx, w, q, clients)
	if err != nil {
		return nil, nil, err
	}
	for i := range askers {
		varying(&askers[i], byParameter)
		askers[i].vary()
		if askers[i].reply, err = w.answerSize(askers[i].conn, q, askers[i].ask); err != nil {
			done()
			return nil, nil, err
		}
	}
	return askers, done, nil
}

// misses compares the proxy's two databases.
func (l *lab) misses(ctx context.Context) error {
	own := l.ways[len(l.ways)-1]
	fmt.Println("\nmisses, of 200 bytes; the same with caching disabled")
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "connections\tquestion\tmisses/s\tdisabled\tof disabled\tp50\tdisabled\tp99\tdisabled\tproxy's CPU\tdisabled\t")
	for _, byParameter := range []bool{true, false} {
		kind := "known text, extended"
		if !byParameter {
			kind = "new text, simple"
		}
		for _, clients := range l.clients {
			var samples [2][]sample
			var spent [2]spending
			var all [2][]asker
			for i, w := range []way{own, l.plain} {
				askers, done, err := varied(ctx, w, byParameter, clients)
				if err != nil {
					return err
				}
				defer done()
				all[i] = askers
			}
			for range l.rounds {
				for i := range all {
					s, err := l.spend(ctx, &spent[i], all[i])
					if err != nil {
						return err
					}
					samples[i] = append(samples[i], s)
				}
			}
			on, off := median(samples[0]), median(samples[1])
			fmt.Fprintf(out, "%d\t%s\t%.0f\t%.0f\t%.2f\t%v\t%v\t%v\t%v\t%v\t%v\t\n", clients, kind, on.rate, off.rate, on.rate/off.rate,
				on.p50.Round(time.Microsecond), off.p50.Round(time.Microsecond), on.p99.Round(time.Microsecond), off.p99.Round(time.Microsecond), spent[0].each(), spent[1].each())
			if l.profile != "" {
				name := fmt.Sprintf("%s/miss-%t-%d.pprof", l.profile, byParameter, clients)
				if err := l.profileRound(ctx, all[0], name); err != nil {
					return err
				}
			}
		}
	}
	return out.Flush()
}

// memory measures what entries cost the proxy, keys included.
func (l *lab) memory(ctx context.Context) error {
	own := l.ways[len(l.ways)-1]
	askers, done, err := varied(ctx, own, true, 1)
	if err != nil {
		return err
	}
	defer done()
	before, err := l.heap(ctx)
	if err != nil {
		return err
	}
	a := &askers[0]
	reply := make([]byte, a.reply)
	_ = a.conn.SetDeadline(time.Now().Add(10 * time.Minute))
	for range l.entries {
		a.vary()
		if _, err := a.conn.Write(a.ask); err != nil {
			return err
		}
		if _, err := io.ReadFull(a.conn, reply); err != nil {
			return err
		}
	}
	after, err := l.heap(ctx)
	if err != nil {
		return err
	}
	each := (after - before) / float64(l.entries)
	fmt.Printf("\nmemory: %d entries cost %.0f bytes each of the proxy's heap, %d beyond the answer; the rest is the key and what the store needs\n", l.entries, each, int(each)-a.reply)
	return nil
}

// heap is the size of what is alive in the proxy, in bytes.
func (l *lab) heap(ctx context.Context) (float64, error) {
	if _, err := l.fetch(ctx, "/debug/pprof/heap?gc=1"); err != nil {
		return 0, err
	}
	return l.figure(ctx, "go_memstats_heap_alloc_bytes")
}

// A spending is the processor time that the proxy took for answers, which other work on
// the machine moves less than it does rates.
type spending struct{ seconds, answers float64 }

func (s *spending) each() time.Duration {
	return time.Duration(s.seconds / s.answers * float64(time.Second)).Round(100 * time.Nanosecond)
}

// spend is round, and adds what it took of the proxy's processor time.
func (l *lab) spend(ctx context.Context, to *spending, askers []asker) (sample, error) {
	const name = "process_cpu_seconds_total"
	before, err := l.figure(ctx, name)
	if err != nil {
		return sample{}, err
	}
	s, err := round(askers, l.length)
	if err != nil {
		return sample{}, err
	}
	after, err := l.figure(ctx, name)
	to.seconds += after - before
	to.answers += s.answers
	return s, err
}

// figure is one of the proxy's own.
func (l *lab) figure(ctx context.Context, name string) (float64, error) {
	b, err := l.fetch(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(text, 64)
		}
	}
	return 0, fmt.Errorf("no %s among the figures", name)
}

// fetch returns what the proxy's second listener has.
func (l *lab) fetch(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.metrics+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// profileRound runs one more round while the proxy profiles itself, into a file.
func (l *lab) profileRound(ctx context.Context, askers []asker, file string) error {
	const length = 2 * time.Second // 200 samples of each core
	type profile struct {
		b   []byte
		err error
	}
	got := make(chan profile, 1)
	go func() {
		b, err := l.fetch(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", length/time.Second))
		got <- profile{b, err}
	}()
	_, err := round(askers, length)
	p := <-got
	if err := errors.Join(err, p.err); err != nil {
		return err
	}
	return os.WriteFile(file, p.b, 0o644)
}
