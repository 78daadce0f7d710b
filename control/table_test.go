package control

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"
)

// now is any moment.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// TestTable does the same to a table and to a map, and checks that no older
// table changed.
func TestTable(t *testing.T) {
	got, want := newTable[int](), map[string]int{}
	type version struct {
		table table[int]
		want  map[string]int
	}
	var versions []version
	for i := range 3000 {
		key := fmt.Sprint(rand.N(400))
		if rand.N(3) == 0 {
			got = got.without(key)
			delete(want, key)
		} else {
			got = got.with(key, i)
			want[key] = i
		}
		if i%100 == 0 {
			versions = append(versions, version{got, maps.Clone(want)})
		}
	}
	for _, v := range append(versions, version{got, want}) {
		if v.table.size != len(v.want) || !maps.Equal(maps.Collect(v.table.all()), v.want) {
			t.Fatalf("a table of %d entries, want %d", v.table.size, len(v.want))
		}
		for key, n := range v.want {
			if m, ok := v.table.get(key); !ok || m != n {
				t.Fatalf("%s: got %d, want %d", key, m, n)
			}
		}
	}
	for range got.all() {
		break
	}
}

// TestReplicaOrder plays the watch behind and ahead of this node's own writes.
func TestReplicaOrder(t *testing.T) {
	r := newReplica(quiet())
	account := func(name string, rev uint64) entry {
		return entry{key: "account.a", value: fmt.Appendf(nil, `{"id":"a","name":%q}`, name), rev: rev}
	}
	name := func() string {
		a, ok := r.snap.Load().Account("a")
		if !ok {
			return ""
		}
		return a.Name
	}
	step := func(what, want string) {
		t.Helper()
		if got := name(); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	r.wrote([]entry{account("own 10", 10)})
	step("own write", "own 10")
	r.watched([]entry{account("others' 7", 7)}, 7)
	step("the watch is behind", "own 10")
	r.watched([]entry{account("own 10", 10)}, 10)
	step("the watch is there", "own 10")
	r.watched([]entry{account("others' 12", 12)}, 12)
	step("another's write", "others' 12")
	r.wrote([]entry{account("own 11", 11)})
	step("an acknowledgement that the watch overtook", "others' 12")
	r.wrote([]entry{{key: "account.a", rev: 15, deleted: true}})
	step("own deletion", "")
	r.watched([]entry{account("others' 14", 14)}, 14)
	step("no return from the dead", "")
	r.reset([]entry{account("others' 14", 14)}, 14)
	step("nor by reading anew", "")
	r.reset([]entry{account("others' 16", 16)}, 16)
	step("created again", "others' 16")
	if len(r.ahead) != 0 {
		t.Errorf("%d keys kept", len(r.ahead))
	}
}
