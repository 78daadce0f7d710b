package proxy

import (
	"github.com/prometheus/client_golang/prometheus"
)

// A collector reads the proxy's counters when they are asked for; nothing is
// counted twice and nothing is looked up on the way of a query.
type collector struct {
	p       *Proxy
	clients *prometheus.Desc
	gauges  map[string]*prometheus.Desc
	totals  map[string]*prometheus.Desc
}

// Collectors are the proxy's metrics. Labels are names of databases.
func (p *Proxy) Collectors() []prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("sluice_proxy_"+name, help, labels, nil)
	}
	return []prometheus.Collector{&collector{
		p:       p,
		clients: desc("clients", "Drivers logged in."),
		gauges: map[string]*prometheus.Desc{
			"live":    desc("origin_connections", "Open origin connections.", "database"),
			"idle":    desc("origin_connections_idle", "Open origin connections that nobody uses.", "database"),
			"dialing": desc("origin_dials_in_flight", "Origin connections being opened.", "database"),
			"waiting": desc("waiting_clients", "Clients in line for an origin connection.", "database"),
			"oldest":  desc("oldest_wait_seconds", "How long the head of the line has waited.", "database"),
		},
		totals: map[string]*prometheus.Desc{
			"queries":    desc("queries_total", "Simple queries and Syncs sent to the origin.", "database"),
			"leases":     desc("leases_total", "Requests for an origin connection.", "database"),
			"waits":      desc("lease_waits_total", "Requests for an origin connection that had to wait.", "database"),
			"timeouts":   desc("lease_timeouts_total", "Requests for an origin connection that timed out.", "database"),
			"dials":      desc("origin_dials_total", "Attempts to open an origin connection.", "database"),
			"dialErrors": desc("origin_dial_errors_total", "Attempts to open an origin connection that failed.", "database"),
			"retired":    desc("origin_connections_retired_total", "Origin connections closed.", "database"),
			"rePrepares": desc("statements_reprepared_total", "Statements prepared again on another origin connection.", "database"),
			"paramSets":  desc("parameter_sets_total", "Start-up parameters put in force on an origin connection.", "database"),
			"resets":     desc("resets_total", "Origin connections reset between clients.", "database"),
			"cancels":    desc("cancels_total", "Cancel requests sent to the origin.", "database"),
			"abandoned":  desc("clients_abandoned_total", "Clients that left in the middle of something.", "database"),
		},
	}}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.clients
	for _, d := range c.gauges {
		ch <- d
	}
	for _, d := range c.totals {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(c.clients, prometheus.GaugeValue, float64(c.p.server.Clients()))
	for _, d := range c.p.databases() {
		s, n := d.Stats(), d.Counts()
		for name, v := range map[string]float64{
			"live": float64(s.Live), "idle": float64(s.Idle), "dialing": float64(s.Dialing), "waiting": float64(s.Waiting),
			"oldest": s.OldestWait.Seconds(),
		} {
			ch <- prometheus.MustNewConstMetric(c.gauges[name], prometheus.GaugeValue, v, d.Name())
		}
		for name, v := range map[string]uint64{
			"queries": n.Queries, "leases": s.Gets, "waits": s.Waits, "timeouts": s.Timeouts, "dials": s.Dials, "dialErrors": s.DialErrors,
			"retired": s.Retired, "rePrepares": n.RePrepares, "paramSets": n.ParamSets, "resets": n.Resets, "cancels": n.Cancels,
			"abandoned": n.ClientsGone,
		} {
			ch <- prometheus.MustNewConstMetric(c.totals[name], prometheus.CounterValue, float64(v), d.Name())
		}
	}
}
