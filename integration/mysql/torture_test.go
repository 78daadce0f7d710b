package mysql

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/proxy/query"
)

// TestPoolingTorture: clients of every kind do whatever a session can do, each with
// values of its own, on a few origin connections. None may ever see another's.
// SLUICE_SOAK says for how long (a minute), half of it on each server, SLUICE_SEED how.
func TestPoolingTorture(t *testing.T) {
	length, seed, err := harness.Soak("SLUICE_SOAK")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("SLUICE_SEED=%d", seed)
	onBoth(t, func(t *testing.T, s server) {
		w := newCached(t, s, maxConns(4), func(c *mysqlConfig) { c.MaxPinned = 100 })
		setup := w.raw(t)
		setup.exec(t, "DROP TABLE IF EXISTS tortured")
		setup.exec(t, "DROP TABLE IF EXISTS spared")
		setup.exec(t, "CREATE TABLE spared (id int primary key, v int)")
		setup.exec(t, "INSERT INTO spared VALUES (0, 0), (1, 10), (2, 20), (3, 30)")
		setup.exec(t, "CREATE TABLE tortured (id bigint primary key auto_increment, owner int, v varchar(100), KEY (owner))")
		end := time.Now().Add(length / time.Duration(len(servers)))
		var wg sync.WaitGroup
		for i := range 16 {
			v := &victim{w: w, n: i, rand: rand.New(rand.NewPCG(seed, uint64(i)))}
			wg.Go(func() {
				for time.Now().Before(end) && !t.Failed() {
					v.life(t, end)
				}
			})
		}
		wg.Wait()
		if err := setup.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		setup.want(t, "SELECT COUNT(*) FROM tortured WHERE v = 'of a transaction'", "0")
		waitFor(t, func() bool { return w.db.Stats().Pinned == 0 })
		if hits := w.status(query.StatusHit); hits == 0 {
			t.Error("nothing was answered from the cache")
		} else {
			t.Logf("%d answers from the cache, %d of the origin that may be stored", hits, w.status(query.StatusMiss))
		}
	})
}

// A victim is a client of the torture test, and what it expects of its session.
type victim struct {
	w    *world
	n    int
	rand *rand.Rand
	*raw
	zone, schema string
	autocommit   string
	variable     string // "" for NULL
	rows         int    // of its own in the table
	lastID       string
	temporary    bool
	statement    uint32
}

// life is one connection.
func (v *victim) life(t *testing.T, end time.Time) {
	var caps mywire.Capabilities
	for _, c := range []mywire.Capabilities{mywire.CapDeprecateEOF, mywire.CapSessionTrack, mywire.CapMultiStatements, mywire.CapIgnoreSpace} {
		if v.rand.IntN(2) == 0 {
			caps |= c
		}
	}
	v.raw = v.w.raw(t, caps)
	defer v.Close()
	v.begin()
	v.rows = int(v.number(t, fmt.Sprintf("SELECT COUNT(*) FROM orders.tortured WHERE owner = %d", v.n)))
	for range 5 + v.rand.IntN(100) {
		if v.step(t); t.Failed() || time.Now().After(end) {
			return
		}
	}
}

func (v *victim) begin() {
	v.zone, v.schema, v.autocommit, v.variable, v.lastID, v.temporary, v.statement = "SYSTEM", "orders", "1", "", "0", false, 0
}

func (v *victim) number(t *testing.T, query string) (n int64) {
	if _, err := fmt.Sscan(v.value(t, query), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (v *victim) step(t *testing.T) {
	switch v.rand.IntN(22) {
	case 0:
		// quarters of an hour: MariaDB 10.11 takes +04:52 for +07:08, since it compares the
		// bytes of such numbers of seconds as if they were letters
		v.zone = fmt.Sprintf("+%02d:%02d", v.n%13, 15*v.rand.IntN(4))
		v.exec(t, "SET time_zone = '"+v.zone+"'")
	case 1, 2:
		v.want(t, "SELECT @@time_zone", v.zone)
	case 3:
		v.schema = []string{"orders", otherDatabase}[v.rand.IntN(2)]
		v.exec(t, "USE "+v.schema)
	case 4, 5:
		v.want(t, "SELECT DATABASE()", v.schema)
		v.want(t, "SELECT @@autocommit", v.autocommit)
	case 6:
		v.autocommit = fmt.Sprint(v.rand.IntN(2))
		v.exec(t, "SET autocommit = "+v.autocommit)
	case 7:
		if v.rand.IntN(4) == 0 {
			v.variable = fmt.Sprint(v.n, " ", v.rand.IntN(100))
			v.exec(t, "SET @tortured = '"+v.variable+"'")
		}
	case 8, 9:
		v.want(t, "SELECT @tortured", v.variable)
	case 10:
		v.insert(t)
	case 11:
		v.want(t, []string{"SELECT LAST_INSERT_ID()", "SELECT LAST_INSERT_ID() + 0"}[v.rand.IntN(2)], v.lastID)
	case 12:
		v.transaction(t)
	case 13:
		v.prepared(t)
	case 14:
		v.temporaryTable(t)
	case 15:
		if v.rand.IntN(3) == 0 {
			v.exec(t, "ROLLBACK")
			v.reset(t)
			schema := v.schema
			v.begin()
			v.schema = schema
		}
	case 17, 18, 19: // never from before what it wrote
		v.want(t, fmt.Sprintf("SELECT COUNT(*) FROM orders.tortured WHERE owner = %d", v.n), fmt.Sprint(v.rows))
	case 20, 21: // which nobody writes to
		id := v.rand.IntN(4)
		v.want(t, fmt.Sprintf("SELECT v FROM orders.spared WHERE id = %d", id), fmt.Sprint(10*id))
	case 16:
		v.fails(t, "SELECT nothing", 1054)
		v.send(t, mywire.ComQuery, "SHOW WARNINGS")
		if rows, _, failed := v.raw.rows(t, mywire.ComQuery); failed != nil || len(rows) != 1 {
			t.Errorf("SHOW WARNINGS: %q, %v", rows, failed)
		}
	}
}

func (v *victim) insert(t *testing.T) {
	ok := v.exec(t, fmt.Sprintf("INSERT INTO orders.tortured (owner, v) VALUES (%d, 'x')", v.n))
	v.lastID = fmt.Sprint(ok.LastInsertID)
	v.exec(t, "COMMIT")
	v.rows++
	v.want(t, fmt.Sprintf("SELECT COUNT(*) FROM orders.tortured WHERE owner = %d", v.n), fmt.Sprint(v.rows))
	v.exec(t, "COMMIT")
}

// transaction is one that comes to nothing.
func (v *victim) transaction(t *testing.T) {
	v.exec(t, "BEGIN")
	ok := v.exec(t, fmt.Sprintf("INSERT INTO orders.tortured (owner, v) VALUES (%d, 'of a transaction')", v.n))
	v.lastID = fmt.Sprint(ok.LastInsertID)
	if v.rand.IntN(2) == 0 {
		v.fails(t, "SELECT nothing", 1054)
	}
	v.want(t, fmt.Sprintf("SELECT COUNT(*) FROM orders.tortured WHERE owner = %d", v.n), fmt.Sprint(v.rows+1))
	v.exec(t, "ROLLBACK")
}

func (v *victim) prepared(t *testing.T) {
	first := v.statement == 0
	if first {
		v.statement, _ = v.prepare(t, fmt.Sprintf("SELECT ? + %d", v.n%4))
	}
	n := v.rand.Int64N(1000)
	rows, _, failed := v.execute(t, v.statement, 0, first || v.rand.IntN(2) == 0, n)
	if got := number(t, rows, failed); got != n+int64(v.n%4) {
		t.Errorf("a prepared statement: %d", got)
	}
}

func (v *victim) temporaryTable(t *testing.T) {
	switch {
	case v.temporary:
		v.want(t, "SELECT * FROM orders.temporary2", fmt.Sprint(v.n))
		v.exec(t, []string{"DROP TEMPORARY TABLE orders.temporary2", "DROP TABLE orders.temporary2"}[v.rand.IntN(2)])
		v.temporary = false
	case v.rand.IntN(4) == 0:
		v.exec(t, "CREATE TEMPORARY TABLE orders.temporary2 (id int)")
		v.exec(t, fmt.Sprintf("INSERT INTO orders.temporary2 VALUES (%d)", v.n))
		v.exec(t, "COMMIT")
		v.temporary = true
	default:
		v.fails(t, "SELECT * FROM orders.temporary2", 1146)
	}
}
