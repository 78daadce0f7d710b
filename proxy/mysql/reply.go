package mysql

import (
	"errors"
	"fmt"
	"time"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// originCaps are the capabilities of origin connections that decide what replies
// look like.
const originCaps = mywire.CapProtocol41 | mywire.CapDeprecateEOF | mywire.CapSessionTrack

// A giving is what is known of a reply that is passed on.
type giving struct {
	left    int    // bytes of the packet still to come
	shift   byte   // what is added to the numbers of packets for the driver
	last    byte   // the number of the last packet, as the driver has it
	columns uint64 // definitions still to come
	inRows  bool   // a result with rows has begun
	ended   bool   // its columns have ended, and the driver is to be told
	begun   bool   // some of the reply has gone to the driver
	again   bool   // nothing has been passed on, and the command is to be repeated
	count   uint64 // columns of the first result
	rows    uint64
	err     *mywire.Error // that ended it
	end     mywire.OK     // that ended it, without its byte strings
}

// relay passes the reply on and ends the command. before is the status before it;
// wrote is how writing the command went: where it failed, the origin may still
// have said why.
func (c *client) relay(before mywire.Status, wrote error) error {
	for {
		done, err := c.takeReplies()
		if err != nil {
			return c.originLost(err)
		}
		if done && c.give.again {
			return c.repeat(before)
		}
		if done {
			return c.finish(before, wrote)
		}
		if c.waitsForFile() {
			if err := c.infile(); err != nil {
				return err
			}
			continue
		}
		if err := c.writeReplies(); err != nil {
			return err
		}
		if wrote != nil {
			_ = c.origin.SetReadDeadline(time.Now().Add(time.Second))
		}
		if err := c.origin.Fill(); err != nil {
			return c.originLost(err)
		}
	}
}

// waitsForFile reports whether the origin waits for the file of a LOAD DATA LOCAL.
func (c *client) waitsForFile() bool { return c.owed == 0 && c.give.left == 0 && c.reply.Infile() }

// takeReplies looks at what the origin sent and decides what the driver gets. It
// reports whether the reply is complete.
func (c *client) takeReplies() (done bool, err error) {
	g := &c.give
	for {
		b := c.replies.rest()
		if g.left > 0 {
			if len(b) == 0 {
				return false, nil
			}
			n := min(g.left, len(b))
			if c.recording != nil {
				c.recording.write(b[:n])
			}
			g.left -= n
			c.replies.keep(n)
			continue
		}
		if c.owed == 0 && c.reply.Done() {
			return true, nil
		}
		if len(b) < mywire.HeaderSize || c.waitsForFile() {
			return false, nil
		}
		n, _ := mywire.Header(b)
		full := mywire.HeaderSize + n
		if len(b) < min(full, mywire.HeaderSize+mywire.ReplyPeek) {
			return false, nil
		}
		if len(b) < full && c.isRead(b[mywire.HeaderSize:], n) {
			if full > mywire.BufferSize {
				return false, fmt.Errorf("%w: packet of %d bytes", mywire.ErrProtocol, full)
			}
			return false, nil
		}
		if c.owed > 0 {
			err = c.takeOwn(b[mywire.HeaderSize:full])
			c.replies.cut(full)
		} else {
			err = c.takePacket(b, n)
		}
		if err != nil {
			return false, err
		}
	}
}

// isRead reports whether a packet of n bytes that begins with b is one that the
// proxy reads: OK, ERR, EOF.
func (c *client) isRead(b []byte, n int) bool {
	if c.owed > 0 || n == 0 {
		return true
	}
	if c.reply.More() { // it goes on with a row
		return false
	}
	switch b[0] {
	case mywire.HeaderErr:
		return true
	case mywire.HeaderEOF:
		return n < mywire.MaxPayload
	case mywire.HeaderOK:
		return !c.give.inRows
	}
	return !c.give.inRows && n <= mywire.ReplyPeek // a number of columns
}

// takePacket takes a packet of the reply, of n bytes, with which b begins.
func (c *client) takePacket(b []byte, n int) error {
	g := &c.give
	full := mywire.HeaderSize + n
	part, err := c.reply.Next(b[mywire.HeaderSize:min(len(b), full)], n)
	if err != nil {
		return err
	}
	if g.ended && part != mywire.PartMore {
		g.ended = false
		if cursor := part == mywire.PartEOF && c.reply.Status.Has(mywire.StatusCursorExists); !cursor {
			c.put(g.last+1, mywire.EOF{Status: c.columnsStatus()}.Append)
			g.last++
			g.shift++
		}
	}
	switch part {
	case mywire.PartOK, mywire.PartEOF:
		return c.takeEnd(b[:full])
	case mywire.PartError:
		e, err := mywire.ParseError(b[mywire.HeaderSize:full])
		if err != nil {
			return err
		}
		if c.again != nil && !c.repeated && !g.begun && c.replies.pending() == 0 && isStale(e) {
			g.again = true
			c.replies.cut(full)
			return nil
		}
		g.err = e
	case mywire.PartColumnCount:
		count, _, err := mywire.Lenenc(b[mywire.HeaderSize:full])
		if err != nil {
			return err
		}
		if g.columns, g.inRows, g.rows = count, true, 0; g.count == 0 {
			g.count = count
		}
	case mywire.PartColumn:
		if g.inRows {
			g.columns--
			g.ended = g.columns == 0 && !c.caps.Has(mywire.CapDeprecateEOF)
		}
	case mywire.PartRow:
		g.rows++
	case mywire.PartInfile:
		if c.running.traits&loadsLocal == 0 || !c.caps.Has(mywire.CapLocalFiles) {
			return errRogue
		}
	}
	n = min(full, len(b))
	if c.recording != nil {
		c.recording.packet(part, b[:n])
	}
	b[mywire.HeaderSize-1] += g.shift
	g.last = b[mywire.HeaderSize-1]
	g.left = full - n
	c.replies.keep(n)
	return nil
}

// columnsStatus is the status that a server sends behind columns, which it does not send to the proxy: that of the
// rows' end, where that has come, or what is known of it.
func (c *client) columnsStatus() mywire.Status {
	for b := c.replies.rest(); len(b) > mywire.HeaderSize; {
		n, _ := mywire.Header(b)
		full := mywire.HeaderSize + n
		if n == 0 || n == mywire.MaxPayload || len(b) < full {
			break
		}
		if b[mywire.HeaderSize] == mywire.HeaderEOF {
			if ok, err := mywire.ParseOK(b[mywire.HeaderSize:full], originCaps); err == nil {
				return ok.Status &^ mywire.StatusStateChanged
			}
		}
		b = b[full:]
	}
	if c.running.traits&calls != 0 {
		return c.status | mywire.StatusMoreResults
	}
	return c.status
}

// errRogue is of an origin that asks for what nobody offered.
var errRogue = mywire.Errorf(mywire.CodeNotAllowed, "The origin asked for a local file, which the statement does not load")

// takeEnd takes an OK packet, or one in the place of EOF, which ends a result.
func (c *client) takeEnd(packet []byte) error {
	g := &c.give
	ok, err := mywire.ParseOK(packet[mywire.HeaderSize:], originCaps)
	if err != nil {
		return err
	}
	asIs := len(ok.State) == 0 && (!ok.EOF || c.caps.Has(mywire.CapDeprecateEOF))
	if len(ok.State) > 0 {
		if ok.State, err = c.noteChanges(&ok); err != nil {
			return err
		}
	}
	if len(ok.State) == 0 {
		ok.Status &^= mywire.StatusStateChanged
	}
	if c.recording != nil {
		c.recording.end(&ok)
	}
	if g.inRows {
		c.affected, c.found = -1, g.rows
	} else {
		c.affected = int64(ok.AffectedRows)
		if ok.LastInsertID != 0 {
			c.lease.gotID, c.lease.askID = ok.LastInsertID, true
		}
	}
	g.inRows = false
	c.status = ok.Status &^ ofReply
	packet[mywire.HeaderSize-1] += g.shift
	g.last = packet[mywire.HeaderSize-1]
	if asIs {
		c.replies.keep(len(packet))
	} else {
		var room [mywire.HeaderSize + maxEnd]byte
		b, start := mywire.BeginPacket(room[:0], g.last)
		c.replies.swap(len(packet), mywire.EndPacket(c.appendEnd(b, &ok), start))
	}
	g.end = mywire.OK{Status: ok.Status, Warnings: ok.Warnings}
	return nil
}

// ofReply are flags of a status that are not the session's.
const ofReply = mywire.StatusStateChanged | mywire.StatusMoreResults | mywire.StatusCursorExists | mywire.StatusLastRowSent |
	mywire.StatusNoGoodIndex | mywire.StatusNoIndex | mywire.StatusQueryWasSlow | mywire.StatusPSOutParams | mywire.StatusMetadataChanged |
	mywire.StatusDBDropped

// maxEnd is the room in bytes for the end of a result, beyond which it is allocated.
const maxEnd = 128

// appendEnd appends what ends a result, as the driver has agreed on.
func (c *client) appendEnd(b []byte, ok *mywire.OK) []byte {
	if ok.EOF && !c.caps.Has(mywire.CapDeprecateEOF) {
		return mywire.EOF{Warnings: ok.Warnings, Status: ok.Status &^ mywire.StatusStateChanged}.Append(b)
	}
	return ok.Append(b, c.caps)
}

// takeOwn takes the answer to a command of the proxy's own that came before the
// client's.
func (c *client) takeOwn(payload []byte) error {
	c.owed--
	if len(payload) > 0 && payload[0] == mywire.HeaderErr {
		e, err := mywire.ParseError(payload)
		if err != nil {
			return err
		}
		// What was good before is not any more. What the client sent behind it may
		// have run without it.
		return e
	}
	return nil
}

// writeReplies writes what there is for the driver.
func (c *client) writeReplies() error {
	c.give.begun = c.give.begun || c.replies.pending() > 0
	if err := c.replies.flush(c.conn); err != nil {
		c.dead.Store(true)
		return fmt.Errorf("write to driver: %w", err)
	}
	return nil
}

// infile passes the file of a LOAD DATA LOCAL on, the driver having been asked for it.
func (c *client) infile() error {
	if err := c.writeReplies(); err != nil {
		return err
	}
	for long := false; ; {
		for len(c.conn.Bytes()) < mywire.HeaderSize {
			if err := c.conn.Fill(); err != nil {
				return fmt.Errorf("%w: %w", errDriverGone, err)
			}
		}
		n, _ := mywire.Header(c.conn.Bytes())
		c.conn.Bytes()[mywire.HeaderSize-1] -= c.give.shift
		if err := c.pass(c.origin, nil); errors.Is(err, errDriverGone) {
			return err
		} else if err != nil {
			return c.originLost(err)
		}
		if long = n == mywire.MaxPayload; n == 0 && !long {
			c.reply.InfileSent()
			return nil
		}
	}
}

// originLost ends the client because its origin connection is of no use any more,
// and says so to the driver.
func (c *client) originLost(err error) error {
	c.lease.spoilt = true
	if c.dead.Load() || c.give.left > 0 { // never inside a packet
		return fmt.Errorf("%w: %w", errOriginGone, err)
	}
	c.replies.hold()
	_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_ = c.replies.flush(c.conn)
	told := mywire.Errorf(codeNetRead, "origin connection was lost")
	var e *mywire.Error
	switch {
	case errors.As(err, &e):
		told = e
	case c.forced.Load():
		told = errStopping
	}
	_ = c.fail(c.give.last+1, told)
	c.dead.Store(true)
	return fmt.Errorf("%w: %w", errOriginGone, err)
}

// codeNetRead is ER_NET_READ_ERROR.
const codeNetRead = 1158
