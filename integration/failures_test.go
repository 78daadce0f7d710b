package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedb/sluice/integration/harness"
)

// recoverWithin is how long after a part's return every client must have answers again: the
// connector's longest pause between attempts and the pool's, several times.
const recoverWithin = 3 * time.Minute

// TestKilledPartsRecover kills each part of the path in the middle of traffic. Whoever waits for
// an answer gets an error with an SQLSTATE within the deadline, and when the part is back all
// clients have answers again, without anybody's help.
func TestKilledPartsRecover(t *testing.T) {
	w := newWorld(t)
	for _, part := range []struct {
		name    string
		kill    func()
		restart func(context.Context) error
	}{
		{"connector", func() { w.connector.Kill() }, w.startConnector},
		{"relay", func() { w.relay.Kill() }, w.startRelay},
		{"origin", w.pg.Kill, w.pg.Start},
	} {
		t.Run(part.name, func(t *testing.T) {
			ctx := within(t)
			tr := startTraffic(ctx, w.target, 20)
			defer tr.stop(t)
			must(t, tr.everyClient(ctx, 5))
			waiting := w.startWaiting(ctx, t, 5)

			part.kill()
			for range cap(waiting) {
				err := <-waiting
				var pgErr *pgconn.PgError
				if !errors.As(err, &pgErr) {
					t.Errorf("a waiting client: got %v, want an error with an SQLSTATE", err)
				}
			}
			restartCtx, cancel := context.WithTimeout(ctx, recoverWithin)
			defer cancel()
			must(t, part.restart(restartCtx))
			if err := tr.everyClient(restartCtx, 20); err != nil {
				t.Errorf("after the %s came back: %v", part.name, err)
			}
		})
	}
}

// startWaiting lets n clients wait for an answer that takes longer than any test, and returns
// when the origin works on all of them. Their errors come on the channel.
func (w *world) startWaiting(ctx context.Context, t *testing.T, n int) <-chan error {
	t.Helper()
	errs := make(chan error, n)
	for range n {
		conn := connect(ctx, t, w.target)
		go func() {
			ctx, cancel := context.WithTimeout(ctx, queryDeadline)
			defer cancel()
			start := time.Now()
			_, err := conn.Exec(ctx, "select 'waiting', pg_sleep(600)")
			if err != nil {
				err = fmt.Errorf("after %v: %w", time.Since(start).Round(time.Millisecond), err)
			}
			errs <- err
		}()
	}
	admin, err := w.pg.Admin(ctx)
	must(t, err)
	defer closeConn(admin)
	must(t, harness.WaitFor(ctx, nil, func(ctx context.Context) error {
		var running int
		err := admin.QueryRow(ctx, "select count(*) from pg_stat_activity where state = 'active' and query like 'select ''waiting''%'").Scan(&running)
		if err == nil && running < n {
			err = fmt.Errorf("%d of %d queries run", running, n)
		}
		return err
	}))
	return errs
}
