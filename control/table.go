package control

import (
	"hash/maphash"
	"iter"
	"maps"
)

// tableShards bounds what one change copies: the array of shards and one
// shard. With 10,000 entries that is 2 KiB and about 40 entries, some 10 µs
// (BenchmarkTable), where cloning one map would take 0.5 ms.
const tableShards = 256

// table is an immutable map from text to V: with and without return a new
// table that shares all but one shard with the old. The zero value is an empty
// table once it has a seed.
type table[V any] struct {
	seed   maphash.Seed
	shards *[tableShards]map[string]V
	size   int
}

func newTable[V any]() table[V] {
	return table[V]{seed: maphash.MakeSeed(), shards: new([tableShards]map[string]V)}
}

func (t table[V]) shard(key string) int {
	return int(maphash.String(t.seed, key) % tableShards)
}

func (t table[V]) get(key string) (V, bool) {
	v, ok := t.shards[t.shard(key)][key]
	return v, ok
}

// with returns t with key set to v.
func (t table[V]) with(key string, v V) table[V] {
	i := t.shard(key)
	next := *t.shards
	shard := make(map[string]V, len(next[i])+1)
	maps.Copy(shard, next[i])
	if _, ok := shard[key]; !ok {
		t.size++
	}
	shard[key] = v
	next[i] = shard
	t.shards = &next
	return t
}

// without returns t without key.
func (t table[V]) without(key string) table[V] {
	i := t.shard(key)
	if _, ok := t.shards[i][key]; !ok {
		return t
	}
	next := *t.shards
	next[i] = maps.Clone(next[i])
	delete(next[i], key)
	t.size--
	t.shards = &next
	return t
}

// all yields every entry, in no order.
func (t table[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, shard := range t.shards {
			for k, v := range shard {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}
