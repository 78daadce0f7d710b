package pooling

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/proxy/postgres"
)

// One client is cancelled at any moment, the other works on the same origin connection.
func TestPooling37(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	victim, other := w.wire(t), w.wire(t)
	const cancels = 1000
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		var inner sync.WaitGroup
		for range 4 {
			inner.Go(func() {
				for range cancels / 4 {
					w.cancel(t, victim.pid, victim.secret)
				}
			})
		}
		inner.Wait()
	})
	ended := func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	wg.Go(func() {
		for i := 0; !ended(); i++ {
			victim.send(q("select 1"), q("select pg_sleep(0.002)"))
			if s, err := victim.tryReady(2); err != nil {
				t.Errorf("victim: %s, %v", s, err)
				return
			}
		}
	})
	wg.Go(func() {
		for i := 0; !ended(); i++ {
			want := fmt.Sprintf("1 2 D:%d C:SELECT_1 Z:I T D:1 C:SELECT_1 Z:I", i)
			other.send(parse("", fmt.Sprintf("select %d", i)), bind(""), execute, syncMsg, q("select 1"))
			if s, err := other.tryReady(2); err != nil || s != want {
				t.Errorf("other: got %s, %v, want %s", s, err, want)
				return
			}
		}
	})
	wg.Wait()
	t.Logf("%+v", w.db.Counts())
}

func TestPooling38(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	x.want("C:BEGIN Z:T", q("begin"))
	// In line.
	y.send(q("select 1"), q("select 2"))
	eventually(t, "waits in line", func() bool { return w.db.Stats().Waiting == 1 })
	w.cancel(t, y.pid, y.secret)
	if got := y.read(2); got != "E:57014 Z:I" { // and no word of a line that is too long
		t.Error(got)
	}
	eventually(t, "waits again", func() bool { return w.db.Stats().Waiting == 1 })
	x.want("C:COMMIT Z:I", q("commit"))
	y.got("T D:2 C:SELECT_1 Z:I")
	// In line, by the extended protocol.
	x.want("C:BEGIN Z:T", q("begin"))
	y.send(parse("", "select 1"), bind(""), execute, syncMsg)
	eventually(t, "waits in line", func() bool { return w.db.Stats().Waiting == 1 })
	w.cancel(t, y.pid, y.secret)
	y.got("E:57014 Z:I")
	x.want("C:COMMIT Z:I", q("commit"))
	// Running, by wrong keys and by the right one.
	x.send(q("select 'ran' from pg_sleep(0.3)"))
	wrong := append([]byte(nil), x.secret...)
	wrong[3] ^= 1
	for range 20 {
		w.cancel(t, x.pid, wrong)
		w.cancel(t, x.pid+1000, x.secret)
		w.cancel(t, y.pid, y.secret) // idle
	}
	x.got("T D:ran C:SELECT_1 Z:I")
	x.send(parse("", "select pg_sleep(60)"), bind(""), execute, syncMsg, q("select 1"))
	eventually(t, "runs", func() bool { return running(t, "pg_sleep(60)") == 1 })
	w.cancel(t, x.pid, x.secret)
	x.got("1 2 E:57014 Z:I T D:1 C:SELECT_1 Z:I")
	// In an idle transaction it is nobody's.
	x.want("C:BEGIN Z:T", q("begin"))
	w.cancel(t, x.pid, x.secret)
	x.want("T D:1 C:SELECT_1 Z:T C:COMMIT Z:I", q("select 1"), q("commit"))
}

func TestQueryTimeout(t *testing.T) {
	t.Parallel()
	const limit = 2 * time.Second // for what takes no time, on a loaded machine too
	w := newWorld(t, maxConns(1), queryTimeout(limit))
	x := w.wire(t)
	x.want("T E:57014 Z:I", q("select pg_sleep(60)"))
	x.want("C:BEGIN Z:T C:SAVEPOINT Z:T", q("begin"), q("savepoint s"))
	for range 2 { // each statement anew
		x.want("T E:57014 Z:E C:ROLLBACK Z:T", q("select pg_sleep(60)"), q("rollback to s"))
	}
	x.want("C:COMMIT Z:I", q("commit"))
	// Time between statements does not count, also where the pump has run.
	x.send(q("begin"), parse("", "select 1 /*"+strings.Repeat("x", 40000)+"*/"), flush)
	x.got("C:BEGIN Z:T 1")
	x.want("Z:T", syncMsg)
	deadline := time.NewTimer(2 * limit)
	<-deadline.C
	x.want("T D:1 C:SELECT_1 Z:T C:COMMIT Z:I", q("select 1"), q("commit"))
}

// A statement that ends while the cancel that its time has brought about is on its way has the next one of its transaction spared.
func TestQueryTimeoutIsLate(t *testing.T) {
	t.Parallel()
	asked, arrive := make(chan struct{}, 1), make(chan struct{})
	var dials atomic.Int32
	w := newWorld(t, maxConns(1), queryTimeout(time.Second), func(c *postgres.Config) {
		dial := c.Dial
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			if dials.Add(1) > 1 { // the first is the client's, and all others are cancels
				select {
				case asked <- struct{}{}:
				default:
				}
				<-arrive
			}
			return dial(ctx)
		}
	})
	x := w.wire(t)
	x.want("C:BEGIN Z:T", q("begin"))
	y := direct(t)
	const held = "(hashtext('late cancel'))"
	y.want("T D: C:SELECT_1 Z:I", q("select pg_advisory_lock"+held))
	x.send(q("select 1 from pg_advisory_xact_lock" + held))
	<-asked
	y.want("T D:t C:SELECT_1 Z:I", q("select pg_advisory_unlock"+held))
	x.got("T D:1 C:SELECT_1 Z:T")
	x.send(q("select 2 from pg_sleep(0.5)"))
	time.AfterFunc(250*time.Millisecond, func() { close(arrive) }) // by then it would run, were it not made to wait
	x.got("T D:2 C:SELECT_1 Z:T")
	x.want("C:COMMIT Z:I", q("commit"))
}

// A pipeline of short statements takes as long as it likes.
func TestQueryTimeoutOfPipeline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1), queryTimeout(5*time.Second))
	w.wire(t).want(strings.TrimSpace(strings.Repeat("T D:1 C:SELECT_1 Z:I ", 12)),
		slices.Repeat([]pgproto3.FrontendMessage{q("select 1 from pg_sleep(0.5)")}, 12)...)
}

// A driver that stalls before it has said all keeps no origin connection: what came
// before a long Parse is answered first, and an unfinished group ends with its time.
func TestStalledDriver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1), queryTimeout(5*time.Second))
	x, y := w.wire(t), w.wire(t)
	long := encode(parse("long", "select 2 /*"+strings.Repeat("x", 40000)+"*/"))
	x.write(append(encode(q("select 1")), long[:1000]...))
	x.got("T D:1 C:SELECT_1 Z:I")
	y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
	x.write(long[1000:])
	x.want("1 2 D:2 C:SELECT_1 Z:I", bind("long"), execute, syncMsg)
	x.send(parse("", "select 1"), bind(""))
	eventually(t, "has an origin connection", func() bool { s := w.db.Stats(); return s.Live > s.Idle })
	x.end()
	y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
}
