package control

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// askPools is the question that Pools asks proxies.
const askPools = "database.pools"

// A Pool is how the clients of one database fare at one proxy. Counts are since
// the proxy took the database up; times are in seconds.
type Pool struct {
	Proxy   string `json:"proxy"` // host and process
	Clients int    `json:"clients"`

	Max         int            `json:"max"` // connections allowed at the moment
	Open        int            `json:"open"`
	Idle        int            `json:"idle"`
	Dialing     int            `json:"dialing"`
	Waiting     int            `json:"waiting"` // clients in line
	OldestWait  float64        `json:"oldest_wait"`
	OldestLease float64        `json:"oldest_lease"`
	Pinned      map[string]int `json:"pinned"` // connections that clients keep, by reason

	Queries    uint64            `json:"queries"`
	Leases     uint64            `json:"leases"`
	Waits      uint64            `json:"waits"`
	Timeouts   uint64            `json:"timeouts"`
	Dials      map[string]uint64 `json:"dials"` // by what for
	DialErrors uint64            `json:"dial_errors"`
	Closed     map[string]uint64 `json:"closed"` // connections, by why
	Settings   uint64            `json:"settings_replayed"`
	Reprepared uint64            `json:"statements_reprepared"`
	Resets     uint64            `json:"resets"`
	Cancels    uint64            `json:"cancels"`
	Abandoned  uint64            `json:"abandoned"`
	Failovers  uint64            `json:"failovers"`

	// The spread of waits in line, of leases and of the origin's answers.
	WaitP50  float64 `json:"wait_p50"`
	WaitP99  float64 `json:"wait_p99"`
	LeaseP50 float64 `json:"lease_p50"`
	LeaseP99 float64 `json:"lease_p99"`
	QueryP50 float64 `json:"query_p50"`
	QueryP99 float64 `json:"query_p99"`
}

// Pools are a database's pools, one at each proxy of this store that has served
// it, by name of the proxy.
func (c *Control) Pools(ctx context.Context, databaseID string) ([]Pool, error) {
	answers, err := c.askAll(ctx, askPools, []byte(databaseID))
	if err != nil {
		return nil, err
	}
	pools := []Pool{}
	for _, answer := range answers {
		var pool *Pool
		if err := json.Unmarshal(answer, &pool); err != nil {
			return nil, fmt.Errorf("decode a proxy's pool: %w", err)
		}
		if pool != nil {
			pools = append(pools, *pool)
		}
	}
	slices.SortFunc(pools, func(a, b Pool) int { return cmp.Compare(a.Proxy, b.Proxy) })
	return pools, nil
}

// ServePools tells nodes of this store that ask what status says of a database,
// nil where the proxy does not serve it, until ctx ends, and returns nil then.
// Each proxy calls it.
func (c *Control) ServePools(ctx context.Context, status func(databaseID string) *Pool) error {
	return c.answer(ctx, askPools, func(_ context.Context, question []byte) ([]byte, error) {
		return json.Marshal(status(string(question)))
	})
}
