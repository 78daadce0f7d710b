package mysql

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/protocol/stream/bufconn"
)

// A sending is the part of a command that has not gone to the origin yet.
type sending struct {
	left int  // bytes of the packet
	more bool // another packet follows
}

// command serves the command whose first bytes are in the read buffer.
func (c *client) command() error {
	if err := c.load(); err != nil {
		return c.lost(err)
	}
	b := c.conn.Bytes()
	n, seq := mywire.Header(b)
	if n == 0 {
		return c.lost(mywire.ErrProtocol)
	}
	cmd := mywire.Command(b[mywire.HeaderSize])
	if seq != 0 {
		return c.fail(1, mywire.Errorf(mywire.CodeNetPacketsOutOfOrder, "Got packets out of order"))
	}
	c.running, c.lastSeq = judgement{}, 0
	whole := n < mywire.MaxPayload && len(b) >= mywire.HeaderSize+n
	payload := b[mywire.HeaderSize:min(len(b), mywire.HeaderSize+n)]
	switch cmd {
	case mywire.ComQuery:
		return c.query(payload, whole)
	case mywire.ComStmtPrepare:
		return c.prepare(payload, whole)
	case mywire.ComStmtExecute:
		return c.execute(payload, whole)
	case mywire.ComStmtSendLongData:
		return c.sendLongData(payload)
	case mywire.ComStmtClose:
		return c.closeStatement(payload)
	case mywire.ComStmtReset:
		return c.resetStatement(payload)
	case mywire.ComStmtFetch:
		return c.fetch(payload)
	case mywire.ComPing:
		if c.origin != nil {
			return c.run(cmd)
		}
		c.affected = 0
		return c.answerOK()
	case mywire.ComQuit:
		return errTerminated
	case mywire.ComInitDB:
		return c.initDB(payload, whole)
	case mywire.ComResetConnection:
		c.resetSession()
		return c.answerOK()
	case mywire.ComChangeUser:
		return c.changeUser(payload, whole)
	case mywire.ComSetOption:
		return c.setOption(payload)
	case mywire.ComProcessKill:
		id, err := mywire.ParseProcessKill(payload)
		if err != nil {
			return c.answerError(errMalformed)
		}
		return c.kill(uint64(id), false)
	case mywire.ComFieldList, mywire.ComStatistics, mywire.ComProcessInfo:
		return c.run(cmd)
	}
	return c.answerError(refusal(cmd))
}

// refusal is why a command is not passed on.
func refusal(cmd mywire.Command) *mywire.Error {
	switch cmd {
	case mywire.ComBinlogDump, mywire.ComBinlogDumpGTID, mywire.ComTableDump, mywire.ComRegisterSlave:
		return mywire.Errorf(mywire.CodeNotSupportedYet, "replication connections cannot be pooled: connect to the origin directly")
	case mywire.ComShutdown, mywire.ComDebug, mywire.ComRefresh, mywire.ComCreateDB, mywire.ComDropDB, mywire.ComClone:
		return mywire.Errorf(mywire.CodeNotSupportedYet, "commands of administration are not passed on: connect to the origin directly")
	}
	return mywire.Errorf(mywire.CodeUnknownCommand, "Unknown command")
}

// errKill is of a KILL among other statements, which would name a connection of the
// origin's.
var errKill = mywire.Errorf(mywire.CodeNotSupportedYet, "KILL is served as a statement of its own only")

var errMalformed = mywire.Errorf(mywire.CodeMalformedPacket, "Malformed communication packet.")

// load reads the first packet of the command, or as much of it as there is room for.
func (c *client) load() error {
	for {
		b := c.conn.Bytes()
		n, _ := mywire.Header(b)
		if len(b) >= min(mywire.HeaderSize+n, mywire.BufferSize) {
			return nil
		}
		if err := c.conn.Fill(); errors.Is(err, bufconn.ErrBufferFull) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// drop reads the command to its end and leaves it at that.
func (c *client) drop() error { return c.pass(io.Discard, nil) }

// pass writes the command, which begins in the read buffer, to w, what is put into
// requests before it. look sees every part of its payload that goes by.
func (c *client) pass(w io.Writer, look func(part []byte)) error {
	var s sending
	begin := func() {
		var n int
		n, c.lastSeq = mywire.Header(c.requests.rest())
		s = sending{left: mywire.HeaderSize + n, more: n == mywire.MaxPayload}
	}
	c.requests.src = c.conn
	begin()
	head := mywire.HeaderSize // of s.left, not payload
	for {
		b := c.requests.rest()
		n := min(s.left, len(b))
		if look != nil && n > head {
			look(b[head:n])
		}
		head = max(0, head-n)
		c.requests.keep(n)
		if s.left -= n; s.left == 0 && !s.more {
			return c.flushRequests(w)
		}
		if s.left == 0 && len(c.requests.rest()) >= mywire.HeaderSize {
			begin()
			head = mywire.HeaderSize
			continue
		}
		if err := c.flushRequests(w); err != nil {
			return err
		}
		if err := c.conn.Fill(); err != nil {
			return fmt.Errorf("%w: %w", errDriverGone, err)
		}
	}
}

// flushRequests writes what is to go out.
func (c *client) flushRequests(w io.Writer) error { return c.requests.flush(w) }

// errDriverGone is of a driver that left in the middle of a command.
var errDriverGone = errors.New("read from driver")

// answer answers a command with one packet, without an origin.
func (c *client) answer(payload func([]byte) []byte) error {
	if err := c.drop(); err != nil {
		return err
	}
	c.put(c.lastSeq+1, payload)
	return c.writeReplies()
}

// put puts a packet with the given number behind the replies.
func (c *client) put(seq byte, payload func([]byte) []byte) {
	c.replies.gather()
	b := c.replies.buffer()
	out, start := mywire.BeginPacket(*b, seq)
	*b = mywire.EndPacket(payload(out), start)
}

func (c *client) answerOK() error {
	ok := mywire.OK{Status: c.status}
	return c.answer(func(b []byte) []byte { return ok.Append(b, c.caps) })
}

func (c *client) answerError(e *mywire.Error) error {
	c.affected, c.warned = -1, warningsOf(e)
	return c.answer(e.Append)
}

// query serves COM_QUERY.
func (c *client) query(payload []byte, whole bool) error {
	sql, attributes, err := mywire.ParseQuery(payload, c.caps)
	if err != nil {
		return c.answerError(errMalformed)
	}
	c.running = judge(sql)
	c.running.readAs = c.session.state
	if !whole {
		c.running.traits |= unseen
	}
	if whole && c.running.traits&(readsLastID|diagnostics|kills) != 0 || len(sql) < maxOwn {
		if done, err := c.own(sql); done {
			return err
		}
	}
	if c.running.traits&kills != 0 {
		return c.answerError(errKill)
	}
	if len(attributes) > 0 {
		if !whole {
			return c.answerError(mywire.Errorf(mywire.CodeNetPacketTooLarge, "query attributes are taken with up to %d bytes of text", mywire.BufferSize))
		}
		c.stripAttributes(len(attributes))
	}
	if c.missed = missedForm; whole && c.running.traits&^moves == 0 && (len(attributes) == 0 || bytes.Equal(attributes, mywire.NoAttributes)) {
		if done, err := c.answerCached(sql, nil); done {
			return err
		}
	}
	c.db.counts.queries.Add(1)
	err = c.askOrigin(sql, whole)
	c.endRecording(err)
	return err
}

// askOrigin asks the origin what COM_QUERY asks.
func (c *client) askOrigin(sql []byte, whole bool) error {
	if e := c.attach(); e != nil {
		return c.refuse(e)
	}
	if c.lookAt(sql, whole); whole {
		return c.exchange(mywire.ComQuery, nil)
	}
	return c.exchange(mywire.ComQuery, c.lookForLocks())
}

// lookForLocks looks for GET_LOCK, and for what assigns to user variables, in a text that
// is too long to be read before it is sent on. Behind it the origin connection is reset
// in any case.
func (c *client) lookForLocks() func(part []byte) {
	const name, into = "get_lock", "into@"
	at, intoAt := 0, 0
	return func(part []byte) {
		for _, b := range part {
			switch {
			case b == into[intoAt], b|0x20 == into[intoAt] && intoAt < len(into)-1:
				if intoAt++; intoAt == len(into) {
					c.running.traits |= assignsVars
					intoAt = 0
				}
			case b|0x20 == into[0]:
				intoAt = 1
			case b > ' ' || intoAt < len(into)-1:
				intoAt = 0
			}
			switch lower := b | 0x20; {
			case b == '_' && name[at] == '_', b != '_' && lower == name[at]:
				if at++; at == len(name) {
					c.running.traits |= takesLocks
					at = 0
				}
			case lower == name[0]:
				at = 1
			default:
				at = 0
			}
		}
	}
}

// stripAttributes takes n bytes behind the command's byte out of the packet: no
// origin connection has agreed on attributes.
func (c *client) stripAttributes(n int) {
	b := c.conn.Bytes()
	size, _ := mywire.Header(b)
	copy(b[n:], b[:mywire.HeaderSize+1])
	c.conn.Discard(n)
	mywire.AppendHeader(c.conn.Bytes()[:0], size-n, 0)
}

// run sends the command in the read buffer to the origin and passes its reply on.
func (c *client) run(cmd mywire.Command) error {
	if e := c.attach(); e != nil {
		return c.refuse(e)
	}
	return c.exchange(cmd, nil)
}

// refuse tells the driver that there is no origin connection for its command. What
// begins a transaction ends the client: its driver may have more of that in a queue,
// each statement of which would be committed by itself.
func (c *client) refuse(e *mywire.Error) error {
	if err := c.answerError(e); err != nil {
		return err
	}
	if e.Code == mywire.CodeServerShutdown || c.running.traits&(begins|beginsXA|locksTables|unseen) != 0 { // the database is gone, or the proxy stops
		c.dead.Store(true)
		return e
	}
	return nil
}

// exchange sends the command in the read buffer and passes its reply on.
func (c *client) exchange(cmd mywire.Command, look func(part []byte)) error {
	before := c.status
	c.begin()
	c.reply.Begin(cmd, originCaps)
	wrote := c.pass(c.origin, look)
	if errors.Is(wrote, errDriverGone) {
		return wrote
	}
	return c.relay(before, wrote)
}

// initDB serves COM_INIT_DB. Where nothing of the client's is open it changes its
// schema only; whether there is one of that name is for the origin to say.
func (c *client) initDB(payload []byte, whole bool) error {
	if !whole || len(payload) > maxName {
		return c.answerError(mywire.Errorf(mywire.CodeBadDB, "Unknown database"))
	}
	c.running.traits = setsOnly | schemaless
	return c.run(mywire.ComInitDB)
}

// maxName is the longest name of a database in bytes, and its command byte: 64
// characters (NAME_CHAR_LEN) of up to four bytes.
const maxName = 1 + 64*4

// setOption serves COM_SET_OPTION: the option is put in force with the next
// command that goes to the origin.
func (c *client) setOption(payload []byte) error {
	option, err := mywire.ParseSetOption(payload)
	if err != nil || option > mywire.OptionMultiStatementsOff {
		return c.answerError(mywire.Errorf(mywire.CodeUnknownCommand, "Unknown command"))
	}
	c.session.multi = option == mywire.OptionMultiStatementsOn
	c.affected = -1
	return c.answer(func(b []byte) []byte { return c.appendEnd(b, &mywire.OK{EOF: true, Status: c.status}) })
}

// resetSession takes the session back to its beginning.
func (c *client) resetSession() {
	if c.origin != nil {
		c.lease.dirty, c.lease.askID = true, false
		c.detach()
	}
	s := &c.session
	if w := c.db.welcome.Load(); w != nil && len(w.charset) > 0 {
		s.base = s.base.but(w.charset)
	}
	s.state = s.base.with(s.state.schema) // which stays, as with a server
	c.forgetStatements()
	c.idAnswer = nil
	c.lastID, c.affected, c.found, c.warned = 0, 0, 0, nil
	c.status = c.statusOf(s.state)
}

// statusOf is the status of a session without a transaction, in a state that a session begins
// with. Drivers escape strings by it.
func (c *client) statusOf(s *state) mywire.Status {
	status := mywire.StatusAutocommit
	if w := c.db.welcome.Load(); w != nil {
		status = w.status
	}
	if v, ok := s.get("autocommit"); ok && v == "OFF" {
		status &^= mywire.StatusAutocommit
	}
	return status
}

// deadline bounds what the proxy itself asks of the origin.
func (c *client) deadline() error { return c.origin.SetDeadline(time.Now().Add(cleanTimeout)) }
