package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedb/sluice/integration/harness"
)

// queryModes are the ways in which pgx sends a query: the simple protocol, the extended one with
// unnamed statements, and named prepared statements.
var queryModes = []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec, pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeCacheStatement}

func testQueries(t *testing.T, _ *harness.Stage, target harness.Target) {
	ctx := within(t)
	conn := connect(ctx, t, target)
	for _, mode := range queryModes {
		t.Run(mode.String(), func(t *testing.T) {
			for i := range 3 {
				var number int
				var text string
				var null *string
				err := conn.QueryRow(ctx, "select $1::int, $2::text, null::text", mode, i, "ünï").Scan(&number, &text, &null)
				if err != nil || number != i || text != "ünï" || null != nil {
					t.Errorf("got %d, %q, %v, %v", number, text, null, err)
				}
			}
			rows, err := conn.Query(ctx, "select i from generate_series(1, 1000) i", mode)
			if err != nil {
				t.Fatal(err)
			}
			list, err := pgx.CollectRows(rows, pgx.RowTo[int])
			if err != nil || len(list) != 1000 || !slices.IsSorted(list) {
				t.Errorf("got %d rows, %v", len(list), err)
			}
		})
	}
	for _, parameter := range []string{"server_version", "client_encoding", "standard_conforming_strings", "TimeZone", "integer_datetimes"} {
		if conn.PgConn().ParameterStatus(parameter) == "" {
			t.Errorf("the server reported no %s", parameter)
		}
	}
}

func testTransactions(t *testing.T, _ *harness.Stage, target harness.Target) {
	ctx := within(t)
	conn, other := connect(ctx, t, target), connect(ctx, t, target)
	mustExec(ctx, t, conn, "create table tx (id int primary key)")
	defer mustExec(ctx, t, conn, "drop table tx")
	count := func(c *pgx.Conn) (n int) {
		t.Helper()
		if err := c.QueryRow(ctx, "select count(*) from tx").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}

	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(ctx, t, conn, "insert into tx values (1)")
	if inside, outside := count(conn), count(other); inside != 1 || outside != 0 {
		t.Errorf("inside the transaction %d rows, outside %d, want 1 and 0", inside, outside)
	}
	if err := tx.Rollback(ctx); err != nil || count(other) != 0 {
		t.Errorf("rollback: %v, %d rows", err, count(other))
	}

	if tx, err = conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.Serializable}); err != nil {
		t.Fatal(err)
	}
	mustExec(ctx, t, conn, "insert into tx values (1)")
	if _, err := tx.Exec(ctx, "insert into tx values (1)"); code(err) != "23505" {
		t.Errorf("duplicate key: got %v", err)
	}
	if _, err := tx.Exec(ctx, "select 1"); code(err) != "25P02" {
		t.Errorf("in a failed transaction: got %v", err)
	}
	if err := tx.Commit(ctx); !errors.Is(err, pgx.ErrTxCommitRollback) || count(other) != 0 {
		t.Errorf("commit of a failed transaction: %v, %d rows", err, count(other))
	}

	if tx, err = conn.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	nested, err := tx.Begin(ctx) // a savepoint
	if err != nil {
		t.Fatal(err)
	}
	mustExec(ctx, t, conn, "insert into tx values (1)")
	if err := nested.Rollback(ctx); err != nil {
		t.Error(err)
	}
	mustExec(ctx, t, conn, "insert into tx values (2)")
	if err := tx.Commit(ctx); err != nil || count(other) != 1 {
		t.Errorf("commit: %v, %d rows", err, count(other))
	}
}

// testPreparedStatements: a named statement outlives the server connection it was made on, and
// the same name is another statement in another client.
func testPreparedStatements(t *testing.T, _ *harness.Stage, target harness.Target) {
	ctx := within(t)
	const clients = 30 // more than the world's origin connections
	conns := make([]*pgx.Conn, clients)
	for i := range conns {
		conns[i] = connect(ctx, t, target)
		if _, err := conns[i].Prepare(ctx, "same", fmt.Sprintf("select %d, $1::int", i)); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 10 {
		var wg sync.WaitGroup
		for i, conn := range conns {
			wg.Go(func() {
				var client, value int
				if err := conn.QueryRow(ctx, "same", round).Scan(&client, &value); err != nil || client != i || value != round {
					t.Errorf("client %d, round %d: got %d, %d, %v", i, round, client, value, err)
				}
			})
		}
		wg.Wait()
	}
	if err := conns[0].Deallocate(ctx, "same"); err != nil {
		t.Error(err)
	}
	if err := conns[0].PgConn().ExecPrepared(ctx, "same", [][]byte{[]byte("1")}, nil, nil).Read().Err; code(err) != "26000" {
		t.Errorf("a deallocated statement: got %v, want 26000", err)
	}
}

// testPipeline sends many queries before it reads, with an error in the middle.
func testPipeline(t *testing.T, _ *harness.Stage, target harness.Target) {
	ctx := within(t)
	conn := connect(ctx, t, target)
	var batch pgx.Batch
	for i := range 200 {
		batch.Queue("select $1::int", i)
	}
	results := conn.SendBatch(ctx, &batch)
	for i := range 200 {
		var n int
		if err := results.QueryRow().Scan(&n); err != nil || n != i {
			t.Fatalf("%d: got %d, %v", i, n, err)
		}
	}
	if err := results.Close(); err != nil {
		t.Error(err)
	}

	// Each Sync ends an implicit transaction: the error skips only to the next one.
	p := conn.PgConn().StartPipeline(ctx)
	send := func(sql string) { p.SendQueryParams(sql, nil, nil, nil, nil) }
	send("select 1")
	send("select 1/0")
	send("select 2")
	must(t, p.Sync())
	send("select 3")
	must(t, p.Sync())
	var got []string
	for {
		results, err := p.GetResults()
		if err == nil && results == nil {
			break
		}
		if err != nil {
			got = append(got, code(err))
			continue
		}
		switch r := results.(type) {
		case *pgconn.ResultReader:
			read := r.Read()
			if read.Err != nil {
				got = append(got, code(read.Err))
			} else {
				got = append(got, string(read.Rows[0][0]))
			}
		case *pgconn.PipelineSync:
			got = append(got, "sync")
		}
	}
	if want := []string{"1", "22012", "sync", "3", "sync"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func testErrors(t *testing.T, _ *harness.Stage, target harness.Target) {
	ctx := within(t)
	config, err := pgx.ParseConfig(target.URL())
	if err != nil {
		t.Fatal(err)
	}
	var notices []string
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices = append(notices, n.Message) }
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, mode := range queryModes {
		_, err := conn.Exec(ctx, "select 1 +", mode)
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != "42601" || pgErr.Position == 0 || pgErr.Routine == "" {
			t.Errorf("%v: got %#v", mode, err)
		}
	}
	mustExec(ctx, t, conn, "create table errors (id int constraint positive check (id > 0))")
	defer mustExec(ctx, t, conn, "drop table errors")
	var pgErr *pgconn.PgError
	if _, err := conn.Exec(ctx, "insert into errors values (-1)"); !errors.As(err, &pgErr) || pgErr.ConstraintName != "positive" || pgErr.TableName != "errors" {
		t.Errorf("got %#v", err)
	}
	mustExec(ctx, t, conn, "do $$ begin raise notice 'noted'; end $$")
	if !slices.Equal(notices, []string{"noted"}) {
		t.Errorf("notices %q", notices)
	}
	wrong := target
	wrong.Password = "wrong"
	if _, err := wrong.Connect(ctx); code(err) != "28P01" {
		t.Errorf("a wrong password: got %v", err)
	}
	wrong = target
	wrong.Database = "no_such_database"
	// PostgreSQL says 3D000 to whom it knows; a proxy may also say that it knows nobody there.
	if _, err := wrong.Connect(ctx); code(err) != "3D000" && code(err) != "28P01" {
		t.Errorf("an unknown database: got %v", err)
	}
}

// testCancel: a cancel request ends its own client's query and no other.
func testCancel(t *testing.T, _ *harness.Stage, target harness.Target) {
	ctx := within(t)
	const clients = 5
	var wg sync.WaitGroup
	conns := make([]*pgx.Conn, clients)
	errs := make([]error, clients)
	cancelled := make(chan struct{})
	gate, err := connect(ctx, t, target).Begin(ctx) // which all of them wait for
	must(t, err)
	defer gate.Rollback(context.WithoutCancel(ctx))
	_, err = gate.Exec(ctx, "select pg_advisory_xact_lock(4712)")
	must(t, err)
	for i := range conns {
		conns[i] = connect(ctx, t, target)
		wg.Go(func() {
			_, errs[i] = conns[i].Exec(ctx, fmt.Sprintf("select 'cancel %d', pg_advisory_xact_lock(4712)", i))
			if i == 2 {
				close(cancelled)
			}
		})
	}
	watch := connect(ctx, t, target)
	if err := harness.WaitFor(ctx, nil, func(ctx context.Context) error {
		var n int
		err := watch.QueryRow(ctx, "select count(*) from pg_stat_activity where state = 'active' and query like 'select ''cancel%'").Scan(&n)
		if err == nil && n < clients {
			err = fmt.Errorf("%d of %d queries run", n, clients)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := conns[2].PgConn().CancelRequest(ctx); err != nil {
		t.Error(err)
	}
	<-cancelled
	must(t, gate.Commit(ctx))
	wg.Wait()
	for i, err := range errs {
		if want := map[bool]string{true: "57014"}[i == 2]; code(err) != want {
			t.Errorf("client %d: got %v, want code %q", i, err, want)
		}
	}
	var one int
	if err := conns[2].QueryRow(ctx, "select 1").Scan(&one); err != nil {
		t.Errorf("after the cancel: %v", err)
	}
	// A cancel that comes when nothing runs does nothing, now or to the next query.
	if err := conns[2].PgConn().CancelRequest(ctx); err != nil {
		t.Error(err)
	}
	if err := conns[2].QueryRow(ctx, "select 1 from pg_sleep(0.2)").Scan(&one); err != nil {
		t.Errorf("after a late cancel: %v", err)
	}
}

func mustExec(ctx context.Context, t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", strings.Join(strings.Fields(sql)[:2], " "), err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// code is the SQLSTATE of an error of the server's, and "" of any other.
func code(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}
