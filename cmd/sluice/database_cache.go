package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *app) databaseCacheCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cache NAME|ID",
		Short: "Show how a database's query cache fares, over all proxies",
		Long: `Show how a database's query cache fares, over all proxies: what is in it, how many queries it answered, the statements
that it saved most time on, with ? for their constants, and why other statements were not cached. Counts are since
each proxy took the database up. Time saved is what the answers would have taken at the origin's average.`,
		Example: "  sluice database cache app\n  sluice database cache app --json",
		Args:    exactArgs("NAME"),
		RunE: a.withClient(func(ctx context.Context, c *apiclient.Client, args []string) error {
			database, err := findDatabase(ctx, c, args[0])
			if err != nil {
				return err
			}
			caches, err := c.Caches(ctx, database.ID)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(caches)
			}
			return a.printCaches(caches)
		}),
	}
}

// printCaches shows the caches of all proxies as one.
func (a *app) printCaches(caches []v4.Cache) error {
	if len(caches) == 0 {
		fmt.Fprintln(a.out, "No proxy has served the database yet.")
		return nil
	}
	sum := v4.Cache{Statuses: map[string]uint64{}}
	suspended, enabled := 0, false
	for _, c := range caches {
		sum.Entries += c.Entries
		sum.Bytes += c.Bytes
		sum.BytesMax += c.BytesMax
		sum.BytesHit += c.BytesHit
		enabled = enabled || c.Enabled && c.BytesMax > 0
		if c.Suspended {
			suspended++
		}
		for status, n := range c.Statuses {
			sum.Statuses[status] += n
		}
		sum.Top = addStatements(sum.Top, c.Top)
		sum.Reasons = addReasons(sum.Reasons, c.Reasons)
	}
	hits := sum.Statuses["hit"]
	asked := hits + sum.Statuses["miss"]
	var queries uint64
	for _, n := range sum.Statuses {
		queries += n
	}
	state := "on"
	switch {
	case !enabled:
		state = "off"
	case suspended > 0:
		state = fmt.Sprintf("on; resting at %d proxies, which cannot hear the others", suspended)
	}
	err := a.printFields([][2]string{
		{"caching", state}, {"proxies", fmt.Sprint(len(caches))},
		{"entries", fmt.Sprintf("%d, of %s; results of all databases may take %s", sum.Entries, size(sum.Bytes), size(sum.BytesMax))},
		{"hits", fmt.Sprintf("%d of %d queries that may be cached (%s), %d in all", hits, asked, percent(hits, asked), queries)},
		{"answered", size(int64(sum.BytesHit)) + " from the cache"},
		{"queries", byName(sum.Statuses)},
	})
	if err != nil {
		return err
	}
	var saved, refused [][]string
	for _, s := range sum.Top[:min(cacheRows, len(sum.Top))] {
		saved = append(saved, []string{seconds(s.Saved), fmt.Sprint(s.Hits), fmt.Sprint(s.Misses), s.Statement})
	}
	for _, r := range sum.Reasons[:min(cacheRows, len(sum.Reasons))] {
		refused = append(refused, []string{fmt.Sprint(r.Statements), r.Reason})
	}
	if err := a.printMore([]string{"SAVED", "HITS", "MISSES", "STATEMENT"}, saved); err != nil {
		return err
	}
	return a.printMore([]string{"NOT CACHED", "BECAUSE"}, refused)
}

// printMore prints a table below what was printed before, if it has rows.
func (a *app) printMore(head []string, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	return a.printTable(head, rows)
}

// cacheRows is how many statements and reasons are shown: a screenful.
const cacheRows = 10

func addStatements(sum, more []v4.CachedStatement) []v4.CachedStatement {
	return gather(sum, more,
		func(s v4.CachedStatement) string { return s.Statement },
		func(s *v4.CachedStatement, o v4.CachedStatement) {
			s.Hits += o.Hits
			s.Misses += o.Misses
			s.Saved += o.Saved
		},
		func(a, b v4.CachedStatement) int { return cmp.Compare(b.Saved, a.Saved) })
}

func addReasons(sum, more []v4.CacheRefusal) []v4.CacheRefusal {
	return gather(sum, more,
		func(r v4.CacheRefusal) string { return r.Reason },
		func(r *v4.CacheRefusal, o v4.CacheRefusal) { r.Statements += o.Statements },
		func(a, b v4.CacheRefusal) int { return cmp.Compare(b.Statements, a.Statements) })
}

// gather adds more to sum, to the row of the same name where there is one, and sorts.
func gather[T any](sum, more []T, name func(T) string, add func(*T, T), compare func(a, b T) int) []T {
	for _, m := range more {
		if i := slices.IndexFunc(sum, func(s T) bool { return name(s) == name(m) }); i >= 0 {
			add(&sum[i], m)
		} else {
			sum = append(sum, m)
		}
	}
	slices.SortStableFunc(sum, compare)
	return sum
}

func percent(part, of uint64) string {
	if of == 0 {
		return "none yet"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(of))
}

// size is a number of bytes with as many digits as anybody reads.
func size(n int64) string {
	const kib = 1 << 10
	switch f := float64(n); {
	case n < kib:
		return fmt.Sprintf("%d B", n)
	case n < kib*kib:
		return fmt.Sprintf("%.1f KiB", f/kib)
	case n < kib*kib*kib:
		return fmt.Sprintf("%.1f MiB", f/kib/kib)
	default:
		return fmt.Sprintf("%.1f GiB", f/kib/kib/kib)
	}
}
