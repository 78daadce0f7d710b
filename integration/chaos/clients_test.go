package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// deadline is how long a client waits for a transaction. Nothing that chaos does lasts as long, and every wait of the proxy,
	// the relays and the connectors is shorter, so reaching it means that somebody was forgotten.
	deadline = 60 * time.Second
	// pause is what a client does between two transactions: on average ten seconds of work a second for a hundred of them.
	pause = 200 * time.Millisecond
)

// outcome is what a client knows of a transaction.
type outcome int

const (
	unknown      outcome = iota // it failed, or its commit was not answered
	acknowledged                // the driver said that it is committed
)

// load is clients at work, until they are told to stop.
type load struct {
	fleet   *fleet
	stop    context.CancelFunc
	running sync.WaitGroup
	started time.Time

	done, failed atomic.Int64
	mu           sync.Mutex
	outcomes     map[mark]outcome
	faults       []error
	failures     map[string]int // by SQLSTATE
	longest      time.Duration
}

// mark names a transaction: it writes two rows with it.
type mark struct{ client, n int }

func (f *fleet) work(ctx context.Context, n int, l *load) {
	ctx, l.stop = context.WithCancel(ctx)
	l.fleet, l.started = f, time.Now()
	if l.outcomes == nil {
		l.outcomes, l.failures = make(map[mark]outcome), make(map[string]int)
	}
	for i := range n {
		l.running.Go(func() { l.client(ctx, i) })
	}
}

// end lets the clients finish what they are at. It may be called again.
func (l *load) end() {
	if l.stop != nil {
		l.stop()
	}
	l.running.Wait()
}

func (l *load) client(ctx context.Context, i int) {
	var conn *pgx.Conn
	for n := l.next(i); ctx.Err() == nil; n++ {
		m := mark{i, n}
		began := time.Now()
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadline)
		committed, err := l.transact(bound, &conn, m)
		cancel()
		l.note(m, committed, err, time.Since(began))
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(2 * pause)):
		}
	}
	if conn != nil {
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadline)
		defer cancel()
		_ = conn.Close(bound) // the server learns of it either way
	}
}

// next is the first number that a client has not used.
func (l *load) next(client int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for m := range l.outcomes {
		if m.client == client {
			n = max(n, m.n+1)
		}
	}
	return n
}

// transact writes both rows of m in one transaction. It connects first where there is no connection.
func (l *load) transact(ctx context.Context, conn **pgx.Conn, m mark) (committed bool, err error) {
	if *conn == nil || (*conn).IsClosed() {
		fresh, err := l.fleet.connect(ctx)
		if err != nil {
			return false, fmt.Errorf("connect: %w", err)
		}
		*conn = fresh
	}
	tx, err := (*conn).Begin(ctx)
	if err != nil {
		return false, fmt.Errorf("begin: %w", err)
	}
	for half := range 2 {
		if _, err := tx.Exec(ctx, "insert into marks (client, n, half) values ($1, $2, $3)", m.client, m.n, half); err != nil {
			return false, errors.Join(fmt.Errorf("insert: %w", err), tx.Rollback(ctx))
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return false, fmt.Errorf("commit: %w", err)
	}
	return true, nil
}

func (l *load) note(m mark, committed bool, err error, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.longest = max(l.longest, took)
	l.outcomes[m] = unknown
	if committed {
		l.outcomes[m] = acknowledged
		l.done.Add(1)
		return
	}
	l.failed.Add(1)
	var pgErr *pgconn.PgError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		l.faults = append(l.faults, fmt.Errorf("%v after the start client %d was still without an answer after %v: %w", time.Since(l.started).Round(time.Second), m.client, took, err))
	case errors.As(err, &pgErr):
		l.failures[pgErr.Code+" "+pgErr.Message]++
	default:
		l.failures["connection lost"]++
	}
}

// report fails the test for clients that were kept waiting.
func (l *load) report(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%d transactions acknowledged, %d failed; the longest took %v", l.done.Load(), l.failed.Load(), l.longest.Round(time.Millisecond))
	for what, n := range l.failures {
		t.Logf("%6d times %s", n, what)
	}
	for _, err := range l.faults[:min(len(l.faults), 20)] {
		t.Error(err)
	}
	if n := len(l.faults); n > 20 {
		t.Errorf("and %d times more", n-20)
	}
}

// audit compares what clients know with what the database has.
func (l *load) audit(ctx context.Context, t *testing.T) {
	t.Helper()
	conn, err := l.fleet.pg.Connect(ctx)
	must(t, err)
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "select client, n, count(*), count(distinct half) from marks group by client, n")
	must(t, err)
	found := make(map[mark]bool)
	var m mark
	var halves, distinct int
	_, err = pgx.ForEachRow(rows, []any{&m.client, &m.n, &halves, &distinct}, func() error {
		found[m] = true
		if halves != 2 || distinct != 2 {
			t.Errorf("transaction %d of client %d has %d rows, %d of them different, instead of 2", m.n, m.client, halves, distinct)
		}
		if _, ok := l.outcomes[m]; !ok {
			t.Errorf("transaction %d of client %d is in the database and nobody's", m.n, m.client)
		}
		return nil
	})
	must(t, err)
	lost := 0
	for m, o := range l.outcomes {
		if o == acknowledged && !found[m] {
			lost++
			t.Logf("transaction %d of client %d was acknowledged and is not in the database", m.n, m.client)
		}
	}
	if lost > 0 {
		t.Errorf("%d acknowledged transactions are lost", lost)
	}
}
