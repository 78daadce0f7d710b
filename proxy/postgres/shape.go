package postgres

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

// A shape is a digest of the columns that a statement returns: their names, types
// and type modifiers, which is what PostgreSQL holds a cached plan to
// (equalRowTypes, src/backend/access/common/tupdesc.c), as far as a driver is told.
//
// A driver that was told them once reads rows by them ever after. On the origin
// connection that told them, PostgreSQL refuses the statement when they have
// changed since. On another one the statement is prepared anew, and it is for the
// proxy to compare: or a driver would read columns as what they no longer are.
type shape uint64

const (
	shapeUnknown shape = iota // not told
	shapeLong                 // of a description longer than a read buffer: not compared
	shapeNone                 // no rows
)

// shapeOf digests the body of a RowDescription.
func shapeOf(body []byte) (shape, error) {
	h := fnv.New64a()
	if len(body) < 2 {
		return 0, errDescription
	}
	n, rest := binary.BigEndian.Uint16(body), body[2:]
	for range n {
		name, tail, ok := pgwire.CString(rest)
		// OID of the table, number of the column; OID of the type, its size, its
		// modifier; format.
		if !ok || len(tail) < 18 {
			return 0, errDescription
		}
		_, _ = h.Write(rest[:len(name)+1])
		_, _ = h.Write(tail[6:16])
		rest = tail[18:]
	}
	return max(shape(h.Sum64()), shapeNone+1), nil
}

var errDescription = fmt.Errorf("%w: RowDescription", pgwire.ErrProtocol)

// comparable reports whether s is of columns that can be compared.
func (s shape) comparable() bool { return s > shapeNone }

// A bound is what a client bound last in a lease, for Describe of a portal.
type bound struct {
	portal string
	named  *named // nil where it was the unnamed statement, or nothing
	on     *prepared
}

func (d *bound) set(portal []byte, about target) {
	d.named, d.on = about.named, about.on
	if d.portal != string(portal) { // rarely: it costs an allocation
		d.portal = string(portal)
	}
}

// pushDescribe notes that the driver is about to be told columns.
func (c *client) pushDescribe(about target) {
	e := entry{kind: pgwire.MsgDescribe, stmt: about.stmt, named: about.named, on: about.on}
	if e.named != nil {
		e.told, e.named.told = e.named.told, shapeUnknown
	}
	c.ledger.push(e)
}

// described notes the columns that the origin tells by a RowDescription.
func (c *client) described(e *entry, body []byte, long bool) error {
	switch {
	case !e.compares():
		return nil
	case long:
		return c.tell(e, shapeLong)
	}
	s, err := shapeOf(body)
	if err != nil {
		return err
	}
	return c.tell(e, s)
}

// compares reports whether e is a Describe whose answer is remembered.
func (e *entry) compares() bool {
	return e.kind == pgwire.MsgDescribe && (e.on != nil || e.gen != 0)
}

func (c *client) tell(e *entry, s shape) error {
	if e.flags&own != 0 && e.gen != 0 { // see unnamedTarget
		if s != e.told {
			return errColumns
		}
		return nil
	}
	if e.gen != 0 && e.gen == c.unnamedGen {
		c.unnamedTold = s
	}
	if e.on != nil {
		e.on.shape = s
	}
	if e.named != nil {
		e.named.told = s
	}
	return nil
}

// errColumns ends a client whose driver would misread the rows of its unnamed statement,
// which has run by then.
var errColumns = pgwire.Fatalf(pgwire.CodeConnectionFailure, "columns of the unnamed prepared statement have changed")

// errStale is PostgreSQL's own, down to the routine, by which drivers know that
// they must prepare anew (RevalidateCachedQuery, src/backend/utils/cache/plancache.c).
var errStale = &pgwire.Error{
	Code: pgwire.CodeFeatureNotSupported, Message: "cached plan must not change result type", Routine: "RevalidateCachedQuery",
}

// renew makes n name a new statement of the same text: that of now is stale.
func (c *client) renew(n *named) {
	old := n.stmt
	n.stmt = c.intern([]byte(old.body))
	c.db.statements.release(old)
}

// describes reports whether b starts with a whole Describe of portal.
func describes(b, portal []byte) bool {
	if len(b) < pgwire.HeaderSize {
		return false
	}
	typ, body, err := pgwire.Header(b)
	if err != nil || typ != pgwire.MsgDescribe || body != len(portal)+2 || len(b) < pgwire.HeaderSize+body {
		return false
	}
	b = b[pgwire.HeaderSize : pgwire.HeaderSize+body]
	return b[0] == 'P' && string(b[1:len(b)-1]) == string(portal) && b[len(b)-1] == 0
}

// putDescribe asks the origin about a statement.
func (c *client) putDescribe(name string) {
	c.requests.gather()
	b := c.requests.buffer()
	*b = pgwire.AppendHeader(*b, pgwire.MsgDescribe, len(name)+2)
	*b = append(append(append(*b, 'S'), name...), 0)
}
