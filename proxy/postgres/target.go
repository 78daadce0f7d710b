package postgres

import (
	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

// A target is the statement that a Bind or Describe is about.
type target struct {
	stmt    *statement // nil for the unnamed one, which is passed on under the driver's name
	named   *named
	on      *prepared
	refused bool // there is none: an error was provoked in the message's place
}

// target finds the statement that a Bind or Describe is about and sees to it
// that the origin connection has it, with the columns that the driver knows unless
// it is told them anyway. For that the message may have to wait.
func (c *client) target(name []byte, told bool) (target, taken, error) {
	if len(name) == 0 {
		about, err := c.unnamedTarget(told)
		return about, taken{}, err
	}
	n := c.statements[string(name)]
	if n == nil && c.mayHave(query.Prepares) { // perhaps of PREPARE
		c.left.session |= query.Dirty
		return target{}, taken{}, nil
	}
	if n == nil {
		c.provoke(pgwire.Errorf(pgwire.CodeUnknownStatement, "prepared statement %q does not exist", name))
		return target{refused: true}, taken{}, nil
	}
	if n.stmt.stale.Load() && (told || n.told.comparable()) {
		c.renew(n)
	}
	st := n.stmt
	if err := c.note(&st.leaves, false); err != nil {
		return target{}, taken{}, err
	}
	if !c.onOrigin(st) {
		c.db.counts.rePrepares.Add(1)
		c.prepare(st, entry{kind: pgwire.MsgParse, flags: own, stmt: st})
	}
	on := c.origin.prepared.get(st)
	switch {
	case told || !n.told.comparable() || on.shape == n.told:
	case on.shape == shapeUnknown:
		c.putDescribe(st.name)
		c.ledger.push(entry{kind: pgwire.MsgDescribe, flags: own, stmt: st, on: on})
		return target{}, taken{wait: true}, nil
	case on.shape.comparable():
		c.provoke(errStale)
		c.db.statements.retire(st)
		return target{refused: true}, taken{}, nil
	}
	return target{stmt: st, named: n, on: on}, taken{}, nil
}

// unnamedTarget prepares the unnamed statement where it is not on the origin connection.
// That nearly every time it is not is no reason to wait for its columns: where they are
// not those that the driver knows, the client is ended before it gets a row.
func (c *client) unnamedTarget(told bool) (target, error) {
	if !c.unnamedOK {
		c.provoke(pgwire.Errorf(pgwire.CodeUnknownStatement, "unnamed prepared statement does not exist"))
		return target{refused: true}, nil
	}
	if err := c.note(&c.unnamedHas, false); err != nil {
		return target{}, err
	}
	if mine := (unnamedOwner{c.id, c.unnamedGen}); c.origin.unnamed != mine {
		c.db.counts.rePrepares.Add(1)
		c.putParse(nil, c.unnamed)
		c.doubt()
		c.ledger.push(entry{kind: pgwire.MsgParse, flags: own, gen: c.unnamedGen})
		c.origin.unnamed = mine
		if !told && c.unnamedTold.comparable() {
			c.putDescribe("")
			c.ledger.push(entry{kind: pgwire.MsgDescribe, flags: own, gen: c.unnamedGen, told: c.unnamedTold})
		}
	}
	return target{}, nil
}

// onOrigin reports whether the origin connection will have st when it comes to
// the client's next message, if it comes to it: an error of the same group makes
// it skip that.
func (c *client) onOrigin(st *statement) bool {
	p := c.origin.prepared.get(st)
	return p != nil && (p.pending == 0 || p.parsed && p.group == c.group)
}

// prepare sends the Parse of a statement. A Close goes before it where there are
// too many, and where a Parse of st is on its way that may yet fail: one or the
// other finds nothing then, which is no error.
func (c *client) prepare(st *statement, e entry) {
	set := &c.origin.prepared
	if old := set.get(st); old != nil {
		c.closeOnOrigin(old)
	}
	for old := set.surplus(); old != nil; old = set.surplus() {
		c.closeOnOrigin(old)
	}
	e.on = set.parse(st, c.group)
	c.ledger.push(e)
	c.putParse([]byte(st.name), []byte(st.body))
}

func (c *client) closeOnOrigin(old *prepared) {
	c.requests.gather()
	b := c.requests.buffer()
	*b = pgwire.AppendHeader(*b, pgwire.MsgClose, len(old.name)+2)
	*b = append(append(append(*b, 'S'), old.name...), 0)
	c.origin.prepared.close(old)
	c.ledger.push(entry{kind: pgwire.MsgClose, flags: own, on: old})
}

// putParse sends a Parse to the origin.
func (c *client) putParse(name, body []byte) {
	c.requests.gather()
	b := c.requests.buffer()
	*b = pgwire.AppendHeader(*b, pgwire.MsgParse, len(name)+1+len(body))
	*b = append(append(*b, name...), 0)
	*b = append(*b, body...)
}

// provoke makes the origin fail in the message's place, so that its transaction
// fails as PostgreSQL's would, and has its error replaced.
func (c *client) provoke(e *pgwire.Error) {
	c.putDescribe("\x01" + namePrefix + "none")
	c.ledger.push(entry{kind: pgwire.MsgDescribe, err: e})
}
