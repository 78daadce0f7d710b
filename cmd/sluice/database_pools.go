package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// printPools shows how a database's clients fare, proxy by proxy.
func (a *app) printPools(pools []v4.Pool) error {
	for _, p := range pools {
		fmt.Fprintf(a.out, "\nProxy %s:\n", printable(p.Proxy))
		err := a.printFields([][2]string{
			{"  clients", fmt.Sprintf("%d, %d of them in line, the first for %s", p.Clients, p.Waiting, seconds(p.OldestWait))},
			{"  connections", fmt.Sprintf("%d active, %d idle, %d being opened, at most %d", p.Open-p.Idle, p.Idle, p.Dialing, p.Max)},
			{"  oldest lease", seconds(p.OldestLease)},
			{"  pinned", byName(p.Pinned)},
			{"  opened", byName(p.Dials) + fmt.Sprintf(" (%d failed)", p.DialErrors)},
			{"  closed", byName(p.Closed)},
			{"  queries", fmt.Sprintf("%d in %d leases, of which %d waited and %d timed out", p.Queries, p.Leases, p.Waits, p.Timeouts)},
			{"  wait", spread(p.WaitP50, p.WaitP99)}, {"  lease", spread(p.LeaseP50, p.LeaseP99)}, {"  query", spread(p.QueryP50, p.QueryP99)},
			{"  sessions", fmt.Sprintf("%d settings replayed, %d statements prepared again, %d resets", p.Settings, p.Reprepared, p.Resets)},
			{"  ends", fmt.Sprintf("%d cancels, %d clients lost, %d failovers", p.Cancels, p.Abandoned, p.Failovers)},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// byName lists counts, without those that are zero.
func byName[N int | uint64](counts map[string]N) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if counts[name] != 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[name], name))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func spread(p50, p99 float64) string {
	return fmt.Sprintf("half below %s, 99%% below %s", seconds(p50), seconds(p99))
}

// seconds is a duration with as many digits as anybody reads.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
