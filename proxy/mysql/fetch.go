package mysql

import (
	"errors"
	"fmt"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// noteCursor notes whether the command has opened a cursor, or come to its end.
func (c *client) noteCursor() {
	n := c.current
	if c.current = nil; n == nil {
		return
	}
	status := c.give.end.Status
	open := status.Has(mywire.StatusCursorExists) && !status.Has(mywire.StatusLastRowSent) && c.give.err == nil
	switch {
	case open && !n.cursor:
		n.cursor = true
		c.lease.cursors++
	case !open:
		c.endCursor(n)
	}
	if m := &n.stmt.meta; c.give.count > 0 && c.give.count != uint64(m.columns) && m.columns > 0 {
		c.db.statements.retire(n.stmt)
	}
}

func (c *client) endCursor(n *named) {
	if n.cursor {
		n.cursor = false
		c.lease.cursors--
	}
}

// fetch serves COM_STMT_FETCH.
func (c *client) fetch(payload []byte) error {
	n, e := c.statement(payload, "mysqld_stmt_fetch")
	var p *prepared
	if e == nil && n.cursor {
		p = c.origin.prepared.get(n.stmt)
	}
	if e == nil && p == nil {
		e = mywire.Errorf(codeNoOpenCursor, "The statement (%d) has no open cursor.", c.idOf(payload))
	}
	if e != nil {
		return c.answerError(e)
	}
	mywire.SetStatementID(payload, p.server)
	c.current, c.give.inRows = n, true
	return c.exchange(mywire.ComStmtFetch, nil)
}

// codeNoOpenCursor is ER_STMT_HAS_NO_OPEN_CURSOR.
const codeNoOpenCursor = 1421

func (c *client) idOf(payload []byte) uint32 {
	id, _ := mywire.StatementID(payload) // which statement has read
	return id
}

// sendLongData serves COM_STMT_SEND_LONG_DATA, which is not answered.
func (c *client) sendLongData(payload []byte) error {
	n, e := c.statement(payload, "mysqld_stmt_send_long_data")
	if e != nil || n.failed != nil {
		return c.drop()
	}
	p, refused, err := c.ready(n)
	if err != nil {
		return err
	}
	if refused != nil {
		n.failed = refused
		if err := c.drop(); err != nil || c.origin == nil {
			return err
		}
		return c.settleDown()
	}
	if !n.long {
		n.long = true
		c.lease.longs++
	}
	mywire.SetStatementID(c.conn.Bytes()[mywire.HeaderSize:], p.server)
	if err := c.pass(c.origin, nil); errors.Is(err, errDriverGone) {
		c.lease.spoilt = true
		return err
	} else if err != nil {
		return c.originLost(err)
	}
	c.rest()
	return nil
}

// closeStatement serves COM_STMT_CLOSE, which is not answered. On origin connections
// the statement stays, for the next client with its text.
func (c *client) closeStatement(payload []byte) error {
	n, e := c.statement(payload, "mysqld_stmt_close")
	if e != nil {
		return c.drop()
	}
	delete(c.statements, c.idOf(payload))
	c.statementBytes -= n.stmt.size()
	if err := c.drop(); err != nil {
		return err
	}
	if n.cursor || n.long {
		if n.long {
			c.lease.longs--
		}
		c.endCursor(n)
		if p := c.origin.prepared.get(n.stmt); p != nil {
			c.putClose(p.server)
			c.origin.prepared.remove(p)
			if err := c.requests.flush(c.origin); err != nil {
				return c.originLost(err)
			}
		}
		c.db.statements.release(n.stmt)
		return c.settleDown()
	}
	c.db.statements.release(n.stmt)
	return nil
}

// resetStatement serves COM_STMT_RESET.
func (c *client) resetStatement(payload []byte) error {
	n, e := c.statement(payload, "mysqld_stmt_reset")
	if e != nil {
		return c.answerError(e)
	}
	n.failed = nil
	if !n.cursor && !n.long {
		return c.answerOK()
	}
	p := c.origin.prepared.get(n.stmt)
	if p == nil { // nothing closes one that is in use
		return c.originLost(fmt.Errorf("%w: a statement is gone", mywire.ErrProtocol))
	}
	mywire.SetStatementID(payload, p.server)
	c.endCursor(n)
	if n.long {
		n.long = false
		c.lease.longs--
	}
	return c.exchange(mywire.ComStmtReset, nil)
}
