package control

import (
	"context"
	"encoding/json"
	"fmt"
)

// askConnections is the question that Connections asks proxies.
const askConnections = "database.connections"

// Connections are how many origin connections of a database are open at this
// moment, over all proxies of this store, by the generation of the database that
// they were made with. A change of the database has reached them all when no
// older generation is left.
func (c *Control) Connections(ctx context.Context, databaseID string) (map[int64]int, error) {
	answers, err := c.askAll(ctx, askConnections, []byte(databaseID))
	if err != nil {
		return nil, err
	}
	sum := map[int64]int{}
	for _, answer := range answers {
		var part map[int64]int
		if err := json.Unmarshal(answer, &part); err != nil {
			return nil, fmt.Errorf("decode a proxy's connections: %w", err)
		}
		for generation, n := range part {
			sum[generation] += n
		}
	}
	return sum, nil
}

// ServeConnections tells nodes of this store that ask what count says of a
// database, until ctx ends, and returns nil then. Each proxy calls it.
func (c *Control) ServeConnections(ctx context.Context, count func(databaseID string) map[int64]int) error {
	return c.answer(ctx, askConnections, func(_ context.Context, question []byte) ([]byte, error) {
		return json.Marshal(count(string(question)))
	})
}
