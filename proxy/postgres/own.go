package postgres

import (
	"strings"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

// ownCommand answers a command from the client's own state, where it can.
func (c *client) ownCommand(cmd query.Own, name string) bool {
	idle := c.origin == nil || c.status == pgwire.TxIdle && c.ledger.owed == 0 && !c.unsynced && !c.copying
	var tag string
	switch {
	case cmd == query.DiscardAll && c.origin != nil && c.mayHave(pinning|query.Dirty): // its locks are to be free when it is answered
		return false
	case cmd == query.DiscardAll && idle:
		tag = "DISCARD ALL"
		c.forgetStatements()
		c.forgetSession()
	case cmd == query.DiscardAll: // in a transaction block it is the origin's to refuse
		return false
	case c.origin != nil && c.status == pgwire.TxFailed:
		return false
	case cmd == query.DeallocateAll:
		c.forgetStatements()
		if c.mayHave(query.Prepares) { // those of PREPARE are on the origin
			return false
		}
		tag = "DEALLOCATE ALL"
	default:
		n := c.statements[name]
		if n == nil {
			return false
		}
		tag = "DEALLOCATE"
		delete(c.statements, name)
		c.release(n)
	}
	c.unnamedOK = false
	if c.origin != nil {
		c.ledger.push(entry{kind: pgwire.MsgQuery, flags: local, name: tag})
		return true
	}
	c.replies.put(pgwire.AppendReadyForQuery(append(pgwire.AppendCommandComplete(nil, tag), c.session.reports...), pgwire.TxIdle))
	c.session.reports = nil
	return true
}

// forgetSession takes the client's session back to its beginning. What it has left
// on its origin connection goes when that is given back.
func (c *client) forgetSession() {
	s := &c.session
	for _, p := range *c.db.welcome.Load() {
		name := strings.ToLower(p.Name)
		if _, changed := s.state.get(name); changed {
			value, begun := s.base.get(name)
			if !begun {
				value = p.Value
			}
			s.reports = pgwire.AppendParameterStatus(s.reports, p.Name, value)
		}
	}
	c.left.session |= s.asked.reasons
	c.setState(s.base)
	s.touched, s.restore, s.restoreLocal, s.unlisten, s.asked = nil, nil, nil, nil, asking{}
	s.discards++
	c.unlisten(func(string, bool) bool { return true })
	if c.origin != nil {
		c.left.session |= query.Dirty | s.pins
		c.origin.setState(noState)
		s.discarded = true
	}
}

func (c *client) forgetStatements() {
	for _, n := range c.statements {
		c.release(n)
	}
	c.statements = nil
}

// release gives up what a name stood for.
func (c *client) release(n *named) {
	c.namedBytes -= len(n.stmt.body)
	c.db.statements.release(n.stmt)
}

// ownGroup answers a DEALLOCATE that comes by the extended protocol, as psycopg
// sends it: Parse, Bind and Execute, without names, of a statement of the client's,
// whose name is nothing to the origin. It reports how many bytes of b that was; 0
// where the messages are to be taken one by one.
func (c *client) ownGroup(b, text []byte) (n int, t taken) {
	cmd, name := query.Command(text)
	if cmd != query.Deallocate || c.statements[name] == nil || c.origin != nil && c.status == pgwire.TxFailed {
		return 0, t
	}
	g, rest, r := readExecute(b)
	switch {
	case r == partGroup && len(b) < maxOwnGroup:
		return 0, taken{more: true}
	case r != oneGroup || g.about || !g.bare():
		return 0, t
	case c.unanswered() || c.unsynced && c.ledger.n > 0: // an error in its group would make PostgreSQL skip it
		return 0, taken{wait: true}
	}
	c.setUnnamed(g.body, judge(text, c.standard()))
	c.bound.set(nil, target{})
	c.release(c.statements[name])
	delete(c.statements, name)
	e := entry{kind: pgwire.MsgExecute, flags: local, name: "DEALLOCATE"}
	if g.describe {
		e.told = shapeNone
	}
	if c.origin == nil {
		c.replies.put(e.appendOwn(nil))
	} else {
		c.unsynced = true
		c.ledger.push(e)
	}
	return len(b) - len(rest), taken{boundary: c.origin != nil}
}

// maxOwnGroup bounds the messages of ownGroup in bytes: the longest command
// (query.Command's 256), and four headers with bodies of a few bytes.
const maxOwnGroup = 512

// appendOwn appends the answers to the messages of ownGroup.
func (e *entry) appendOwn(b []byte) []byte {
	b = pgwire.AppendMessage(pgwire.AppendMessage(b, pgwire.MsgParseComplete), pgwire.MsgBindComplete)
	if e.told == shapeNone {
		b = pgwire.AppendMessage(b, pgwire.MsgNoData)
	}
	return pgwire.AppendCommandComplete(b, e.name)
}
