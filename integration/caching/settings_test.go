package caching

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedb/sluice/proxy/postgres"
	"github.com/sluicedb/sluice/proxy/query"
)

// What a session sets in its course is in the cache's keys from then on, like what
// came with its start-up packet: nobody gets what is stale, or another's.
func TestCacheFollowsTheSession(t *testing.T) {
	s, direct := tables(t, "create table NAME.t as select 1 as id, timestamptz '2026-01-02 03:04:05+00' as at, 'here'::text as v",
		"create schema NAME_b", "create table NAME_b.t as select 1 as id, timestamptz '2026-01-02 03:04:05+00' as at, 'there'::text as v")
	t.Cleanup(func() { _, _ = direct.Exec(context.Background(), "drop schema "+s+"_b cascade") })
	w := newWorld(t)
	w.ready(t, s+".t")
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec, pgx.QueryExecModeCacheStatement} {
		t.Run(mode.String(), func(t *testing.T) {
			conn, other := w.by(t, mode, "search_path", s, "timezone", "UTC"), w.by(t, mode, "search_path", s, "timezone", "UTC")
			const sql = "select v, at::text from t"
			same := func(what string) {
				t.Helper()
				want := rows(t, direct, sql)
				for range 3 {
					if got := rows(t, conn, sql); got != want {
						t.Errorf("%s: %q, want %q", what, got, want)
					}
					if got := rows(t, other, sql); !strings.Contains(got, "here") || !strings.Contains(got, "2026-01-02 03:04:05+00") {
						t.Errorf("%s: another session reads %q", what, got)
					}
				}
			}
			script(t, direct, "set search_path = "+s, "set timezone = 'UTC'")
			same("at the beginning")
			for _, change := range []string{
				"set timezone = 'Asia/Tokyo'", "set datestyle = 'German'", "set search_path = " + s + "_b", "select set_config('timezone', 'Europe/Berlin', false)",
				"begin; set timezone = 'UTC'; rollback", "begin; set datestyle = 'ISO'; commit", "set local timezone = 'UTC'",
				"set search_path = " + s, "set session timezone = 'UTC'", "set search_path = " + s + "_b, " + s,
			} {
				script(t, direct, change)
				script(t, conn, change)
				same(change)
			}
			// What goes back to where it was is found where it was.
			script(t, conn, "set search_path = "+s, "set timezone = 'UTC'", "set datestyle = 'ISO'")
			_ = rows(t, conn, sql)
			if n := w.asked(func() { _ = rows(t, conn, sql) }); n != 0 {
				t.Errorf("the origin was asked %d times", n)
			}
			script(t, direct, "reset all")
		})
	}
}

// script sends texts, of several commands maybe, as they are.
func script(t testing.TB, conn *pgx.Conn, sql ...string) {
	t.Helper()
	for _, s := range sql {
		if _, err := conn.PgConn().Exec(context.Background(), s).ReadAll(); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// Whose session cannot be told goes to the origin: one that keeps its connection,
// and one whose text is read in a way that the cache does not know.
func TestCacheLeavesUnsettledSessionsAlone(t *testing.T) {
	s, _ := tables(t, "create table NAME.t as select 1 as id")
	w := newWorld(t, func(c *postgres.Config) { c.Policy = postgres.Pin })
	w.ready(t, s+".t")
	sql := "select id from " + s + ".t"
	conn := w.simply(t)
	_ = rows(t, conn, sql)
	hits := func() uint64 { return w.counts()[query.StatusHit] }
	for _, c := range []struct{ begin, end string }{
		{"select pg_advisory_lock(2601)", "select pg_advisory_unlock(2601)"},
		{"create temp table kept (n int)", "discard all"},
		{"do $$ begin set timezone = 'Asia/Tokyo'; end $$", "discard all"},
		{"set standard_conforming_strings = off", "reset standard_conforming_strings"},
		{"set search_path = pg_temp, public", "reset search_path"},
		{"set client_encoding = 'SJIS'", "reset client_encoding"},
	} {
		script(t, conn, c.begin)
		before := hits()
		if n := w.asked(func() { script(t, conn, sql, sql, sql) }); n != 3 || hits() != before {
			t.Errorf("after %s the origin was asked %d times, %d hits", c.begin, n, hits()-before)
		}
		script(t, conn, c.end)
		deadline := time.Now().Add(patience)
		for w.asked(func() { script(t, conn, sql) }) != 0 {
			if time.Now().After(deadline) {
				t.Fatalf("after %s nothing is hit", c.end)
			}
		}
	}
}

// The role is in the key, and with it what the role may see.
func TestCacheFollowsTheRole(t *testing.T) {
	s, direct := tables(t, "create table NAME.t as select 1 as id")
	ctx := context.Background()
	admin, err := pg.Admin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	role := s + "_role"
	script(t, admin, "create role "+role, "grant "+role+" to "+pg.Target().User)
	t.Cleanup(func() {
		admin, err := pg.Admin(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		defer admin.Close(ctx)
		script(t, direct, "revoke usage on schema "+s+" from "+role)
		script(t, admin, "drop role "+role)
	})
	script(t, direct, "grant usage on schema "+s+" to "+role)
	w := newWorld(t)
	w.ready(t, s+".t")
	sql := "select id from " + s + ".t"
	conn, other := w.simply(t), w.simply(t)
	_, _ = rows(t, conn, sql), rows(t, other, sql)
	script(t, conn, "set role "+role)
	for range 3 {
		if got, err := tryRows(conn, sql); err == nil {
			t.Errorf("the role reads %q from a table that it may not read", got)
		}
		if got := strings.TrimSpace(rows(t, other, sql)); got != "1" {
			t.Errorf("another session reads %q", got)
		}
	}
	script(t, conn, "begin; reset role; rollback")
	if got, err := tryRows(conn, sql); err == nil {
		t.Errorf("after a ROLLBACK the role reads %q", got)
	}
	script(t, conn, "reset role", sql) // behind the question what has become of the session
	if n := w.asked(func() { _ = rows(t, conn, sql) }); n != 0 {
		t.Errorf("after RESET ROLE the origin was asked %d times", n)
	}
}
