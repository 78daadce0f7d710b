package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lib/pq"

	"github.com/sluicedb/sluice/integration/harness"
)

// goApplications are what programs in Go do, by driver.
var goApplications = map[string][]struct {
	what string
	run  func(*testing.T, harness.Target)
}{
	"lib/pq": {
		{"database/sql pool", testPQPool},
		{"transactions", testPQTransactions},
		{"prepared statements", testPQPrepared},
		{"COPY", testPQCopy},
		{"cancelled contexts", testPQCancel},
	},
	"golang-migrate": {
		{"migrations (Pooling49)", testGoMigrate},
	},
	"pgx": {
		{"pgxpool, all query modes", testPgxPool},
		{"batches", testPgxBatch},
		{"COPY", testPgxCopy},
	},
}

func openPQ(t *testing.T, target harness.Target) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", target.URL())
	must(t, err)
	db.SetMaxOpenConns(20)
	t.Cleanup(func() { db.Close() })
	return db
}

// parallel runs work n times at once.
func parallel(t *testing.T, n int, work func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := work(i); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// Its statements with arguments are unnamed ones that are bound after a Sync.
func testPQPool(t *testing.T, target harness.Target) {
	db, ctx := openPQ(t, target), within(t)
	parallel(t, 50, func(i int) error {
		for n := range 10 {
			var a, b int
			if err := db.QueryRowContext(ctx, "select $1::int, $2::int", i, n).Scan(&a, &b); err != nil || a != i || b != n {
				return fmt.Errorf("got %d, %d, %w", a, b, err)
			}
		}
		return nil
	})
}

func testPQTransactions(t *testing.T, target harness.Target) {
	db, ctx := openPQ(t, target), within(t)
	_, err := db.ExecContext(ctx, "create table pq_t (who text primary key, n int)")
	must(t, err)
	defer db.ExecContext(context.WithoutCancel(ctx), "drop table pq_t")
	parallel(t, 20, func(i int) error {
		tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "insert into pq_t values ($1, $2)", fmt.Sprint("tx ", i), i); err != nil {
			return err
		}
		if i%2 == 0 {
			return nil
		}
		return tx.Commit()
	})
	var n int
	must(t, db.QueryRowContext(ctx, "select count(*) from pq_t").Scan(&n))
	if n != 10 {
		t.Errorf("%d rows", n)
	}
	_, err = db.ExecContext(ctx, "insert into pq_t values ($1)", "tx 1")
	if pe, ok := errors.AsType[*pq.Error](err); !ok || pe.Code != "23505" || pe.Constraint != "pq_t_pkey" {
		t.Errorf("the same again: %v", err)
	}
}

func testPQPrepared(t *testing.T, target harness.Target) {
	db, ctx := openPQ(t, target), within(t)
	statements := make([]*sql.Stmt, 8)
	for i := range statements {
		var err error
		statements[i], err = db.PrepareContext(ctx, fmt.Sprintf("select %d, $1::text", i))
		must(t, err)
	}
	parallel(t, 30, func(i int) error {
		for n := range 10 {
			var which int
			var text string
			if err := statements[n%8].QueryRowContext(ctx, fmt.Sprint(i)).Scan(&which, &text); err != nil || which != n%8 || text != fmt.Sprint(i) {
				return fmt.Errorf("got %d, %q, %w", which, text, err)
			}
		}
		return nil
	})
	for _, s := range statements {
		must(t, s.Close())
	}
}

func testPQCopy(t *testing.T, target harness.Target) {
	db, ctx := openPQ(t, target), within(t)
	_, err := db.ExecContext(ctx, "create table pq_copy (a int, b text)")
	must(t, err)
	defer db.ExecContext(context.WithoutCancel(ctx), "drop table pq_copy")
	tx, err := db.BeginTx(ctx, nil)
	must(t, err)
	defer tx.Rollback()
	s, err := tx.PrepareContext(ctx, "copy pq_copy (a, b) from stdin")
	must(t, err)
	for i := range 5000 {
		_, err := s.ExecContext(ctx, i, strings.Repeat("x", 50))
		must(t, err)
	}
	_, err = s.ExecContext(ctx)
	must(t, err)
	must(t, s.Close())
	must(t, tx.Commit())
	var sum int
	must(t, db.QueryRowContext(ctx, "select sum(a) from pq_copy").Scan(&sum))
	if sum != 4999*5000/2 {
		t.Errorf("sum %d", sum)
	}
}

func testPQCancel(t *testing.T, target harness.Target) {
	db, ctx := openPQ(t, target), within(t)
	parallel(t, 5, func(int) error {
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		if _, err := db.ExecContext(short, "select pg_sleep(30)"); err == nil {
			return errors.New("slept")
		}
		var one int
		return db.QueryRowContext(ctx, "select 1").Scan(&one)
	})
}

func openPgx(ctx context.Context, t *testing.T, target harness.Target) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(ctx, target.URL())
	must(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func testPgxPool(t *testing.T, target harness.Target) {
	ctx := within(t)
	pool := openPgx(ctx, t, target)
	parallel(t, 40, func(i int) error {
		for n, mode := range queryModes {
			var a, b int
			if err := pool.QueryRow(ctx, "select $1::int, $2::int", mode, i, n).Scan(&a, &b); err != nil || a != i || b != n {
				return fmt.Errorf("%v: got %d, %d, %w", mode, a, b, err)
			}
		}
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "select $1::text", fmt.Sprint(i))
			return err
		})
	})
}

func testPgxBatch(t *testing.T, target harness.Target) {
	ctx := within(t)
	pool := openPgx(ctx, t, target)
	parallel(t, 10, func(i int) error {
		var batch pgx.Batch
		for n := range 100 {
			batch.Queue(fmt.Sprintf("select $1::int + %d", n%10), i).QueryRow(func(row pgx.Row) error {
				var got int
				if err := row.Scan(&got); err != nil || got != i+n%10 {
					return fmt.Errorf("got %d, %w", got, err)
				}
				return nil
			})
		}
		return pool.SendBatch(ctx, &batch).Close()
	})
	var failing pgx.Batch
	failing.Queue("select 1")
	failing.Queue("select 1/0")
	failing.Queue("select 2")
	if pe, ok := errors.AsType[*pgconn.PgError](pool.SendBatch(ctx, &failing).Close()); !ok || pe.Code != "22012" {
		t.Errorf("got %v", pe)
	}
}

func testPgxCopy(t *testing.T, target harness.Target) {
	ctx := within(t)
	pool := openPgx(ctx, t, target)
	_, err := pool.Exec(ctx, "create table pgx_copy (a int, b text)")
	must(t, err)
	defer pool.Exec(context.WithoutCancel(ctx), "drop table pgx_copy")
	parallel(t, 4, func(int) error {
		n, err := pool.CopyFrom(ctx, pgx.Identifier{"pgx_copy"}, []string{"a", "b"},
			pgx.CopyFromSlice(2000, func(i int) ([]any, error) { return []any{i, "text"}, nil }))
		if err == nil && n != 2000 {
			err = fmt.Errorf("%d rows", n)
		}
		return err
	})
}
