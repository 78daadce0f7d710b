package mysql

import (
	"slices"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// apply sees to it that the origin connection is in the client's state. Settings
// that an origin has accepted before travel with the command; a schema waits for
// the answer, because nothing may run in another.
func (c *client) apply() *mywire.Error {
	o, s := c.origin, &c.session
	if !c.stays() && s.state.schema == "" && o.state.schema != "" && c.running.traits&schemaless == 0 {
		c.detach() // an origin connection cannot go back to none
		return errNoSchema
	}
	defer c.putID(c.idsFor())
	if o.multi != s.multi {
		c.putOption()
	}
	if c.stays() { // what was changed was changed here
		return nil
	}
	if o.state.id != s.state.id {
		if e := c.putState(); e != nil || c.origin != o { // another, which is in the client's state
			return e
		}
	}
	if o.state.schema != s.state.schema && s.state.schema != "" {
		if e := c.putSchema(); e != nil {
			return e
		}
	}
	if c.running.traits&diagnostics != 0 { // those of another client are nothing to this one
		c.putOwn(mywire.ComQuery, "DO 0")
	}
	return nil
}

// putOwn sends a command of the proxy's own before the client's. It has one
// packet for an answer.
func (c *client) putOwn(cmd mywire.Command, text string) {
	c.requests.src = c.conn
	c.requests.gather()
	b := c.requests.buffer()
	*b = appendCommand(*b, cmd, text)
	c.owed++
}

// errNoSchema is of a client whose schema is gone.
var errNoSchema = mywire.Errorf(mywire.CodeNoDB, "No database selected")

func appendCommand(b []byte, cmd mywire.Command, text string) []byte {
	b, start := mywire.BeginPacket(b, 0)
	return mywire.EndPacket(append(append(b, byte(cmd)), text...), start)
}

func (c *client) putOption() {
	option := string([]byte{mywire.OptionMultiStatementsOff, 0})
	if c.session.multi {
		option = string([]byte{mywire.OptionMultiStatementsOn, 0})
	}
	c.putOwn(mywire.ComSetOption, option)
	c.origin.multi = c.session.multi
}

// putState puts the client's settings in force. Those that no origin has accepted
// yet wait for the answer.
func (c *client) putState() *mywire.Error {
	o, st := c.origin, c.session.state
	c.putOwn(mywire.ComQuery, change(o.state, st))
	c.db.counts.sets.Add(1)
	schema := o.state.schema
	o.state = st.with(schema)
	if _, good := c.db.goodStates.Load(st.id); good {
		return nil
	}
	if e := c.settleOwn(); e != nil {
		c.lease.dirty = true
		c.detach()
		if e.Code == codeUnknownCharset && st == c.session.base { // as a server has it, the client gets the server's own
			c.dropCharset()
			return c.attach()
		}
		return e
	}
	if c.db.goodCount.Add(1) <= maxGoodStates {
		c.db.goodStates.Store(st.id, true)
	}
	return nil
}

// codeUnknownCharset is ER_UNKNOWN_CHARACTER_SET.
const codeUnknownCharset = 1115

// dropCharset takes the character set of the login back.
func (c *client) dropCharset() {
	s := &c.session
	kept := slices.DeleteFunc(slices.Clone(s.base.settings), func(v setting) bool { return slices.Contains(charsetSettings, v.name) })
	schema := s.state.schema
	s.base = newState(kept, s.base.schema)
	s.state = s.base.with(schema)
}

// putSchema puts the client's schema in force. One that is gone leaves the client
// without one.
func (c *client) putSchema() *mywire.Error {
	o, s := c.origin, &c.session
	c.putOwn(mywire.ComInitDB, s.state.schema)
	switch e := c.settleOwn(); {
	case e == nil:
		o.state = o.state.with(s.state.schema)
	case e.Code == mywire.CodeBadDB && c.running.traits&schemaless != 0:
		s.state = s.state.with("")
	case e.Code == mywire.CodeBadDB:
		s.state = s.state.with("")
		c.detach()
		return errNoSchema
	default:
		c.lease.dirty = true
		c.detach()
		return e
	}
	return nil
}

// settleOwn sends what there is of the proxy's own and waits for the answers; the
// error is the origin's, or says that it is gone.
func (c *client) settleOwn() *mywire.Error {
	o := c.origin
	var refused *mywire.Error
	err := c.deadline()
	if err == nil {
		_, err = o.Write(*c.requests.buffer())
	}
	c.requests.drop()
	c.replies.hold()
	for ; err == nil && c.owed > 0; c.owed-- {
		var payload []byte
		if payload, err = o.packet(); err == nil && payload[0] == mywire.HeaderErr {
			var e *mywire.Error
			if e, err = mywire.ParseError(payload); refused == nil {
				refused = e
			}
		}
	}
	if err == nil {
		err = o.SetDeadline(noDeadline)
	}
	if err != nil {
		c.lease.spoilt = true
		_ = o.SetDeadline(noDeadline)
		c.owed = 0
		return mywire.Errorf(codeNetRead, "origin connection was lost")
	}
	return refused
}
