package postgres

import (
	"errors"
	"fmt"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

// A taken says what became of one message of the driver.
type taken struct {
	boundary bool // the origin answers without being sent more
	more     bool // nothing yet: it needs more of the message
}

// takeRequests goes through what the driver sent, puts it into the ledger and
// into requests as the origin is to get it. It reports whether a message was
// among it that makes the origin answer, and whether that was the end of what
// was sent. The lock is held.
func (c *client) takeRequests() (answers, boundary bool, err error) {
	c.again = false
	for {
		b := c.requests.rest()
		if c.taking.left > 0 && len(b) > 0 {
			n := min(c.taking.left, len(b))
			c.taking.left -= n
			if c.taking.drop {
				c.requests.cut(n)
			} else {
				c.requests.keep(n)
			}
			continue
		}
		if c.taking.left > 0 || len(b) == 0 {
			return answers, boundary && c.taking.left == 0, nil
		}
		if len(b) < pgwire.HeaderSize {
			return answers, false, nil
		}
		if c.ledger.n >= maxOwed { // make the origin answer before more is taken
			c.requests.put(pgwire.AppendMessage(nil, pgwire.MsgFlush))
			c.again = true
			return true, true, nil
		}
		typ, body, err := pgwire.Header(b)
		if err != nil {
			return false, false, pgwire.Fatalf(pgwire.CodeProtocolViolation, "invalid message length")
		}
		t, err := c.take(typ, pgwire.HeaderSize+body, b)
		if err != nil {
			return false, false, err
		}
		if t.more {
			return answers, false, nil
		}
		boundary = t.boundary
		answers = answers || boundary
	}
}

// take handles one message. b starts with it and may end before or behind it.
func (c *client) take(typ byte, full int, b []byte) (taken, error) {
	if c.skipping && typ != pgwire.MsgSync && typ != pgwire.MsgTerminate {
		if !known(typ) {
			return taken{}, unknownMessage(typ)
		}
		c.pass(full, len(b), true)
		return taken{}, nil
	}
	switch typ {
	case pgwire.MsgQuery:
		return c.takeQuery(full, b)
	case pgwire.MsgParse:
		return c.takeParse(full, b)
	case pgwire.MsgBind:
		return c.takeBind(full, b)
	case pgwire.MsgDescribe, pgwire.MsgClose:
		return c.takeNamed(typ, full, b)
	case pgwire.MsgExecute:
		if t, ok, err := c.ready(typ, full, len(b)); !ok {
			return t, err
		}
		c.unsynced = true
		c.ledger.push(entry{kind: typ})
		c.pass(full, len(b), false)
		return taken{}, nil
	case pgwire.MsgSync:
		return c.takeSync(full, b)
	case pgwire.MsgFlush:
		c.pass(full, len(b), c.origin == nil)
		return taken{boundary: c.origin != nil}, nil
	case pgwire.MsgFunctionCall:
		if t, ok, err := c.ready(typ, full, len(b)); !ok {
			return t, err
		}
		c.left.session = max(c.left.session, query.Dirty) // of which function, only its OID tells
		c.ledger.push(entry{kind: typ})
		c.pass(full, len(b), false)
		return taken{boundary: true}, nil
	case pgwire.MsgCopyData, pgwire.MsgCopyDone, pgwire.MsgCopyFail:
		return c.takeCopy(typ, full, b), nil
	case pgwire.MsgTerminate:
		return taken{}, errTerminated
	}
	return taken{}, unknownMessage(typ)
}

func unknownMessage(typ byte) error {
	return pgwire.Fatalf(pgwire.CodeProtocolViolation, "invalid frontend message type %d", typ)
}

func known(typ byte) bool {
	switch typ {
	case pgwire.MsgQuery, pgwire.MsgParse, pgwire.MsgBind, pgwire.MsgDescribe, pgwire.MsgClose, pgwire.MsgExecute,
		pgwire.MsgFlush, pgwire.MsgFunctionCall, pgwire.MsgCopyData, pgwire.MsgCopyDone, pgwire.MsgCopyFail:
		return true
	}
	return false
}

// pass takes a message of which avail bytes have been read.
func (c *client) pass(full, avail int, drop bool) {
	n := min(full, avail)
	c.taking = partial{left: full - n, drop: drop}
	if drop {
		c.requests.cut(n)
	} else {
		c.requests.keep(n)
	}
}

// ready makes sure of an origin connection for a message. Where there is none to
// be had the driver is told in the message's place, and the message dropped.
func (c *client) ready(typ byte, full, avail int) (taken, bool, error) {
	if c.origin != nil {
		return taken{}, true, nil
	}
	pe := c.attach()
	if pe == nil {
		return taken{}, true, nil
	}
	if pe.Fatal {
		return taken{}, false, pe
	}
	c.replies.put(pe.Append(nil))
	if typ == pgwire.MsgQuery || typ == pgwire.MsgFunctionCall {
		c.replies.put(pgwire.AppendReadyForQuery(nil, pgwire.TxIdle))
	} else {
		c.skipping = true
	}
	c.pass(full, avail, true)
	return taken{}, false, nil
}

func (c *client) takeQuery(full int, b []byte) (taken, error) {
	if len(b) < full && full <= pgwire.BufferSize {
		return taken{more: true}, nil
	}
	session := query.Dirty // of a text that is not all there to be looked at
	if len(b) >= full {
		text := b[pgwire.HeaderSize:full]
		if n := len(text); n > 0 && text[n-1] == 0 {
			text = text[:n-1]
		}
		if cmd, name := query.Command(text); cmd != query.NotOwn && c.ownCommand(cmd, name) {
			c.requests.cut(full)
			return taken{boundary: c.origin != nil}, nil
		}
		session = query.Scan(text)
	}
	if t, ok, err := c.ready(pgwire.MsgQuery, full, len(b)); !ok {
		return t, err
	}
	c.db.counts.queries.Add(1)
	c.left.session = max(c.left.session, session)
	c.unnamedOK = false // PostgreSQL forgets it at every simple Query
	c.origin.unnamed = unnamedOwner{}
	c.ledger.push(entry{kind: pgwire.MsgQuery})
	c.pass(full, len(b), false)
	return taken{boundary: true}, nil
}

// ownCommand answers a command from the client's own state, where it can.
func (c *client) ownCommand(cmd query.Own, name string) bool {
	var tag string
	switch {
	case cmd == query.DiscardAll && c.origin == nil:
		tag = "DISCARD ALL"
		c.forgetStatements()
	case cmd == query.DiscardAll: // in a transaction block it is the origin's to refuse
		return false
	case c.origin != nil && c.status == pgwire.TxFailed:
		return false
	case cmd == query.DeallocateAll:
		tag = "DEALLOCATE ALL"
		c.forgetStatements()
	default:
		st := c.statements[name]
		if st == nil {
			return false
		}
		tag = "DEALLOCATE"
		delete(c.statements, name)
		c.db.statements.release(st)
	}
	c.unnamedOK = false
	if c.origin != nil {
		c.ledger.push(entry{kind: pgwire.MsgQuery, flags: local, name: tag})
		return true
	}
	c.replies.put(pgwire.AppendReadyForQuery(pgwire.AppendCommandComplete(nil, tag), pgwire.TxIdle))
	return true
}

func (c *client) forgetStatements() {
	for _, s := range c.statements {
		c.db.statements.release(s)
	}
	c.statements = nil
}

func (c *client) takeSync(full int, b []byte) (taken, error) {
	if full != pgwire.HeaderSize {
		return taken{}, pgwire.Fatalf(pgwire.CodeProtocolViolation, "invalid message length")
	}
	c.skipping = false
	if c.origin == nil {
		c.requests.cut(full)
		c.replies.put(pgwire.AppendReadyForQuery(nil, pgwire.TxIdle))
		return taken{}, nil
	}
	c.requests.keep(full)
	if c.copying { // ignored by the origin
		return taken{}, nil
	}
	if c.unsynced {
		c.db.counts.queries.Add(1)
	}
	c.unsynced = false
	c.group++
	c.ledger.push(entry{kind: pgwire.MsgSync})
	return taken{boundary: true}, nil
}

// takeCopy handles what a driver sends of a COPY FROM STDIN. After the origin
// has refused the rest nobody waits for it.
func (c *client) takeCopy(typ byte, full int, b []byte) taken {
	if c.origin == nil || !c.copying && c.ledger.n == 0 {
		c.pass(full, len(b), true)
		return taken{}
	}
	c.pass(full, len(b), false)
	if typ == pgwire.MsgCopyData {
		return taken{}
	}
	c.copying = false
	c.ledger.push(entry{kind: pgwire.MsgCopyDone}) // Syncs from here on count
	simple := c.ledger.at(0).kind == pgwire.MsgQuery
	return taken{boundary: simple && c.taking.left == 0}
}

// wholeBody is the body of a message, read to its end if it is longer than the
// buffer. The message is cut.
func (c *client) wholeBody(full int, b []byte) ([]byte, error) {
	body := make([]byte, full-pgwire.HeaderSize)
	n := copy(body, b[pgwire.HeaderSize:])
	c.requests.cut(min(full, len(b)))
	c.requests.hold()
	for n < len(body) {
		if err := c.conn.Fill(); err != nil {
			return nil, fmt.Errorf("read from driver: %w", err)
		}
		m := copy(body[n:], c.conn.Bytes())
		c.conn.Discard(m)
		n += m
	}
	return body, nil
}

func (c *client) takeParse(full int, b []byte) (taken, error) {
	if full > maxParse {
		return taken{}, pgwire.Fatalf(pgwire.CodeLimitExceeded, "statement exceeds %d bytes", maxParse)
	}
	if len(b) < full && full <= pgwire.BufferSize {
		return taken{more: true}, nil
	}
	if t, ok, err := c.ready(pgwire.MsgParse, full, len(b)); !ok {
		return t, err
	}
	long := len(b) < full
	var msg []byte
	if long {
		var err error
		if msg, err = c.wholeBody(full, b); err != nil {
			return taken{}, err
		}
	} else {
		msg = b[pgwire.HeaderSize:full]
	}
	name, body, ok := pgwire.CString(msg)
	if !ok {
		return taken{}, malformed("Parse")
	}
	c.unsynced = true
	if len(name) == 0 {
		c.setUnnamed(body)
		c.origin.unnamed = unnamedOwner{c.id, c.unnamedGen}
		c.ledger.push(entry{kind: pgwire.MsgParse})
		if long {
			c.putParse("", body)
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

func malformed(what string) error {
	return pgwire.Fatalf(pgwire.CodeProtocolViolation, "invalid message format: %s", what)
}

// setUnnamed remembers the client's unnamed statement, for drivers that bind it
// after a Sync, on an origin connection that may be another then.
func (c *client) setUnnamed(body []byte) {
	if cap(c.unnamed) > keptUnnamed {
		c.unnamed = nil
	}
	c.unnamed = append(c.unnamed[:0], body...)
	c.unnamedOK = true
	c.unnamedGen++
	text, _, _ := pgwire.CString(body)
	c.unnamedSes = query.Scan(text)
}

// putParse sends a Parse to the origin.
func (c *client) putParse(name string, body []byte) {
	c.requests.gather()
	b := c.requests.buffer()
	*b = pgwire.AppendHeader(*b, pgwire.MsgParse, len(name)+1+len(body))
	*b = append(append(*b, name...), 0)
	*b = append(*b, body...)
}

// parseNamed prepares a statement under a name of the client's: nothing is sent
// if the origin connection has the same text prepared.
func (c *client) parseNamed(name string, body []byte) {
	failed := c.status == pgwire.TxFailed && c.ledger.n == 0 // the origin is to refuse it
	if c.statements[name] != nil && !failed {
		c.provoke(pgwire.Errorf(pgwire.CodeDuplicateStatement, "prepared statement %q already exists", name))
		return
	}
	o := c.origin
	st := c.db.statements.intern(body)
	p := o.prepared.get(st)
	if p != nil && (failed || !p.ready && p.group != c.group) {
		// Refused, unless it ends the transaction; or on its way in a group of
		// its own, which may yet fail.
		c.db.statements.release(st)
		st, p = c.db.statements.fresh(body), nil
	}
	if c.statements == nil {
		c.statements = make(map[string]*statement)
	}
	if c.statements[name] == nil {
		c.statements[name] = st
	}
	if p != nil {
		c.ledger.push(entry{kind: pgwire.MsgParse, flags: local, name: name, stmt: st})
		return
	}
	c.ledger.push(entry{kind: pgwire.MsgParse, name: name, stmt: st})
	c.prepare(st)
}

// prepare sends the Parse of a statement, and before it a Close of the one least
// used where there are too many.
func (c *client) prepare(st *statement) {
	o := c.origin
	if old := o.prepared.surplus(); old != nil && old != st {
		c.requests.gather()
		b := c.requests.buffer()
		*b = pgwire.AppendHeader(*b, pgwire.MsgClose, len(old.name)+2)
		*b = append(append(append(*b, 'S'), old.name...), 0)
		o.prepared.remove(old)
		// Its entry goes before that of the Parse, which is the newest.
		parse := c.ledger.popLast()
		c.ledger.push(entry{kind: pgwire.MsgClose, flags: own, stmt: old})
		c.ledger.push(parse)
	}
	if o.prepared.get(st) == nil {
		o.prepared.add(st, c.group)
	}
	c.putParse(st.name, []byte(st.body))
}

// provoke makes the origin fail in the message's place, so that its transaction
// fails as PostgreSQL's would, and has its error replaced.
func (c *client) provoke(e *pgwire.Error) {
	c.requests.gather()
	b := c.requests.buffer()
	const none = "\x01" + namePrefix + "none"
	*b = pgwire.AppendHeader(*b, pgwire.MsgDescribe, len(none)+2)
	*b = append(append(append(*b, 'S'), none...), 0)
	c.ledger.push(entry{kind: pgwire.MsgDescribe, err: e})
}

// errNames is given where the names of a Bind, Describe or Close do not fit a buffer.
var errNames = errors.New("names of portal and statement are too long")

func (c *client) takeBind(full int, b []byte) (taken, error) {
	if full < pgwire.HeaderSize+2 {
		return taken{}, malformed("Bind")
	}
	avail := b[pgwire.HeaderSize:min(full, len(b))]
	portal, rest, ok1 := pgwire.CString(avail)
	name, tail, ok2 := pgwire.CString(rest)
	if !ok1 || !ok2 {
		if len(b) >= full {
			return taken{}, malformed("Bind")
		}
		return taken{more: true}, nil
	}
	if t, ok, err := c.ready(pgwire.MsgBind, full, len(b)); !ok {
		return t, err
	}
	c.unsynced = true
	st, ok := c.target(name)
	if !ok {
		c.pass(full, len(b), true)
		return taken{}, nil
	}
	c.ledger.push(entry{kind: pgwire.MsgBind, stmt: st})
	if st == nil {
		c.pass(full, len(b), false)
		return taken{}, nil
	}
	c.requests.cut(len(b[pgwire.HeaderSize:min(full, len(b))]) - len(tail) + pgwire.HeaderSize)
	c.requests.gather()
	o := c.requests.buffer()
	*o = pgwire.AppendHeader(*o, pgwire.MsgBind, full-pgwire.HeaderSize-len(name)+len(st.name))
	*o = append(append(*o, portal...), 0)
	*o = append(append(*o, st.name...), 0)
	head := full - (len(avail) - len(tail)) - pgwire.HeaderSize // of the message behind the names
	c.pass(head, len(tail), false)
	return taken{}, nil
}

// target finds the statement that a Bind or Describe is about and sees to it
// that the origin connection has it. It returns nil for one that is passed on
// under the driver's name, and false where an error was provoked instead.
func (c *client) target(name []byte) (*statement, bool) {
	o := c.origin
	if len(name) == 0 {
		if !c.unnamedOK {
			c.provoke(pgwire.Errorf(pgwire.CodeUnknownStatement, "unnamed prepared statement does not exist"))
			return nil, false
		}
		c.left.session = max(c.left.session, c.unnamedSes)
		if mine := (unnamedOwner{c.id, c.unnamedGen}); o.unnamed != mine {
			c.db.counts.rePrepares.Add(1)
			c.putParse("", c.unnamed)
			c.ledger.push(entry{kind: pgwire.MsgParse, flags: own})
			o.unnamed = mine
		}
		return nil, true
	}
	st := c.statements[string(name)]
	if st == nil {
		c.provoke(pgwire.Errorf(pgwire.CodeUnknownStatement, "prepared statement %q does not exist", name))
		return nil, false
	}
	c.left.session = max(c.left.session, st.session)
	if o.prepared.get(st) == nil {
		c.db.counts.rePrepares.Add(1)
		c.ledger.push(entry{kind: pgwire.MsgParse, flags: own, stmt: st})
		c.prepare(st)
	}
	return st, true
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
	name, rest, ok := pgwire.CString(body[min(1, len(body)):])
	if !ok || len(rest) != 0 || body[0] != 'S' && body[0] != 'P' {
		return taken{}, malformed(string(typ))
	}
	ofStatement := body[0] == 'S'
	if typ == pgwire.MsgClose && ofStatement {
		c.closeStatement(name, full)
		return taken{}, nil
	}
	if t, ok, err := c.ready(typ, full, len(b)); !ok {
		return t, err
	}
	c.unsynced = true
	if !ofStatement {
		c.ledger.push(entry{kind: typ})
		c.requests.keep(full)
		return taken{}, nil
	}
	st, ok := c.target(name)
	if !ok {
		c.requests.cut(full)
		return taken{}, nil
	}
	c.ledger.push(entry{kind: typ, stmt: st})
	if st == nil {
		c.requests.keep(full)
		return taken{}, nil
	}
	c.requests.cut(full)
	c.requests.gather()
	o := c.requests.buffer()
	*o = pgwire.AppendHeader(*o, typ, len(st.name)+2)
	*o = append(append(append(*o, 'S'), st.name...), 0)
	return taken{}, nil
}

// closeStatement forgets a name of the client's. The statement stays prepared on
// origin connections, for whoever comes with the same text.
func (c *client) closeStatement(name []byte, full int) {
	var st *statement
	if len(name) == 0 {
		c.unnamedOK = false
	} else if st = c.statements[string(name)]; st != nil {
		delete(c.statements, string(name))
	}
	e := entry{kind: pgwire.MsgClose, flags: local, stmt: st}
	if st != nil {
		e.name = string(name)
	}
	c.requests.cut(full)
	if c.origin != nil {
		c.ledger.push(e)
		return
	}
	if st != nil {
		c.db.statements.release(st)
	}
	c.replies.put(pgwire.AppendMessage(nil, pgwire.MsgCloseComplete))
}
