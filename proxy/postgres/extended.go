package postgres

import (
	"errors"
	"fmt"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

func malformed(what string) error {
	return pgwire.Fatalf(pgwire.CodeProtocolViolation, "invalid message format: %s", what)
}

// wholeBody is the body of a message, read to its end if it is longer than the
// buffer. The message is cut. Memory is taken as bytes come, not as declared.
func (c *client) wholeBody(full int, b []byte) ([]byte, error) {
	want := full - pgwire.HeaderSize
	body := append(make([]byte, 0, min(want, 4*pgwire.BufferSize)), b[pgwire.HeaderSize:]...)
	c.requests.cut(len(b))
	c.requests.hold()
	for len(body) < want {
		if err := c.conn.Fill(); err != nil {
			return nil, fmt.Errorf("read from driver: %w", err)
		}
		more := c.conn.Bytes()
		more = more[:min(len(more), want-len(body))]
		body = append(body, more...)
		c.conn.Discard(len(more))
	}
	return body, nil
}

func (c *client) takeParse(full int, b []byte) (taken, error) {
	if full > maxParse {
		return taken{}, pgwire.Fatalf(pgwire.CodeLimitExceeded, "statement exceeds %d bytes", maxParse)
	}
	long := len(b) < full
	name, _, ok := pgwire.CString(b[pgwire.HeaderSize:min(full, len(b))])
	switch {
	case long && (full <= pgwire.BufferSize || !ok):
		return taken{more: true}, nil
	case !ok:
		return taken{}, malformed("Parse")
	case c.unsure(name), long && c.ledger.owed > 0: // the driver may stall inside it
		return taken{wait: true}, nil
	}
	msg := b[pgwire.HeaderSize:min(full, len(b))]
	if len(name) == 0 && !long {
		if n, t := c.ownGroup(b, textOf(msg[1:])); n > 0 || t != (taken{}) {
			c.requests.cut(n)
			return t, nil
		}
	}
	rest, avail := full, len(b)
	if long {
		var err error
		if msg, err = c.wholeBody(full, b); err != nil {
			return taken{}, err
		}
		rest, avail = 0, 0
	}
	name, body, _ := pgwire.CString(msg)
	var leaves judgement // named, what was prepared before was seen before
	if len(name) == 0 || c.origin == nil || c.origin.numbers == manyClients {
		leaves = judge(textOf(body), c.standard())
		c.foresee(&leaves)
	}
	if t, ok, err := c.ready(pgwire.MsgParse, rest, avail, leaves.opens); !ok {
		return t, err
	}
	c.unsynced = true
	if len(name) == 0 {
		c.setUnnamed(body, leaves)
		c.origin.unnamed = unnamedOwner{c.id, c.unnamedGen}
		c.doubt()
		c.ledger.push(entry{kind: pgwire.MsgParse, gen: c.unnamedGen})
		if long {
			c.putParse(nil, body)
		} else {
			c.requests.keep(full)
		}
		return taken{}, nil
	}
	if !long {
		c.requests.cut(full)
	}
	c.parseNamed(string(name), body)
	return taken{}, nil
}

// setUnnamed remembers the client's unnamed statement, for drivers that bind it
// after a Sync, on an origin connection that may be another then.
func (c *client) setUnnamed(body []byte, leaves judgement) {
	if cap(c.unnamed) > keptUnnamed {
		c.unnamed = nil
	}
	c.unnamed = append(c.unnamed[:0], body...)
	c.unnamedOK = true
	c.unnamedGen++
	c.unnamedTold = shapeUnknown
	c.unnamedHas = leaves
}

// doubt notes a message that makes or forgets the unnamed statement, unless an
// error makes the origin skip it.
func (c *client) doubt() {
	c.doubts++
	c.doubtGroup = c.group
}

// forgetUnnamed notes that the message of e destroys the unnamed statement.
func (c *client) forgetUnnamed(e *entry) {
	if !c.unnamedOK {
		return
	}
	c.doubt()
	e.flags, e.gen = e.flags|forgets, c.unnamedGen
	c.unnamedOK = false
}

// forgotten reports whether a simple Query behind the next Sync destroys the
// unnamed statement.
func (c *client) forgotten() bool {
	synced := false
	for i := range c.ledger.n {
		e := c.ledger.at(i)
		if synced && e.kind == pgwire.MsgQuery && e.flags&(own|local) == 0 {
			return true
		}
		synced = synced || e.kind == pgwire.MsgSync
	}
	return false
}

// unsure reports whether a name was parsed or closed in another group that is not
// answered yet, or may be deallocated by what is owed: whether it exists is the
// origin's to say.
func (c *client) unsure(name []byte) bool {
	if c.freeing = c.freeing && c.ledger.owed > 0; c.freeing {
		return true
	}
	if !c.unanswered() {
		return false
	}
	if len(name) == 0 {
		return c.doubts > 0 && c.doubtGroup != c.group
	}
	if n := c.statements[string(name)]; n != nil {
		return !n.sure && n.group != c.group
	}
	group, closed := c.closed[string(name)]
	return closed && group != c.group
}

// parseNamed prepares a statement under a name of the client's: nothing is sent
// if the origin connection has the same text prepared, unless a transaction has
// failed or may have by then: the origin is to refuse it then.
func (c *client) parseNamed(name string, body []byte) {
	switch {
	case c.statements[name] != nil:
		c.provoke(pgwire.Errorf(pgwire.CodeDuplicateStatement, "prepared statement %q already exists", name))
		return
	case len(c.statements) >= maxNamed || c.namedBytes+len(body) > maxNamedBytes:
		c.provoke(pgwire.Errorf(pgwire.CodeLimitExceeded, "too many prepared statements"))
		return
	}
	st := c.intern(body)
	c.namedBytes += len(st.body)
	n := &named{stmt: st, group: c.group}
	if c.statements == nil {
		c.statements = make(map[string]*named)
	}
	c.statements[name] = n
	e := entry{kind: pgwire.MsgParse, name: name, named: n, stmt: st}
	if c.onOrigin(st) && c.status != pgwire.TxFailed && c.ledger.ready == 0 {
		e.flags = local
		c.ledger.push(e)
		return
	}
	c.prepare(st, e)
}

// errNames is given where the names of a Bind, Describe or Close do not fit a buffer.
var errNames = errors.New("names of portal and statement are too long")

func (c *client) takeBind(full int, b []byte) (taken, error) {
	avail := b[pgwire.HeaderSize:min(full, len(b))]
	portal, rest, ok1 := pgwire.CString(avail)
	name, tail, ok2 := pgwire.CString(rest)
	if !ok1 || !ok2 {
		if len(b) >= full {
			return taken{}, malformed("Bind")
		}
		return taken{more: true}, nil
	}
	if c.unsure(name) {
		return taken{wait: true}, nil
	}
	if t, ok, err := c.ready(pgwire.MsgBind, full, len(b), c.origin == nil && c.leaves(name).opens); !ok {
		return t, err
	}
	c.unsynced = true
	about, t, err := c.target(name, len(b) > full && describes(b[full:], portal))
	switch {
	case err != nil || t.wait:
		return t, err
	case about.refused:
		c.pass(full, len(b), true)
		return t, nil
	}
	if about.stmt != nil {
		c.opening = c.opening || about.stmt.leaves.opens
		c.noteWrite(textOf(stringBytes(about.stmt.body)))
	} else {
		c.opening = c.opening || c.unnamedHas.opens
		c.noteWrite(textOf(c.unnamed))
	}
	c.bound.set(portal, about)
	st := about.stmt
	c.ledger.push(entry{kind: pgwire.MsgBind, stmt: st})
	if st == nil {
		c.pass(full, len(b), false)
		return taken{}, nil
	}
	names := len(avail) - len(tail)
	c.requests.cut(pgwire.HeaderSize + names)
	o := c.requests.buffer()
	*o = pgwire.AppendHeader(*o, pgwire.MsgBind, full-pgwire.HeaderSize-len(name)+len(st.name))
	*o = append(append(*o, portal...), 0)
	*o = append(append(*o, st.name...), 0)
	c.pass(full-pgwire.HeaderSize-names, len(tail), false)
	return taken{}, nil
}

// takeNamed handles Describe and Close, of a statement or a portal.
func (c *client) takeNamed(typ byte, full int, b []byte) (taken, error) {
	if full > pgwire.BufferSize {
		return taken{}, pgwire.Fatalf(pgwire.CodeLimitExceeded, "%v", errNames)
	}
	if len(b) < full {
		return taken{more: true}, nil
	}
	body := b[pgwire.HeaderSize:full]
	if len(body) < 2 || body[0] != 'S' && body[0] != 'P' {
		return taken{}, malformed(string(typ))
	}
	name, rest, ok := pgwire.CString(body[1:])
	if !ok || len(rest) != 0 {
		return taken{}, malformed(string(typ))
	}
	ofStatement := body[0] == 'S'
	if ofStatement && c.unsure(name) {
		return taken{wait: true}, nil
	}
	if typ == pgwire.MsgClose && ofStatement {
		c.closeStatement(name, full)
		return taken{}, nil
	}
	if t, ok, err := c.ready(typ, full, len(b), false); !ok {
		return t, err
	}
	c.unsynced = true
	if !ofStatement {
		if typ == pgwire.MsgDescribe && string(name) == c.bound.portal {
			c.pushDescribe(target{named: c.bound.named, on: c.bound.on})
		} else {
			c.ledger.push(entry{kind: typ})
		}
		c.requests.keep(full)
		return taken{}, nil
	}
	about, t, err := c.target(name, true)
	if err != nil {
		return taken{}, err
	}
	if about.refused {
		c.requests.cut(full)
		return t, nil
	}
	c.pushDescribe(about)
	if about.stmt == nil {
		if len(name) == 0 {
			c.ledger.at(c.ledger.n - 1).gen = c.unnamedGen
		}
		c.requests.keep(full)
		return taken{}, nil
	}
	c.requests.cut(full)
	c.putDescribe(about.stmt.name)
	return taken{}, nil
}

// closeStatement forgets a name of the client's. The statement stays prepared on
// origin connections, for whoever comes with the same text.
func (c *client) closeStatement(name []byte, full int) {
	e := entry{kind: pgwire.MsgClose, flags: local}
	if len(name) == 0 && c.origin == nil {
		c.unnamedOK = false
	} else if len(name) == 0 {
		c.forgetUnnamed(&e)
	} else if n := c.statements[string(name)]; n != nil {
		delete(c.statements, string(name))
		e.name, e.named = string(name), n
	}
	c.requests.cut(full)
	if c.origin != nil {
		c.ledger.push(e)
		if e.named != nil {
			if c.closed == nil {
				c.closed = make(map[string]uint64)
			}
			c.closed[e.name] = c.group
		}
		return
	}
	if e.named != nil {
		c.release(e.named)
	}
	c.replies.put(pgwire.AppendMessage(nil, pgwire.MsgCloseComplete))
}
