package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	manyClients = 200
	fewOrigin   = 10 // the world's origin connection limit
)

// TestManyClientsShareFewConnections: 200 clients on 10 origin connections, every query with a
// marker that comes back to its own client, in every way of asking.
func TestManyClientsShareFewConnections(t *testing.T) {
	w := newWorld(t)
	ctx := within(t)
	conns := make([]*pgx.Conn, manyClients)
	var connecting sync.WaitGroup
	for i := range conns {
		connecting.Go(func() {
			var err error
			if conns[i], err = w.target.Connect(ctx); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	connecting.Wait()
	defer func() {
		for _, conn := range conns {
			closeConn(conn)
		}
	}()
	if t.Failed() {
		return
	}

	stop := make(chan struct{})
	most := make(chan int)
	go w.watchConnections(ctx, stop, most)
	var wg sync.WaitGroup
	for i, conn := range conns {
		wg.Go(func() {
			for n := range 5 {
				if err := markers(ctx, conn, i, n); err != nil {
					t.Errorf("client %d, round %d: %v", i, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	if n := <-most; n < 1 || n > fewOrigin {
		t.Errorf("the origin saw %d connections at once, want 1 to %d", n, fewOrigin)
	}
}

// markers asks for a client's own marker in each of the protocol's ways and in a transaction.
func markers(ctx context.Context, conn *pgx.Conn, client, round int) error {
	want := fmt.Sprintf("client %d round %d", client, round)
	for _, mode := range queryModes {
		var got string
		if err := conn.QueryRow(ctx, "select $1::text", mode, want).Scan(&got); err != nil || got != want {
			return fmt.Errorf("%v: got %q, %w", mode, got, err)
		}
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select set_config('application_name', $1, true)", want); err != nil {
			return err
		}
		var got string
		if err := tx.QueryRow(ctx, "select current_setting('application_name')").Scan(&got); err != nil || got != want {
			return fmt.Errorf("in a transaction: got %q, %w", got, err)
		}
		return nil
	})
}

// watchConnections counts the origin's client connections until stop is closed, and sends the
// most that it saw at once.
func (w *world) watchConnections(ctx context.Context, stop <-chan struct{}, most chan<- int) {
	highest := 0
	defer func() { most <- highest }()
	admin, err := w.pg.Admin(ctx)
	if err != nil {
		return
	}
	defer closeConn(admin)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var n int
		if err := admin.QueryRow(ctx, "select count(*) from pg_stat_activity where usename = 'app'").Scan(&n); err != nil {
			return
		}
		highest = max(highest, n)
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}
