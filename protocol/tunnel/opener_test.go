package tunnel

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// Whether an opener gives up is watched only when the answer takes its time, and then at once learned of.
func TestOpenerIsWatchedLate(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		synctest.Test(t, func(t *testing.T) {
			sim := simulate(t, c, path{delay: time.Millisecond}, &Server{})
			defer sim.stop()
			ctx, cancel := context.WithCancel(t.Context())
			opened := make(chan error, 1)
			go func() {
				_, err := sim.dialled.Open(ctx, &tunnelpb.Open{Hostname: "db"})
				opened <- err
			}()
			in, err := sim.served.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			watched := func() bool {
				in.mu.Lock()
				defer in.mu.Unlock()
				return in.unwatch[2] != nil
			}
			synctest.Wait()
			if watched() {
				t.Error("the opener is watched from the beginning")
			}
			time.Sleep(openerAfter)
			synctest.Wait()
			if !watched() {
				t.Error("the opener is not watched")
			}
			before := time.Now()
			cancel()
			<-in.Context().Done()
			if took := time.Since(before); took > openerAfter {
				t.Errorf("that the opener has given up is known after %v", took)
			}
			if err := <-opened; err == nil {
				t.Error("an open that was given up has succeeded")
			}
		})
	})
}
