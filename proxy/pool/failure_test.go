package pool

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errDown = errors.New("origin says no")

func TestPooling67ColdPool(t *testing.T) {
	o := &origin{takes: 100 * time.Millisecond}
	run(t, o, Config[*fake]{Max: 20, DialLimit: 2, WaitTimeout: time.Minute}, func(t *testing.T, p *Pool[*fake]) {
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				c := get(t, p)
				time.Sleep(20 * time.Millisecond) // of the bubble's time
				p.Put(c)
			})
		}
		wg.Wait()
		if o.most != 2 || o.mostOpen > 20 {
			t.Errorf("at most %d dials in flight and %d connections, want 2 and 20", o.most, o.mostOpen)
		}
		if s := p.Stats(); s.Live != s.Idle || s.Waiting != 0 || s.Gets != 1000 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// With the origin down, the line is told what the dial came to as soon as it is
// known; whoever comes until the next dial is told at once.
func TestPooling68Down(t *testing.T) {
	o := &origin{err: errDown, takes: 300 * time.Millisecond}
	run(t, o, Config[*fake]{Max: 5}, func(t *testing.T, p *Pool[*fake]) {
		began := time.Now()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := p.Get(p.Waiter("")); !errors.Is(err, errDown) {
					t.Errorf("Get: %v, want the dial's error", err)
				}
				if d := time.Since(began); d != o.takes {
					t.Errorf("told after %v, want %v", d, o.takes)
				}
			})
		}
		wg.Wait()
		synctest.Wait() // the second dial has failed as well
		if _, err := p.Get(p.Waiter("")); !errors.Is(err, errDown) || time.Since(began) != o.takes {
			t.Errorf("Get before the next dial: %v after %v, want the last dial's error at once", err, time.Since(began)-o.takes)
		}
		if s := p.Stats(); s.dials() != 2 || s.DialErrors != 2 || s.Waiting != 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// While dials fail only on their way, the line waits for another way: for two
// seconds, and not where the origin itself says no.
func TestPooling68Passing(t *testing.T) {
	errLost := errors.New("the way is lost")
	passing := func(err error) bool { return errors.Is(err, errLost) }
	for _, tt := range []struct {
		name  string
		then  error // what dials come to after a second
		wants error
		after time.Duration // the last that the line may be told
	}{
		{"another way is found", nil, nil, time.Second + maxBackoff + tick},
		{"none is found", errLost, errLost, patience + maxBackoff + tick},
		{"the origin says no", errDown, errDown, time.Second + maxBackoff + tick},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := &origin{err: errLost}
			run(t, o, Config[*fake]{Max: 5, Passing: passing}, func(t *testing.T, p *Pool[*fake]) {
				time.AfterFunc(time.Second, func() { o.fail(tt.then) })
				began := time.Now()
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() {
						c, err := p.Get(p.Waiter(""))
						if !errors.Is(err, tt.wants) {
							t.Errorf("Get: %v, want %v", err, tt.wants)
						}
						if d := time.Since(began); d < time.Second || d > tt.after {
							t.Errorf("told after %v, want at most %v", d, tt.after)
						}
						if err == nil {
							p.Put(c)
						}
					})
				}
				wg.Wait()
				if tt.wants == nil {
					return
				}
				again := time.Now() // the outage is known by now
				if _, err := p.Get(p.Waiter("")); !errors.Is(err, tt.wants) || time.Since(again) > tick {
					t.Errorf("Get later: %v after %v, want %v at once", err, time.Since(again), tt.wants)
				}
			})
		})
	}
}

// One dial at a time asks whether the origin is back, however many wait.
func TestPooling68Probe(t *testing.T) {
	o := &origin{err: errDown, takes: 10 * time.Millisecond}
	run(t, o, Config[*fake]{Max: 20, DialLimit: 5, MinIdle: 5}, func(t *testing.T, p *Pool[*fake]) {
		time.Sleep(time.Second)
		o.mu.Lock()
		o.most, o.dials = 0, nil
		o.mu.Unlock()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					_, _ = p.Get(p.Waiter(""))
					time.Sleep(50 * time.Millisecond)
				}
			})
		}
		time.Sleep(2 * time.Minute)
		close(stop)
		wg.Wait()
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.most != 1 {
			t.Errorf("%d dials at once, want 1", o.most)
		}
		if most := int(2*time.Minute/(maxBackoff/2)) + 1; len(o.dials) > most {
			t.Errorf("%d dials in two minutes, want at most %d", len(o.dials), most)
		}
		o.checkBackoff(t)
	})
}

// checkBackoff checks what lies between dials that went on failing: the longest
// backoff, and not in step. The lock is held.
func (o *origin) checkBackoff(t *testing.T) {
	t.Helper()
	gaps := make(map[time.Duration]int)
	for i, at := range o.dials[10:] {
		gap := at.Sub(o.dials[9+i]) - o.takes
		gaps[gap.Truncate(tick)]++
		if gap < maxBackoff/2 || gap > maxBackoff+tick {
			t.Fatalf("a dial came %v after the last had failed, want %v to %v", gap, maxBackoff/2, maxBackoff+tick)
		}
	}
	if len(gaps) < 4 {
		t.Errorf("dials come in step: %v", gaps)
	}
}

func TestPooling68Recovery(t *testing.T) {
	for _, outage := range []time.Duration{time.Second, time.Minute, time.Hour} {
		t.Run(outage.String(), func(t *testing.T) {
			o := &origin{err: errDown, takes: 50 * time.Millisecond}
			run(t, o, Config[*fake]{Max: 5}, func(t *testing.T, p *Pool[*fake]) {
				try := func() error {
					c, err := p.Get(p.Waiter(""))
					if err == nil {
						p.Put(c)
					}
					return err
				}
				for began := time.Now(); time.Since(began) < outage; time.Sleep(100 * time.Millisecond) {
					if err := try(); !errors.Is(err, errDown) {
						t.Fatalf("Get: %v", err)
					}
				}
				o.fail(nil)
				back := time.Now()
				for try() != nil {
					time.Sleep(10 * time.Millisecond)
				}
				if d := time.Since(back); d > 2*time.Second {
					t.Errorf("served %v after the origin was back, want at most 2 s", d)
				}
				// And everybody is again.
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() { p.Put(get(t, p)) })
				}
				wg.Wait()
			})
		})
	}
}

// The last lent connection is lost: the line is told what the origin says.
func TestPooling68Lost(t *testing.T) {
	o := &origin{}
	run(t, o, Config[*fake]{Max: 2}, func(t *testing.T, p *Pool[*fake]) {
		a, b := get(t, p), get(t, p)
		done := make(chan error, 10)
		for range 10 {
			go func() { _, err := p.Get(p.Waiter("")); done <- err }()
		}
		synctest.Wait()
		o.fail(errDown)
		p.Discard(a)
		time.Sleep(time.Minute) // the line waits for b: dials have failed many times
		if s := p.Stats(); s.Waiting != 0 || s.Timeouts != 10 {
			t.Errorf("after a minute: %+v", s)
		}
		for range 10 {
			if err := <-done; !errors.Is(err, ErrTimeout) {
				t.Errorf("Get: %v, want ErrTimeout", err)
			}
		}
		for range 10 {
			go func() { _, err := p.Get(p.Waiter("")); done <- err }()
		}
		synctest.Wait()
		began := time.Now()
		p.Discard(b)
		for range 10 {
			if err := <-done; !errors.Is(err, errDown) {
				t.Errorf("Get: %v, want the dial's error", err)
			}
		}
		if d := time.Since(began); d > tick {
			t.Errorf("told after %v, want at once", d)
		}
	})
}

// An origin that has no more room serves all clients with what it gave, is asked
// for more now and then, and gives more when it has.
func TestPooling69(t *testing.T) {
	o := &origin{room: 3}
	run(t, o, Config[*fake]{Max: 20, WaitTimeout: time.Hour}, func(t *testing.T, p *Pool[*fake]) {
		const clients = 50
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				for range 200 {
					c := get(t, p)
					time.Sleep(10 * time.Millisecond)
					p.Put(c)
				}
			})
		}
		began := time.Now()
		time.Sleep(10 * time.Second)
		if s := p.Stats(); s.Live != 3 || s.Waiting != clients-3 {
			t.Errorf("with room for 3: %+v", s)
		}
		dials, _ := o.count()
		if most := 3 + 10 + int(time.Since(began)/(maxBackoff/2)); dials > most {
			t.Errorf("%d dials in %v, want at most %d", dials, time.Since(began), most)
		}
		o.mu.Lock()
		o.room = 0
		o.mu.Unlock()
		time.Sleep(2 * time.Second)
		if s := p.Stats(); s.Live != 20 {
			t.Errorf("with room again: %+v", s)
		}
		wg.Wait()
	})
}

func TestBackoff(t *testing.T) {
	for failures := 1; failures < 100; failures++ {
		want := min(maxBackoff, minBackoff<<min(failures-1, 20))
		synctest.Test(t, func(t *testing.T) { // the bubble's clock stands still
			for range 100 {
				p := New(Config[*fake]{})
				p.failures = failures - 1
				p.dialFailed(errDown)
				if d := time.Until(p.retryAt); d < want/2 || d >= want {
					t.Fatalf("after %d failures: %v, want %v to %v", failures, d, want/2, want)
				}
			}
		})
	}
}

// What the origin of before says is not told, and its backoff not waited for.
func TestRenewAfterFailure(t *testing.T) {
	o := &origin{err: errors.New("old password")}
	run(t, o, Config[*fake]{Max: 1}, func(t *testing.T, p *Pool[*fake]) {
		for range 100 {
			_, _ = p.Get(p.Waiter(""))
			time.Sleep(time.Second)
		}
		_, _ = p.Get(p.Waiter(""))
		o.fail(nil)
		p.Renew()
		began := time.Now()
		p.Put(get(t, p))
		if d := time.Since(began); d != 0 {
			t.Errorf("served after %v, want at once", d)
		}
	})
}

// A dial of before that comes late says nothing of the origin of now.
func TestRenewDuringDial(t *testing.T) {
	for _, tt := range []struct {
		name string
		old  error
	}{{"it failed", errDown}, {"it succeeded", nil}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := New(Config[*fake]{})
				p.dialing = 2
				p.Renew()
				now := errors.New("origin of now")
				p.dialed(nil, now, p.gen)
				retryAt := p.retryAt
				var c *fake
				if tt.old == nil {
					c = &fake{}
				}
				if left := p.dialed(c, tt.old, p.gen-1); left != (c != nil) {
					t.Errorf("told to close: %v", left)
				}
				if p.failed != now || p.failures != 1 || !p.retryAt.Equal(retryAt) || len(p.live) != 0 || p.dialing != 0 {
					t.Errorf("failed %v, %d times; %d live, %d dialing", p.failed, p.failures, len(p.live), p.dialing)
				}
			})
		})
	}
}
