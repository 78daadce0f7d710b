package proxy

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicedb/sluice/proxy/dialect"
	"github.com/sluicedb/sluice/proxy/pool"
	"github.com/sluicedb/sluice/proxy/query"
	"github.com/sluicedb/sluice/proxy/results"
)

// A reading is a database's counters at one moment.
type reading struct {
	pool.Stats
	dialect.Counts
	cached results.Counts
}

// A metric is one series, or one of a label's values each, of a database.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(reading, func(v float64, labels ...string))
}

// A timing is a histogram of a database.
type timing struct {
	desc *prometheus.Desc
	read func(*database) *pool.Histogram
}

// A collector reads the proxy's counters when they are asked for; nothing is
// counted twice and nothing is looked up on the way of a query.
type collector struct {
	p       *Proxy
	clients *prometheus.Desc
	cache   map[string]*prometheus.Desc // of the process's, by what they measure
	metrics []metric
	timings []timing
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("sluice_proxy_"+name, help, labels, nil)
}

// Collectors are the proxy's metrics. Labels are names of databases, and reasons
// out of a fixed few.
func (p *Proxy) Collectors() []prometheus.Collector {
	c := &collector{p: p, clients: desc("clients", "Drivers logged in.")}
	one := func(kind prometheus.ValueType) func(string, string, func(reading) float64) {
		return func(name, help string, read func(reading) float64) {
			c.metrics = append(c.metrics, metric{desc(name, help, "database"), kind,
				func(r reading, emit func(float64, ...string)) { emit(read(r)) }})
		}
	}
	many := func(name, help, label string, read func(reading, func(float64, ...string))) {
		c.metrics = append(c.metrics, metric{desc(name, help, "database", label), prometheus.CounterValue, read})
	}
	gauge, total := one(prometheus.GaugeValue), one(prometheus.CounterValue)
	gauge("origin_connections", "Open origin connections.", func(r reading) float64 { return float64(r.Live) })
	gauge("origin_connections_idle", "Open origin connections that nobody uses.", func(r reading) float64 { return float64(r.Idle) })
	gauge("origin_connections_max", "Origin connections allowed, fewer while the origin has no room.", func(r reading) float64 { return float64(r.Max) })
	gauge("origin_connections_pinned", "Origin connections that a client keeps for itself.", func(r reading) float64 { return float64(r.Pinned) })
	gauge("origin_dials_in_flight", "Origin connections being opened.", func(r reading) float64 { return float64(r.Dialing) })
	gauge("waiting_clients", "Clients in line for an origin connection.", func(r reading) float64 { return float64(r.Waiting) })
	gauge("oldest_wait_seconds", "How long the client that has waited longest has waited.", func(r reading) float64 { return r.OldestWait.Seconds() })
	gauge("oldest_lease_seconds", "How long a client has had an origin connection, at most.", func(r reading) float64 { return r.OldestLease.Seconds() })
	total("queries_total", "Simple queries and Syncs sent to the origin.", func(r reading) float64 { return float64(r.Queries) })
	total("leases_total", "Requests for an origin connection.", func(r reading) float64 { return float64(r.Gets) })
	total("lease_waits_total", "Requests for an origin connection that had to wait.", func(r reading) float64 { return float64(r.Waits) })
	total("lease_timeouts_total", "Requests for an origin connection that timed out.", func(r reading) float64 { return float64(r.Timeouts) })
	total("origin_dial_errors_total", "Attempts to open an origin connection that failed.", func(r reading) float64 { return float64(r.DialErrors) })
	total("renewals_total", "Times that every origin connection was replaced: changed settings, failovers.", func(r reading) float64 { return float64(r.Renewals) })
	total("failovers_total", "Failovers of the origin that were noticed.", func(r reading) float64 { return float64(r.Failovers) })
	total("statements_reprepared_total", "Statements prepared again on another origin connection.", func(r reading) float64 { return float64(r.RePrepares) })
	total("parameter_sets_total", "Settings of clients put in force on an origin connection.", func(r reading) float64 { return float64(r.ParamSets) })
	total("resets_total", "Origin connections reset between clients.", func(r reading) float64 { return float64(r.Resets) })
	total("cancels_total", "Cancel requests sent to the origin.", func(r reading) float64 { return float64(r.Cancels) })
	total("abandoned_total", "Clients that left in the middle of something.", func(r reading) float64 { return float64(r.ClientsGone) })
	c.metrics = append(c.metrics, metric{
		desc("clients_pinned", "Clients that keep an origin connection for themselves, by why; one may have several reasons.", "database", "reason"),
		prometheus.GaugeValue, func(r reading, emit func(float64, ...string)) {
			for reason, n := range r.PinnedBy {
				emit(float64(n), reason)
			}
		},
	})
	many("origin_dials_total", "Attempts to open an origin connection, by what for.", "occasion", func(r reading, emit func(float64, ...string)) {
		for i, n := range r.Dials {
			emit(float64(n), pool.Occasion(i).String())
		}
	})
	many("origin_connections_closed_total", "Origin connections closed, by why.", "reason", func(r reading, emit func(float64, ...string)) {
		for i, n := range r.Retired {
			emit(float64(n), pool.Reason(i).String())
		}
	})
	many("cache_queries_total", "Queries, by what the cache made of them.", "status", func(r reading, emit func(float64, ...string)) {
		for i, n := range r.cached.Statuses {
			emit(float64(n), query.Status(i).String())
		}
	})
	many("cache_result_bytes_total", "Bytes of results that were answered from the cache (hit) and stored in it (stored).", "what", func(r reading, emit func(float64, ...string)) {
		emit(float64(r.cached.BytesHit), "hit")
		emit(float64(r.cached.BytesStored), "stored")
	})
	c.cache = map[string]*prometheus.Desc{
		"entries": desc("cache_entries", "Results in the cache."), "bytes": desc("cache_bytes", "Memory of the results in the cache."),
		"max":       desc("cache_bytes_max", "Memory that results may take."),
		"recording": desc("cache_recording_bytes", "Memory of results that are being received."),
		"pinned":    desc("cache_pinned_bytes", "Memory of large results that are being sent."),
		"suspended": desc("cache_suspended", "1 while nothing is returned or stored, because other proxies cannot be heard."),
	}
	c.timings = []timing{
		{desc("lease_wait_seconds", "How long clients waited in line for an origin connection.", "database"), func(d *database) *pool.Histogram { return d.Waits() }},
		{desc("lease_hold_seconds", "How long clients had an origin connection.", "database"), func(d *database) *pool.Histogram { return d.Holds() }},
		{desc("query_seconds", "How long the origin took to answer.", "database"), func(d *database) *pool.Histogram { return d.Took() }},
		{desc("cache_hit_age_seconds", "How long ago the results were asked for that were answered from the cache.", "database"), func(d *database) *pool.Histogram { return d.Results().Ages() }},
		{desc("cache_miss_seconds", "How long queries took whose result may be stored.", "database"), func(d *database) *pool.Histogram { return d.Results().Misses() }},
	}
	return []prometheus.Collector{c}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.clients
	for _, d := range c.cache {
		ch <- d
	}
	for _, m := range c.metrics {
		ch <- m.desc
	}
	for _, t := range c.timings {
		ch <- t.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(c.clients, prometheus.GaugeValue, float64(c.p.postgres.Clients()+c.p.mysql.Clients()))
	if c.p.cfg.CacheMemory > 0 {
		s := c.p.cache.Stats()
		suspended := 0.0
		if s.Suspended {
			suspended = 1
		}
		for name, v := range map[string]float64{"suspended": suspended, "entries": float64(s.Entries), "bytes": float64(s.Bytes), "max": float64(c.p.cfg.CacheMemory),
			"recording": float64(s.Recording), "pinned": float64(s.Pinned)} {
			ch <- prometheus.MustNewConstMetric(c.cache[name], prometheus.GaugeValue, v)
		}
	}
	for _, d := range c.p.databases() {
		r := reading{Stats: d.Stats(), Counts: d.Counts(), cached: d.Results().Counts()}
		for _, m := range c.metrics {
			m.read(r, func(v float64, labels ...string) {
				ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v, append([]string{d.Name()}, labels...)...)
			})
		}
		for _, t := range c.timings {
			h := t.read(d)
			if h == nil {
				continue
			}
			count, sum, below := h.Read()
			buckets := make(map[float64]uint64, len(below))
			for i, n := range below {
				buckets[(pool.FirstBucket << i).Seconds()] = n
			}
			ch <- prometheus.MustNewConstHistogram(t.desc, count, sum.Seconds(), buckets, d.Name())
		}
	}
}

// databases copies the running ones of the moment.
func (p *Proxy) databases() []*database {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.running))
}
