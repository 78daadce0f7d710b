package connector

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are this component's. Their labels are slot numbers, carriers and refusal codes: bounded sets.
type metrics struct {
	registrations *prometheus.CounterVec // result
	opens         *prometheus.CounterVec // result
	openSeconds   prometheus.Histogram
	streams       prometheus.Gauge
	bytes         *prometheus.CounterVec // direction
	config        prometheus.Gauge
}

func newMetrics() metrics {
	return metrics{
		registrations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_connector_registrations_total", Help: "Attempts to register a slot, by result.",
		}, []string{"result"}),
		opens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_connector_opens_total", Help: "Streams that a relay asked for, by result.",
		}, []string{"result"}),
		openSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_connector_origin_connect_seconds", Help: "Time to connect to an origin.",
			// From a unix socket to the connect timeout.
			Buckets: []float64{.0001, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sluice_connector_streams", Help: "Streams that are joined to an origin now.",
		}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_connector_stream_bytes_total", Help: "Bytes of streams that have ended, by direction (to_origin, from_origin).",
		}, []string{"direction"}),
		config: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sluice_connector_config_version", Help: "Version of the ingress in force; 0 before the first.",
		}),
	}
}

// Collectors returns this component's Prometheus collectors.
func (c *Connector) Collectors() []prometheus.Collector {
	m := c.metrics
	return []prometheus.Collector{slotCollector{c}, m.registrations, m.opens, m.openSeconds, m.streams, m.bytes, m.config}
}
