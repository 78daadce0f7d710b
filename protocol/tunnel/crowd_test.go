package tunnel

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestCrowdIsForgotten: what a peer opens beyond its limit, while the session that ends for it tells why, is not kept.
func TestCrowdIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := webSockets(t)
		near := newTestMux(c, true)
		defer near.close()
		out, addr := newOutbox(), &net.TCPAddr{}
		far := newYamuxLink(newWSConn(peer, addr, addr), out, false, Limits{Streams: 10}, 0)
		var accepting sync.WaitGroup
		accepting.Go(func() { far.accept(t.Context(), func(linkStream) {}) })
		for range 1000 {
			if err := near.open(t.Context(), []byte("header"), func(*muxStream) {}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n, most := far.sess.len(), 2*far.max+64; n > most {
			t.Errorf("%d streams are kept, want %d at most", n, most)
		}
		time.Sleep(2 * closeTimeout)
		if !far.sess.closed() {
			t.Error("the session goes on")
		}
		accepting.Wait()
		far.drop()
	})
}
