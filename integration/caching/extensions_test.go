package caching

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/postgres"
)

// TestCache13Extensions checks, with each extension that the server has, that what uses nothing of it is cached as before: their functions,
// types and operators are many, and not all are labelled.
func TestCache13Extensions(t *testing.T) {
	const database = "extensions"
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	admin, err := pg.Admin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	exec(t, admin, "create database "+database)
	defer exec(t, admin, "drop database "+database+" with (force)")
	cfg := admin.Config().Copy()
	cfg.Database = database
	direct, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close(context.Background())
	exec(t, direct, "create table t (id int primary key, name text, at timestamptz default now())")
	exec(t, direct, "insert into t values (1, 'one', '2020-02-02'), (2, 'two', '2021-01-01')")
	exec(t, direct, "grant select on t to public")
	// postgis_topology has a cast that happens by itself and is VOLATILE.
	found, err := direct.Query(ctx, "select name from pg_available_extensions where name not in ('plpgsql', 'postgis_topology') order by name")
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(found, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			if _, err := direct.Exec(context.Background(), fmt.Sprintf("create extension if not exists %q cascade", name)); err != nil {
				t.Logf("it cannot be made here: %v", err)
				return
			}
			made++
			w := newWorld(t, func(c *postgres.Config) { c.Database, c.Caching = database, cache.Policy{MaxAge: patience} })
			w.ready(t, "t")
			conn := w.simply(t)
			w.once(t, conn, "select * from t where id = 1 order by name")
			w.once(t, conn, "select name, count(*), max(at) from t where name in ('one', 'two') and id between 1 and 5 group by name order by 2 desc, 1 limit 5")
		})
	}
	if made == 0 {
		t.Errorf("none of %q could be made: there was nothing to look at", names)
	}
}
