package mysql

import (
	"fmt"
	"io"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// maxPrepare is the longest text of COM_STMT_PREPARE in bytes: it is held in
// memory until its statement is closed, and goes to origins in one packet.
const maxPrepare = mywire.MaxPayload - 1

// maxMetadata bounds what an origin says of a statement's parameters and columns,
// in bytes: 65,535 parameters of 23 bytes each, and 4096 columns of 512.
const maxMetadata = 4 << 20

// A named is what one COM_STMT_PREPARE made of an id. It counts as one reference
// to the statement.
type named struct {
	stmt   *statement
	types  []byte        // of the parameters, as the driver gave them last
	cursor bool          // one is open on the client's origin connection
	long   bool          // parameters were sent ahead to it
	failed *mywire.Error // why they could not be
	own    int           // what of the session's the proxy knows; 0: it is nothing of that
}

// prepare serves COM_STMT_PREPARE.
func (c *client) prepare(payload []byte, whole bool) error {
	text := payload[1:]
	if !whole {
		text = nil
		command, tooLong := 1, false // bytes of the command to come
		if err := c.pass(io.Discard, func(part []byte) {
			n := min(command, len(part))
			command -= n
			part = part[n:]
			if tooLong = tooLong || len(text)+len(part) > maxPrepare; !tooLong {
				text = append(text, part...)
			}
		}); err != nil {
			return err
		}
		if tooLong {
			c.put(c.lastSeq+1, mywire.Errorf(mywire.CodeNetPacketTooLarge, "Got a packet bigger than 'max_allowed_packet' bytes").Append)
			return c.writeReplies()
		}
	}
	if what, label := bareFunction(text); what == rowCount || what == foundRows || what == connectionID {
		return c.prepareOwn("SELECT "+label, what, []mywire.Column{numberColumn(label, what)}, whole)
	}
	if what, columns := bareShow(text); what != 0 {
		return c.prepareOwn(string(text), what, columns, whole)
	}
	key, at, shared := c.statementKey(text)
	if whole {
		if err := c.drop(); err != nil {
			return err
		}
	}
	if s := c.db.statements.find(key); s != nil {
		return c.name(s)
	}
	if c.running = judge(key[at:]); c.running.traits&kills != 0 {
		c.put(c.lastSeq+1, errKill.Append)
		return c.writeReplies()
	}
	return c.prepareAnew(string(key), at, shared)
}

// statementKey is a text with what decides what it means. With temporary tables, or
// who knows what, it is the client's alone.
func (c *client) statementKey(text []byte) (key []byte, at int, shared bool) {
	if shared = c.lease.pins&(pinTemps|pinUnknown) == 0 && c.lease.holds == 0; !shared {
		key = append(key, "client "+itoa(uint64(c.id))...)
	}
	key = append(append(key, c.session.state.key...), 0)
	at = len(key)
	return append(key, text...), at, shared
}

// prepareAnew prepares a text that is not known, on the client's origin connection.
func (c *client) prepareAnew(key string, at int, shared bool) error {
	if e := c.attach(); e != nil {
		c.put(c.lastSeq+1, e.Append)
		c.affected, c.warned = -1, warningsOf(e)
		return c.writeReplies()
	}
	before := c.status
	c.begin()
	p, meta, refused, err := c.prepareOn(key[at:])
	if err != nil {
		return c.originLost(err)
	}
	if refused != nil {
		c.put(c.lastSeq+1, refused.Append)
		c.affected, c.warned = -1, warningsOf(refused)
		return c.settleDown()
	}
	c.running = judgement{}
	s := c.db.statements.add(key, at, c.session.state, judge([]byte(key[at:])), meta, shared)
	p.id = s.id
	c.origin.prepared.insert(p)
	c.status = before
	if err := c.name(s); err != nil {
		return err
	}
	return c.settleDown()
}

// settleDown gives the origin connection back, if the client needs it no longer,
// and writes what there is for the driver.
func (c *client) settleDown() error {
	c.give = giving{}
	if c.origin != nil && !c.stays() {
		c.detach()
	} else {
		c.rest()
	}
	return c.writeReplies()
}

// name gives a statement an id and tells the driver.
func (c *client) name(s *statement) error {
	if len(c.statements) >= maxStatements || c.statementBytes+s.size() > maxStatementBytes {
		c.db.statements.release(s)
		c.put(c.lastSeq+1, mywire.Errorf(mywire.CodeMaxPreparedStmts, "Can't create more than max_prepared_stmt_count statements (current value: %d)", maxStatements).Append)
		return c.writeReplies()
	}
	if c.statements == nil {
		c.statements = make(map[uint32]*named)
	}
	for {
		c.lastStatement++
		if _, taken := c.statements[c.lastStatement]; c.lastStatement != 0 && !taken {
			break
		}
	}
	c.statements[c.lastStatement] = &named{stmt: s, own: s.own}
	c.statementBytes += s.size()
	c.replies.gather()
	b := c.replies.buffer()
	*b = c.appendPrepared(*b, s, c.lastStatement)
	return c.writeReplies()
}

// appendPrepared appends the answer to COM_STMT_PREPARE.
func (c *client) appendPrepared(b []byte, s *statement, id uint32) []byte {
	m := &s.meta
	seq := c.lastSeq + 1
	put := func(payload func([]byte) []byte) {
		out, start := mywire.BeginPacket(b, seq)
		b = mywire.EndPacket(payload(out), start)
		seq++
	}
	put(mywire.Prepared{ID: id, Columns: uint16(m.columns), Params: uint16(m.params), Warnings: m.warnings}.Append)
	packets := m.packets
	for _, n := range []int{m.params, m.columns} {
		for range n {
			size, _ := mywire.Header(packets)
			full := mywire.HeaderSize + size
			put(func(b []byte) []byte { return append(b, packets[mywire.HeaderSize:full]...) })
			packets = packets[full:]
		}
		if n > 0 && !c.caps.Has(mywire.CapDeprecateEOF) {
			put(mywire.EOF{Status: c.status}.Append)
		}
	}
	return b
}

// prepareOn prepares a text on the client's origin connection, behind what of the
// proxy's own is to go before, and waits for the answer. The error of the origin
// is refused.
func (c *client) prepareOn(text string) (p *prepared, meta metadata, refused *mywire.Error, err error) {
	for room := true; ; room = false {
		p, meta, refused, err = c.tryPrepare(text)
		if err != nil || refused == nil || refused.Code != mywire.CodeMaxPreparedStmts || !room ||
			c.origin.prepared.lru.Len() == 0 || c.holdsStatements() {
			return p, meta, refused, err
		}
		c.closePrepared(0) // the whole server has no room: what is here can go
	}
}

// closePrepared closes statements on the origin connection until it has fewer than
// most, and one is left.
func (c *client) closePrepared(most int) {
	o := c.origin
	for e := o.prepared.surplus(max(most, 1)); e != nil; e = o.prepared.surplus(max(most, 1)) {
		c.putClose(e.server)
		o.prepared.remove(e)
	}
}

// putClose closes a statement on the origin, which does not answer that.
func (c *client) putClose(server uint32) {
	c.requests.src = c.conn
	c.requests.gather()
	b := c.requests.buffer()
	out, start := mywire.BeginPacket(*b, 0)
	out = append(out, byte(mywire.ComStmtClose), byte(server), byte(server>>8), byte(server>>16), byte(server>>24))
	*b = mywire.EndPacket(out, start)
}

func (c *client) tryPrepare(text string) (p *prepared, meta metadata, refused *mywire.Error, err error) {
	o := c.origin
	if !c.holdsStatements() {
		c.closePrepared(c.db.perConn())
	}
	c.requests.src = c.conn
	c.requests.gather()
	b := c.requests.buffer()
	*b = appendCommand(*b, mywire.ComStmtPrepare, text)
	if err := c.requests.flush(o); err != nil {
		return nil, meta, nil, err
	}
	c.replies.hold()
	for ; c.owed > 0; c.owed-- {
		if _, err := o.expectOK(); err != nil {
			return nil, meta, nil, err
		}
	}
	payload, err := o.packet()
	if err != nil {
		return nil, meta, nil, err
	}
	if payload[0] == mywire.HeaderErr {
		refused, err = mywire.ParseError(payload)
		return nil, meta, refused, err
	}
	head, err := mywire.ParsePrepared(payload)
	if err != nil {
		return nil, meta, nil, err
	}
	meta = metadata{params: int(head.Params), columns: int(head.Columns), warnings: head.Warnings}
	for range meta.params + meta.columns {
		payload, err := o.packet()
		if err != nil {
			return nil, meta, nil, err
		}
		if len(meta.packets)+len(payload) > maxMetadata {
			return nil, meta, nil, fmt.Errorf("%w: definitions of more than %d bytes", mywire.ErrProtocol, maxMetadata)
		}
		meta.packets, _ = mywire.AppendPacket(meta.packets, 0, payload)
	}
	return &prepared{server: head.ID}, meta, nil, nil
}

// holdsStatements reports whether statements on the origin connection must stay
// that are not in use at the moment.
func (c *client) holdsStatements() bool { return c.lease.cursors > 0 || c.lease.longs > 0 }

// perConn is how many statements an origin connection keeps prepared: all
// connections together no more than half of what the server has room for.
func (d *Database) perConn() int {
	most := maxPrepared
	if w := d.welcome.Load(); w != nil && w.statements > 0 {
		most = min(most, w.statements/2/max(1, d.cfg.Load().MaxConns))
	}
	return max(most, 4)
}

// forgetStatements forgets what the driver has prepared.
func (c *client) forgetStatements() {
	for _, n := range c.statements {
		c.db.statements.release(n.stmt)
	}
	c.statements, c.statementBytes = nil, 0
}
