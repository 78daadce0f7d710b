package proxy

import (
	"context"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/proxy/query"
)

// cacheLists is how many statements and reasons Cache tells of: a screenful.
const cacheLists = 10

// Cache is how a database's cache fares at this proxy; nil where no client of it
// has logged in yet.
func (p *Proxy) Cache(databaseID string) *control.CacheState {
	known := p.results(databaseID)
	if known == nil {
		return nil
	}
	r := known.Report(cacheLists)
	state := &control.CacheState{
		Proxy: processName(), Enabled: r.Policy.MaxAge > 0, Entries: r.Entries, Bytes: r.Bytes, BytesMax: p.cfg.CacheMemory, BytesHit: r.BytesHit,
		Statuses: make(map[string]uint64), Top: []control.CachedStatement{}, Reasons: []control.CacheRefusal{},
	}
	if p.cfg.CacheMemory > 0 {
		state.Suspended = p.cache.Stats().Suspended
	}
	for i, n := range r.Statuses {
		state.Statuses[query.Status(i).String()] = n
	}
	for _, s := range r.Top {
		state.Top = append(state.Top, control.CachedStatement{Statement: s.Shape, Hits: s.Hits, Misses: s.Misses, Saved: s.Saved.Seconds()})
	}
	for _, why := range r.Reasons {
		state.Reasons = append(state.Reasons, control.CacheRefusal(why))
	}
	return state
}

// Explain says what the cache would make of a statement; nil where there is no such
// database. It takes the database up, and blocks until its catalog is known or ctx ends.
func (p *Proxy) Explain(ctx context.Context, databaseID, sql string) *control.Explanation {
	of, ok := p.cfg.Source.Snapshot().DatabaseByID(databaseID)
	if !ok {
		return nil
	}
	d := p.take(of, func(string) bool { return true }) // not by its name, which is another database's in another account
	if d == nil {
		return &control.Explanation{Status: query.StatusDisabled.String(), Reason: "the database cannot be served: see the proxy's log"}
	}
	e := d.Results().Explain(ctx, sql)
	return &control.Explanation{Status: e.Status.String(), Reason: e.Reason, MaxAge: int(e.Policy.MaxAge.Seconds()),
		StaleWhileRevalidate: int(e.Policy.Stale.Seconds()), Day: e.Day, Reads: e.Reads, Writes: e.Writes}
}
