package dialect

import (
	"sync"
	"time"
)

// Cancels tell which requests to cancel what runs on an origin connection are on
// their way: until they have come it must not serve another client, whom they would
// hit. The zero value has none; its methods may be called concurrently.
type Cancels struct {
	mu       sync.Mutex
	pending  int
	over     chan struct{} // closed when pending falls to 0; nil if none were made
	doubtful bool
}

// Start notes that a request is on its way, until Done.
func (c *Cancels) Start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending++; c.pending == 1 {
		c.over = make(chan struct{})
	}
}

// Done ends what Start began. It is certain what became of the request where that
// was not made, or the origin has taken note; else it may be still to come.
func (c *Cancels) Done(certain bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doubtful = c.doubtful || !certain
	if c.pending--; c.pending == 0 {
		close(c.over)
	}
}

// Over is closed when no request is on its way any more; nil where none were made
// since Forget.
func (c *Cancels) Over() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// Settle waits until no request is on its way, for timeout at most. It reports
// whether requests were made since Forget, and whether none of them is to come.
func (c *Cancels) Settle(timeout time.Duration) (made, settled bool) {
	if over := c.Over(); over != nil {
		made = true
		t := time.NewTimer(timeout)
		defer t.Stop()
		select {
		case <-over:
		case <-t.C:
			return made, false
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return made, !c.doubtful
}

// Forget takes the connection for one that nothing was ever asked of: what the
// requests may have left is gone.
func (c *Cancels) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = nil
}
