package results

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/pool"
	"github.com/sluicedb/sluice/proxy/query"
)

// Counts are totals of what the cache made of a database's queries.
type Counts struct {
	Statuses    [query.Statuses]uint64
	BytesHit    uint64 // of results that were returned from the cache
	BytesStored uint64
}

// Counts reads the totals; those of nil are zero.
func (r *Results) Counts() (n Counts) {
	if r == nil {
		return n
	}
	for i := range n.Statuses {
		n.Statuses[i] = r.counts[i].Load()
	}
	for i := range r.hits {
		n.Statuses[query.StatusHit] += r.hits[i].hits.Load()
		n.BytesHit += r.hits[i].bytes.Load()
	}
	n.BytesStored = r.Stored.Load()
	return n
}

// Ages are how old the results were that hits returned; nil of nil.
func (r *Results) Ages() *pool.Histogram {
	if r == nil {
		return nil
	}
	return &r.ages
}

// Misses are how long misses took; nil of nil.
func (r *Results) Misses() *pool.Histogram {
	if r == nil {
		return nil
	}
	return &r.Took
}

// A Report says how a database's cache fares.
type Report struct {
	Counts
	Policy  cache.Policy // MaxAge 0: caching is off
	Entries int
	Bytes   int64
	Top     []query.Ranked
	Reasons []query.Refusals
}

// Report reads it, with at most n of each list.
func (r *Results) Report(n int) Report {
	if r == nil || r.cfg.Nothing {
		return Report{}
	}
	report := Report{Counts: r.Counts(), Policy: r.Space.Policy()}
	report.Entries, report.Bytes = r.Space.Size()
	report.Top, report.Reasons = r.Statements.Top(n)
	for why, words := range r.cfg.Missed {
		if count := r.missed[why].Load(); count > 0 {
			report.Reasons = append(report.Reasons, query.Refusals{Reason: words, Statements: count})
		}
	}
	slices.SortFunc(report.Reasons, func(a, b query.Refusals) int { return cmp.Compare(b.Statements, a.Statements) })
	report.Reasons = report.Reasons[:min(n, len(report.Reasons))]
	return report
}

// An Explanation says what the cache would make of a statement that is sent by
// itself, outside a transaction.
type Explanation struct {
	Policy cache.Policy
	Status query.Status // StatusMiss: it would be stored, if its parameters allow it
	Reason string
	Day    bool     // its result also depends on the date
	Reads  []string // tables whose rows make its result
	Writes []string // tables that it may change; "any" for any
}

const (
	// explainTick is how often Explain looks whether the catalog is known.
	explainTick = 10 * time.Millisecond
	// explainWait is how long it waits for it: a login and some queries.
	explainWait = 5 * time.Second
)

// Explain says what the cache would make of a statement. It waits until the catalog
// is known, where that matters, or ctx ends.
func (r *Results) Explain(ctx context.Context, text string) Explanation {
	if !r.Answers() {
		return Explanation{Status: query.StatusDisabled, Reason: "caching is off for this database, or for all of the proxy"}
	}
	ctx, cancel := context.WithTimeout(ctx, explainWait)
	defer cancel()
	if r.cfg.Unknown.Decided(text) {
		cancel()
	}
	t := time.NewTicker(explainTick)
	defer t.Stop()
	for !r.Ready() && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	v := r.Statements.Judge([]byte(strings.TrimSpace(text)))
	e := Explanation{Policy: r.Space.Policy(), Status: v.Status, Reason: v.Reason, Day: v.Day, Reads: r.Statements.Tables(v.Tables)}
	if e.Status == query.StatusMiss && !r.isKnown() {
		e.Status, e.Reason = query.StatusUncacheable, r.cfg.Missed[r.cfg.MissedCatalog]
	}
	if e.Writes = r.Statements.Tables(v.Effect.Tables); v.Effect.All {
		e.Writes = []string{"any"}
	}
	return e
}
