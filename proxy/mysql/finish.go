package mysql

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// finish ends a command whose reply is complete: it is noted what the command has
// left, and the origin connection goes back where nothing needs it.
func (c *client) finish(before mywire.Status, wrote error) error {
	g, l := &c.give, &c.lease
	if wrote != nil {
		l.spoilt = true
	}
	l.asked = false
	if g.err != nil {
		c.affected, c.warned = -1, warningsOf(g.err)
	}
	c.noteCursor()
	c.noteText(g.err != nil, before)
	c.noteID()
	if c.running.traits&releases != 0 && g.err == nil { // as the server has closed its side
		l.spoilt = true
		_ = c.writeReplies()
		c.dead.Store(true)
		return errTerminated
	}
	if c.needsAsking() {
		if err := c.writeReplies(); err != nil {
			return err
		}
		if err := c.ask(); err != nil && g.err != nil && fatal[g.err.Code] { // it is as it has said
			c.origin.ended(g.err)
			l.spoilt = true
			c.dead.Store(true)
			return g.err
		} else if err != nil {
			return c.originLost(err)
		}
	} else if c.running.traits&diagnostics == 0 && g.err == nil {
		c.warned = nil
	}
	c.committed()
	if err := c.settlePins(); err != nil {
		l.dirty = true
		_ = c.writeReplies()
		return c.fail(0, err)
	}
	c.give = giving{}
	if l.pins != 0 || c.busy() {
		c.rest()
		return c.writeReplies()
	}
	if c.db.cfg.Load().Policy == Reset && c.session.state != c.session.base {
		c.session.state = c.session.base
		c.status = c.statusOf(c.session.base)
	}
	c.detach() // before the driver reads: the next client need not wait for it
	return c.writeReplies()
}

// fatal are errors behind which a server closes the connection, unless a statement has said so by SIGNAL.
var fatal = map[uint16]bool{
	mywire.CodeServerShutdown: true, mywire.CodeNetPacketTooLarge: true, mywire.CodeClientInteraction: true,
	mywire.CodeNetPacketsOutOfOrder: true, 1927: true, // ER_CONNECTION_KILLED of MariaDB
}

// needsAsking reports whether the origin is to be asked what it has not told.
func (c *client) needsAsking() bool {
	g, t := &c.give, c.running.traits
	return g.err != nil || c.lease.askCollation || t&(takesLocks|freesLocks) != 0 && c.lease.pins&pinLocks != 0 || !c.stays() &&
		(t&countsRows != 0 || g.end.Warnings > 0 && t&diagnostics == 0)
}

// stays reports whether the client keeps its origin connection behind the command.
func (c *client) stays() bool { return c.lease.pins != 0 || c.busy() }

// ask asks the origin what a command has left that it does not tell by itself: the
// transaction's status after an error, which has none, and what belongs to the
// statement before where the next one may run elsewhere.
func (c *client) ask() error {
	o, l, g := c.origin, &c.lease, &c.give
	c.rest()
	c.since.Store(time.Now().UnixNano()) // the watch looks after it
	if err := c.deadline(); err != nil {
		return err
	}
	t := c.running.traits
	switch {
	case g.err != nil:
		if err := c.askError(); err != nil {
			return err
		}
	case t&diagnostics != 0:
	case g.end.Warnings == 0:
		c.warned = nil
	default:
		res, err := o.query("SHOW WARNINGS")
		if err != nil {
			return err
		}
		c.warned = res.packets
	}
	if l.askCollation {
		if err := c.askCollation(); err != nil {
			return err
		}
	}
	if t&(takesLocks|freesLocks) != 0 && l.pins&pinLocks != 0 && len(l.locks) > 0 {
		held, err := c.heldLocks()
		if err != nil {
			return err
		}
		if l.pin(pinLocks, held); !held {
			l.locks = nil
		}
	}
	if !c.stays() && t&countsRows != 0 {
		n, err := o.number("SELECT FOUND_ROWS()")
		if err != nil {
			return err
		}
		c.found = n
	}
	return o.SetDeadline(time.Time{})
}

// askError asks for the status and the warnings behind an error by what leaves both as they are, and
// ROW_COUNT() and FOUND_ROWS() too.
func (c *client) askError() error {
	o, e := c.origin, c.give.err
	res, err := o.query("SHOW WARNINGS")
	ok := res.end
	if err == nil {
		c.warned = res.packets
	} else if isAnswer(err) { // of a KILL that came late, say
		ok, err = o.ping()
	}
	if err != nil {
		return err
	}
	if _, err := c.noteChanges(&ok); err != nil {
		return err
	}
	c.status = ok.Status &^ ofReply
	if c.running.traits&calls != 0 {
		if err := c.askSchema(); err != nil {
			return err
		}
	}
	if e.Code == mywire.CodeOptionPrevents || e.Code == mywire.CodeReadOnlyMode {
		c.lease.asked = true
		return o.askReadOnly()
	}
	return nil
}

// askSchema asks for the schema behind a CALL that failed: with the results before MariaDB tells the
// procedure's own, and does not take that back.
func (c *client) askSchema() error {
	o, s := c.origin, &c.session
	c.lease.asked = true
	if _, err := o.Write(appendCommand(nil, mywire.ComQuery, askSchema)); err != nil {
		return err
	}
	schema, err := o.currentSchema()
	s.state = s.state.with(schema)
	o.state = s.state
	return err
}

// askCollation asks for what SET NAMES has changed and no tracker tells.
func (c *client) askCollation() error {
	c.lease.askCollation, c.lease.asked = false, true
	res, err := c.origin.query("SELECT @@SESSION.collation_connection")
	if err != nil {
		return err
	}
	name, _, err := mywire.LenencString(res.first)
	if err != nil {
		return err
	}
	s := &c.session
	s.state = newState(put(slices.Clone(s.state.settings), "collation_connection", string(name)), s.state.schema)
	c.origin.state = s.state
	return nil
}

// heldLocks asks whether one of the locks of GET_LOCK is still held.
func (c *client) heldLocks() (bool, error) {
	c.lease.asked = true
	var sql strings.Builder
	sql.WriteString("SELECT 0")
	for _, name := range slices.Compact(slices.Sorted(slices.Values(c.lease.locks))) {
		sql.WriteString("+COALESCE(IS_USED_LOCK(" + quoted(name) + ")=CONNECTION_ID(),0)")
	}
	n, err := c.origin.number(sql.String())
	return n > 0, err
}

// warningsOf are the rows of SHOW WARNINGS behind an error.
func warningsOf(e *mywire.Error) []byte {
	row := mywire.AppendLenencString(nil, "Error")
	row = mywire.AppendLenencString(row, strconv.Itoa(int(e.Code)))
	row = mywire.AppendLenencString(row, e.Message)
	b, _ := mywire.AppendPacket(nil, 0, row)
	return b
}
