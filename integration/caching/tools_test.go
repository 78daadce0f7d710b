package caching

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedb/sluice/proxy/query"
)

// tables makes tables of the test's own directly at the origin, before any proxy of
// the test has seen its catalog. Where sql says NAME it is a name of the test's own.
func tables(t testing.TB, sql ...string) (name string, direct *pgx.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pg.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	name = strings.ToLower(strings.NewReplacer("/", "_", "-", "_", "#", "_").Replace(t.Name()))
	if len(name) > 50 {
		name = name[:50]
	}
	t.Cleanup(func() {
		_, _ = conn.Exec(context.Background(), "drop schema "+name+" cascade")
		conn.Close(context.Background())
	})
	for _, s := range append([]string{"create schema NAME"}, sql...) {
		s = strings.ReplaceAll(s, "NAME", name)
		if _, err := conn.Exec(ctx, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return name, conn
}

func exec(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := conn.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// rows runs a query and returns its rows as text.
func rows(t testing.TB, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	got, err := tryRows(conn, sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

func tryRows(conn *pgx.Conn, sql string, args ...any) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return "", err
	}
	defer r.Close()
	var b strings.Builder
	for r.Next() {
		v, err := r.Values()
		if err != nil {
			return "", err
		}
		fmt.Fprintln(&b, v...)
	}
	return b.String(), r.Err()
}

// simply connects so that queries go by the simple protocol.
func (w *world) simply(t testing.TB, params ...string) *pgx.Conn {
	return w.by(t, pgx.QueryExecModeSimpleProtocol, params...)
}

// ready waits until the proxy knows the catalog: until a query of this table is hit.
func (w *world) ready(t testing.TB, table string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cfg, err := pgx.ParseConfig(w.url())
	if err != nil {
		t.Fatal(err)
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for before := w.counts(); w.counts()[query.StatusHit] == before[query.StatusHit]; {
		if _, err := conn.Exec(ctx, "select 'ready' from "+table+" limit 1"); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) counts() [query.Statuses]uint64 { return w.db.Results().Counts().Statuses }

// quiet waits until no client has an origin connection but those that keep theirs: one
// that has, because the proxy still asks what its last statement did to the session,
// reads by it.
func (w *world) quiet(t testing.TB) {
	t.Helper()
	within(t, "rest", func() bool { s := w.db.Stats(); return s.Live == s.Idle+w.kept && s.Dialing == 0 })
}

// expect runs do, when all is quiet, and requires that it makes exactly these
// statuses, in any order.
func (w *world) expect(t testing.TB, what string, do func(), want ...query.Status) {
	t.Helper()
	w.quiet(t)
	before := w.counts()
	do()
	after := w.counts()
	var expected [query.Statuses]uint64
	for _, s := range want {
		expected[s]++
	}
	for s := range query.Statuses {
		if got := after[s] - before[s]; got != expected[s] {
			t.Errorf("%s: %d times %v, want %d", what, got, s, expected[s])
		}
	}
}

// asked is how many queries the origin was asked while do ran.
func (w *world) asked(do func()) uint64 {
	before := w.db.Counts().Queries
	do()
	return w.db.Counts().Queries - before
}
