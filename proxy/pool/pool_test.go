package pool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A fake is a connection of tests.
type fake struct {
	id      int
	bad     atomic.Bool
	leaving atomic.Bool
	closed  atomic.Bool
	rests   atomic.Int64
}

func (f *fake) Rest() { f.rests.Add(1) }

func (f *fake) Leaving() bool { return f.leaving.Load() }

func (f *fake) Quiet() bool { return !f.bad.Load() && !f.closed.Load() }

func (f *fake) Close() error {
	if f.closed.Swap(true) {
		panic("closed twice")
	}
	return nil
}

// An origin is what tests dial.
type origin struct {
	takes time.Duration // a dial
	room  int           // connections that it admits; 0: any number

	mu       sync.Mutex
	err      error // of every dial
	inFlight int
	most     int         // dials in flight
	mostOpen int         // connections, dials in flight included
	dials    []time.Time // when each began
	conns    []*fake
}

func (o *origin) dial(ctx context.Context) (*fake, error) {
	o.mu.Lock()
	o.dials = append(o.dials, time.Now())
	o.inFlight++
	o.most = max(o.most, o.inFlight)
	o.mostOpen = max(o.mostOpen, o.inFlight+o.open())
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.inFlight--
		o.mu.Unlock()
	}()
	if o.takes > 0 {
		select {
		case <-time.After(o.takes):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return nil, o.err
	}
	if o.room > 0 && o.open() >= o.room {
		return nil, errors.New("sorry, too many clients already")
	}
	c := &fake{id: len(o.conns)}
	o.conns = append(o.conns, c)
	return c, nil
}

// open counts the open connections. The lock is held.
func (o *origin) open() (n int) {
	for _, c := range o.conns {
		if !c.closed.Load() {
			n++
		}
	}
	return n
}

func (o *origin) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

func (o *origin) count() (dials, open int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.dials), o.open()
}

// start runs a pool; stop ends it and returns when Run has.
func start(t *testing.T, o *origin, cfg Config[*fake]) (p *Pool[*fake], stop func()) {
	cfg.Dial = o.dial
	p = New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	return p, func() { cancel(); <-done }
}

// run runs test with a pool in a bubble of its own time. When Run has returned
// every connection must be closed, and the bubble without a goroutine.
func run(t *testing.T, o *origin, cfg Config[*fake], test func(t *testing.T, p *Pool[*fake])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p, stop := start(t, o, cfg)
		test(t, p)
		stop()
		if _, open := o.count(); open != 0 {
			t.Errorf("%d connections are open after the end", open)
		}
		if _, err := p.Get(p.Waiter("")); !errors.Is(err, ErrClosed) {
			t.Errorf("Get after the end: %v", err)
		}
	})
}

func get(t *testing.T, p *Pool[*fake]) *fake {
	t.Helper()
	c, err := p.Get(p.Waiter(""))
	if err != nil {
		t.Errorf("Get: %v", err) // maybe not in the test's own goroutine
	}
	return c
}

func (s Stats) dials() (n uint64) {
	for _, d := range s.Dials {
		n += d
	}
	return n
}

func (s Stats) retired() (n uint64) {
	for _, r := range s.Retired {
		n += r
	}
	return n
}
