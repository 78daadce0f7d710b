package mysql

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"unsafe"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// statement is the statement that a command names. Where there is none it is nil,
// and e what the driver is told.
func (c *client) statement(payload []byte, what string) (n *named, e *mywire.Error) {
	id, err := mywire.StatementID(payload)
	if err != nil {
		return nil, errMalformed
	}
	if n = c.statements[id]; n == nil {
		return nil, mywire.Errorf(mywire.CodeUnknownStmtHandler, "Unknown prepared statement handler (%d) given to %s", id, what)
	}
	return n, nil
}

// ensure sees to it that a statement is prepared on the client's origin connection.
func (c *client) ensure(s *statement) (p *prepared, refused *mywire.Error, err error) {
	if p = c.origin.prepared.get(s); p != nil {
		return p, nil, nil
	}
	c.db.counts.rePrepares.Add(1)
	c.begin()
	back, refused, err := c.putContext(s)
	if refused != nil || err != nil {
		return nil, refused, err
	}
	p, _, refused, err = c.prepareOn(s.text)
	if err != nil {
		return nil, nil, err
	}
	if back(); refused != nil {
		if c.owed > 0 {
			if e := c.settleOwn(); e != nil {
				return nil, nil, e
			}
		}
		return nil, refused, nil
	}
	p.id = s.id
	c.origin.prepared.insert(p)
	return p, nil, nil
}

// putContext puts in force what decided what the text of a statement means when it
// was prepared, where the client has changed that since. back is for behind it. What an
// origin refuses of it, its schema being gone, say, leaves all as it was.
func (c *client) putContext(s *statement) (back func(), refused *mywire.Error, err error) {
	now := c.session.state
	if now.key == s.state.key {
		return func() {}, nil, nil
	}
	put := func(from, to *state) {
		if sql := change(from.parsing(), to.parsing()); sql != "" {
			c.putOwn(mywire.ComQuery, sql)
		}
		if from.schema != to.schema && to.schema != "" {
			c.putOwn(mywire.ComInitDB, to.schema)
		}
	}
	if put(now, s.state); c.owed > 0 {
		refused = c.settleOwn() // nothing may run in another schema
	}
	if refused != nil && c.lease.spoilt {
		return nil, nil, refused
	}
	if refused != nil {
		c.lease.dirty = true
		if put(s.state.with(now.schema), now); c.owed > 0 {
			if e := c.settleOwn(); e != nil {
				return nil, nil, e
			}
		}
	}
	return func() { put(s.state, now) }, refused, nil
}

// ready leases an origin connection for a statement, and prepares it there. Where
// that cannot be, the driver has been told, or the error ends the client.
func (c *client) ready(n *named) (p *prepared, refused *mywire.Error, err error) {
	if c.holdsStatements() && !n.cursor && !n.long && c.isHeld(n.stmt) {
		n.stmt = c.db.statements.split(n.stmt)
	}
	if e := c.attach(); e != nil {
		return nil, e, nil
	}
	if p, refused, err = c.ensure(n.stmt); err != nil {
		return nil, nil, c.originLost(err)
	}
	return p, refused, nil
}

// isHeld reports whether a statement has a cursor, or parameters that were sent
// ahead, by another id.
func (c *client) isHeld(s *statement) bool {
	for _, n := range c.statements {
		if n.stmt == s && (n.cursor || n.long) {
			return true
		}
	}
	return false
}

// execute serves COM_STMT_EXECUTE.
func (c *client) execute(payload []byte, whole bool) error {
	n, e := c.statement(payload, "mysqld_stmt_execute")
	if e == nil {
		e, n.failed = n.failed, nil
	}
	if e != nil {
		return c.answerError(e)
	}
	if n.own != 0 && (c.origin == nil || n.own == connectionID || c.lease.asked) {
		return c.executeOwn(n)
	}
	head, err := mywire.ParseExecute(payload, n.stmt.meta.params, c.caps)
	cut := errors.Is(err, mywire.ErrShort) && !whole
	if err != nil && !cut {
		return c.answerError(errMalformed)
	}
	c.running = n.stmt.leaves
	c.running.readAs = n.stmt.state
	if c.missed = missedForm; whole && err == nil {
		if done, err := c.answerExecute(n, &head, payload); done {
			return err
		}
	}
	err = c.executeAt(n, head, whole, cut)
	c.endRecording(err)
	return err
}

// answerExecute tries to answer an execution from the cache.
func (c *client) answerExecute(n *named, head *mywire.Execute, payload []byte) (bool, error) {
	types := n.types
	if head.Bound {
		types = head.Types
	}
	if n.long || n.cursor || head.Flags&^mywire.ParamsCounted != 0 || head.Params != n.stmt.meta.params || len(types) == 0 && head.Params > 0 ||
		c.running.traits&^moves != 0 || hasTime(types, head.Params) {
		return false, nil
	}
	if head.Bound && !bytes.Equal(n.types, types) {
		n.types = slices.Clone(types) // the read buffer's are gone with the command
	}
	x := execution{context: n.stmt.state.key, types: n.types, nulls: head.Nulls, values: payload[head.Values:], columns: n.stmt.meta.columns}
	return c.answerCached(stringBytes(n.stmt.text), &x)
}

// hasTime reports whether one of the parameters is a TIME, of which a server may make a
// DATETIME with the date of its clock, or has a name.
func hasTime(types []byte, params int) bool {
	each := 2
	if params > 0 && len(types) == 3*params { // with names, which are empty
		each = 3
	}
	if len(types) != each*params {
		return true
	}
	for i := 0; i < len(types); i += each {
		if t := mywire.Type(types[i]); t == mywire.TypeTime || t == typeTime2 || each == 3 && types[i+2] != 0 {
			return true
		}
	}
	return false
}

// typeTime2 is MYSQL_TYPE_TIME2, which servers take for MYSQL_TYPE_TIME.
const typeTime2 = 19

// stringBytes are the bytes of s, which must not be changed.
func stringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// executeAt executes a statement at the origin.
func (c *client) executeAt(n *named, head mywire.Execute, whole, cut bool) error {
	p, e, err := c.ready(n)
	if err != nil {
		return err
	}
	if e != nil && c.origin == nil {
		return c.refuse(e)
	}
	if e != nil {
		if err := c.answerError(e); err != nil {
			return err
		}
		return c.settleDown()
	}
	c.lookAt(stringBytes(n.stmt.text), true)
	c.db.counts.queries.Add(1)
	c.endCursor(n)
	c.repeated = n.long || c.running.traits&calls != 0 // what cannot be repeated
	if n.long {
		n.long = false
		c.lease.longs--
	}
	c.current = n
	inject := !cut && !head.Bound && head.Params > 0 && n.types != nil
	if inject && !whole && bytes.Equal(p.types, n.types) {
		inject = false
	}
	if inject && !whole {
		return c.refuseLong()
	}
	if head.Bound && !bytes.Equal(n.types, head.Types) {
		n.types = slices.Clone(head.Types)
	}
	if !cut && n.types != nil {
		p.types = n.types
	}
	if !whole {
		mywire.SetStatementID(c.conn.Bytes()[mywire.HeaderSize:], p.server)
		if cut { // the types go by
			n.types, p.types = nil, nil
			return c.exchange(mywire.ComStmtExecute, n.catchTypes())
		}
		return c.exchange(mywire.ComStmtExecute, nil)
	}
	c.again = outs.Get().(*[]byte)
	defer c.forgetAgain()
	size, _ := mywire.Header(c.conn.Bytes())
	payload := c.conn.Bytes()[mywire.HeaderSize : mywire.HeaderSize+size]
	out, start := mywire.BeginPacket(*c.again, 0)
	if inject {
		head.ID, head.Bound, head.Types = p.server, true, n.types
		out = append(head.Append(out, false, originCaps), payload[head.Values:]...)
	} else {
		out = append(out, payload...)
		mywire.SetStatementID(out[start+mywire.HeaderSize:], p.server)
	}
	*c.again = mywire.EndPacket(out, start)
	c.conn.Discard(mywire.HeaderSize + size)
	before := c.status
	c.begin()
	return c.relay(before, c.sendAgain())
}

// refuseLong refuses an execution that is too long to have its types put in.
func (c *client) refuseLong() error {
	c.current = nil
	c.lease.dirty = true // parameters that were sent ahead are still there
	if c.owed > 0 {
		if e := c.settleOwn(); e != nil {
			return c.originLost(e)
		}
	}
	if err := c.answerError(mywire.Errorf(mywire.CodeNetPacketTooLarge, "parameters of more than %d bytes need their types with them", mywire.BufferSize)); err != nil {
		return err
	}
	return c.settleDown()
}

// sendAgain sends the execution that is kept to be repeated.
func (c *client) sendAgain() error {
	c.reply.Begin(mywire.ComStmtExecute, originCaps)
	if c.requests.pending() == 0 {
		_, err := c.origin.Write(*c.again)
		return err
	}
	c.requests.put(*c.again)
	return c.requests.flush(c.origin)
}

// isStale reports whether an origin no longer knows a statement, or its tables have
// changed, so that it is to be prepared again. What a trigger says by SIGNAL has 45000.
func isStale(e *mywire.Error) bool {
	if e.State != "HY000" {
		return false
	}
	return e.Code == mywire.CodeUnknownStmtHandler && strings.Contains(e.Message, "mysqld_stmt_execute") || e.Code == mywire.CodeNeedReprepare
}

// repeat prepares the statement anew that an origin has refused to execute, and
// executes it once more. The driver has not been told anything.
func (c *client) repeat(before mywire.Status) error {
	c.give = giving{}
	n := c.current
	if e := c.origin.prepared.get(n.stmt); e != nil {
		c.putClose(e.server)
		c.origin.prepared.remove(e)
	}
	p, refused, err := c.ensure(n.stmt)
	if err != nil {
		return c.originLost(err)
	}
	if refused != nil {
		c.put(c.lastSeq+1, refused.Append)
		c.give.err = refused
		c.reply = mywire.Reply{}
		return c.finish(before, nil)
	}
	p.types = n.types
	mywire.SetStatementID((*c.again)[mywire.HeaderSize:], p.server)
	c.repeated = true
	return c.relay(before, c.sendAgain())
}

func (c *client) forgetAgain() {
	*c.again = (*c.again)[:0]
	outs.Put(c.again)
	c.again, c.repeated = nil, false
}

// catchTypes keeps the types of parameters that go by in a long execution.
func (n *named) catchTypes() func(part []byte) {
	params := n.stmt.meta.params
	from := 1 + 4 + 1 + 4 + (params+7)/8 + 1
	at := 0
	types := make([]byte, 0, 2*params)
	return func(part []byte) {
		for i := max(0, from-at); i < len(part) && len(types) < 2*params; i++ {
			types = append(types, part[i])
		}
		if at += len(part); len(types) == 2*params {
			n.types = types
		}
	}
}
