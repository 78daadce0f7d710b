package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

// measureCalls counts the system calls of each pooler, by strace. That makes it slower, so that
// it waits less often for something to do than it would: what remains are the calls that a
// transaction takes.
func (l *lab) measureCalls(ctx context.Context) error {
	fmt.Printf("\nsystem calls for each row by its key, prepared statements, counted by strace\n")
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "clients\tway\treads\twrites\tpolls\tfutexes\tothers\tall\t")
	var failures []string
	for _, clients := range l.clients {
		for _, e := range l.on(plaintext) {
			if e.cpu == nil || e.tunnel != nil {
				continue
			}
			n, err := l.countCalls(ctx, e, clients)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				failures = append(failures, fmt.Sprintf("%s with %d clients: %s", e.name, clients, reason(err)))
				continue
			}
			fmt.Fprintf(out, "%d\t%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n", clients, e.name, n["read"], n["write"], n["poll"], n["futex"], n["other"], n["all"])
		}
	}
	err := out.Flush()
	for _, failure := range failures {
		fmt.Printf("  %s\n", failure)
	}
	return err
}

// callKinds sorts the system calls that poolers make most.
var callKinds = map[string]string{
	"read": "read", "recvfrom": "read", "recvmsg": "read", "readv": "read",
	"write": "write", "sendto": "write", "sendmsg": "write", "writev": "write",
	"epoll_wait": "poll", "epoll_pwait": "poll", "epoll_ctl": "poll", "poll": "poll", "ppoll": "poll",
	"futex": "futex",
}

// countCalls counts them by kind in one round.
func (l *lab) countCalls(ctx context.Context, e entry, clients int) (map[string]float64, error) {
	counts := l.stage.Path("strace.out")
	strace, err := l.stage.Start(harness.Command{Name: "strace", Path: "strace", Stop: syscall.SIGINT,
		Args: []string{"-f", "-c", "-U", "name,calls", "-o", counts, "-p", strconv.Itoa(e.cpu.PID())}})
	if err != nil {
		return nil, err
	}
	attached := func(context.Context) error {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.cpu.PID()))
		if err == nil && strings.Contains(string(status), "TracerPid:\t0\n") {
			err = errors.New("strace is not attached")
		}
		return err
	}
	if err := strace.WaitFor(ctx, "system calls", attached); err != nil {
		return nil, err
	}
	s, err := l.round(ctx, e, l.calls, clients)
	if err := errors.Join(err, strace.Stop(10*time.Second)); err != nil {
		return nil, err
	}
	return readCalls(counts, s.count)
}

// readCalls reads strace's table: a name and a number in each line.
func readCalls(name string, transactions float64) (map[string]float64, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	kinds := map[string]float64{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 || fields[0] == "total" {
			continue
		}
		n, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			continue // a heading
		}
		kind := callKinds[fields[0]]
		if kind == "" {
			kind = "other"
		}
		kinds[kind] += n / transactions
		kinds["all"] += n / transactions
	}
	return kinds, lines.Err()
}
