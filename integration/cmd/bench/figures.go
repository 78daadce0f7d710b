package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

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

// allocs is how many allocations the entry's server has made; 0 where that is not known.
func (e entry) allocs(ctx context.Context) float64 {
	if e.server == nil {
		return 0
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.server.Metrics, nil)
	if err != nil {
		return 0
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "go_memstats_mallocs_total "); ok {
			n, err := strconv.ParseFloat(text, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}

func (e entry) count(allocs float64) string {
	if e.server == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f", allocs)
}
