package postgres

import (
	"bytes"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

// A taken says what became of one message of the driver.
type taken struct {
	boundary bool // the origin answers without being sent more
	more     bool // nothing yet: it needs more of the message
	wait     bool // nothing yet: what becomes of it depends on replies that are owed
}

// maxGroups is how many replies with ReadyForQuery a client may ask for without
// a moment at which none is owed: then its origin connection can go to the next in
// line, so that an endless pipeline does not keep it.
const maxGroups = 1024

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
		typ, body, err := pgwire.Header(b)
		if err != nil {
			return false, false, pgwire.Fatalf(pgwire.CodeProtocolViolation, "invalid message length")
		}
		if c.tidies(b, pgwire.HeaderSize+body) {
			if err := c.awaitTidy(); err != nil {
				return false, false, err
			}
			continue
		}
		if c.origin != nil || c.skipping || c.ledger.n > 0 {
			c.missed = missedBusy
		} else {
			n, more, err := c.answer(b, pgwire.HeaderSize+body)
			if err != nil {
				return false, false, err
			}
			if more {
				return answers, false, nil
			}
			if n > 0 {
				c.requests.cut(n)
				continue
			}
		}
		// The origin connection goes after DISCARD ALL, but only once its group, and a
		// transaction begun behind it, have ended: that takes what the driver sends next.
		discarded := c.session.discarded && !c.unsynced && c.status == pgwire.TxIdle
		t := taken{wait: discarded || c.ledger.n >= maxOwed || c.ledger.ready > 0 && c.groups >= maxGroups}
		if t.wait && c.copying {
			return false, false, pgwire.Fatalf(pgwire.CodeProtocolViolation, "too many messages during COPY from stdin")
		}
		if !t.wait {
			if t, err = c.take(typ, pgwire.HeaderSize+body, b); err != nil {
				return false, false, err
			}
		}
		if t.wait { // make the origin answer before more is taken
			c.requests.put(pgwire.AppendMessage(nil, pgwire.MsgFlush))
			c.again, c.groups = true, 0
			return true, true, nil
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
		if c.refused != nil {
			if opens, more := c.opens(typ, full, b); more {
				return taken{more: true}, nil
			} else if opens {
				return taken{}, c.refused
			}
		}
		c.pass(full, len(b), true)
		return taken{}, nil
	}
	if c.copying && !duringCopy(typ) { // PostgreSQL loses its place in what is sent, and ends the session
		return taken{}, pgwire.Fatalf(pgwire.CodeProtocolViolation, "unexpected message type 0x%02X during COPY from stdin", typ)
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
		if t, ok, err := c.ready(typ, full, len(b), false); !ok {
			return t, err
		}
		c.unsynced = true
		c.ledger.push(entry{kind: typ})
		behind := len(c.session.restore)+len(c.session.restoreLocal) > 0 && len(b) >= full && c.executes(b[pgwire.HeaderSize:full])
		if c.pass(full, len(b), false); behind {
			c.restoreBehind()
		}
		return taken{}, nil
	case pgwire.MsgSync:
		return c.takeSync(full, b)
	case pgwire.MsgFlush:
		c.pass(full, len(b), c.origin == nil)
		return taken{boundary: c.origin != nil}, nil
	case pgwire.MsgFunctionCall:
		if t, ok, err := c.ready(typ, full, len(b), false); !ok {
			return t, err
		}
		c.noteUnknown()
		c.left.session |= query.Dirty // of which function, only its OID tells
		c.groups++
		c.ledger.push(entry{kind: typ})
		c.pass(full, len(b), false)
		return taken{boundary: true}, nil
	case pgwire.MsgCopyData, pgwire.MsgCopyDone, pgwire.MsgCopyFail:
		return c.takeCopy(typ, full, b), nil
	case pgwire.MsgTerminate:
		if c.unanswered() { // what came before it is done first, though nobody may read the answer
			return taken{wait: true}, nil
		}
		return taken{}, errTerminated
	}
	return taken{}, unknownMessage(typ)
}

// unanswered reports whether a group is under way whose end decides what becomes
// of the next message, and will come without it.
func (c *client) unanswered() bool { return c.ledger.ready > 0 && !c.copying }

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

func duringCopy(typ byte) bool {
	switch typ {
	case pgwire.MsgCopyData, pgwire.MsgCopyDone, pgwire.MsgCopyFail, pgwire.MsgFlush, pgwire.MsgSync, pgwire.MsgTerminate:
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
// be had the driver is told in the message's place, and the message dropped. Where
// the message opens a transaction block its driver is told for good: it may have sent
// the block's statements already, and each of them, for which there may be an origin
// connection by then, would be a transaction of its own.
func (c *client) ready(typ byte, full, avail int, opens bool) (taken, bool, error) {
	if c.origin != nil {
		c.apply()
		return taken{}, true, nil
	}
	pe := c.attach()
	if pe == nil {
		return taken{}, true, nil
	}
	if pe.Fatal || opens {
		return taken{}, false, pe // it ends the client: see fail
	}
	c.replies.put(pe.Append(nil))
	if typ == pgwire.MsgQuery || typ == pgwire.MsgFunctionCall {
		c.replies.put(pgwire.AppendReadyForQuery(nil, pgwire.TxIdle))
	} else {
		c.skipping, c.refused = true, pe
	}
	c.pass(full, avail, true)
	return taken{}, false, nil
}

// opens reports whether a Parse or Bind, of which b has come, is of a text that may
// begin a transaction block; more, that too little has come to tell.
func (c *client) opens(typ byte, full int, b []byte) (opens, more bool) {
	if typ != pgwire.MsgParse && typ != pgwire.MsgBind {
		return false, false
	}
	name, rest, ok := pgwire.CString(b[pgwire.HeaderSize:min(full, len(b))])
	if ok && typ == pgwire.MsgBind {
		name, _, ok = pgwire.CString(rest)
	}
	switch {
	case len(b) < full && full <= pgwire.BufferSize:
		return false, true
	case !ok:
		return true, false
	case typ == pgwire.MsgBind:
		return c.leaves(name).opens, false
	}
	j := judge(textOf(rest), c.standard()) // its begin says what it is: a Parse is of one statement
	return j.opens, false
}

// leaves is what the client's statement of a name may leave behind.
func (c *client) leaves(name []byte) *judgement {
	if n := c.statements[string(name)]; n != nil {
		return &n.stmt.leaves
	}
	return &c.unnamedHas
}

func (c *client) takeQuery(full int, b []byte) (taken, error) {
	if len(b) < full && full <= pgwire.BufferSize {
		return taken{more: true}, nil
	}
	leaves, flags := judgement{session: query.Dirty, opens: true}, unseen // of a text that is not all there
	var p *patch
	if len(b) >= full {
		text := b[pgwire.HeaderSize:full]
		if n := len(text); n > 0 && text[n-1] == 0 {
			text = text[:n-1]
		}
		if cmd, name := query.Command(text); cmd != query.NotOwn {
			if c.unanswered() || c.unsynced && c.ledger.n > 0 { // an error in its group would make PostgreSQL skip it
				return taken{wait: true}, nil
			}
			if c.ownCommand(cmd, name) {
				c.requests.cut(full)
				return taken{boundary: c.origin != nil}, nil
			}
		}
		leaves = judge(text, c.standard())
		c.foresee(&leaves)
		p = c.patch(text, leaves.changes)
		flags = 0
	}
	if t, ok, err := c.ready(pgwire.MsgQuery, full, len(b), leaves.opens); !ok {
		return t, err
	}
	c.db.counts.queries.Add(1)
	if len(b) >= full {
		c.writes.bound = false
		c.noteWrite(bytes.TrimSuffix(b[pgwire.HeaderSize:full], []byte{0}))
		c.writes.bound = false
	} else {
		c.noteUnknown()
	}
	if err := c.note(&leaves, p != nil); err != nil {
		return taken{}, err
	}
	if leaves.opens {
		flags |= opens
	}
	e := entry{kind: pgwire.MsgQuery, flags: flags, patch: p}
	c.forgetUnnamed(&e) // as PostgreSQL does at every simple Query
	c.origin.unnamed = unnamedOwner{}
	c.groups++
	c.ledger.push(e)
	if p == nil {
		c.pass(full, len(b), false)
		return taken{boundary: true}, nil
	}
	c.requests.cut(full)
	o := c.requests.buffer()
	*o = pgwire.AppendQuery(*o, string(p.text))
	p.text = nil
	return taken{boundary: true}, nil
}

func (c *client) takeSync(full int, b []byte) (taken, error) {
	if full != pgwire.HeaderSize {
		return taken{}, pgwire.Fatalf(pgwire.CodeProtocolViolation, "invalid message length")
	}
	c.skipping, c.refused, c.writes.bound = false, nil, false
	if c.origin == nil {
		c.requests.cut(full)
		c.replies.put(pgwire.AppendReadyForQuery(nil, pgwire.TxIdle))
		return taken{}, nil
	}
	if c.copying {
		// The origin would ignore it, unless the COPY has just failed: then it
		// would answer, and nobody could tell.
		c.requests.cut(full)
		return taken{}, nil
	}
	c.requests.keep(full)
	if c.unsynced {
		c.db.counts.queries.Add(1)
	}
	c.unsynced = false
	c.group++
	c.groups++
	e := entry{kind: pgwire.MsgSync}
	if c.opening {
		c.opening, e.flags = false, opens
	}
	c.ledger.push(e)
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
