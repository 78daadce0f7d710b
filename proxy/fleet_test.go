package proxy

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/proxy/cache"
)

// A hall is a Fleet in memory. What is told in it is heard by all, unless the teller
// or the listener is cut off.
type hall struct {
	mu    sync.Mutex
	seats []*seat
}

type seat struct {
	hall *hall
	hear func(string, []byte)
	lost func()
	cut  bool // Tell fails, nothing is heard
	deaf bool // nothing of others is heard, and nobody says so

	stuck chan struct{} // Tell blocks until it is closed
}

func (s *seat) Tell(topic string, data []byte) error {
	s.hall.mu.Lock()
	stuck := s.stuck
	s.hall.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	s.hall.mu.Lock()
	defer s.hall.mu.Unlock()
	if s.cut {
		return errors.New("cut off")
	}
	for _, o := range s.hall.seats {
		if o.hear != nil && !o.cut && (!o.deaf || o == s) {
			o.hear(strings.TrimPrefix(topic, writesPrefix), data)
		}
	}
	return nil
}

func (s *seat) Listen(ctx context.Context, _ string, hear func(string, []byte), lost func()) error {
	s.hall.mu.Lock()
	s.hear, s.lost = hear, lost
	s.hall.mu.Unlock()
	<-ctx.Done()
	s.hall.mu.Lock()
	defer s.hall.mu.Unlock()
	s.hear = nil
	return nil
}

func (s *seat) set(do func()) {
	s.hall.mu.Lock()
	defer s.hall.mu.Unlock()
	do()
}

type nothing struct{ Source }

func (nothing) Snapshot() *control.Snapshot { return &control.Snapshot{} }

// joins makes a proxy of the hall that runs its gossip until the end of ctx, and one
// thing in its cache.
func (h *hall) joins(ctx context.Context, wait *sync.WaitGroup) (*Proxy, *seat) {
	s := &seat{hall: h}
	h.mu.Lock()
	h.seats = append(h.seats, s)
	h.mu.Unlock()
	p := New(Config{Source: nothing{}, CacheMemory: 1 << 20, Fleet: s, Logger: slog.New(slog.DiscardHandler)})
	wait.Go(func() { p.gossip.run(ctx); p.cache.Close() })
	return p, s
}

// keeps stores something in a proxy's cache, and returns whether it is still there.
func keeps(t *testing.T, p *Proxy) func() bool {
	t.Helper()
	space := p.cache.Space(cache.Policy{MaxAge: time.Hour})
	st, ok := space.Stamp(nil)
	if !ok {
		t.Fatal("the cache rests")
	}
	r, _ := space.Join([]byte("k"), st, nil)
	r.Flight().End(nil)
	r.Leave()
	return func() bool {
		_, state, _ := space.Get([]byte("k"))
		return state == cache.Fresh
	}
}

func inHall(t *testing.T, test func(t *testing.T, join func() (*Proxy, *seat, context.CancelFunc))) {
	synctest.Test(t, func(t *testing.T) {
		var wait sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		defer wait.Wait()
		defer stop()
		h := &hall{}
		test(t, func() (*Proxy, *seat, context.CancelFunc) {
			own, leave := context.WithCancel(ctx)
			p, s := h.joins(own, &wait)
			time.Sleep(2 * beat) // of the bubble's clock
			return p, s, leave
		})
	})
}

func TestFleetRestsWhileItCannotHear(t *testing.T) {
	inHall(t, func(t *testing.T, join func() (*Proxy, *seat, context.CancelFunc)) {
		a, at, _ := join()
		b, _, _ := join()
		ofA, ofB := keeps(t, a), keeps(t, b)
		time.Sleep(10 * beat)
		if !ofA() || !ofB() {
			t.Fatal("quiet proxies forget")
		}
		at.set(func() { at.cut = true })
		time.Sleep(2 * beat)
		if ofA() {
			t.Error("a hit while nobody can be heard")
		}
		time.Sleep(3 * beat)
		if ofB() {
			t.Error("a hit from before another proxy fell silent")
		}
		at.set(func() { at.cut = false })
		time.Sleep(3 * beat)
		if ofA() {
			t.Error("a hit from before others were heard again")
		}
		if again := keeps(t, a); !again() {
			t.Error("it rests for ever")
		}
	})
}

// A proxy whose telling is blocked does not hear itself, and rests all the same.
func TestFleetRestsWhileTellingIsBlocked(t *testing.T) {
	inHall(t, func(t *testing.T, join func() (*Proxy, *seat, context.CancelFunc)) {
		p, s, _ := join()
		kept := keeps(t, p)
		stuck := make(chan struct{})
		s.set(func() { s.stuck = stuck })
		time.Sleep(missing + 2*beat)
		if kept() {
			t.Error("a hit though nothing can be told or heard")
		}
		s.set(func() { s.stuck = nil })
		close(stuck)
		time.Sleep(3 * beat)
		if again := keeps(t, p); !again() {
			t.Error("it rests for ever")
		}
	})
}

func TestFleetNoticesWhatItMissed(t *testing.T) {
	inHall(t, func(t *testing.T, join func() (*Proxy, *seat, context.CancelFunc)) {
		a, _, leave := join()
		b, at, _ := join()
		ofA, ofB := keeps(t, a), keeps(t, b)
		// A proxy that another message was lost of knows by the next beat.
		at.set(func() { at.deaf = true })
		a.gossip.wrote("account.database", cache.Write{Tables: []uint32{1}}, false, false)
		synctest.Wait()
		at.set(func() { at.deaf = false })
		time.Sleep(2 * beat)
		if ofB() {
			t.Error("a hit from before a write that was missed")
		}
		if !ofA() {
			t.Error("the one that told of it forgot too")
		}
		// One that takes its leave has told everything.
		ofB = keeps(t, b)
		a.gossip.wrote("account.database", cache.Write{All: true}, true, true)
		leave()
		time.Sleep(10 * beat)
		if !ofB() {
			t.Error("everything is forgotten though nothing was missed")
		}
	})
}

func TestFleetMessages(t *testing.T) {
	inHall(t, func(t *testing.T, join func() (*Proxy, *seat, context.CancelFunc)) {
		p, s, _ := join()
		var heard []string
		s.set(func() {
			hear := s.hear
			s.hear = func(topic string, b []byte) {
				if !strings.HasSuffix(topic, "beat") {
					heard = append(heard, topic)
					if len(b) != messageHead+8 || b[24] != toldWrite || b[25] != 2 {
						t.Errorf("%v", b)
					}
				}
				hear(topic, b)
			}
		})
		s.set(func() { s.cut = true })
		p.gossip.wrote("a.d", cache.Write{Tables: []uint32{7}}, false, false)
		synctest.Wait()
		p.gossip.wrote("a.d", cache.Write{Tables: []uint32{7, 8}}, true, false)
		synctest.Wait()
		s.set(func() { s.cut = false })
		time.Sleep(2 * beat)
		s.set(func() {
			if len(heard) != 1 || heard[0] != "a.d" {
				t.Errorf("what could not be told is told as %q", heard)
			}
			s.hear = nil
		})
		many := writeTold{Write: cache.Write{Tables: make([]uint32, 0, mostTables)}}
		for i := range uint32(mostTables + 1) {
			many.add(writeTold{Write: cache.Write{Tables: []uint32{i}}})
		}
		if !many.All || many.Tables != nil {
			t.Errorf("%d tables are named", len(many.Tables))
		}
		before := keeps(t, p)
		for _, b := range [][]byte{nil, make([]byte, messageHead-1), make([]byte, messageHead+3)} {
			p.gossip.hear("a.d", b)
		}
		if before() {
			t.Error("a message that is not understood counts for nothing")
		}
	})
}
