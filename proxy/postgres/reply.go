package postgres

import (
	"bytes"
	"fmt"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

// errorPeek is how many bytes of an ErrorResponse are waited for before it is
// passed on: severity and SQLSTATE come first, long texts after.
const errorPeek = 1024

// takeReplies checks what the origin sent off against the ledger and passes on
// what is the driver's. The lock is held.
func (c *client) takeReplies() error {
	for {
		c.settle()
		b := c.replies.rest()
		if c.giving.left > 0 {
			if len(b) == 0 {
				return nil
			}
			n := min(c.giving.left, len(b))
			c.giving.left -= n
			if c.giving.drop {
				c.replies.cut(n)
			} else {
				c.replies.keep(n)
			}
			continue
		}
		if len(b) < pgwire.HeaderSize {
			return nil
		}
		typ, body, err := pgwire.Header(b)
		if err != nil {
			return err
		}
		full := pgwire.HeaderSize + body
		need := full
		switch typ {
		case pgwire.MsgDataRow:
			if need = pgwire.HeaderSize; c.ledger.n > 0 && c.ledger.at(0).flags&tidying != 0 {
				need = full
			}
		case pgwire.MsgCopyData, pgwire.MsgRowDescription, pgwire.MsgParameterDescription,
			pgwire.MsgNoticeResponse, pgwire.MsgNotification, pgwire.MsgFunctionCallResponse, pgwire.MsgParameterStatus:
			need = pgwire.HeaderSize
			if typ == pgwire.MsgRowDescription && full <= pgwire.BufferSize && c.ledger.n > 0 && c.ledger.at(0).compares() {
				need = full // to be compared
			}
		case pgwire.MsgErrorResponse:
			need = min(full, errorPeek)
		}
		if (typ == pgwire.MsgErrorResponse || typ == pgwire.MsgNoticeResponse) && full <= pgwire.BufferSize && c.ledger.n > 0 && c.ledger.at(0).patch != nil {
			need = full // its position may be another
		}
		if len(b) < need {
			if need > pgwire.BufferSize && typ == pgwire.MsgDataRow {
				return pgwire.Fatalf(pgwire.CodeLimitExceeded, "settings of more than %d bytes cannot be kept for the session", pgwire.BufferSize/2)
			}
			if need > pgwire.BufferSize {
				return fmt.Errorf("%w: message %q of %d bytes", pgwire.ErrProtocol, typ, full)
			}
			return nil
		}
		keep, err := c.check(typ, b[pgwire.HeaderSize:min(full, len(b))], full > pgwire.BufferSize)
		if err != nil {
			return err
		}
		n := min(full, len(b))
		c.giving = partial{left: full - n, drop: !keep}
		if keep {
			c.replies.keep(n)
		} else {
			c.replies.cut(n)
		}
		if typ == pgwire.MsgReadyForQuery {
			if c.settle(); c.settled() {
				return nil // what follows may not be the client's
			}
		}
	}
}

// settle answers the entries at the head that were not sent to the origin, unless
// a message of the origin is half passed on.
func (c *client) settle() {
	for c.ledger.n > 0 && c.giving.left == 0 {
		head := c.ledger.at(0)
		if head.kind == pgwire.MsgCopyDone { // a mark, owed nothing
			c.ledger.pop()
			continue
		}
		if head.flags&local == 0 {
			return
		}
		e := c.ledger.pop()
		c.replies.gather()
		b := c.replies.buffer()
		switch e.kind {
		case pgwire.MsgParse:
			e.named.sure = true
			*b = pgwire.AppendMessage(*b, pgwire.MsgParseComplete)
		case pgwire.MsgClose:
			if e.flags&forgets != 0 {
				c.doubts--
			}
			if e.named != nil {
				delete(c.closed, e.name)
				c.release(e.named)
			}
			*b = pgwire.AppendMessage(*b, pgwire.MsgCloseComplete)
		case pgwire.MsgExecute:
			*b = e.appendOwn(*b)
		case pgwire.MsgQuery:
			*b = append(pgwire.AppendCommandComplete(*b, e.name), c.session.reports...)
			c.session.reports = nil
			*b = pgwire.AppendReadyForQuery(*b, c.status)
		}
	}
}

// check decides on one message of the origin: whether the driver gets it, and
// what it answers. body may be cut short; of a long message it is.
func (c *client) check(typ byte, body []byte, long bool) (keep bool, err error) {
	switch typ {
	case pgwire.MsgNoticeResponse: // at any time, owed to nothing
		return c.keepsNotice(body), nil
	case pgwire.MsgParameterStatus:
		return c.ledger.n == 0 || c.ledger.at(0).flags&silent == 0, nil
	case pgwire.MsgNotification: // the hub hears it too
		return false, nil
	case pgwire.MsgErrorResponse:
		return c.checkError(body)
	}
	if typ == pgwire.MsgReadyForQuery && c.spare > 0 && (c.ledger.n == 0 || !c.ledger.at(0).endsGroup()) {
		return true, c.spareReady(body)
	}
	if c.ledger.n == 0 {
		return false, fmt.Errorf("%w: message %q that answers nothing", pgwire.ErrProtocol, typ)
	}
	head := c.ledger.at(0)
	keep = head.flags&own == 0 && !head.patch.inserted()
	var answers string // the kinds that it can answer
	pops := false
	switch typ {
	case pgwire.MsgParseComplete:
		answers, pops = "P", true
		if head.on != nil {
			c.origin.prepared.answered(head.on, true)
		}
		if head.named != nil {
			head.named.sure = true
		}
		if head.stmt == nil && head.flags&restoring == 0 {
			c.doubts--
		}
	case pgwire.MsgBindComplete:
		answers, pops = "B", true
	case pgwire.MsgCloseComplete:
		answers, pops = "C", true
		if head.on != nil {
			c.origin.prepared.answered(head.on, false)
		}
	case pgwire.MsgParameterDescription:
		answers = "D"
	case pgwire.MsgRowDescription:
		answers, pops = "DQ", head.kind == pgwire.MsgDescribe
		if err := c.described(head, body, long); err != nil {
			return false, err
		}
	case pgwire.MsgNoData:
		answers, pops = "D", true
		if err := c.tell(head, shapeNone); err != nil {
			return false, err
		}
	case pgwire.MsgDataRow:
		answers = "EQ"
		if head.flags&tidying != 0 {
			if err := c.tidied(body); err != nil {
				return false, err
			}
		}
	case pgwire.MsgCommandComplete:
		answers, pops = "EQ", head.kind == pgwire.MsgExecute
		c.spare = 0 // a COPY that is complete has read what came before its end
		if keep {
			c.completed(bytes.TrimSuffix(body, []byte{0}), head)
		}
		if err := head.patch.complete(body); err != nil {
			return false, err
		}
	case pgwire.MsgEmptyQueryResponse:
		answers, pops = "EQ", head.kind == pgwire.MsgExecute
	case pgwire.MsgPortalSuspended:
		answers, pops = "E", true
	case pgwire.MsgCopyInResponse:
		answers = "EQ"
		c.copyIn()
	case pgwire.MsgCopyOutResponse, pgwire.MsgCopyData, pgwire.MsgCopyDone:
		answers = "EQ"
	case pgwire.MsgFunctionCallResponse:
		answers = "F"
	case pgwire.MsgReadyForQuery:
		answers, pops = "QSF", true
		if len(body) != 1 {
			return false, fmt.Errorf("%w: ReadyForQuery", pgwire.ErrProtocol)
		}
		c.status = body[0]
		c.copying = false
		if head.flags&forgets != 0 {
			c.doubts--
		}
		if head.flags&tidying != 0 {
			c.tidying.Store(0)
		}
	}
	if bytes.IndexByte([]byte(answers), head.kind) < 0 {
		return false, fmt.Errorf("%w: message %q cannot answer message %q", pgwire.ErrProtocol, typ, head.kind)
	}
	ends := pops && head.endsGroup()
	if pops {
		c.ledger.pop()
	}
	if typ == pgwire.MsgReadyForQuery {
		if ends && c.status == pgwire.TxIdle {
			if c.altered { // others may have prepared before it was committed
				c.db.statements.changes.Add(1)
				c.altered = false
			}
			c.committed()
		}
		c.beginNext()
	}
	return keep, nil
}

// copyIn notes that the origin takes CopyData. While it does, it ignores Syncs,
// those that were sent ahead as well.
func (c *client) copyIn() {
	mark := 1
	for mark < c.ledger.n && c.ledger.at(mark).kind != pgwire.MsgCopyDone {
		mark++
	}
	c.copying = mark == c.ledger.n // else it was sent ahead, data and all
	ignored := c.ledger.drop(1, mark, func(e *entry) bool { return e.kind == pgwire.MsgSync })
	c.spare += ignored
	if ignored > 0 && (c.copying || c.ledger.ready == 0) && c.ledger.at(0).kind == pgwire.MsgExecute {
		c.unsynced = true // again: the group is not ended yet
	}
}

// spareReady handles the answer to a Sync that was sent ahead of a COPY, which
// failed before it came to ignore it.
func (c *client) spareReady(body []byte) error {
	if len(body) != 1 {
		return fmt.Errorf("%w: ReadyForQuery", pgwire.ErrProtocol)
	}
	c.spare--
	c.status = body[0]
	c.skipping, c.unsynced = false, false
	return nil
}

// checkError handles an ErrorResponse.
func (c *client) checkError(body []byte) (keep bool, err error) {
	f := pgwire.ParseErrorFields(body)
	if c.origin.heard(f.Code) && !c.session.open() {
		c.left.session |= query.Spoilt // the next query is another server's
	}
	c.session.unlisten = nil
	if f.Severity == "FATAL" || f.Severity == "PANIC" {
		c.farewell = true
		c.left.session |= query.Spoilt
		return true, nil
	}
	if c.spare > 0 { // whether the COPY has read those Syncs is anyone's guess
		c.left.session |= query.Spoilt
	}
	if c.ledger.n == 0 {
		return true, nil
	}
	head := c.ledger.at(0)
	switch head.kind {
	case pgwire.MsgQuery, pgwire.MsgFunctionCall, pgwire.MsgSync:
		switch {
		case head.flags&own == 0:
			return c.keepsError(head, f, body)
		case head.flags&restoring != 0:
			return false, restoreError(f)
		case head.flags&tidying != 0:
			return false, c.untidied(f)
		}
		// Start-up parameters that were good before are not any more. What the
		// client sent behind them may have run without them.
		return false, pgwire.Fatalf(f.Code, "%s", f.Message)
	}
	if head.flags&restoring != 0 && !interrupts(f.Code) {
		return false, restoreError(f)
	}
	if f.Code == pgwire.CodeFeatureNotSupported && f.Routine == "RevalidateCachedQuery" && head.stmt != nil {
		c.db.statements.retire(head.stmt) // so that the driver's next Parse is a real one
	}
	failed := c.ledger.pop()
	if failed.err != nil && failed.err.Code == pgwire.CodeDuplicateStatement && c.status == pgwire.TxFailed {
		failed.err = errAborted // PostgreSQL looks at that first
	}
	if failed.err == nil && failed.stmt != nil && c.origin.prepared.surprised(failed.stmt, f.Code) {
		c.left.session |= query.Spoilt // SQL has prepared or deallocated under the proxy's names
	}
	c.skipToSync()
	c.undo(failed)
	c.copying = false
	if failed.err != nil {
		c.replies.put(failed.err.Append(nil))
		return false, nil
	}
	return true, nil
}

var errAborted = pgwire.Errorf(pgwire.CodeInFailedTransaction, "current transaction is aborted, commands ignored until end of transaction block")

// skipToSync drops what the origin drops after an error: everything before Sync.
func (c *client) skipToSync() {
	i := 0
	for i < c.ledger.n && c.ledger.at(i).kind != pgwire.MsgSync {
		i++
	}
	for j := i - 1; j >= 0; j-- { // newest first, as the changes were made
		c.undo(*c.ledger.at(j))
	}
	c.skipping = i == c.ledger.n
	for ; i > 0; i-- {
		c.ledger.pop()
	}
}

// undo takes back what was noted when the message of e was taken, because the
// origin has refused or dropped it.
func (c *client) undo(e entry) {
	switch {
	case e.flags&restoring != 0:
	case e.kind == pgwire.MsgParse && e.stmt == nil:
		c.doubts--
		if c.origin.unnamed == (unnamedOwner{c.id, e.gen}) {
			c.origin.unnamed = unnamedOwner{}
		}
		if e.flags&own == 0 && e.gen == c.unnamedGen {
			c.unnamedOK = false
		}
	case e.kind == pgwire.MsgParse:
		if e.on != nil {
			c.origin.prepared.skipped(e.on)
		}
		if e.named != nil && c.statements[e.name] == e.named {
			delete(c.statements, e.name)
			c.release(e.named)
		}
	case e.flags&forgets != 0:
		c.doubts--
		c.unnamedOK = e.gen == c.unnamedGen && !c.forgotten()
	case e.kind == pgwire.MsgDescribe && e.named != nil:
		e.named.told = e.told
	case e.kind == pgwire.MsgClose && e.on != nil:
		c.origin.prepared.skipped(e.on)
	case e.kind == pgwire.MsgClose && e.named != nil:
		delete(c.closed, e.name)
		if c.statements[e.name] == nil {
			if c.statements == nil {
				c.statements = make(map[string]*named)
			}
			c.statements[e.name] = e.named
		} else {
			c.release(e.named)
		}
	}
}
