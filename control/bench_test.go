package control

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"
)

// BenchmarkOpen is a start on an existing store until it is ready.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		c, err := Open(context.Background(), Config{DataDir: dir, Logger: quiet()})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkPut is one synced write of one key.
func BenchmarkPut(b *testing.B) {
	c := open(b, b.TempDir())
	var rev uint64
	for b.Loop() {
		var err error
		if rev, err = c.store.commit(context.Background(), []op{{key: "x.a", value: []byte("value"), expect: rev}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreateDatabase is a database with its claim: a synced batch of two.
// Of its 6 ms of CPU NATS takes 3.5 for the batch, most of them to make and
// remove the file store that it gathers each batch in (nats-server
// newBatchStore), and the SCRAM verifier of the credential takes 1.1 (4096
// rounds of PBKDF2, RFC 7677).
func BenchmarkCreateDatabase(b *testing.B) {
	c := open(b, b.TempDir())
	i := 0
	for b.Loop() {
		d := managed(fmt.Sprintf("db%d", i))
		d.Origin.Host = "10.0.0.1"
		if _, err := c.CreateDatabase(context.Background(), d, nil); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkTable is one change of a table with 10,000 entries.
func BenchmarkTable(b *testing.B) {
	t := newTable[int]()
	for i := range 10_000 {
		t = t.with(fmt.Sprint(i), i)
	}
	b.ReportAllocs()
	for b.Loop() {
		t = t.with("77", 1)
	}
}

// BenchmarkTenThousandDatabases is a start on a store with 10,000 databases; it
// reports what their snapshot holds in memory.
func BenchmarkTenThousandDatabases(b *testing.B) {
	c := open(b, b.TempDir())
	const count, batch = 10_000, 500
	for i := 0; i < count; i += batch {
		err := c.transact(context.Background(), func(t *tx) error {
			for j := range batch {
				d := managed(fmt.Sprintf("db%d", i+j))
				d.ID, d.Origin.Host, d.Generation = newHexID(), "10.0.0.1", 1
				d.fillDefaults()
				if err := c.sealDatabase(d); err != nil {
					return err
				}
				d.Credentials = []Credential{{ID: newHexID(), Name: d.Name, CreatedOn: time.Now(),
					Verifier: "SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}
				if err := t.create(kindDatabase, d.ID, d); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	var r *replica
	for b.Loop() {
		r = newReplica(quiet())
		if err := c.store.load(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
	databases := r.snap.Load().Databases("")
	if len(databases) != count {
		b.Fatalf("%d databases", len(databases))
	}
	b.ReportMetric(snapshotBytes(b, databases)/count, "B/database")
}

// snapshotBytes is what a snapshot of these databases holds, without the store.
func snapshotBytes(b *testing.B, databases []*Database) float64 {
	b.Helper()
	entries := make([]entry, len(databases))
	for i, d := range databases {
		text, err := json.Marshal(d)
		if err != nil {
			b.Fatal(err)
		}
		entries[i] = entry{key: nounKey(kindDatabase, d.ID), value: text, rev: uint64(i + 1)}
	}
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	r := newReplica(quiet())
	before := heap()
	r.reset(entries, uint64(len(entries)))
	after := heap()
	runtime.KeepAlive(r)
	runtime.KeepAlive(entries)
	return after - before
}
