package mysql

import (
	"time"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// What an OK packet says of LAST_INSERT_ID() is the value of the column, also where
// the client gave that itself and LAST_INSERT_ID() is what it was. So it is asked for
// behind what has inserted, beside the client; and before that it is made 0, which no
// row gets, so that the answer tells whether there was a row that got its number from
// the server.

// Ids say what LAST_INSERT_ID() of a leased origin connection is.
type ids uint8

const (
	idsForeign ids = iota // what a client before has left
	idsBlank              // 0 until the client inserts
	idsOwn                // what it is to the client
)

// An idAnswer is LAST_INSERT_ID() of an origin connection that its client has given back.
type idAnswer struct {
	ids  ids
	done chan struct{} // closed when the rest is there
	id   uint64
	is   bool // id is LAST_INSERT_ID() to the client; else that has not changed
}

// lastInsertID is what LAST_INSERT_ID() is to the client. It blocks until the origin has
// said it, for cleanTimeout at most.
func (c *client) lastInsertID() uint64 {
	if a := c.idAnswer; a != nil {
		<-a.done
		if c.idAnswer = nil; a.is {
			c.lastID = a.id
		}
	}
	return c.lastID
}

// idsFor is what LAST_INSERT_ID() of the origin connection must be for the command.
func (c *client) idsFor() ids {
	t := c.running.traits
	implied, _ := c.session.state.get("sql_auto_is_null")
	switch {
	case t&(readsLastID|setsLastID|unseen|foreign) != 0, implied == "ON":
		return idsOwn
	case t&inserts != 0 && (c.stays() || !c.autocommit()): // what comes next here may ask for it
		return idsOwn
	case t&inserts != 0:
		return idsBlank
	}
	return idsForeign
}

// putID makes LAST_INSERT_ID() of the origin connection what it must be, where there is one.
func (c *client) putID(need ids) {
	o, l := c.origin, &c.lease
	if o == nil || l.spoilt || need <= l.ids {
		return
	}
	switch {
	case need == idsBlank:
		c.setID(0)
	case l.ids == idsBlank && l.askID:
		c.putOwn(mywire.ComQuery, "SET SESSION last_insert_id=CAST(IF(LAST_INSERT_ID()=0,"+itoa(c.lastInsertID())+",LAST_INSERT_ID()) AS UNSIGNED)")
	default:
		c.setID(c.lastInsertID())
	}
	l.ids = need
}

func (c *client) setID(id uint64) {
	if c.origin.lastID != id {
		c.putOwn(mywire.ComQuery, "SET SESSION last_insert_id="+itoa(id))
		c.origin.lastID = id
	}
}

// noteID notes whether LAST_INSERT_ID() may be another behind the command.
func (c *client) noteID() {
	l, t := &c.lease, c.running.traits
	if t&setsLastID != 0 || t&inserts != 0 && (c.give.err != nil || c.give.count > 0 || t&changesTables != 0) {
		l.askID = true // no OK has told
	}
}

// leaveID is what LAST_INSERT_ID() is to be asked for with, the origin connection
// being about to go back; nil where it has not changed.
func (c *client) leaveID() *idAnswer {
	l := &c.lease
	if !l.askID || c.dead.Load() {
		return nil
	}
	c.lastInsertID() // no more than one is on its way
	a := &idAnswer{ids: l.ids, done: make(chan struct{}), id: l.gotID, is: l.gotID != 0}
	if c.idAnswer = a; l.spoilt {
		close(a.done)
		return nil
	}
	return a
}

// tellID asks for LAST_INSERT_ID(). It blocks for cleanTimeout at most.
func (o *origin) tellID(a *idAnswer) error {
	defer close(a.done)
	if err := o.SetDeadline(time.Now().Add(cleanTimeout)); err != nil {
		return err
	}
	id, err := o.number("SELECT LAST_INSERT_ID()")
	if err != nil {
		return err
	}
	if o.lastID = id; a.ids != idsForeign {
		a.id, a.is = id, id != 0 || a.ids == idsOwn
	}
	o.Release()
	return o.SetDeadline(noDeadline)
}
