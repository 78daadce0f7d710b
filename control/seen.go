package control

import (
	"context"
	"time"
)

// seenInterval is how often the last uses of tokens are written: the precision
// of "last seen", for at most a commit each minute.
const seenInterval = time.Minute

// seenMost bounds how many tokens' uses are held until they are written. Only
// what is in the snapshot is noted, so this is a bound of last resort.
const seenMost = 100_000

// shutdownWait bounds the last writes after Run's context has ended.
const shutdownWait = 3 * time.Second

// Seen notes that a service token or API token was used, or that a connector of a
// tunnel came or went. It never blocks and
// never asks the store: Run writes the latest times in batches.
func (c *Control) Seen(tokenID string, at time.Time) {
	c.seenMu.Lock()
	defer c.seenMu.Unlock()
	old, ok := c.seen[tokenID]
	if (ok || len(c.seen) < seenMost) && at.After(old) {
		c.seen[tokenID] = at
	}
}

// flushSeen writes what Seen noted, every seenInterval and at the end.
func (c *Control) flushSeen(ctx context.Context) error {
	tick := time.NewTicker(seenInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.writeSeen(ctx)
		case <-ctx.Done():
			// A fresh context: the other has ended, and this is bounded.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWait)
			c.writeSeen(last)
			cancel()
			return ctx.Err()
		}
	}
}

// writeSeen writes what Seen noted. What fails is lost but for a log line: it
// is told again by the next use.
func (c *Control) writeSeen(ctx context.Context) {
	c.seenMu.Lock()
	noted := c.seen
	c.seen = map[string]time.Time{}
	c.seenMu.Unlock()

	snap := c.Snapshot()
	var ops []op
	for id, at := range noted {
		_, service := snap.serviceTokens.get(id)
		_, api := snap.apiTokens.get(id)
		_, tunnel := snap.tunnels.get(id)
		// What was deleted meanwhile leaves nothing behind.
		if (service || api || tunnel) && at.After(snap.LastSeen(id).Add(time.Second)) {
			ops = append(ops, op{key: nounKey(kindSeen, id), value: []byte(at.UTC().Format(time.RFC3339)), anyRev: true})
		}
	}
	for len(ops) > 0 {
		n := min(len(ops), batchLimit)
		if err := (&tx{ctx: ctx, c: c, ops: ops[:n]}).commit(); err != nil {
			c.logger.Warn("last use of tokens not written", "tokens", len(ops), "err", err)
			return
		}
		ops = ops[n:]
	}
}
