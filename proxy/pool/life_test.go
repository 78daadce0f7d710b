package pool

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestNewestFirst(t *testing.T) {
	run(t, &origin{}, Config[*fake]{Max: 3, DialLimit: 3}, func(t *testing.T, p *Pool[*fake]) {
		a, b, c := get(t, p), get(t, p), get(t, p)
		p.Put(a)
		p.Put(c)
		p.Put(b)
		for _, want := range []*fake{b, c, a} {
			if got := get(t, p); got != want {
				t.Errorf("got %d, want %d", got.id, want.id)
			}
		}
		p.Put(a)
		p.Put(b)
		p.Put(c)
	})
}

// What is not quiet is closed and not lent; the next that is quiet is.
func TestNotQuiet(t *testing.T) {
	o := &origin{}
	run(t, o, Config[*fake]{Max: 3, DialLimit: 3}, func(t *testing.T, p *Pool[*fake]) {
		a, b, c := get(t, p), get(t, p), get(t, p)
		p.Put(a)
		p.Put(b)
		p.Put(c)
		b.bad.Store(true)
		c.bad.Store(true)
		if got := get(t, p); got != a {
			t.Errorf("got %d, want the quiet one", got.id)
		}
		if !b.closed.Load() || !c.closed.Load() {
			t.Error("what was not quiet is open")
		}
		p.Put(a)
		a.bad.Store(true)
		d := get(t, p)
		if d == a || d == b || d == c {
			t.Errorf("got %d, want a new one", d.id)
		}
		if s := p.Stats(); s.Live != 1 || s.retired() != 3 || s.dials() != 4 {
			t.Errorf("stats: %+v", s)
		}
		p.Put(d)
	})
}

func TestMinIdle(t *testing.T) {
	o := &origin{}
	run(t, o, Config[*fake]{Max: 10, MinIdle: 3, IdleTimeout: time.Minute, MaxLifetime: 24 * time.Hour}, func(t *testing.T, p *Pool[*fake]) {
		synctest.Wait()
		if s := p.Stats(); s.Idle != 3 {
			t.Errorf("at the start: %+v", s)
		}
		for range 2 {
			p.Discard(get(t, p))
		}
		synctest.Wait()
		if s := p.Stats(); s.Idle != 3 || s.dials() != 5 {
			t.Errorf("after the loss of two: %+v", s)
		}
		time.Sleep(time.Hour)
		if s := p.Stats(); s.Idle != 3 || s.dials() != 5 {
			t.Errorf("after an hour: %+v", s)
		}
	})
}

func TestIdleTimeout(t *testing.T) {
	o := &origin{}
	run(t, o, Config[*fake]{Max: 10, MinIdle: 2, DialLimit: 10, IdleTimeout: time.Minute, MaxLifetime: time.Hour}, func(t *testing.T, p *Pool[*fake]) {
		var cs []*fake
		for range 8 {
			cs = append(cs, get(t, p))
		}
		for _, c := range cs {
			p.Put(c)
		}
		time.Sleep(time.Minute - time.Millisecond)
		if s := p.Stats(); s.Idle != 8 {
			t.Errorf("before a minute: %+v", s)
		}
		last := get(t, p) // which makes it young again
		p.Put(last)
		time.Sleep(time.Second)
		if s := p.Stats(); s.Idle != 2 {
			t.Errorf("after a minute: %+v", s)
		}
		if last.closed.Load() {
			t.Error("the one used last is closed")
		}
	})
}

// A connection lives for MaxLifetime, give or take a fifth, so that those that
// were opened together do not end together; never longer, lent or not.
func TestMaxLifetime(t *testing.T) {
	const conns, life = 200, 5 * time.Minute
	o := &origin{}
	run(t, o, Config[*fake]{Max: conns + 1, DialLimit: conns, MaxLifetime: life, IdleTimeout: 24 * time.Hour}, func(t *testing.T, p *Pool[*fake]) {
		lent := get(t, p)
		cs := make([]*fake, conns)
		for i := range cs {
			cs[i] = get(t, p)
		}
		for _, c := range cs {
			p.Put(c)
		}
		open := func() int { return p.Stats().Idle }
		time.Sleep(life - life/5)
		if n := open(); n < conns-1 {
			t.Errorf("%d of %d left after four fifths of their time", n, conns)
		}
		ends := 0 // of the 12 steps of ten seconds in which they end, those in which some do
		for range 12 {
			before := open()
			time.Sleep(life / 30)
			if open() < before {
				ends++
			}
		}
		time.Sleep(tick)
		if n := open(); n != 0 || ends < 10 {
			t.Errorf("%d live on; they ended in %d steps, want 12", n, ends)
		}
		if lent.closed.Load() {
			t.Error("closed while lent")
		}
		p.Put(lent)
		synctest.Wait()
		if s := p.Stats(); s.Live != 0 || !lent.closed.Load() || s.retired() != conns+1 {
			t.Errorf("at the end: %+v", s)
		}
	})
}

// An idle connection that has aged since the last tick is not lent.
func TestAgedIsNotLent(t *testing.T) {
	run(t, &origin{}, Config[*fake]{Max: 1, MaxLifetime: tick / 10}, func(t *testing.T, p *Pool[*fake]) {
		c := get(t, p)
		p.Put(c)
		time.Sleep(tick / 5)
		if got := get(t, p); got == c {
			t.Error("lent again")
		} else {
			p.Put(got)
		}
	})
}

func TestRenew(t *testing.T) {
	o := &origin{takes: time.Second}
	run(t, o, Config[*fake]{Max: 3, DialLimit: 3}, func(t *testing.T, p *Pool[*fake]) {
		lent, idle := get(t, p), get(t, p)
		p.Put(idle)
		second := get(t, p)
		if second != idle {
			t.Fatal("not the idle one")
		}
		done := make(chan *fake)
		go func() { done <- get(t, p) }() // its dial is of before
		synctest.Wait()
		p.Put(second)
		fresh := make(chan *fake)
		go func() { fresh <- get(t, p) }()
		synctest.Wait()
		p.Renew()
		p.Put(lent)
		synctest.Wait()
		if !lent.closed.Load() {
			t.Error("a connection of before is open after its return")
		}
		for _, ch := range []chan *fake{done, fresh} {
			if c := <-ch; c.id == 2 {
				t.Error("a connection dialled before Renew was lent")
			} else {
				p.Put(c)
			}
		}
		if s := p.Stats(); s.Live > 3 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// The end fails the line, ends dials and closes what is idle; what is lent is
// closed when it comes back.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		p, stop := start(t, o, Config[*fake]{Max: 4})
		put, discarded, idle := get(t, p), get(t, p), get(t, p)
		o.mu.Lock()
		o.takes = time.Hour
		o.mu.Unlock()
		p.Put(idle)
		held := get(t, p)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, err := p.Get(p.Waiter("")); !errors.Is(err, ErrClosed) {
					t.Errorf("Get: %v, want ErrClosed", err)
				}
			})
		}
		synctest.Wait()
		if s := p.Stats(); s.Dialing != 1 || s.Waiting != 5 {
			t.Fatalf("before the end: %+v", s)
		}
		began := time.Now()
		stop()
		wg.Wait()
		if d := time.Since(began); d != 0 {
			t.Errorf("the end took %v", d)
		}
		p.Put(put)
		p.Discard(discarded)
		p.Put(held)
		for _, c := range []*fake{put, discarded, held} {
			if !c.closed.Load() {
				t.Errorf("%d is open after its return", c.id)
			}
		}
		if s := p.Stats(); s.Live != 0 || s.Idle != 0 || s.Dialing != 0 || s.Waiting != 0 {
			t.Errorf("after the end: %+v", s)
		}
	})
}

// A dial that succeeds at the end leaves nothing open.
func TestEndDuringDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fake{}
		dialled := make(chan struct{})
		p := New(Config[*fake]{MinIdle: 1, Dial: func(ctx context.Context) (*fake, error) {
			close(dialled)
			<-ctx.Done() // and succeeds nevertheless
			return c, nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		<-dialled
		cancel()
		<-done
		if s := p.Stats(); !c.closed.Load() || s.Live != 0 {
			t.Errorf("the connection is open: %+v", s)
		}
	})
}

// A dial takes no longer than DialTimeout.
func TestDialTimeout(t *testing.T) {
	o := &origin{takes: time.Hour}
	run(t, o, Config[*fake]{DialTimeout: time.Second}, func(t *testing.T, p *Pool[*fake]) {
		began := time.Now()
		_, err := p.Get(p.Waiter(""))
		if d := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || d != time.Second {
			t.Errorf("Get: %v after %v, want the deadline after a second", err, d)
		}
	})
}

// What is not of the pool, or no longer, does not get into it.
func TestForeign(t *testing.T) {
	run(t, &origin{}, Config[*fake]{Max: 1}, func(t *testing.T, p *Pool[*fake]) {
		p.Put(&fake{})
		c := get(t, p)
		p.Discard(c)
		p.Put(c)
		if s := p.Stats(); s.Live != 0 || s.Idle != 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// A dial under way counts against Max.
func TestMaxCountsDials(t *testing.T) {
	o := &origin{takes: time.Second}
	run(t, o, Config[*fake]{Max: 2, DialLimit: 10}, func(t *testing.T, p *Pool[*fake]) {
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { p.Put(get(t, p)) })
		}
		wg.Wait()
		if o.mostOpen != 2 {
			t.Errorf("%d connections and dials, want 2", o.mostOpen)
		}
	})
}

// TestTunnel12PoolMakesLeavingConnectionsAnew: idle ones at once, lent ones when they come back.
func TestTunnel12PoolMakesLeavingConnectionsAnew(t *testing.T) {
	o := &origin{}
	run(t, o, Config[*fake]{Max: 3, MinIdle: 2}, func(t *testing.T, p *Pool[*fake]) {
		lent := get(t, p)
		time.Sleep(time.Second)
		o.mu.Lock()
		before := slices.Clone(o.conns)
		o.mu.Unlock()
		for _, c := range before {
			c.leaving.Store(true)
		}
		time.Sleep(time.Second)
		for _, c := range before {
			if c.closed.Load() == (c == lent) {
				t.Errorf("connection %d, lent: %v, is closed: %v", c.id, c == lent, c.closed.Load())
			}
		}
		p.Put(lent)
		time.Sleep(time.Second)
		if s := p.Stats(); !lent.closed.Load() || s.Live != 2 || s.Retired[Leaving] != uint64(len(before)) {
			t.Errorf("the lent one is closed: %v, %d live, %d left, want 2 and %d", lent.closed.Load(), s.Live, s.Retired[Leaving], len(before))
		}
	})
}
