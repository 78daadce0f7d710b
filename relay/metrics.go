package relay

import "github.com/prometheus/client_golang/prometheus"

// metrics are this component's. Their labels are roles, carriers, outcomes and codes: bounded sets.
type metrics struct {
	hellos      *prometheus.CounterVec // role, carrier, result
	sessions    *prometheus.GaugeVec   // role, carrier
	decisions   *prometheus.CounterVec // outcome
	opens       *prometheus.CounterVec // result
	openSeconds prometheus.Histogram
	retries     prometheus.Counter
	forwards    prometheus.Counter
	cuts        *prometheus.CounterVec // code
	unrecorded  prometheus.Counter
	bytes       *prometheus.CounterVec // direction
	streams     prometheus.GaugeFunc
	generic     prometheus.GaugeFunc
	stalled     prometheus.GaugeFunc
	draining    prometheus.GaugeFunc
}

func newMetrics(r *Relay) metrics {
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, value func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return metrics{
		hellos: counters("sluice_relay_hellos_total", "Peers that introduced themselves, by role, carrier and result.", "role", "carrier", "result"),
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sluice_relay_sessions", Help: "Sessions that are up, by role and carrier.",
		}, []string{"role", "carrier"}),
		decisions: counters("sluice_relay_decisions_total", "Access decisions, by outcome.", "outcome"),
		opens:     counters("sluice_relay_opens_total", "Streams that were asked for, by result.", "result"),
		openSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_relay_open_seconds", Help: "Time from the request for a stream to the origin's acceptance.",
			// From a loopback round trip to the open timeout.
			Buckets: []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15},
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_relay_open_retries_total", Help: "Opens that were tried on another session, after a failure or silence.",
		}),
		forwards: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_relay_forwards_total", Help: "Opens that another relay was asked for, which holds a session of the tunnel.",
		}),
		unrecorded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_relay_audit_suppressed_total", Help: "Failed authentications beyond what the audit log takes of them.",
		}),
		cuts:  counters("sluice_relay_cuts_total", "Live streams that the relay reset, by code.", "code"),
		bytes: counters("sluice_relay_stream_bytes_total", "Bytes of streams that have ended, by direction.", "direction"),
		streams: gauge("sluice_relay_streams", "Streams that are live.", func() float64 {
			return float64(r.live.len())
		}),
		generic: gauge("sluice_relay_generic_connections", "Connections of generic WebSocket clients.", func() float64 {
			return float64(r.generic.Load())
		}),
		stalled: gauge("sluice_relay_stalled_bytes", "Most that may wait in the relay for readers that stall.", func() float64 {
			return float64(r.stalls.bytes())
		}),
		draining: gauge("sluice_relay_draining", "1 while the relay shuts down.", func() float64 {
			if r.draining.Load() {
				return 1
			}
			return 0
		}),
	}
}

// Collectors returns this component's Prometheus collectors.
func (r *Relay) Collectors() []prometheus.Collector {
	m := r.metrics
	return []prometheus.Collector{
		m.hellos, m.sessions, m.decisions, m.opens, m.openSeconds, m.retries, m.forwards, m.cuts, m.unrecorded, m.bytes, m.streams, m.generic, m.stalled, m.draining,
	}
}
