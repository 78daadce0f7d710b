package mysql

import (
	"errors"
	"time"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// leftovers are what a client leaves on an origin connection.
type leftovers struct {
	id     *idAnswer // to be told; nil: nobody waits for it
	dirty  bool      // to be reset
	locked bool      // tables may be locked for a transaction that the status did not show
	spoilt bool      // not for another client
}

// giveBack returns an origin connection to the pool, cleaned of what a client
// left. Where nothing is to be cleaned it does not block; else it hands the work
// to a goroutine of s, off every client's path.
func (s *Server) giveBack(o *origin, left leftovers) {
	o.Release()
	if left == (leftovers{}) && o.cancels.Over() == nil {
		o.pool().Put(o)
		return
	}
	s.work.Go(func() { s.clean(o, left) })
}

// clean makes an origin connection fit for the next client, or discards it.
func (s *Server) clean(o *origin, left leftovers) {
	if left.id != nil && o.tellID(left.id) != nil {
		left.spoilt = true
	}
	// A cancel that is on its way would hit whoever comes next.
	canceled, settled := o.cancels.Settle(cancelTimeout + time.Second)
	if !settled || left.spoilt || (left.dirty || canceled) && o.reset() != nil {
		o.pool().Discard(o)
		return
	}
	if left.locked && !left.dirty && !canceled && o.commit() != nil {
		o.pool().Discard(o)
		return
	}
	o.pool().Put(o)
}

// commit ends a transaction that the status did not show: with autocommit off MySQL keeps the
// metadata locks of tables that a statement has named, until the end of a transaction, which
// it says has begun only where an engine has transactions and was asked for something.
func (o *origin) commit() error {
	if err := o.SetDeadline(time.Now().Add(cleanTimeout)); err != nil {
		return err
	}
	if _, err := o.Write(appendCommand(nil, mywire.ComQuery, "COMMIT")); err != nil {
		return err
	}
	if _, err := o.expectOK(); err != nil {
		return err
	}
	o.Release()
	return o.SetDeadline(noDeadline)
}

// reset takes the session back to what it was after its login, in one round trip.
// Before it goes a ping: a cancel that came late hits that.
func (o *origin) reset() error {
	o.db.counts.resets.Add(1)
	msg := appendCommand(nil, mywire.ComPing, "")
	msg = appendCommand(msg, mywire.ComResetConnection, "")
	msg = appendCommand(msg, mywire.ComQuery, beginning)
	msg = appendCommand(msg, mywire.ComQuery, askRole)
	msg = appendCommand(msg, mywire.ComQuery, askSchema)
	if err := o.SetDeadline(time.Now().Add(cleanTimeout)); err != nil {
		return err
	}
	if _, err := o.Write(msg); err != nil {
		return err
	}
	if _, err := o.expectOK(); err != nil && !isInterrupted(err) {
		return err
	}
	for range 2 {
		if _, err := o.expectOK(); err != nil {
			return err
		}
	}
	if role, err := o.currentRole(); err != nil {
		return err
	} else if role != o.role {
		return errRole
	}
	schema, err := o.currentSchema()
	if err != nil {
		return err
	}
	o.state, o.lastID = newState(nil, schema), 0
	o.prepared.clear()
	o.cancels.Forget()
	o.Release()
	return o.SetDeadline(noDeadline)
}

// errRole is of a client that has taken another role, in a procedure say.
var errRole = errors.New("the role is another")

func isInterrupted(err error) bool {
	e, ok := errors.AsType[*mywire.Error](err)
	return ok && e.Code == mywire.CodeQueryInterrupted
}

// beginning is what a session of the proxy's begins with.
const beginning = "SET SESSION " + trackers + ", character_set_client=45, character_set_results=45, collation_connection=45, last_insert_id=0"
