package pool

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errFull = errors.New("sorry, too many clients already")

// A flood of one credential's clients leaves another's their share.
func TestPooling66Flood(t *testing.T) {
	const conns, hold = 20, 10 * time.Millisecond
	alone := p99(t, conns, hold, 0)
	flooded := p99(t, conns, hold, 1000)
	// Alone there is no wait. Beside the flood the next connection that comes
	// back is for who has the fewest; twenty come back within one hold.
	if flooded >= 2*(alone+hold) {
		t.Errorf("the other credential's clients: p99 %v beside a flood, %v alone", flooded, alone)
	}
}

// p99 is how long five clients of one credential wait and work beside as many
// of another as flood says.
func p99(t *testing.T, conns int, hold time.Duration, flood int) time.Duration {
	var took []time.Duration
	run(t, &origin{}, Config[*fake]{Max: conns, DialLimit: conns}, func(t *testing.T, p *Pool[*fake]) {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range flood {
			w := p.Waiter("a")
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if c, err := p.Get(w); err == nil {
						time.Sleep(hold) // of the bubble's time
						p.Put(c)
					}
				}
			})
		}
		synctest.Wait()
		var mu sync.Mutex
		var others sync.WaitGroup
		for i := range 5 {
			w := p.Waiter("b")
			others.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				for range 100 {
					asked := time.Now()
					c, err := p.Get(w)
					if err != nil {
						t.Error(err)
						return
					}
					time.Sleep(hold)
					p.Put(c)
					mu.Lock()
					took = append(took, time.Since(asked))
					mu.Unlock()
				}
			})
		}
		others.Wait()
		close(stop)
		wg.Wait()
	})
	slices.Sort(took)
	return took[len(took)*99/100]
}

// Of equals the one that has waited longest is next, within a credential always.
func TestPooling66Order(t *testing.T) {
	run(t, &origin{}, Config[*fake]{Max: 1}, func(t *testing.T, p *Pool[*fake]) {
		c := get(t, p)
		var mu sync.Mutex
		var served []string
		var wg sync.WaitGroup
		for _, who := range []string{"a", "a", "a", "b", "b", "c"} {
			w := p.Waiter(who)
			wg.Go(func() {
				c, err := p.Get(w)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				served = append(served, who)
				mu.Unlock()
				p.Put(c)
			})
			synctest.Wait()
			time.Sleep(time.Millisecond)
		}
		p.Put(c)
		wg.Wait()
		// With one connection nobody holds any when it comes back.
		if want := []string{"a", "a", "a", "b", "b", "c"}; !slices.Equal(served, want) {
			t.Errorf("served %v, want %v", served, want)
		}
	})
}

// An origin without room lowers the maximum for a while, and is asked again then.
func TestPooling69Room(t *testing.T) {
	o := &origin{room: 3}
	cfg := Config[*fake]{Max: 10, MinIdle: 5, Full: func(err error) bool { return err.Error() == errFull.Error() }}
	run(t, o, cfg, func(t *testing.T, p *Pool[*fake]) {
		time.Sleep(time.Second)
		s := p.Stats()
		if s.Live != 3 || s.Max != 3 {
			t.Errorf("without room: %+v", s)
		}
		dials, _ := o.count()
		time.Sleep(noRoom/2 - 2*time.Second)
		if n, _ := o.count(); n != dials {
			t.Errorf("%d dials while it is known that there is no room", n-dials)
		}
		var wg sync.WaitGroup
		for range 50 { // served by what there is
			wg.Go(func() {
				c := get(t, p)
				time.Sleep(time.Millisecond)
				p.Put(c)
			})
		}
		wg.Wait()
		o.mu.Lock()
		o.room = 0
		o.mu.Unlock()
		time.Sleep(noRoom)
		if s := p.Stats(); s.Live != 5 || s.Max != 10 {
			t.Errorf("with room again: %+v", s)
		}
	})
}

// The maximum is soft: what clients still hold of a former origin does not keep
// others from the new one.
func TestSoftMaximum(t *testing.T) {
	o := &origin{}
	run(t, o, Config[*fake]{Max: 3, DialLimit: 3}, func(t *testing.T, p *Pool[*fake]) {
		former := []*fake{get(t, p), get(t, p), get(t, p)}
		p.Renew()
		next := []*fake{get(t, p), get(t, p), get(t, p)}
		if s := p.Stats(); s.Live != 6 {
			t.Errorf("%+v", s)
		}
		p.Renew() // and there is an end to it
		w := p.Waiter("")
		result := make(chan error, 1)
		go func() { c, err := p.Get(w); p.Put(c); result <- err }()
		time.Sleep(time.Second)
		if s := p.Stats(); s.Live != 6 || s.Waiting != 1 {
			t.Errorf("%+v", s)
		}
		for _, c := range append(former, next...) {
			p.Put(c)
			if !c.closed.Load() {
				synctest.Wait()
			}
		}
		if err := <-result; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if s := p.Stats(); s.Live != 1 || s.Retired[Renewed] != 6 || s.Renewals != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// Clients that hold connections of a former origin do not hide that the new one
// cannot be reached.
func TestPooling68DownAfterRenew(t *testing.T) {
	o := &origin{}
	run(t, o, Config[*fake]{Max: 3}, func(t *testing.T, p *Pool[*fake]) {
		c := get(t, p)
		o.fail(errDown)
		p.Renew()
		began := time.Now()
		if _, err := p.Get(p.Waiter("")); !errors.Is(err, errDown) || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		p.Put(c)
	})
}

// A pool that is made smaller closes what is too many when it is next idle, and
// one that is made larger serves those that wait.
func TestConfigure(t *testing.T) {
	o := &origin{}
	run(t, o, Config[*fake]{Max: 4, DialLimit: 4}, func(t *testing.T, p *Pool[*fake]) {
		lent := []*fake{get(t, p), get(t, p)}
		idle := []*fake{get(t, p), get(t, p)}
		for _, c := range idle {
			p.Put(c)
		}
		p.Configure(Config[*fake]{Max: 1})
		time.Sleep(time.Second)
		if s := p.Stats(); s.Live != 2 || s.Idle != 0 {
			t.Errorf("idle ones of too many: %+v", s)
		}
		p.Put(lent[0])
		synctest.Wait()
		if s := p.Stats(); s.Live != 1 || s.Retired[Surplus] != 3 {
			t.Errorf("lent ones of too many: %+v", s)
		}
		result := make(chan error, 1)
		go func() { c, err := p.Get(p.Waiter("")); p.Put(c); result <- err }()
		synctest.Wait()
		p.Configure(Config[*fake]{Max: 2})
		if err := <-result; err != nil {
			t.Error(err)
		}
		p.Put(lent[1])
	})
}

func TestHistogram(t *testing.T) {
	var h Histogram
	if h.Quantile(0.99) != 0 {
		t.Error("a quantile of nothing")
	}
	for _, d := range []time.Duration{-1, 0, FirstBucket - 1, FirstBucket, time.Millisecond, time.Minute, time.Hour} {
		h.Observe(d)
	}
	count, sum, below := h.Read()
	if count != 7 || sum < time.Hour+time.Minute || below[0] != 3 || below[1] != 4 || below[Buckets-1] != 6 {
		t.Errorf("%d, %v, %v", count, sum, below)
	}
	if got := h.Quantile(0.5); got != 2*FirstBucket {
		t.Errorf("median %v", got)
	}
}
