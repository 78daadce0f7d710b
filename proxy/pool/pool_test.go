package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A fake is a connection of tests.
type fake struct {
	id     int
	bad    atomic.Bool
	closed atomic.Bool
}

func (f *fake) Rest() {}

func (f *fake) Quiet() bool { return !f.bad.Load() && !f.closed.Load() }

func (f *fake) Close() error {
	if f.closed.Swap(true) {
		panic("closed twice")
	}
	return nil
}

// An origin is what tests dial.
type origin struct {
	mu       sync.Mutex
	dials    int
	inFlight int
	most     int
	err      error
	takes    time.Duration
	conns    []*fake
}

func (o *origin) dial(ctx context.Context) (*fake, error) {
	o.mu.Lock()
	o.dials++
	o.inFlight++
	o.most = max(o.most, o.inFlight)
	takes := o.takes
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.inFlight--
		o.mu.Unlock()
	}()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return nil, o.err
	}
	c := &fake{id: len(o.conns)}
	o.conns = append(o.conns, c)
	return c, nil
}

func (o *origin) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

func (o *origin) count() (dials, open int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.conns {
		if !c.closed.Load() {
			open++
		}
	}
	return o.dials, open
}

// run runs test with a pool in a bubble of its own time; every connection must be
// closed in the end.
func run(t *testing.T, o *origin, cfg Config[*fake], test func(t *testing.T, p *Pool[*fake])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.Dial = o.dial
		p := New(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		test(t, p)
		cancel()
		<-done
		synctest.Wait()
		if _, open := o.count(); open != 0 {
			t.Errorf("%d connections are open after the end", open)
		}
		if _, err := p.Get(NewWaiter[*fake]()); !errors.Is(err, ErrClosed) {
			t.Errorf("Get after the end: %v", err)
		}
	})
}

func get(t *testing.T, p *Pool[*fake]) *fake {
	t.Helper()
	c, err := p.Get(NewWaiter[*fake]())
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return c
}

func TestOrder(t *testing.T) {
	run(t, &origin{}, Config[*fake]{Max: 1}, func(t *testing.T, p *Pool[*fake]) {
		c := get(t, p)
		var mu sync.Mutex
		var served []int
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				c, err := p.Get(NewWaiter[*fake]())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				served = append(served, i)
				mu.Unlock()
				p.Put(c)
			})
			synctest.Wait()
		}
		if s := p.Stats(); s.Waiting != 100 {
			t.Errorf("%d wait", s.Waiting)
		}
		p.Put(c)
		wg.Wait()
		for i, j := range served {
			if i != j {
				t.Fatalf("served in the order %v", served)
			}
		}
		if s := p.Stats(); s.Live != 1 || s.Idle != 1 || s.Dials != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestNewestFirst(t *testing.T) {
	run(t, &origin{}, Config[*fake]{Max: 3, DialLimit: 3}, func(t *testing.T, p *Pool[*fake]) {
		a, b, c := get(t, p), get(t, p), get(t, p)
		p.Put(a)
		p.Put(c)
		p.Put(b)
		if got := get(t, p); got != b {
			t.Errorf("got %d, want the one put last", got.id)
		} else {
			p.Put(got)
		}
		b.bad.Store(true) // noticed when it is asked for
		if got := get(t, p); got != c {
			t.Errorf("got %d, want the next", got.id)
		} else {
			p.Put(got)
		}
		if !b.closed.Load() {
			t.Error("a bad connection was not closed")
		}
	})
}

func TestTimeouts(t *testing.T) {
	run(t, &origin{}, Config[*fake]{Max: 1, WaitTimeout: time.Second, MaxWaiters: 2}, func(t *testing.T, p *Pool[*fake]) {
		c := get(t, p)
		began := time.Now()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if _, err := p.Get(NewWaiter[*fake]()); !errors.Is(err, ErrTimeout) {
					t.Errorf("Get: %v", err)
				}
			})
		}
		synctest.Wait()
		if _, err := p.Get(NewWaiter[*fake]()); !errors.Is(err, ErrFull) {
			t.Errorf("Get in a full line: %v", err)
		}
		wg.Wait()
		if d := time.Since(began); d < time.Second || d > time.Second+2*tick {
			t.Errorf("timed out after %v", d)
		}
		p.Put(c)
		p.Put(get(t, p))
	})
}

func TestCancel(t *testing.T) {
	run(t, &origin{}, Config[*fake]{Max: 1}, func(t *testing.T, p *Pool[*fake]) {
		c := get(t, p)
		w := NewWaiter[*fake]()
		for range 3 { // a Waiter is used again
			if p.Cancel(w) {
				t.Error("canceled what does not wait")
			}
			done := make(chan error)
			go func() { _, err := p.Get(w); done <- err }()
			synctest.Wait()
			if !p.Cancel(w) {
				t.Error("not canceled")
			}
			if err := <-done; !errors.Is(err, ErrCanceled) {
				t.Errorf("Get: %v", err)
			}
		}
		p.Put(c)
		if got, err := p.Get(w); err != nil || got != c {
			t.Errorf("Get: %v", err)
		}
		p.Put(c)
	})
}

func TestPooling67(t *testing.T) {
	o := &origin{takes: 100 * time.Millisecond}
	run(t, o, Config[*fake]{Max: 20, DialLimit: 3, WaitTimeout: time.Minute}, func(t *testing.T, p *Pool[*fake]) {
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				c, err := p.Get(NewWaiter[*fake]())
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(10 * time.Millisecond) // of the bubble's time
				p.Put(c)
			})
		}
		wg.Wait()
		if o.most > 3 {
			t.Errorf("%d dials at once", o.most)
		}
		if s := p.Stats(); s.Live > 20 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestPooling68(t *testing.T) {
	down := errors.New("origin says no")
	o := &origin{err: down}
	run(t, o, Config[*fake]{Max: 5}, func(t *testing.T, p *Pool[*fake]) {
		began := time.Now()
		for range 50 {
			if _, err := p.Get(NewWaiter[*fake]()); !errors.Is(err, down) {
				t.Fatalf("Get: %v", err)
			}
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("told after %v", d)
		}
		time.Sleep(time.Minute)
		// Clients that come all the time do not make a storm of it.
		before, _ := o.count()
		for range 600 {
			_, _ = p.Get(NewWaiter[*fake]())
			time.Sleep(100 * time.Millisecond)
		}
		if after, _ := o.count(); after-before > 60 {
			t.Errorf("%d dials in a minute", after-before)
		}
		o.fail(nil)
		back := time.Now()
		for {
			c, err := p.Get(NewWaiter[*fake]())
			if err == nil {
				p.Put(c)
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if d := time.Since(back); d > maxBackoff+2*tick {
			t.Errorf("back after %v", d)
		}
	})
}

// What was lent is lost: the line is told what the origin says.
func TestOriginLost(t *testing.T) {
	down := errors.New("origin says no")
	o := &origin{}
	run(t, o, Config[*fake]{Max: 2}, func(t *testing.T, p *Pool[*fake]) {
		a, b := get(t, p), get(t, p)
		done := make(chan error, 10)
		for range 10 {
			go func() { _, err := p.Get(NewWaiter[*fake]()); done <- err }()
		}
		synctest.Wait()
		o.fail(down)
		began := time.Now()
		p.Discard(a)
		p.Discard(b)
		for range 10 {
			if err := <-done; !errors.Is(err, down) {
				t.Errorf("Get: %v", err)
			}
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("told after %v", d)
		}
	})
}

func TestAges(t *testing.T) {
	o := &origin{}
	run(t, o, Config[*fake]{Max: 10, MinIdle: 2, DialLimit: 10, IdleTimeout: time.Minute, MaxLifetime: time.Hour}, func(t *testing.T, p *Pool[*fake]) {
		time.Sleep(time.Second)
		if s := p.Stats(); s.Idle != 2 {
			t.Errorf("MinIdle: %+v", s)
		}
		var cs []*fake
		for range 8 {
			cs = append(cs, get(t, p))
		}
		for _, c := range cs {
			p.Put(c)
		}
		time.Sleep(59 * time.Second)
		if s := p.Stats(); s.Idle != 8 {
			t.Errorf("before IdleTimeout: %+v", s)
		}
		time.Sleep(2 * time.Second)
		if s := p.Stats(); s.Idle != 2 {
			t.Errorf("after IdleTimeout: %+v", s)
		}
		c := get(t, p)
		dials, _ := o.count()
		time.Sleep(73 * time.Minute) // a fifth more than an hour
		if c.closed.Load() {
			t.Error("closed while lent")
		}
		p.Put(c)
		time.Sleep(time.Second)
		if !c.closed.Load() {
			t.Error("lives on after MaxLifetime")
		}
		if now, open := o.count(); now < dials+1 || open != 2 {
			t.Errorf("%d dials, %d open", now-dials, open)
		}
	})
}

func TestRenew(t *testing.T) {
	o := &origin{takes: time.Second}
	run(t, o, Config[*fake]{Max: 3, DialLimit: 3}, func(t *testing.T, p *Pool[*fake]) {
		a, b := get(t, p), get(t, p)
		p.Put(b)
		done := make(chan *fake)
		c := get(t, p)
		if c != b {
			t.Fatal("not the idle one")
		}
		go func() { done <- get(t, p) }() // its dial is of before
		synctest.Wait()
		p.Renew()
		d := <-done
		p.Put(a)
		p.Put(c)
		synctest.Wait()
		if !a.closed.Load() || !b.closed.Load() || d.closed.Load() {
			t.Errorf("closed: %v, %v, %v", a.closed.Load(), b.closed.Load(), d.closed.Load())
		}
		if d.id == 2 {
			t.Error("a connection dialled before Renew was lent")
		}
		p.Put(d)
	})
}

// An error of the origin of before is not told, and its backoff not waited for.
func TestRenewAfterFailure(t *testing.T) {
	o := &origin{err: errors.New("old password")}
	run(t, o, Config[*fake]{Max: 1}, func(t *testing.T, p *Pool[*fake]) {
		for range 100 {
			_, _ = p.Get(NewWaiter[*fake]())
			time.Sleep(time.Second)
		}
		o.fail(nil)
		p.Renew()
		began := time.Now()
		p.Put(get(t, p))
		if d := time.Since(began); d > tick {
			t.Errorf("served after %v", d)
		}
	})
}

func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		p := New(Config[*fake]{Dial: o.dial, Max: 1})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		c := get(t, p)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, err := p.Get(NewWaiter[*fake]()); !errors.Is(err, ErrClosed) {
					t.Errorf("Get: %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		<-done
		wg.Wait()
		if c.closed.Load() {
			t.Error("closed while lent")
		}
		p.Put(c)
		synctest.Wait()
		if !c.closed.Load() {
			t.Error("not closed when it came back")
		}
	})
}

// A million waits that time out, or are canceled, at the instant of a hand-off: no
// connection is lost, none is lent twice.
func TestPooling72(t *testing.T) {
	rounds := 1_000_000
	if testing.Short() {
		rounds /= 100
	}
	cfg := Config[*fake]{Dial: (&origin{}).dial, Max: 2, WaitTimeout: 20 * time.Microsecond}
	p := New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	var held [2]atomic.Int32
	var left atomic.Int64
	left.Store(int64(rounds))
	var got, timeouts, canceled atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	waiters := make([]*Waiter[*fake], 8)
	for i := range waiters {
		waiters[i] = NewWaiter[*fake]()
		wg.Go(func() {
			for left.Add(-1) > 0 {
				c, err := p.Get(waiters[i])
				switch {
				case err == nil:
					got.Add(1)
					if held[c.id].Add(1) != 1 {
						t.Error("lent twice")
					}
					held[c.id].Add(-1)
					p.Put(c)
				case errors.Is(err, ErrTimeout):
					timeouts.Add(1)
				case errors.Is(err, ErrCanceled):
					canceled.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	var spoilers sync.WaitGroup
	spoilers.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if i%2 == 0 {
				p.expire(time.Now())
			} else {
				p.Cancel(waiters[i/2%len(waiters)])
			}
		}
	})
	wg.Wait()
	close(stop)
	spoilers.Wait()
	s := p.Stats()
	if s.Live != 2 || s.Idle != 2 || s.Waiting != 0 || s.Dials != 2 {
		t.Errorf("%+v", s)
	}
	t.Logf("%d lent, %d timed out, %d canceled", got.Load(), timeouts.Load(), canceled.Load())
	if got.Load() == 0 || timeouts.Load()+canceled.Load() == 0 {
		t.Error("nothing was raced for")
	}
	cancel()
	<-done
}

// Everything at once, by chance: the books balance.
func TestChaos(t *testing.T) {
	for seed := range 20 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			o := &origin{takes: 30 * time.Millisecond}
			run(t, o, Config[*fake]{Max: 4, WaitTimeout: 300 * time.Millisecond, MaxLifetime: 5 * time.Second, IdleTimeout: time.Second},
				func(t *testing.T, p *Pool[*fake]) {
					var wg sync.WaitGroup
					for i := range 30 {
						wg.Go(func() {
							w := NewWaiter[*fake]()
							for j := range 100 {
								c, err := p.Get(w)
								if err != nil {
									continue
								}
								time.Sleep(time.Duration((i*j+seed)%20) * time.Millisecond)
								switch (i + j*seed) % 17 {
								case 0:
									p.Discard(c)
								case 1:
									c.bad.Store(true)
									p.Put(c)
								case 2:
									p.Renew()
									p.Put(c)
								case 3:
									o.fail(errors.New("away"))
									p.Put(c)
								case 4:
									o.fail(nil)
									p.Put(c)
								default:
									p.Put(c)
								}
							}
						})
					}
					wg.Wait()
					s := p.Stats()
					if _, open := o.count(); s.Live != s.Idle || s.Waiting != 0 || s.Live > 4 || open < s.Live {
						t.Errorf("%+v, %d open", s, open)
					}
				})
		})
	}
}
