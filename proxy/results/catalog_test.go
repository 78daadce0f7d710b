package results

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/query"
)

// looks counts looks at a catalog that never changes.
type looks struct{ n atomic.Int64 }

func (l *looks) Fingerprint() (string, error) { l.n.Add(1); return "the same", nil }
func (*looks) Load() (query.Source, error)    { return query.Postgres(nil), nil }
func (*looks) Done(error)                     {}

// late is a catalog that changes, and is told to, right behind the first look at it.
type late struct {
	r *Results
	n atomic.Int64
}

func (l *late) Fingerprint() (string, error) {
	if l.n.Add(1) == 1 {
		l.r.Doubt()
		return "before", nil
	}
	return "after", nil
}
func (*late) Load() (query.Source, error) { return query.Postgres(nil), nil }
func (*late) Done(error)                  {}

// TestKeepLateDoubt: a change behind the look that finds another one is looked at too.
func TestKeepLateDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Config{MaxBytes: 1 << 20})
		defer c.Close()
		r := New(Config{Cache: c, Policy: cache.Policy{MaxAge: time.Minute}, Unknown: query.Postgres(nil)})
		ctx, cancel := context.WithCancel(t.Context())
		origin := late{r: r}
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Keep(ctx, func() (Origin, error) { return &origin, nil })
		}()
		r.Doubt()
		time.Sleep(10 * breath)
		cancel()
		<-done
		if n := origin.n.Load(); n != 2 || !r.Ready() {
			t.Errorf("%d looks, want 2; known: %t", n, r.Ready())
		}
	})
}

// TestKeepBreathes: however often the catalog is in doubt the origin is not asked all
// the time, and in the end it is known.
func TestKeepBreathes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Config{MaxBytes: 1 << 20})
		defer c.Close()
		r := New(Config{Cache: c, Policy: cache.Policy{MaxAge: time.Minute}, Unknown: query.Postgres(nil)})
		ctx, cancel := context.WithCancel(t.Context())
		var origin looks
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Keep(ctx, func() (Origin, error) { return &origin, nil })
		}()
		for range 1000 {
			r.Doubt()
			time.Sleep(time.Millisecond)
		}
		time.Sleep(breath)
		n := origin.n.Load()
		time.Sleep(5 * breath)
		if origin.n.Load() != n {
			t.Errorf("%d looks at a catalog that is known", origin.n.Load()-n)
		}
		cancel()
		<-done
		if n < 10 || n > 12 {
			t.Errorf("%d looks in a second, want one each %v", n, breath)
		}
		if !r.Ready() {
			t.Error("the catalog is not known in the end")
		}
	})
}
