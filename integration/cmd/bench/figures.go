package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// allocs is how many allocations the entry's server has made; 0 where that is not known.
func (e entry) allocs(ctx context.Context) float64 {
	if e.metrics == "" {
		return 0
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.metrics, nil)
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
	if e.metrics == "" {
		return "-"
	}
	return fmt.Sprintf("%.2f", allocs)
}
