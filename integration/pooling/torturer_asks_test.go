package pooling

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// transfer moves money between two accounts, in a transaction of one kind or another,
// and notes it in the ledger. All do it in the same order, so that no two wait for
// each other.
func (c *torturer) transfer() {
	if c.status != "I" {
		return
	}
	source, target := 1+c.r.IntN(tortureAccounts), 1+c.r.IntN(tortureAccounts)
	amount, n := 1+c.r.IntN(100), len(c.transfers)
	if source == target {
		return
	}
	if source > target {
		source, target, amount = target, source, -amount
	}
	c.transfers = append(c.transfers, unknown)
	if c.sent == nil {
		c.sent = map[int]fate{}
	}
	c.sent[n] = committed
	c.m.transfers.Add(1)
	steps := []string{
		fmt.Sprintf("update torture_accounts set balance = balance - %d where id = %d", amount, source),
		fmt.Sprintf("update torture_accounts set balance = balance + %d where id = %d", amount, target),
		fmt.Sprintf("insert into torture_ledger values (%d, %d, %d, %d, %d)", c.id, n, source, target, amount),
	}
	tags := []string{"C:UPDATE_1", "C:UPDATE_1", "C:INSERT_0_1"}
	undo := c.r.IntN(3) == 0
	if undo {
		c.sent[n] = rolledBack
	}
	end := "commit"
	if undo {
		end = "rollback"
	}
	switch c.r.IntN(4) {
	case 0: // each its own message
		c.add(q("begin"))
		c.want = append(c.want, "C:BEGIN Z:T")
		for i, sql := range steps {
			c.add(q(sql))
			c.want = append(c.want, tags[i]+" Z:T")
		}
		c.add(q(end))
		c.want = append(c.want, "C:"+strings.ToUpper(end)+" Z:I")
	case 1: // all in one
		c.add(q("begin; " + strings.Join(steps, "; ") + "; " + end))
		c.want = append(c.want, "C:BEGIN "+strings.Join(tags, " ")+" C:"+strings.ToUpper(end)+" Z:I")
	case 2: // a group is a transaction
		for i, sql := range steps {
			c.add(parse("", sql), bind(""), execute)
			c.want = append(c.want, "1 2 "+tags[i])
		}
		if undo {
			c.add(parse("", "bad"))
			c.want = append(c.want, "E:42601")
		}
		c.add(syncMsg)
		c.want = append(c.want, "Z:I")
	case 3: // so is a simple query
		if undo {
			steps, tags = append(steps, "select 1/0"), append(tags, "E:22012")
		}
		c.add(q(strings.Join(steps, "; ")))
		c.want = append(c.want, strings.Join(tags, " ")+" Z:I")
	}
}

// simple adds one simple query.
func (c *torturer) simple() {
	m := c.mark()
	bad := func(sql, good string) { // in a failed transaction
		c.add(q(sql))
		if c.status == "E" {
			good = "E:25P02"
		}
		c.want = append(c.want, good+" Z:"+c.status)
	}
	switch c.r.IntN(16) {
	case 0:
		tag := "C:BEGIN"
		if c.status == "E" {
			tag = "E:25P02"
		} else {
			c.status = "T"
		}
		c.add(q("begin"))
		c.want = append(c.want, tag+" Z:"+c.status)
	case 1:
		tag := "C:COMMIT"
		if c.status == "E" {
			tag = "C:ROLLBACK"
		}
		c.add(q("commit"))
		c.want, c.status = append(c.want, tag+" Z:I"), "I"
	case 2:
		c.add(q("rollback"))
		c.want, c.status = append(c.want, "C:ROLLBACK Z:I"), "I"
	case 3:
		code := "E:42703"
		if c.status == "E" {
			code = "E:25P02"
		} else if c.status == "T" {
			c.status = "E"
		}
		c.add(q("select nope"))
		c.want = append(c.want, code+" Z:"+c.status)
	case 4:
		bad(fmt.Sprintf("select '%s'; select '%s'", m, m), fmt.Sprintf("T D:%s C:SELECT_1 T D:%s C:SELECT_1", m, m))
	case 5:
		bad(fmt.Sprintf("select '%s' /* %s */", m, strings.Repeat("x", 20000+c.r.IntN(20000))), "T D:"+m+" C:SELECT_1")
	case 6:
		bad("", "I")
		if c.status == "E" {
			c.want[len(c.want)-1] = "I Z:E" // allowed even then
		}
	case 7, 8:
		c.copyIn(m)
	case 9:
		bad(fmt.Sprintf("copy (select '%s') to stdout", m), "H d c C:COPY_1")
	case 10: // a setting, to stay the client's own, or to be gone when the transaction is
		bad("select set_config('torture.mark', '"+m+"', false)", "T D:"+m+" C:SELECT_1")
		if c.status == "T" {
			bad("select current_setting('torture.mark')", "T D:"+m+" C:SELECT_1")
		}
		if c.status == "I" {
			c.set = m
		}
		c.add(q("rollback"))
		c.want, c.status = append(c.want, "C:ROLLBACK Z:I"), "I"
	case 11:
		if c.status == "I" {
			c.add(q("create temp table torture_temp (a int)"), q("rollback"), q("drop table torture_temp"))
			c.want = append(c.want, "C:CREATE_TABLE Z:I C:ROLLBACK Z:I C:DROP_TABLE Z:I")
			c.mustBeClean()
		}
	case 12: // a lock of the session's, which keeps it its connection
		if c.status == "I" {
			lock := fmt.Sprintf("(%d, %d)", c.id, c.n)
			c.add(q("select pg_advisory_lock"+lock), q("select '"+m+"'"), q("select pg_advisory_unlock"+lock))
			c.want = append(c.want, "T D: C:SELECT_1 Z:I T D:"+m+" C:SELECT_1 Z:I T D:t C:SELECT_1 Z:I")
		}
	case 13: // no transfer is ever half there
		bad("select sum(balance) from torture_accounts", "T D:0 C:SELECT_1")
	default:
		bad(fmt.Sprintf("select '%s'", m), "T D:"+m+" C:SELECT_1")
	}
}

// mustBeClean waits for what was sent so far, so that the next query has an origin
// connection of its own, on which nobody's dirt may be.
func (c *torturer) mustBeClean() {
	if !c.exchange() {
		return
	}
	c.clear()
	c.add(q("select coalesce(current_setting('torture.mark', true), '') || coalesce(to_regclass('pg_temp.torture_temp')::text, '') || '" + c.mark() + "'"))
	c.want = append(c.want, fmt.Sprintf("T D:%sc%d.%d C:SELECT_1 Z:I", c.set, c.id, c.n))
}

// copyIn adds a COPY FROM STDIN with its data right behind, sometimes with a bad row.
func (c *torturer) copyIn(m string) {
	n := 1 + c.r.IntN(50)
	wrong := c.r.IntN(3) == 0
	c.add(q("copy torture from stdin"))
	for i := range n {
		row := fmt.Sprintf("%s\t%d\n", m, i)
		if wrong && i == n/2 {
			row = m + "\tx\n"
		}
		c.add(copyData(row))
	}
	switch {
	case c.status == "E":
		c.want = append(c.want, "E:25P02 Z:E")
		c.add(copyDone)
		return
	case wrong:
		c.want = append(c.want, "G E:22P02")
	case c.r.IntN(4) == 0:
		c.add(&pgproto3.CopyFail{Message: "enough"})
		c.want = append(c.want, "G E:57014")
		wrong = true
	default:
		c.want = append(c.want, fmt.Sprintf("G C:COPY_%d", n))
	}
	if wrong && c.status == "T" {
		c.status = "E"
	}
	c.add(copyDone)
	c.want = append(c.want, "Z:"+c.status)
}

// tortureTexts are shared by all clients; each selects its argument and a suffix.
var tortureSuffixes = []string{"-a", "-b", "-c", "-d", "-e"}

func tortureText(suffix string) string { return "select $1::text || '" + suffix + "'" }

// group adds a group of the extended protocol.
func (c *torturer) group() {
	for range 1 + c.r.IntN(5) {
		c.extended()
		if c.r.IntN(10) == 0 {
			c.add(flush)
		}
	}
	c.add(syncMsg)
	if c.failed && c.status == "T" {
		c.status = "E"
	}
	c.failed = false
	c.want = append(c.want, "Z:"+c.status)
}

// known adds Bind and Execute of a statement that is known to exist.
func (c *torturer) known(name, suffix string) {
	m := c.mark()
	arg, want := m, m+suffix
	if c.r.IntN(8) == 0 { // a long one
		arg += strings.Repeat(".", 16000+c.r.IntN(20000))
		want = arg + suffix
	}
	c.add(bind(name, arg))
	if c.status == "E" {
		c.fail("25P02")
	}
	c.expect("2")
	if c.r.IntN(3) == 0 {
		c.add(describePortal(""))
		c.expect("T")
	}
	c.add(execute)
	c.expect("D:" + want + " C:SELECT_1")
}

func (c *torturer) parse(name, sql string) bool {
	if c.r.IntN(10) == 0 {
		sql += " /* " + strings.Repeat("long ", 4000) + "*/"
	}
	c.add(parse(name, sql))
	if c.status == "E" {
		c.fail("25P02")
	}
	c.expect("1")
	return !c.failed
}

func (c *torturer) extended() {
	name := fmt.Sprint("s", c.r.IntN(8))
	suffix, exists := c.names[name]
	switch c.r.IntN(12) {
	case 0, 1, 2: // unnamed
		suffix = c.one(tortureSuffixes...)
		c.parse("", tortureText(suffix))
		c.known("", suffix)
	case 3:
		if c.status != "E" { // which of two errors it is then depends on what is known when
			c.add(parse("", "bad"))
			c.fail("42601")
		}
	case 4:
		if exists {
			c.add(closeStatement(name))
			if c.expect("3"); !c.failed {
				delete(c.names, name)
			}
		}
	case 5:
		if !exists {
			c.add(bind(name, "x"))
			c.fail("26000")
		} else if c.status != "E" {
			c.add(parse(name, "select 1"))
			c.fail("42P05")
		}
	case 6:
		if c.status != "E" {
			m := c.mark()
			c.add(parse("", "select '"+m+"' from generate_series(1, 5)"), bindTo("p", ""), rows("p", 2), rows("p", 2), closePortal("p"))
			c.expect(fmt.Sprintf("1 2 D:%s D:%s s D:%s D:%s s 3", m, m, m, m))
		}
	case 7:
		if c.status != "E" {
			c.add(parse("", "select 1/(random()*0)::int"), bind(""), execute)
			c.expect("1 2")
			c.fail("22012")
		}
	case 8:
		if exists {
			c.add(describe(name))
			if c.status == "E" {
				c.fail("25P02")
			}
			c.expect("t T")
		}
	default:
		if !exists {
			suffix = c.one(tortureSuffixes...)
			if c.parse(name, tortureText(suffix)) {
				c.names[name] = suffix
			}
		}
		c.known(name, suffix)
	}
}
