package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

const (
	askCache   = "database.cache"   // the question of Caches
	askExplain = "database.explain" // the question of Explain
)

// A CacheState is how one database's cache fares at one proxy. Counts are since the
// proxy took the database up; times are in seconds.
type CacheState struct {
	Proxy     string            `json:"proxy"` // host and process
	Enabled   bool              `json:"enabled"`
	Suspended bool              `json:"suspended,omitempty"` // other proxies cannot be heard
	Entries   int               `json:"entries"`
	Bytes     int64             `json:"bytes"`     // of them, keys and overhead included
	BytesMax  int64             `json:"bytes_max"` // that results of all databases may take
	Statuses  map[string]uint64 `json:"statuses"`  // queries, by what the cache made of them
	BytesHit  uint64            `json:"bytes_hit"` // of results that were answered from the cache
	Top       []CachedStatement `json:"top"`       // that saved most time
	Reasons   []CacheRefusal    `json:"reasons"`   // why statements were not cached, commonest first
}

// A CachedStatement is a statement, with ? for its constants.
type CachedStatement struct {
	Statement string  `json:"statement"`
	Hits      uint64  `json:"hits"`
	Misses    uint64  `json:"misses"`
	Saved     float64 `json:"saved"` // had its hits been as slow as its misses
}

// A CacheRefusal counts statements that were not cached for one reason.
type CacheRefusal struct {
	Reason     string `json:"reason"`
	Statements uint64 `json:"statements"`
}

// Caches are a database's caches, one at each proxy of this store that has served
// it, by name of the proxy.
func (c *Control) Caches(ctx context.Context, databaseID string) ([]CacheState, error) {
	answers, err := c.askAll(ctx, askCache, []byte(databaseID))
	if err != nil {
		return nil, err
	}
	states := []CacheState{}
	for _, answer := range answers {
		var state *CacheState
		if err := json.Unmarshal(answer, &state); err != nil {
			return nil, fmt.Errorf("decode a proxy's cache: %w", err)
		}
		if state != nil {
			states = append(states, *state)
		}
	}
	slices.SortFunc(states, func(a, b CacheState) int { return cmp.Compare(a.Proxy, b.Proxy) })
	return states, nil
}

// ServeCaches tells nodes of this store that ask what state says of a database, nil
// where the proxy does not serve it, until ctx ends, and returns nil then. Each
// proxy calls it.
func (c *Control) ServeCaches(ctx context.Context, state func(databaseID string) *CacheState) error {
	return c.answer(ctx, askCache, func(_ context.Context, question []byte) ([]byte, error) {
		return json.Marshal(state(string(question)))
	})
}

// An Explanation says what a cache would make of one statement, and why.
type Explanation struct {
	Status string `json:"status"` // "miss": it would be stored
	Reason string `json:"reason,omitempty"`
	// MaxAge and StaleWhileRevalidate say for how many seconds it would be returned.
	MaxAge               int      `json:"max_age"`
	StaleWhileRevalidate int      `json:"stale_while_revalidate"`
	Day                  bool     `json:"day,omitempty"`    // the result is of today
	Reads                []string `json:"reads,omitempty"`  // tables that its result is made of
	Writes               []string `json:"writes,omitempty"` // tables that it may change; "any" for any
}

// ErrNoProxy is returned where a question needs a proxy and none runs.
var ErrNoProxy = errors.New("no proxy runs that could answer")

type explainQuestion struct {
	DatabaseID string `json:"database_id"`
	SQL        string `json:"sql"`
}

// Explain asks a proxy what its cache would make of a statement of a database. It
// is neither run nor kept. It blocks for as long as a proxy takes to read the
// origin's catalog, TestWait at most.
func (c *Control) Explain(ctx context.Context, databaseID, sql string) (*Explanation, error) {
	ctx, cancel := context.WithTimeout(ctx, TestWait+requestWait)
	defer cancel()
	question, err := json.Marshal(explainQuestion{databaseID, sql})
	if err != nil {
		return nil, fmt.Errorf("encode question: %w", err)
	}
	answer, err := c.askOne(ctx, askExplain, question)
	if errors.Is(err, errNobody) || errors.Is(err, errBusy) {
		return nil, ErrNoProxy
	} else if err != nil {
		return nil, err
	}
	var e *Explanation
	if err := json.Unmarshal(answer, &e); err != nil {
		return nil, fmt.Errorf("decode a proxy's answer: %w", err)
	}
	if e == nil {
		return nil, fmt.Errorf("database %s at the proxy: %w", databaseID, ErrNotFound)
	}
	return e, nil
}

// ServeExplain answers Explain with what explain says, nil where the proxy does not know
// the database, until ctx ends, and returns nil then. Each proxy calls it.
func (c *Control) ServeExplain(ctx context.Context, explain func(ctx context.Context, databaseID, sql string) *Explanation) error {
	return c.answer(ctx, askExplain, func(ctx context.Context, question []byte) ([]byte, error) {
		var q explainQuestion
		if err := json.Unmarshal(question, &q); err != nil {
			return nil, errors.New("a question that is not understood") // what it is may be a secret
		}
		ctx, cancel := context.WithTimeout(ctx, TestWait)
		defer cancel()
		return json.Marshal(explain(ctx, q.DatabaseID, q.SQL))
	})
}
