package pooling

import (
	"context"
	"errors"
	"testing"
)

func errorAs[T error](err error) (T, bool) {
	var e T
	ok := errors.As(err, &e)
	return e, ok
}

func TestQueries(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn := w.connect(t)
	for i := range 50 {
		var got int
		if err := conn.QueryRow(ctx, "select $1::int + 1", i).Scan(&got); err != nil || got != i+1 {
			t.Fatalf("query %d: got %d, %v", i, got, err)
		}
	}
	if _, err := conn.Exec(ctx, "select 1/0"); code(err) != "22012" {
		t.Fatalf("division by zero: %v", err)
	}
	var one int
	if err := conn.QueryRow(ctx, "select 1").Scan(&one); err != nil || one != 1 {
		t.Fatalf("after an error: %v", err)
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "create temp table x (a int) on commit drop"); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "insert into x values ($1)", 7); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
}
