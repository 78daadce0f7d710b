package postgres

import (
	"bytes"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

// completed looks at a command tag for what the command left behind.
func (c *client) completed(tag []byte, head *entry) {
	switch string(tag) {
	case "ROLLBACK":
		c.session.unlisten = nil
	case "DEALLOCATE ALL", "DISCARD ALL": // the proxy's statements are gone
		c.origin.unnamed = unnamedOwner{}
		c.origin.prepared.deallocated()
		for name, n := range c.statements { // not those that were parsed behind it
			if n.sure {
				delete(c.statements, name)
				c.release(n)
			}
		}
		if tag[1] == 'I' {
			c.discardedAll()
		}
		return
	case "LOAD", "CREATE FUNCTION": // a library may have come along
		c.left.session |= query.Spoilt
	case "SET", "RESET", "PREPARE", "LISTEN", "UNLISTEN": // known by its text
		if head.flags&unseen == 0 {
			return
		}
	}
	if changesCatalog(tag) {
		c.db.statements.changes.Add(1)
		c.altered = true
	}
	if !query.CleanTag(tag) || head.flags&unseen != 0 {
		c.left.session |= query.Dirty
	}
}

// discardedAll notes that the origin has run a DISCARD ALL. What the client has sent
// behind it, but for the Sync of its group, may have left something since.
func (c *client) discardedAll() {
	touched, left := c.session.touched, c.left.session
	c.forgetSession()
	if n := c.ledger.n; c.unsynced || n > 2 || n == 2 && c.ledger.at(1).kind != pgwire.MsgSync {
		c.session.discarded = false
		c.session.touched, c.left.session = touched, left|query.Dirty
	}
}

// changesCatalog reports whether a command tag is that of a command behind which the
// same text may be about another table, or have other columns.
func changesCatalog(tag []byte) bool {
	verb, _, _ := bytes.Cut(tag, []byte(" "))
	switch string(verb) {
	case "CREATE", "ALTER", "DROP":
		return true
	}
	return false
}
