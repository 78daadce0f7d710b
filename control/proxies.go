package control

import (
	"context"
	"encoding/json"
	"fmt"
)

// askProxies is the question that Proxies asks.
const askProxies = "proxy.state"

// poolsMost bounds how many pools a proxy tells of, about 100 bytes each where
// nothing failed: a message to NATS has 1 MiB at most (max_payload).
const poolsMost = 5000

// PoolFailureMost bounds the text of a PoolState's failure in bytes.
const PoolFailureMost = 300

// ProxyState is what a proxy says of itself.
type ProxyState struct {
	ID      string               `json:"id"`
	Version string               `json:"version,omitempty"`
	Pools   map[string]PoolState `json:"pools,omitempty"` // by database ID
}

// PoolState is one database's pool in one proxy.
type PoolState struct {
	Open    int    `json:"open"` // origin connections
	Idle    int    `json:"idle,omitempty"`
	Waiting int    `json:"waiting,omitempty"` // clients in line for one
	Max     int    `json:"max"`
	Code    int    `json:"code,omitempty"`    // of a TestFailure: why the last dial failed, 0 where it did not
	Failure string `json:"failure,omitempty"` // its message
}

// Proxies asks every proxy of this store for the pools of an account's databases.
func (c *Control) Proxies(ctx context.Context, accountID string) ([]ProxyState, error) {
	answers, err := c.askAll(ctx, askProxies, []byte(accountID))
	if err != nil {
		return nil, err
	}
	states := make([]ProxyState, len(answers))
	for i, answer := range answers {
		if err := json.Unmarshal(answer, &states[i]); err != nil {
			return nil, fmt.Errorf("decode a proxy's state: %w", err)
		}
	}
	return states, nil
}

// ServeProxy tells nodes of this store that ask what pools says of an account's
// databases, until ctx ends, and returns nil then. Each proxy calls it.
func (c *Control) ServeProxy(ctx context.Context, id, version string, pools func(accountID string, most int) map[string]PoolState) error {
	return c.answer(ctx, askProxies, func(_ context.Context, question []byte) ([]byte, error) {
		return json.Marshal(ProxyState{ID: id, Version: version, Pools: pools(string(question), poolsMost)})
	})
}
