package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The bounds of the listener for metrics and probes: a scrape takes milliseconds, and scrapers give up after ten seconds.
const (
	metricsHeaderTimeout = 5 * time.Second
	metricsWriteTimeout  = 15 * time.Second
	metricsIdleTimeout   = 2 * time.Minute
	metricsDrainTimeout  = time.Second
)

// isReady is nil when the store answers and every role takes work.
func (n *node) isReady() error {
	errs := []error{n.control.Ready()}
	for _, ready := range n.ready {
		errs = append(errs, ready())
	}
	return errors.Join(errs...)
}

// addMetrics serves /metrics, /healthz (the process answers) and /ready (the store does, and no role drains) on a listener of its own, without TLS:
// it is meant for this machine.
func (n *node) addMetrics(ln net.Listener) {
	if ln == nil {
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.registry, promhttp.HandlerOpts{Timeout: metricsWriteTimeout}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) { answer(w, n.isReady()) })
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: metricsHeaderTimeout, ReadTimeout: metricsHeaderTimeout,
		WriteTimeout: metricsWriteTimeout, IdleTimeout: metricsIdleTimeout,
		ErrorLog: slog.NewLogLogger(n.logger.Handler(), slog.LevelDebug),
	}
	n.roles = append(n.roles, role{name: "metrics", run: func(ctx context.Context) error { return serveUntil(ctx, server, ln) }})
}

// listenMetrics opens the listener, or none when the flag is off.
func (n *node) listenMetrics(ctx context.Context) (net.Listener, error) {
	return n.listenUnlessOff(ctx, "metrics-listen", n.flags.metricsListen)
}

// listenUnlessOff opens a listener, or none where its flag says off.
func (n *node) listenUnlessOff(ctx context.Context, flag, address string) (net.Listener, error) {
	if address == "off" || address == "" {
		return nil, nil
	}
	return n.listen(ctx, flag, address)
}

func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(err.Error() + "\n"))
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// serveUntil serves until ctx ends.
func serveUntil(ctx context.Context, server *http.Server, ln net.Listener) error {
	drained := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		// A fresh context, since ctx has ended: a scrape in flight may finish.
		grace, cancel := context.WithTimeout(context.Background(), metricsDrainTimeout)
		defer cancel()
		drained <- errors.Join(server.Shutdown(grace), server.Close())
	})
	err := server.Serve(ln)
	if stop() {
		return err
	}
	if err := <-drained; !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
