package pool

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Waits that time out, or are canceled, at the instant of a hand-over: a million,
// or as many as there is time for. No connection is lost, and none lent twice.
func TestPooling72(t *testing.T) {
	const rounds, atMost = 1_000_000, 4 * time.Second
	p := New(Config[*fake]{Max: 2, WaitTimeout: time.Nanosecond})
	for id := range 2 { // no Run: the spoilers stand for it
		p.dialing++
		p.dialed(&fake{id: id}, nil, p.gen)
	}
	var held [2]atomic.Int32
	var left, got, timeouts, canceled atomic.Int64
	left.Store(rounds)
	began := time.Now()
	var clients, spoilers sync.WaitGroup
	waiters := make([]*Waiter[*fake], 8)
	for i := range waiters {
		waiters[i] = p.Waiter("")
		clients.Go(func() {
			for n := left.Add(-1); n > 0 && (n%256 != 0 || time.Since(began) < atMost); n = left.Add(-1) {
				c, err := p.Get(waiters[i])
				switch {
				case err == nil:
					got.Add(1)
					if held[c.id].Add(1) != 1 {
						t.Error("lent twice")
					}
					runtime.Gosched() // so that there is a line
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
			left.Store(0)
		})
	}
	stop := make(chan struct{})
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
			runtime.Gosched()
		}
	})
	clients.Wait()
	close(stop)
	spoilers.Wait()
	if s := p.Stats(); s.Live != 2 || s.Idle != 2 || s.Waiting != 0 {
		t.Errorf("stats: %+v", s)
	}
	t.Logf("%d lent, %d timed out, %d canceled", got.Load(), timeouts.Load(), canceled.Load())
	if got.Load() == 0 || timeouts.Load() == 0 || canceled.Load() == 0 {
		t.Error("nothing was raced for")
	}
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
							w := p.Waiter("")
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
