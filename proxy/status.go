package proxy

import (
	"fmt"
	"os"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/proxy/pool"
)

// Pool is how the clients of a database fare at this proxy; nil where no client
// of it has logged in yet.
func (p *Proxy) Pool(databaseID string) *control.Pool {
	p.mu.Lock()
	d := p.running[databaseID]
	p.mu.Unlock()
	if d == nil {
		return nil
	}
	s, n := d.Stats(), d.Counts()
	out := &control.Pool{
		Proxy: processName(), Clients: p.clientsOf(d),
		Max: s.Max, Open: s.Live, Idle: s.Idle, Dialing: s.Dialing, Waiting: s.Waiting,
		OldestWait: s.OldestWait.Seconds(), OldestLease: s.OldestLease.Seconds(), Pinned: n.PinnedBy,
		Queries: n.Queries, Leases: s.Gets, Waits: s.Waits, Timeouts: s.Timeouts,
		Dials: make(map[string]uint64), DialErrors: s.DialErrors, Closed: make(map[string]uint64),
		Settings: n.ParamSets, Reprepared: n.RePrepares, Resets: n.Resets, Cancels: n.Cancels, Abandoned: n.ClientsGone,
		Failovers: n.Failovers,
	}
	out.WaitP50, out.WaitP99 = spread(d.Waits())
	out.LeaseP50, out.LeaseP99 = spread(d.Holds())
	out.QueryP50, out.QueryP99 = spread(d.Took())
	for i, count := range s.Dials {
		out.Dials[pool.Occasion(i).String()] = count
	}
	for i, count := range s.Retired {
		out.Closed[pool.Reason(i).String()] = count
	}
	return out
}

// spread is a histogram's median and 99th percentile in seconds.
func spread(h *pool.Histogram) (p50, p99 float64) {
	return h.Quantile(0.5).Seconds(), h.Quantile(0.99).Seconds()
}

// clientsOf is how many clients of a database are logged in.
func (p *Proxy) clientsOf(d *database) int {
	if d.mysql != nil {
		return p.mysql.ClientsOf(d.mysql)
	}
	return p.postgres.ClientsOf(d.postgres)
}

// processName is how operators tell this process from others.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "proxy"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}
