package tunnel

import (
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluicedb/sluice/protocol/stream"
)

// TestTunnel18StreamsBesideABulkOne: in one session twenty readers stall behind full windows, one is slow and one takes a result of
// 16 MiB as fast as it comes. Every one of 64 streams that exchange single messages goes on meanwhile: it is counted, not timed, how
// often. What a stalled reader holds is its window, and no more.
func TestTunnel18StreamsBesideABulkOne(t *testing.T) {
	const (
		pairs   = 64
		stalled = 20
		bulk    = 16 << 20
		// least is how many round trips each stream makes within the bulk's time. One 32 KiB write of the bulk between two of all
		// the others' messages would leave 512 / 64 = 8.
		least = 3
	)
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		dialled, served := r.dial(t, c)
		acc := acceptAll(dialled)
		var names counter
		pair := func() (near, far *Stream) { return streamPair(t, served, acc, names.next()) }

		var work, stuck sync.WaitGroup
		var ends []*Stream
		var ahead [stalled]atomic.Int64 // bytes that nobody reads
		for i := range ahead {
			near, _ := pair()
			ends = append(ends, near)
			stuck.Go(func() {
				chunk := make([]byte, stream.MaxWrite)
				for {
					n, err := near.Write(chunk)
					if ahead[i].Add(int64(n)); err != nil {
						return
					}
				}
			})
		}
		full := int64(minYamuxWindow)
		window := int64(maxYamuxWindow)
		if c == CarrierQUIC {
			full, window = defaultStreamWindow, defaultStreamWindow
		}
		waitFor(t, "every stalled reader's window to be full", func() bool {
			for i := range ahead {
				if ahead[i].Load() < full-2*stream.MaxWrite { // the header is in it, and a write that is stuck is not counted
					return false
				}
			}
			return true
		})
		near, slow := pair()
		ends = append(ends, near)
		stuck.Go(func() { _, _ = io.CopyN(near, zeros{}, bulk) })

		over := make(chan struct{})
		var rounds [pairs]atomic.Int64
		for i := range rounds {
			near, far := pair()
			work.Go(func() {
				_, _ = io.Copy(far, far)
				_ = far.Close()
			})
			work.Go(func() {
				defer near.Close()
				message := make([]byte, 100)
				for {
					select {
					case <-over:
						return
					default:
					}
					if _, err := near.Write(message); err != nil {
						t.Error(err)
						return
					}
					if _, err := io.ReadFull(near, message); err != nil {
						t.Error(err)
						return
					}
					if rounds[i].Add(1); i == 0 { // the slow reader keeps time with one of them
						_, _ = slow.Read(message)
					}
				}
			})
		}
		waitFor(t, "a round trip of every stream", func() bool {
			for i := range rounds {
				if rounds[i].Load() == 0 {
					return false
				}
			}
			return true
		})
		var before [pairs]int64
		for i := range rounds {
			before[i] = rounds[i].Load()
		}
		near, far := pair()
		work.Go(func() {
			_, _ = io.CopyN(near, zeros{}, bulk)
			_ = near.Close()
		})
		if n, err := io.Copy(io.Discard, far); err != nil || n != bulk {
			t.Errorf("the bulk stream brought %d bytes, %v", n, err)
		}
		fewest := int64(bulk)
		for i := range rounds {
			fewest = min(fewest, rounds[i].Load()-before[i])
		}
		t.Logf("the slowest stream made %d round trips beside the bulk", fewest)
		if fewest < least {
			t.Errorf("a stream made %d round trips beside the bulk, want at least %d", fewest, least)
		}
		close(over)
		_ = far.Close()
		for _, s := range ends {
			_ = s.Reset(stream.CodeCancelled)
		}
		stuck.Wait()
		work.Wait()
		for i := range ahead {
			if n := ahead[i].Load(); n > window+stream.MaxWrite { // one write more is quic-go's to keep
				t.Errorf("%d bytes were taken ahead of a stalled reader, whose window has %d", n, window)
			}
		}
	})
}
