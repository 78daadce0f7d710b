package tunnel

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// Streams that come one after the other are received by one goroutine, and of those that many at a time have taken few remain.
func TestReceiversRest(t *testing.T) {
	onCarriers(t, func(t *testing.T, c Carrier) {
		synctest.Test(t, func(t *testing.T) {
			sim := simulate(t, c, path{delay: time.Millisecond}, &Server{})
			defer sim.stop()
			handlers := make(chan string, 3)
			let := make(chan struct{})
			go sim.served.Serve(t.Context(), func(in *Incoming) {
				if in.Request.GetHostname() == "waits" {
					<-let
				} else {
					handlers <- goroutine()
				}
				_ = in.Refuse(&Refusal{Code: tunnelpb.Code_DENIED})
			})
			synctest.Wait()
			ask := func(hostname string) {
				if _, err := sim.dialled.Open(t.Context(), &tunnelpb.Open{Hostname: hostname}); err == nil {
					t.Error("a refused stream was opened")
				}
				synctest.Wait()
			}
			for range cap(handlers) {
				ask("db")
			}
			first := <-handlers
			for range cap(handlers) - 1 {
				if next := <-handlers; next != first {
					t.Errorf("%s was followed by %s", first, next)
				}
			}
			var asking sync.WaitGroup
			for range 5 * restingReceivers {
				asking.Go(func() {
					if _, err := sim.dialled.Open(t.Context(), &tunnelpb.Open{Hostname: "waits"}); err == nil {
						t.Error("a refused stream was opened")
					}
				})
			}
			synctest.Wait()
			close(let)
			asking.Wait()
			synctest.Wait()
			all := make([]byte, 1<<20)
			all = all[:runtime.Stack(all, true)]
			if n := strings.Count(string(all), "(*receiving).run("); n != restingReceivers {
				t.Errorf("%d goroutines wait for streams, want %d", n, restingReceivers)
			}
		})
	})
}

// goroutine names the caller's.
func goroutine() string {
	stack := make([]byte, 64)
	name, _, _ := strings.Cut(string(stack[:runtime.Stack(stack, false)]), " [")
	return name
}
