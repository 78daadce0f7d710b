package postgres

import (
	"bytes"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

// What lastval and currval say is a session's: the values that sequences gave to it,
// to defaults of columns mostly, which no text tells of. It cannot be moved to another
// origin connection, and to pin every client that inserts a row would be a pool no
// more. So it stays on the origin connection until another client has that, and
// nobody hears of the values of others: where any client of the database asks for such
// values, an origin connection that goes from one client to another has them discarded,
// in the same write as the client's first message.

// A numbersOwner is a client that may have left values of sequences, in the session
// that it began with its gen-th DISCARD ALL. The zero value is nobody.
type numbersOwner struct{ client, gen uint64 }

// manyClients is where more than one may have.
var manyClients = numbersOwner{client: ^uint64(0)}

// ownSequences sees to it, when the client has just got its origin connection, that
// the values of sequences there are the client's or none.
func (c *client) ownSequences() {
	o, mine := c.origin, numbersOwner{c.id, c.session.discards}
	switch {
	case c.inner || o.numbers == mine: // an inner client changes nothing
	case o.numbers == numbersOwner{}:
		o.numbers = mine
	case c.db.sequences.Load():
		c.discardSequences()
	default:
		o.numbers = manyClients
	}
}

func (c *client) discardSequences() {
	c.putOwn("DISCARD SEQUENCES", silent)
	c.origin.numbers = numbersOwner{c.id, c.session.discards}
}

// foresee notes that a text is about to be sent which asks for values of sequences,
// before there is an origin connection for it. The first such text of a database may
// come when there is: then what others left is discarded still if the client has done
// nothing but begin a transaction.
func (c *client) foresee(j *judgement) {
	if j.sequence&query.Asks == 0 {
		return
	}
	if !c.db.sequences.Load() {
		c.db.sequences.Store(true)
	}
	if c.origin != nil && c.origin.numbers == manyClients && !c.worked && !c.unsynced && !c.copying && c.status != pgwire.TxFailed {
		c.discardSequences()
	}
}

// begins reports whether a text is BEGIN, with or without what kind of transaction.
func begins(sql []byte) bool {
	const word = "begin"
	return len(sql) >= len(word) && bytes.EqualFold(sql[:len(word)], []byte(word)) && bytes.IndexByte(bytes.TrimSuffix(sql, []byte{';'}), ';') < 0
}
