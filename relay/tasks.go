package relay

import "sync"

// tasks are short goroutines that outlive the call that starts them, but not the relay. Unlike a sync.WaitGroup they may be started
// while somebody waits for those before.
type tasks struct {
	mu   sync.Mutex
	n    int
	idle *sync.Cond // n has become zero; made by the first Wait
}

// Go runs f in a goroutine.
func (t *tasks) Go(f func()) {
	t.begin()
	go t.run(f)
}

// begin counts the caller's goroutine, until done.
func (t *tasks) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
}

func (t *tasks) run(f func()) {
	defer t.done()
	f()
}

func (t *tasks) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n--
	if t.n == 0 && t.idle != nil {
		t.idle.Broadcast()
	}
}

// Wait returns when no task is running.
func (t *tasks) Wait() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.idle == nil {
		t.idle = sync.NewCond(&t.mu)
	}
	for t.n > 0 {
		t.idle.Wait()
	}
}
