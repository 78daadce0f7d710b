package integration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedb/sluice/integration/harness"
)

// queryDeadline is how long a driver waits for an answer. No query of the traffic comes near
// it, so reaching it means that a client was left waiting.
const queryDeadline = 2 * time.Minute

// traffic is a number of clients that query without a pause and connect again when they lost
// their connection. Every query carries a marker.
type traffic struct {
	target  harness.Target
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	clients []client
}

// client is one of them. Its counters only grow.
type client struct {
	answers  atomic.Int64
	refusals atomic.Int64 // errors with an SQLSTATE

	mu     sync.Mutex
	faults []error // anything else: another client's marker, a silence, a broken connection
}

// startTraffic connects n clients and lets them query until stop.
func startTraffic(ctx context.Context, target harness.Target, n int) *traffic {
	ctx, cancel := context.WithCancel(ctx)
	tr := &traffic{target: target, cancel: cancel, clients: make([]client, n)}
	for i := range tr.clients {
		tr.wg.Go(func() { tr.run(ctx, i) })
	}
	return tr
}

// stop ends the traffic and fails the test with what went wrong in it.
func (tr *traffic) stop(t *testing.T) {
	t.Helper()
	tr.cancel()
	tr.wg.Wait()
	for i := range tr.clients {
		for _, err := range tr.clients[i].faults {
			t.Errorf("client %d: %v", i, err)
		}
	}
}

func (tr *traffic) run(ctx context.Context, i int) {
	c := &tr.clients[i]
	var conn *pgx.Conn
	for n := 0; ctx.Err() == nil; n++ {
		err := tr.query(ctx, &conn, i, n)
		var pgErr *pgconn.PgError
		switch {
		case ctx.Err() != nil: // the end of the traffic, not an answer
		case err == nil:
			c.answers.Add(1)
		case errors.As(err, &pgErr):
			c.refusals.Add(1)
		default:
			c.mu.Lock()
			c.faults = append(c.faults, err)
			c.mu.Unlock()
			if len(c.faults) > 3 {
				return
			}
		}
	}
	closeConn(conn)
}

// query sends one marker and connects first where there is no connection.
func (tr *traffic) query(ctx context.Context, conn **pgx.Conn, i, n int) error {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	start := time.Now()
	if *conn == nil || (*conn).IsClosed() {
		fresh, err := tr.target.Connect(ctx)
		if err != nil {
			return fmt.Errorf("connect, after %v: %w", time.Since(start).Round(time.Millisecond), err)
		}
		*conn = fresh
	}
	want := fmt.Sprintf("client %d query %d", i, n)
	mode := queryModes[n%len(queryModes)]
	var got string
	if err := (*conn).QueryRow(ctx, "select $1::text", mode, want).Scan(&got); err != nil {
		return fmt.Errorf("%v query, after %v: %w", mode, time.Since(start).Round(time.Millisecond), err)
	}
	if got != want {
		return fmt.Errorf("got the marker %q, want %q", got, want)
	}
	return nil
}

// everyClient waits until each client has had so many more answers.
func (tr *traffic) everyClient(ctx context.Context, answers int64) error {
	before := make([]int64, len(tr.clients))
	for i := range tr.clients {
		before[i] = tr.clients[i].answers.Load()
	}
	return harness.WaitFor(ctx, nil, func(context.Context) error {
		for i := range tr.clients {
			if n := tr.clients[i].answers.Load() - before[i]; n < answers {
				return fmt.Errorf("client %d has had %d answers of %d, %d refusals", i, n, answers, tr.clients[i].refusals.Load())
			}
		}
		return nil
	})
}

// closeConn closes at a test's end, within a bound of its own since the test's context is over.
func closeConn(conn *pgx.Conn) {
	if conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		conn.Close(ctx)
	}
}
