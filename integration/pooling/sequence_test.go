package pooling

import (
	"testing"

	"github.com/sluicedb/sluice/proxy/postgres"
)

// What lastval and currval say is the client's own, or nothing.
func TestSequenceValues(t *testing.T) {
	t.Parallel()
	const (
		undefined = "T E:55000 Z:I"
		last      = "select lastval()"
		current   = "select currval('numbers_id_seq')"
		insert    = "insert into numbers default values"
	)
	setup := newWorld(t, maxConns(1)).wire(t)
	setup.want("C:CREATE_TABLE C:CREATE_TABLE C:CREATE_FUNCTION Z:I", q("create table numbers (id serial); create table no_numbers (id int);"+
		"create function numbers_stay() returns int language sql as 'select 1'"))
	defer setup.want("C:DROP_FUNCTION C:DROP_TABLE Z:I", q("drop function numbers_stay(); drop table numbers, no_numbers"))
	numberOf := func(x *wire, text string) string { // of a row that it inserts
		t.Helper()
		return x.value(text + " returning id")
	}
	t.Run("alone", func(t *testing.T) {
		x := newWorld(t, maxConns(1)).wire(t)
		for range 2 {
			n := numberOf(x, insert)
			for _, sql := range []string{last, last, "select 1", current, "select numbers_stay()", current, last} {
				if got := x.value(sql); sql != "select 1" && sql != "select numbers_stay()" && got != n {
					t.Errorf("%s is %s, want %s", sql, got, n)
				}
			}
		}
		n := x.value("select nextval('numbers_id_seq')")
		x.want("T D:"+n+" C:SELECT_1 Z:I", q(current))
		x.want("T D:100000 C:SELECT_1 Z:I T D:100000 C:SELECT_1 Z:I", q("select setval('numbers_id_seq', 100000)"), q(current))
		x.want("C:DISCARD_ALL Z:I "+undefined, q("discard all"), q(last))
	})
	t.Run("another's", func(t *testing.T) {
		w := newWorld(t, maxConns(1))
		x, y := w.wire(t), w.wire(t)
		x.send(q(insert))
		x.got("C:INSERT_0_1 Z:I")
		// The first that anybody asks, in a transaction.
		y.want("C:BEGIN Z:T T E:55000 Z:E C:ROLLBACK Z:I", q("begin"), q(last), q("rollback"))
		y.want(undefined, q(current))
		x.want(undefined, q(last)) // its own is gone, and it is told so
		// By the extended protocol, by name in a later lease, and with parameters.
		numberOf(x, insert)
		y.want("1 2 E:55000 Z:I", parse("", last), bind(""), execute, syncMsg)
		y.want("1 Z:I", parse("last", last), syncMsg)
		numberOf(x, insert)
		y.want("2 E:55000 Z:I", bind("last"), execute, syncMsg)
		numberOf(x, insert)
		y.want("C:BEGIN Z:T C:INSERT_0_1 Z:T 2 E:55000 Z:E C:ROLLBACK Z:I",
			q("begin"), q("insert into no_numbers values (1)"), bind("last"), execute, syncMsg, q("rollback"))
		// In one transaction there is nothing to lose.
		y.want("C:BEGIN Z:T", q("begin"))
		n := numberOf(y, insert)
		y.want("T D:"+n+" C:SELECT_1 Z:T 2 D:"+n+" C:SELECT_1 Z:T C:COMMIT Z:I", q(current), bind("last"), execute, syncMsg, q("commit"))
		x.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
		x.want(undefined, q(last))
		// A client that is gone leaves nothing either.
		numberOf(x, insert)
		x.conn.Close()
		w.wire(t).want(undefined, q(last))
	})
	t.Run("prepared meanwhile", func(t *testing.T) { // another has asked since the client got its origin connection
		w := newWorld(t, maxConns(2))
		x, y, z := w.wire(t), w.wire(t), w.wire(t)
		y.want("C:BEGIN Z:T", q("begin")) // so that x and z have the other one
		x.want("C:INSERT_0_1 Z:I", q(insert))
		z.want("C:BEGIN Z:T", q("begin"))
		y.want("T E:55000 Z:E C:ROLLBACK Z:I", q(last), q("rollback"))
		z.want("1 2 E:55000 Z:E C:ROLLBACK Z:I", parse("last", last), bind("last"), execute, syncMsg, q("rollback"))
	})
	t.Run("work done", func(t *testing.T) { // before anybody has asked
		w := newWorld(t, maxConns(1))
		x, y := w.wire(t), w.wire(t)
		x.want("C:INSERT_0_1 Z:I", q(insert))
		y.want("1 2 C:BEGIN 1 2 C:INSERT_0_1 Z:T", parse("", "BEGIN"), bind(""), execute, parse("", insert), bind(""), execute, syncMsg)
		if got := y.value(last); got != y.value("select max(id) from numbers") {
			t.Errorf("lastval is %s", got)
		}
		y.want("C:COMMIT Z:I", q("commit"))
	})
	t.Run("pin", func(t *testing.T) {
		w := newWorld(t, maxConns(1), func(c *postgres.Config) { c.Policy = postgres.Pin })
		x, y := w.wire(t), w.wire(t)
		x.want(undefined, q(last)) // so much for what it does
		n := numberOf(x, insert)
		y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
		x.want("T D:"+n+" C:SELECT_1 Z:I", q(last))
	})
}
