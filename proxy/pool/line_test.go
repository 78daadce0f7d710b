package pool

import (
	"errors"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPooling65Order(t *testing.T) {
	run(t, &origin{}, Config[*fake]{Max: 1}, func(t *testing.T, p *Pool[*fake]) {
		c := get(t, p)
		var mu sync.Mutex
		var served []int
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				c := get(t, p)
				mu.Lock()
				served = append(served, i)
				mu.Unlock()
				p.Put(c)
			})
			synctest.Wait()
		}
		if s := p.Stats(); s.Waiting != 100 {
			t.Errorf("%d wait, want 100", s.Waiting)
		}
		p.Put(c)
		wg.Wait()
		if len(served) != 100 || !slices.IsSorted(served) {
			t.Fatalf("served in the order %v", served)
		}
		if s := p.Stats(); s.Live != 1 || s.Idle != 1 || s.dials() != 1 || s.Waits != 101 {
			t.Errorf("stats: %+v", s)
		}
		if n := c.rests.Load(); n != 1 {
			t.Errorf("the connection went through the idle stack %d times, want once: at the end", n)
		}
	})
}

// A client that comes when a connection is put does not overtake the line.
func TestPooling65HandOff(t *testing.T) {
	run(t, &origin{}, Config[*fake]{Max: 1}, func(t *testing.T, p *Pool[*fake]) {
		c := get(t, p)
		first := make(chan *fake, 1)
		go func() { first <- get(t, p) }()
		synctest.Wait()
		p.Put(c) // and the waiting client has not run yet
		w := p.Waiter("")
		late := make(chan error, 1)
		go func() { _, err := p.Get(w); late <- err }()
		synctest.Wait()
		if got := <-first; got != c {
			t.Error("the head of the line did not get what was put")
		}
		if !p.Cancel(w) {
			t.Error("the late client does not wait")
		}
		if err := <-late; !errors.Is(err, ErrCanceled) {
			t.Errorf("the late client's Get: %v, want ErrCanceled", err)
		}
		p.Put(c)
	})
}

// Waits are even: 500 clients on 40 connections wait about equally long each time.
func TestPooling65Waits(t *testing.T) {
	const clients, conns, rounds, hold = 500, 40, 20, time.Millisecond
	run(t, &origin{}, Config[*fake]{Max: conns, DialLimit: conns}, func(t *testing.T, p *Pool[*fake]) {
		var mu sync.Mutex
		var waits []time.Duration
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				for i := range rounds {
					asked := time.Now()
					c := get(t, p)
					wait := time.Since(asked)
					if i > 0 { // of the first, the first in line have no wait
						mu.Lock()
						waits = append(waits, wait)
						mu.Unlock()
					}
					time.Sleep(hold) // of the bubble's time
					p.Put(c)
				}
			})
		}
		wg.Wait()
		slices.Sort(waits)
		p50, p99 := waits[len(waits)/2], waits[len(waits)*99/100]
		if p50 == 0 || p99 > p50*3/2 {
			t.Errorf("waits: p50 %v, p99 %v; want at most half as much again", p50, p99)
		}
	})
}

func TestWaitTimeout(t *testing.T) {
	run(t, &origin{}, Config[*fake]{Max: 1, WaitTimeout: time.Second, MaxWaiters: 2}, func(t *testing.T, p *Pool[*fake]) {
		c := get(t, p)
		began := time.Now()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if _, err := p.Get(p.Waiter("")); !errors.Is(err, ErrTimeout) {
					t.Errorf("Get: %v, want ErrTimeout", err)
				}
			})
		}
		synctest.Wait()
		if _, err := p.Get(p.Waiter("")); !errors.Is(err, ErrFull) {
			t.Errorf("Get in a full line: %v, want ErrFull", err)
		}
		time.Sleep(time.Second / 2)
		if s := p.Stats(); s.OldestWait != time.Second/2 || s.Waiting != 2 {
			t.Errorf("after half a second: %+v", s)
		}
		wg.Wait()
		if d := time.Since(began); d < time.Second || d > time.Second+tick {
			t.Errorf("timed out after %v, want a second", d)
		}
		if s := p.Stats(); s.Timeouts != 2 || s.Waiting != 0 || s.OldestWait != 0 {
			t.Errorf("stats: %+v", s)
		}
		p.Put(c)
		if got := get(t, p); got != c {
			t.Error("the connection was lost")
		}
		p.Put(c)
	})
}

// A wait in the middle of the line can end without the others'.
func TestCancel(t *testing.T) {
	run(t, &origin{}, Config[*fake]{Max: 1}, func(t *testing.T, p *Pool[*fake]) {
		c := get(t, p)
		const n = 5
		var waiters [n]*Waiter[*fake]
		var results [n]chan error
		for i := range n {
			waiters[i], results[i] = p.Waiter(""), make(chan error, 1)
			if p.Cancel(waiters[i]) {
				t.Error("Cancel found a client that does not wait")
			}
			go func() { _, err := p.Get(waiters[i]); results[i] <- err }()
			synctest.Wait()
		}
		for _, i := range []int{2, 0, 4} { // middle, head, tail
			if !p.Cancel(waiters[i]) || p.Cancel(waiters[i]) {
				t.Errorf("Cancel of %d: want true, then false", i)
			}
			if err := <-results[i]; !errors.Is(err, ErrCanceled) {
				t.Errorf("Get of %d: %v, want ErrCanceled", i, err)
			}
		}
		for _, i := range []int{1, 3} {
			p.Put(c)
			if err := <-results[i]; err != nil {
				t.Errorf("Get of %d: %v", i, err)
			}
		}
		p.Put(c)
		if got, err := p.Get(waiters[2]); err != nil || got != c { // a Waiter is used again
			t.Errorf("Get after Cancel: %v", err)
		}
		p.Put(c)
	})
}

// TestTenantsAreForgotten takes clients of ever new names, as of credentials that are made for a while each.
func TestTenantsAreForgotten(t *testing.T) {
	p := New(Config[*fake]{})
	stays := p.Waiter("stays")
	const names = 10 * fewTenants
	for i := range names {
		p.Waiter(strconv.Itoa(i))
		if i%fewTenants == 0 {
			runtime.GC()
		}
	}
	if n := len(p.line.tenants); n > 3*fewTenants {
		t.Errorf("%d tenants are known after %d names, want %d at most", n, names, 3*fewTenants)
	}
	if again := p.Waiter("stays"); again.tenant != stays.tenant {
		t.Error("a tenant was forgotten that has a client")
	}
}
