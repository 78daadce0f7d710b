package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// profileRound runs one more round of a workload while the proxy profiles itself.
func (l *lab) profileRound(ctx context.Context, e entry, w workload, clients int) error {
	file := filepath.Join(l.profile, fmt.Sprintf("%s-%d.pprof", w.name, clients))
	url := strings.TrimSuffix(e.metrics, "/metrics") + fmt.Sprintf("/debug/pprof/profile?seconds=%d", l.seconds)
	profiled := make(chan error, 1)
	go func() { profiled <- fetch(ctx, url, file) }()
	_, err := l.round(ctx, e, w, clients)
	return errors.Join(err, <-profiled)
}

// fetch writes what is at the URL to a file.
func fetch(ctx context.Context, url, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}
