package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/golang-migrate/migrate/v4"
	_ "github.com/golang-migrate/migrate/v4/database/pgx/v5" // for URLs of pgx5
	"github.com/golang-migrate/migrate/v4/source/iofs"

	"github.com/sluicedb/sluice/integration/harness"
)

// migrations are those of a small program. The third cannot run in a transaction, nor while others
// wait for the lock: it waits for them in turn.
var migrations = fstest.MapFS{
	"1_customers.up.sql":   {Data: []byte("create table gomigrate_customers (id serial primary key, name text not null);")},
	"1_customers.down.sql": {Data: []byte("drop table gomigrate_customers;")},
	"2_email.up.sql":       {Data: []byte("begin; alter table gomigrate_customers add email text; update gomigrate_customers set email = ''; commit;")},
	"2_email.down.sql":     {Data: []byte("alter table gomigrate_customers drop email;")},
	"3_index.up.sql":       {Data: []byte("create index concurrently gomigrate_email on gomigrate_customers (email);")},
	"3_index.down.sql":     {Data: []byte("drop index concurrently gomigrate_email;")},
}

// testGoMigrate is Pooling49 with golang-migrate, which holds a session advisory lock over
// statements and transactions.
func testGoMigrate(t *testing.T, target harness.Target) {
	ctx := within(t)
	run := func(what func(*migrate.Migrate) error) error {
		source, err := iofs.New(migrations, ".")
		if err != nil {
			return err
		}
		m, err := migrate.NewWithSourceInstance("iofs", source, strings.Replace(target.URL(), "postgres://", "pgx5://", 1))
		if err != nil {
			return errors.New("golang-migrate: not opened") // its text may show the URL
		}
		defer m.Close()
		if err := what(m); err != nil && !errors.Is(err, migrate.ErrNoChange) {
			return err
		}
		return nil
	}
	// Several servers of a deployment start at once: one migrates, the others wait for it.
	parallel(t, 4, func(int) error { return run(func(m *migrate.Migrate) error { return m.Migrate(2) }) })
	must(t, run((*migrate.Migrate).Up))
	conn := connect(ctx, t, target)
	defer conn.Exec(context.WithoutCancel(ctx), "drop table schema_migrations")
	var version, locks int
	var dirty bool
	const state = "select version, dirty, (select count(*) from pg_locks where locktype = 'advisory') from schema_migrations"
	if err := conn.QueryRow(ctx, state).Scan(&version, &dirty, &locks); err != nil || version != 3 || dirty || locks > 0 {
		t.Errorf("version %d, dirty %v, %d locks, %v", version, dirty, locks, err)
	}
	_, err := conn.Exec(ctx, "insert into gomigrate_customers (name, email) values ('a', 'b')")
	must(t, err)
	must(t, run(func(m *migrate.Migrate) error { return m.Steps(-2) }))
	if _, err := conn.Exec(ctx, "select email from gomigrate_customers"); err == nil {
		t.Error("what was migrated back is still there")
	}
	must(t, run((*migrate.Migrate).Down))
	must(t, run(func(m *migrate.Migrate) error {
		if version, _, err := m.Version(); !errors.Is(err, migrate.ErrNilVersion) {
			return fmt.Errorf("after all version %d, %w", version, err)
		}
		return nil
	}))
}
