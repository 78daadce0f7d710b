package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sluicedb/sluice/integration/harness"
)

// What pgbench 15 and later print.
var (
	tpsLine   = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)
	countLine = regexp.MustCompile(`(?m)^number of transactions actually processed: ([0-9]+)`)
)

// runPgbench loads PostgreSQL. What counts are transactions.
func runPgbench(l *lab, ctx context.Context, e entry, w workload, clients int) (s sample, err error) {
	logs := l.stage.Path("pgbench")
	out, err := l.stage.Output(ctx, harness.Command{Name: "pgbench", Path: l.pgbench, Env: e.target.Env(), Args: append([]string{"-n",
		"-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(clients, 2)), "-T", strconv.Itoa(l.seconds), "-l", "--log-prefix", logs}, w.args...)}, "")
	if err != nil {
		return s, err
	}
	for _, figure := range []struct {
		line  *regexp.Regexp
		value *float64
	}{{tpsLine, &s.rate}, {countLine, &s.count}} {
		match := figure.line.FindStringSubmatch(out)
		if match == nil {
			return s, errors.New("pgbench printed no figures")
		}
		if *figure.value, err = strconv.ParseFloat(match[1], 64); err != nil {
			return s, err
		}
	}
	s.p50, s.p95, s.p99, err = percentiles(logs)
	return s, err
}

// percentiles reads the latencies that pgbench logged for each transaction, in milliseconds, and
// removes its files.
func percentiles(prefix string) (p50, p95, p99 float64, err error) {
	files, err := filepath.Glob(prefix + ".*")
	if err != nil {
		return 0, 0, 0, err
	}
	var all []float64
	for _, name := range files {
		if all, err = latencies(name, all); err != nil {
			return 0, 0, 0, err
		}
		if err := os.Remove(name); err != nil {
			return 0, 0, 0, err
		}
	}
	if len(all) == 0 {
		return 0, 0, 0, fmt.Errorf("pgbench logged nothing")
	}
	slices.Sort(all)
	at := func(q float64) float64 { return all[int(q*float64(len(all)-1))] }
	return at(0.5), at(0.95), at(0.99), nil
}

// latencies appends those of one log: client, transaction, microseconds, and more.
func latencies(name string, to []float64) ([]float64, error) {
	f, err := os.Open(name)
	if err != nil {
		return to, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			continue
		}
		micros, err := strconv.ParseFloat(fields[2], 64)
		if err != nil {
			return to, fmt.Errorf("pgbench's log: %w", err)
		}
		to = append(to, micros/1000)
	}
	return to, lines.Err()
}

func pgbenchPath() (string, error) {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path, nil
	}
	bin, err := harness.PostgresBin()
	return filepath.Join(bin, "pgbench"), err
}
