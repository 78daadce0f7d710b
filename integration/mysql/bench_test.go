package mysql

import (
	"runtime"
	"testing"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// TestPoolingAllocations: a query that is passed on allocates nothing in steady state,
// prepared or not, and nor does a hit of the cache. What a test's own side allocates is not counted: it allocates nothing.
func TestPoolingAllocations(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newCached(t, s, maxConns(1))
		w.table(t, w.connect(t), "allocated", "id INT PRIMARY KEY", "(1)")
		for _, caps := range []mywire.Capabilities{0, mywire.CapDeprecateEOF} {
			a := w.raw(t, caps)
			id, _ := a.prepare(t, "SELECT ? + 0")
			query, _ := mywire.AppendPacket(nil, 0, []byte("\x03SELECT 123"))
			execute, _ := mywire.AppendPacket(nil, 0, []byte("\x17"+id32(id)+"\x00\x01\x00\x00\x00\x00\x01\x08\x00\x05\x00\x00\x00\x00\x00\x00\x00"))
			hit, _ := mywire.AppendPacket(nil, 0, []byte("\x03SELECT id FROM allocated WHERE id = 1"))
			for name, command := range map[string][]byte{"query": query, "execute": execute, "hit": hit} {
				buf := make([]byte, 4096)
				once := func() {
					if _, err := a.Write(command); err != nil {
						t.Fatal(err)
					}
					readReply(t, a, buf)
				}
				for range 50 {
					once()
				}
				const rounds = 500
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for range rounds {
					once()
				}
				runtime.ReadMemStats(&after)
				most := perQuery
				if name != "hit" {
					most++ // of crypto/tls, for each record from the origin
				}
				if n := float64(after.Mallocs-before.Mallocs) / rounds; n > most {
					t.Errorf("%s with capabilities %x: %.1f allocations", name, uint64(caps), n)
				}
			}
			a.Close()
		}
	})
}

// readReply reads until a packet has ended that may end a result.
func readReply(t testing.TB, r *raw, buf []byte) {
	n, eofs := 0, 1
	if !r.caps.Has(mywire.CapDeprecateEOF) {
		eofs = 2
	}
	for at := 0; ; {
		got, err := r.Read(buf[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += got
		for n-at >= mywire.HeaderSize+1 {
			size, _ := mywire.Header(buf[at:])
			if n-at < mywire.HeaderSize+size {
				break
			}
			if first := buf[at+mywire.HeaderSize]; first == mywire.HeaderEOF {
				eofs--
			}
			if at += mywire.HeaderSize + size; eofs == 0 {
				return
			}
		}
	}
}
