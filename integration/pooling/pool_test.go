package pooling

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/postgres"
)

// 500 clients on 40 origin connections: who waits waits in line, so that nobody
// is overtaken: while one waits, hardly more are served than there are others.
func TestPooling65(t *testing.T) {
	w := newWorld(t, maxConns(40))
	const clients, rounds = 500, 10
	var served atomic.Int64
	var mu sync.Mutex
	var waits []int64
	var wg sync.WaitGroup
	start := make(chan struct{})
	var ready sync.WaitGroup
	for range clients {
		x := w.wire(t)
		ready.Add(1)
		wg.Go(func() {
			ready.Done()
			<-start
			for i := range rounds {
				before := served.Load()
				x.send(q("select pg_sleep(0.005)"))
				s, err := x.tryReady(1)
				if err != nil || s != "T D: C:SELECT_1 Z:I" {
					t.Errorf("%s, %v", s, err)
					return
				}
				others := served.Add(1) - before
				if i > 1 && i < rounds-2 { // while everybody is there
					mu.Lock()
					waits = append(waits, others)
					mu.Unlock()
				}
			}
		})
	}
	ready.Wait()
	close(start)
	wg.Wait()
	slices.Sort(waits)
	if len(waits) == 0 {
		t.Fatal("nobody waited")
	}
	p50, p99 := waits[len(waits)/2], waits[len(waits)*99/100]
	t.Logf("served meanwhile: p50 %d, p99 %d", p50, p99)
	// Twice as many leave room for a test's goroutine that is not run at once.
	if p99 > 2*clients {
		t.Errorf("p50 %d, p99 %d others were served while one waited", p50, p99)
	}
}

// A thousand clients at once, no origin connection yet.
func TestPooling67(t *testing.T) {
	var inFlight, most atomic.Int64
	w := newWorld(t, maxConns(8), func(c *postgres.Config) {
		dial := c.Dial
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			n := inFlight.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			defer inFlight.Add(-1)
			return dial(ctx)
		}
	})
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			x, err := w.tryWire(t)
			if err != nil {
				t.Error(err)
				return
			}
			defer x.conn.Close()
			x.send(q(fmt.Sprint("select ", i)))
			if s, err := x.tryReady(1); err != nil || s != fmt.Sprintf("T D:%d C:SELECT_1 Z:I", i) {
				t.Errorf("%s, %v", s, err)
			}
		})
	}
	wg.Wait()
	if most.Load() > 2 {
		t.Errorf("%d dials at once", most.Load())
	}
	if s := w.db.Stats(); s.Live > 8 {
		t.Errorf("%+v", s)
	}
}

// A link to the origin that can be cut.
type link struct {
	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

func (l *link) dial(dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.down {
			return nil, errCut
		}
		conn, err := dial(ctx)
		if err == nil {
			l.conns = append(l.conns, conn)
		}
		return conn, err
	}
}

func (l *link) set(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down = down; down {
		for _, c := range l.conns {
			c.Close()
		}
		l.conns = nil
	}
}

var errCut error = cutError{}

type cutError struct{}

func (cutError) Error() string  { return "the link is cut" }
func (cutError) Reason() string { return "link_cut" }

func TestPooling68(t *testing.T) {
	t.Parallel()
	var l link
	w := newWorld(t, maxConns(2), func(c *postgres.Config) { c.Dial = l.dial(c.Dial) })
	busy, waits, idle := w.wire(t), w.wire(t), w.wire(t)
	second := w.wire(t)
	busy.want("C:BEGIN Z:T", q("begin"))
	second.want("C:BEGIN Z:T", q("begin"))
	waits.send(q("select 1"))
	eventually(t, "waits", func() bool { return w.db.Stats().Waiting == 1 })
	l.set(true)
	for _, x := range []*wire{busy, second} {
		x.send(q("select 1"))
		if got := x.end(); got != "E:08006" {
			t.Errorf("in a transaction: %s", got)
		}
	}
	if m, err := waits.next(); err != nil || note(m) != "E:58000" || !strings.HasSuffix(m.(*pgproto3.ErrorResponse).Message, "link_cut") {
		t.Errorf("who waits was told %+v, %v", m, err) // and not that the line is too long
	}
	waits.got("Z:I")
	for range 20 {
		idle.send(q("select 1"))
		idle.got("E:58000 Z:I")
	}
	l.set(false)
	eventually(t, "is back", func() bool {
		idle.send(q("select 1"))
		return idle.ready(1) == "T D:1 C:SELECT_1 Z:I"
	})
	waits.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
}

// An origin that takes no more connections: those that are there serve everybody.
func TestPooling69(t *testing.T) {
	t.Parallel()
	var dials atomic.Int64
	w := newWorld(t, maxConns(10), func(c *postgres.Config) {
		dial := c.Dial
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			if dials.Add(1) > 2 {
				a, b := net.Pipe()
				go refuse(b)
				return a, nil
			}
			return dial(ctx)
		}
		c.TLS = nil
	})
	var wg sync.WaitGroup
	for range 20 {
		x := w.wire(t)
		wg.Go(func() {
			for range 50 {
				x.send(q("select pg_sleep(0.001)"))
				if s, err := x.tryReady(1); err != nil || s != "T D: C:SELECT_1 Z:I" {
					t.Errorf("%s, %v", s, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := dials.Load(); n > 100 {
		t.Errorf("%d dials", n)
	}
	// With none there the origin's own words are told.
	none := newWorld(t, maxConns(1), func(c *postgres.Config) {
		c.TLS = nil
		c.Dial = func(context.Context) (net.Conn, error) {
			a, b := net.Pipe()
			go refuse(b)
			return a, nil
		}
	})
	if _, err := none.tryWire(t); code(err) != "53300" {
		t.Errorf("login: %v", err)
	}
}

// refuse answers a start-up packet as a full PostgreSQL does.
func refuse(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return
	}
	_, _ = conn.Read(make([]byte, 1000))
	_, _ = conn.Write(pgwire.Fatalf(pgwire.CodeTooManyConnections, "sorry, too many clients already").Append(nil))
}

// Waiting has an end, and then an error that says what to do.
func TestFullLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1), func(c *postgres.Config) { c.WaitTimeout = 0 }) // the default
	x, y := w.wire(t), w.wire(t)
	x.want("C:BEGIN Z:T", q("begin"))
	began := time.Now()
	y.send(parse("", "select 1"), bind(""), execute, syncMsg, q("select 1"))
	y.got("E:58000 Z:I")
	if d := time.Since(began); d < 14*time.Second {
		t.Errorf("after %v", d)
	}
	x.want("C:COMMIT Z:I", q("commit"))
	y.got("T D:1 C:SELECT_1 Z:I")
}
