package pooling

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluicedb/sluice/proxy/postgres"
)

func pins(n int) func(*postgres.Config) { return func(c *postgres.Config) { c.MaxPinned = n } }

// unpinned waits until nobody keeps an origin connection.
func (w *world) unpinned(t testing.TB) {
	t.Helper()
	eventually(t, "nobody keeps an origin connection", func() bool { return w.db.Stats().Pinned == 0 })
}

func TestPooling30(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1), pins(3))
	x, y := w.wire(t), w.wire(t)
	held := func() string {
		return y.value("select count(*) from pg_locks where locktype = 'advisory' and objid = 3001")
	}
	x.value("select pg_advisory_lock(3001)")
	x.want("1 2 D:t C:SELECT_1 Z:I", parse("", "select pg_try_advisory_lock($1)"), bind("", "3001"), execute, syncMsg)
	for range 3 { // across transactions, while others work
		if got := held(); got != "1" {
			t.Fatalf("held by %s", got)
		}
		if got := y.value("select pg_try_advisory_lock(3001)"); got != "f" {
			t.Fatal("y has it as well")
		}
		x.value("select now()")
	}
	if got := w.db.Counts().PinnedBy["advisory_lock"]; got != 1 {
		t.Errorf("%d clients keep a connection", got)
	}
	x.value("select pg_advisory_unlock(3001)")
	if got := held(); got != "1" || w.db.Stats().Pinned != 1 {
		t.Errorf("after the first unlock: held by %s, %d pinned", got, w.db.Stats().Pinned)
	}
	x.value("select pg_advisory_unlock(3001)")
	if got := held(); got != "0" {
		t.Errorf("after the second unlock: held by %s", got)
	}
	w.unpinned(t)
	// A lock of the transaction pins nothing, nor one that was not got.
	x.value("select pg_advisory_xact_lock(3001)")
	if got := w.db.Counts().Resets; got != 0 {
		t.Errorf("%d resets", got)
	}
	x.value("select pg_advisory_lock(3001)")
	if got := y.value("select pg_try_advisory_lock(3001)"); got != "f" {
		t.Fatal("y has it as well")
	}
	eventually(t, "only x keeps a connection", func() bool { return w.db.Stats().Pinned == 1 })
	x.reset()
	eventually(t, "the lock of a client that is gone is free", func() bool { return held() == "0" })
	w.unpinned(t)
}

func TestPooling31(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1), pins(3))
	x, y := w.wire(t), w.wire(t)
	x.want("C:CREATE_TABLE Z:I", q("create temp table t31 (a int)"))
	for i := range 10 {
		x.want("C:BEGIN C:INSERT_0_1 C:COMMIT Z:I", q("begin; insert into t31 values (1); commit"))
		if got := x.value("select count(*) from t31"); got != fmt.Sprint(i+1) {
			t.Errorf("%s rows", got)
		}
		if got := y.value("select coalesce(to_regclass('t31')::text, 'none')"); got != "none" {
			t.Errorf("y sees %s", got)
		}
	}
	if got := w.db.Counts().PinnedBy["temporary_table"]; got != 1 {
		t.Errorf("%d clients keep a connection", got)
	}
	x.want("C:DROP_TABLE Z:I", q("drop table t31"))
	w.unpinned(t)
	// One that goes with its transaction pins nothing.
	x.want("C:BEGIN C:CREATE_TABLE C:COMMIT Z:I", q("begin; create temp table t31 (a int) on commit drop; commit"))
	x.value("select 1")
	w.unpinned(t)
	// In a function, where nobody sees it.
	x.want("C:DO Z:I", q("do $$ begin create temp table t31 (a int); end $$"))
	x.want("C:INSERT_0_1 Z:I", q("insert into t31 values (1)"))
	x.want("C:DISCARD_TEMP Z:I", q("discard temp"))
	w.unpinned(t)
}

func TestHoldCursors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1), pins(3))
	x, y := w.wire(t), w.wire(t)
	x.want("C:BEGIN C:DECLARE_CURSOR C:COMMIT Z:I", q("begin; declare c cursor with hold for select generate_series(1, 3); commit"))
	for i := range 3 {
		y.value("select 1")
		if got := x.value("fetch 1 from c"); got != fmt.Sprint(i+1) {
			t.Errorf("row %s", got)
		}
	}
	if got := w.db.Counts().PinnedBy["cursor_with_hold"]; got != 1 {
		t.Errorf("%d clients keep a connection", got)
	}
	x.want("C:CLOSE_CURSOR Z:I", q("close c"))
	w.unpinned(t)
}

// PREPARE, EXECUTE and DEALLOCATE in SQL, beside statements of the protocol.
func TestPrepareSQL(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1), pins(3))
	x, y := w.wire(t), w.wire(t)
	x.want("1 2 D:0 C:SELECT_1 Z:I", parse("wire", "select 0"), bind("wire"), execute, syncMsg)
	x.want("C:PREPARE Z:I", q("prepare p (int) as select $1 + 1"))
	for range 3 {
		y.want("E:26000 Z:I", q("execute p(1)"))
		if got := x.value("execute p(1)"); got != "2" {
			t.Errorf("got %s", got)
		}
		x.want("2 D:0 C:SELECT_1 Z:I", bind("wire"), execute, syncMsg)
	}
	x.want("2 D:6 C:SELECT_1 Z:I", bind("p", "5"), execute, syncMsg)
	x.want("E:42P05 Z:I", q("prepare p as select 2"))
	x.want("C:DEALLOCATE Z:I", q("deallocate p"))
	w.unpinned(t)
	x.want("E:26000 Z:I", q("execute p(1)"))
	x.want("E:26000 Z:I", q("deallocate p"))
	x.want("C:PREPARE Z:I", q("prepare p as select 2"))
	x.want("C:DEALLOCATE_ALL Z:I", q("deallocate all"))
	w.unpinned(t)
	x.want("E:26000 Z:I", bind("wire"), execute, syncMsg)
	x.want("C:PREPARE Z:I", q("prepare p as select 2"))
	x.want("C:DISCARD_ALL Z:I T D:1 C:SELECT_1 Z:I", q("discard all"), q("select 1 as a"))
	w.unpinned(t)
	x.want("E:26000 Z:I", q("execute p"))
	// What is the proxy's own is not touched.
	y.want("1 2 D:5 C:SELECT_1 Z:I", parse("s", "select 5"), bind("s"), execute, syncMsg)
	name := x.value("select name from pg_prepared_statements where statement = 'select 5'")
	x.send(q("deallocate " + name))
	x.ready(1)
	y.want("2 D:5 C:SELECT_1 Z:I", bind("s"), execute, syncMsg)
}

// What changes the session unseen pins where the database says so, until DISCARD ALL.
func TestPinPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1), pins(2), func(c *postgres.Config) { c.Policy = postgres.Pin })
	x, y := w.wire(t), w.wire(t)
	defaults := y.value("show work_mem")
	x.want("C:DO Z:I", q("do $$ begin set work_mem = '999kB'; end $$"))
	for range 3 {
		if got := x.value("show work_mem"); got != "999kB" {
			t.Errorf("x: %s", got)
		}
		if got := y.value("show work_mem"); got != defaults {
			t.Errorf("y: %s", got)
		}
	}
	if got := w.db.Counts().PinnedBy["unseen_change"]; got != 1 {
		t.Errorf("%d clients keep a connection", got)
	}
	x.want("C:DISCARD_ALL Z:I", q("discard all"))
	w.unpinned(t)
	if got := x.value("show work_mem"); got != defaults {
		t.Errorf("after DISCARD ALL: %s", got)
	}
	// A setting that can be replayed does not.
	x.want("C:SET Z:I", q("set work_mem = '888kB'"))
	if got := x.value("show work_mem"); got != "888kB" || w.db.Stats().Pinned != 0 {
		t.Errorf("%s, %d pinned", got, w.db.Stats().Pinned)
	}
}

// Pinned connections have a budget of their own, and nobody loses what he holds
// without being told.
func TestPinBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1), pins(1))
	x, y, z := w.wire(t), w.wire(t), w.wire(t)
	x.value("select pg_advisory_lock(3101)")
	z.value("select 1")
	y.send(q("select pg_advisory_lock(3102)"))
	if got := y.end(); !strings.HasSuffix(got, "E:53300") {
		t.Errorf("beyond the budget: %s", got)
	}
	eventually(t, "its lock is free", func() bool {
		return z.value("select count(*) from pg_locks where locktype = 'advisory' and objid = 3102") == "0"
	})
	if got := x.value("select pg_advisory_unlock(3101)"); got != "t" {
		t.Errorf("x has lost its lock")
	}
	w.unpinned(t)
	eventually(t, "the pool is back to its size", func() bool { return w.db.Stats().Live <= 1 })
}
