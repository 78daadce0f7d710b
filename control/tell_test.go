package control

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestTellAndListen: what one node tells the others hear in its order, itself
// included, and a node knows when it may have missed something.
func TestTellAndListen(t *testing.T) {
	srv := startServer(t)
	dir := t.TempDir()
	a, b := openAt(t, dir, srv.ClientURL(), "a"), openAt(t, dir, srv.ClientURL(), "b")
	var mu sync.Mutex
	heard := map[string][]string{}
	news, lost := make(chan struct{}, 1), make(chan struct{}, 1)
	note := func(c chan struct{}) {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for name, c := range map[string]*Control{"a": a, "b": b} {
		wait.Go(func() {
			err := c.Listen(ctx, "writes.", func(topic string, data []byte) {
				mu.Lock()
				heard[name] = append(heard[name], topic+" "+string(data))
				mu.Unlock()
				note(news)
			}, func() { note(lost) })
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	tell := func(topic, data string) {
		t.Helper()
		if err := a.Tell(topic, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	until := func(done func() bool) {
		for {
			mu.Lock()
			ok := done()
			mu.Unlock()
			if ok {
				return
			}
			select {
			case <-news:
			case <-time.After(10 * time.Millisecond):
				tell("writes.here", "?") // nobody may have listened yet
			}
		}
	}
	until(func() bool { return len(heard["a"]) > 0 && len(heard["b"]) > 0 })
	tell("other.topic", "nobody's")
	var want []string
	for i := range 100 {
		tell(fmt.Sprintf("writes.account.db%d", i%7), fmt.Sprint(i))
		want = append(want, fmt.Sprintf("account.db%d %d", i%7, i))
	}
	said := func(name string) []string {
		return slices.DeleteFunc(slices.Clone(heard[name]), func(s string) bool { return s == "here ?" })
	}
	until(func() bool { return len(said("a")) >= len(want) && len(said("b")) >= len(want) })
	srv.Shutdown()
	<-lost
	stop()
	wait.Wait()
	for name := range heard {
		if got := said(name); !slices.Equal(got, want) {
			t.Errorf("%s heard %q", name, got)
		}
	}
}
