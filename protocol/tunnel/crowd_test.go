package tunnel

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
)

// TestCrowdIsForgotten: a peer that holds too many streams, or ends each by yamux's reset and never answers this side's, loses its session,
// and what it opens while that tells why is not kept.
func TestCrowdIsForgotten(t *testing.T) {
	for name, flags := range map[string]uint16{"holding": muxSYN, "resetting": muxSYN | muxRST} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, peer := webSockets(t)
				near := newTestMux(c, true)
				defer near.close()
				addr := &net.TCPAddr{}
				far := newYamuxLink(newWSConn(peer, addr, addr), newOutbox(), false, Limits{Streams: 10}, 0)
				var accepting sync.WaitGroup
				accepting.Go(func() {
					far.accept(t.Context(), func(ls linkStream) { _ = ls.Reset(stream.CodeProtocol) })
				})
				for i := range 1000 {
					if err := near.out.put(frame{kind: muxWindow, flags: flags, id: uint32(2*i + 1)}); err != nil {
						t.Fatal(err)
					}
				}
				near.out.flush()
				synctest.Wait()
				if n, most := max(far.sess.len(), far.len()), 2*far.max+65; n > most {
					t.Errorf("%d streams are kept, want %d at most", n, most)
				}
				time.Sleep(2 * closeTimeout)
				if !far.sess.closed() {
					t.Error("the session goes on")
				}
				accepting.Wait()
				far.drop()
			})
		})
	}
}
