package relay

import (
	"sync"
	"testing"
)

// Tasks may begin while somebody waits for those before: a WaitGroup must not do so from zero, and the race detector says so.
func TestTasksMayBeginDuringWait(t *testing.T) {
	var work tasks
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for range 1000 {
				work.begin()
				work.done()
				work.Wait()
			}
		})
	}
	others.Wait()
	ended := make(chan struct{})
	release := make(chan struct{})
	work.Go(func() { <-release; close(ended) })
	close(release)
	work.Wait()
	select {
	case <-ended:
	default:
		t.Error("Wait returned before the task")
	}
}
