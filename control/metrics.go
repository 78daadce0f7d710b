package control

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what control tells Prometheus. Labels are bounded: results only.
type metrics struct {
	commits      *prometheus.HistogramVec // by result
	conflicts    prometheus.Counter
	auditWritten prometheus.Counter
	auditDropped prometheus.Counter
	state        []prometheus.Collector
}

func newMetrics(c *Control) *metrics {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "sluice", Subsystem: "control", Name: name, Help: help}, value)
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "sluice", Subsystem: "control", Name: name, Help: help})
	}
	return &metrics{
		commits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "sluice", Subsystem: "control", Name: "change_seconds",
			Help:    "Time of a change of the desired state, retries included.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1, 5, 20},
		}, []string{"result"}),
		conflicts:    counter("conflicts_total", "Changes that were tried again because others were quicker."),
		auditWritten: counter("audit_records_total", "Audit records written."),
		auditDropped: counter("audit_dropped_total", "Audit records lost: the queue was full or the store away."),
		state: []prometheus.Collector{
			gauge("ready", "1 while the store is connected and watched.", func() float64 {
				if c.store == nil || c.Ready() != nil {
					return 0
				}
				return 1
			}),
			gauge("revision", "Revision of the snapshot.", func() float64 { return float64(c.Snapshot().revision) }),
			gauge("tunnels", "Tunnels in the snapshot.", func() float64 { return float64(c.Snapshot().tunnels.size) }),
			gauge("databases", "Databases in the snapshot.", func() float64 { return float64(c.Snapshot().databases.size) }),
			gauge("service_tokens", "Service tokens in the snapshot.", func() float64 { return float64(c.Snapshot().serviceTokens.size) }),
		},
	}
}

// commit records one change.
func (m *metrics) commit(took time.Duration, err error) {
	var invalid *ValidationError
	result := "error"
	switch {
	case err == nil:
		result = "ok"
	case errors.Is(err, ErrConflict):
		result = "conflict"
	case errors.Is(err, ErrUnavailable):
		result = "unavailable"
	case errors.As(err, &invalid), errors.Is(err, ErrNotFound), errors.Is(err, ErrExists):
		result = "refused"
	}
	m.commits.WithLabelValues(result).Observe(took.Seconds())
}

// Collectors returns this component's Prometheus collectors, to be registered
// once.
func (c *Control) Collectors() []prometheus.Collector {
	return append([]prometheus.Collector{c.metrics.commits, c.metrics.conflicts, c.metrics.auditWritten, c.metrics.auditDropped}, c.metrics.state...)
}
