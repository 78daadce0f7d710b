package mysql

import (
	"database/sql"
	"fmt"
	"slices"
	"testing"
)

// TestPooling58PreparedWarnings: SHOW WARNINGS that is prepared shows those of the client's last statement.
func TestPooling58PreparedWarnings(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.connect(t), w.connect(t)
		warnings, err := a.PrepareContext(t.Context(), "SHOW WARNINGS")
		if err != nil {
			t.Fatal(err)
		}
		defer warnings.Close()
		failures, err := a.PrepareContext(t.Context(), "SHOW ERRORS;")
		if err != nil {
			t.Fatal(err)
		}
		defer failures.Close()
		count, err := a.PrepareContext(t.Context(), "SHOW COUNT(*) WARNINGS")
		if err != nil {
			t.Fatal(err)
		}
		defer count.Close()
		exec(t, a, "DROP TABLE IF EXISTS nosuch1")
		exec(t, b, "DROP TABLE IF EXISTS nosuch3")
		expect(t, warnings, "Note 1051")
		expect(t, failures)
		var n int
		if err := count.QueryRowContext(t.Context()).Scan(&n); err != nil || n != 1 {
			t.Errorf("%d warnings, %v", n, err)
		}
		if _, err := a.ExecContext(t.Context(), "SELECT * FROM nosuch4"); code(err) != 1146 {
			t.Fatal(err)
		}
		value(t, b, "SELECT 1")
		expect(t, failures, "Error 1146")
	})
}

// expect compares levels and codes of a prepared statement's rows.
func expect(t *testing.T, stmt *sql.Stmt, want ...string) {
	t.Helper()
	rows, err := stmt.QueryContext(t.Context())
	if err != nil {
		t.Error(err)
		return
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var level, message string
		var number uint32
		if err := rows.Scan(&level, &number, &message); err != nil || message == "" {
			t.Fatalf("message %q, %v", message, err)
		}
		got = append(got, fmt.Sprint(level, " ", number))
	}
	if err := rows.Err(); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}
