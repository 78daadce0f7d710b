package postgres

import (
	"errors"
	"fmt"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

// resetSQL undoes what a client can leave in a session, prepared statements of
// the protocol excepted: they are the proxy's own. RESET ALL leaves roles alone;
// the lock function is named with its schema because a client may have put its
// own before it.
const resetSQL = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; UNLISTEN *; " +
	"SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES"

// deallocateSQL goes with resetSQL where a client used PREPARE, and where it had
// temporary tables: what the proxy has prepared may be of their columns.
const deallocateSQL = "; DEALLOCATE ALL"

// leftovers are what a client leaves on an origin connection.
type leftovers struct {
	session query.Session
	status  byte // transaction status at the end
}

func (l leftovers) none() bool {
	return l.session == query.Clean && l.status == pgwire.TxIdle
}

// giveBack returns an origin connection to the pool, cleaned of what a client
// left. Where nothing is to be cleaned it does not block; else it hands the work
// to a goroutine of s, off every client's path.
func (s *Server) giveBack(o *origin, left leftovers) {
	o.Release()
	if left.none() && o.cancels.Over() == nil {
		o.db.pool.Put(o)
		return
	}
	s.work.Go(func() { s.clean(o, left) })
}

// clean makes an origin connection fit for the next client, or discards it.
func (s *Server) clean(o *origin, left leftovers) {
	// A cancel that is on its way would hit whoever comes next.
	if _, settled := o.cancels.Settle(cancelTimeout + time.Second); !settled || left.session&query.Spoilt != 0 || o.reset(left) != nil {
		o.db.pool.Discard(o)
		return
	}
	o.db.pool.Put(o)
}

// reset rolls back and resets, in one round trip.
func (o *origin) reset(left leftovers) error {
	o.db.counts.resets.Add(1)
	var msg []byte
	owed := 0
	if left.status != pgwire.TxIdle {
		msg = pgwire.AppendQuery(msg, "ROLLBACK")
		owed++
	}
	sql, deallocate := resetSQL, left.session&(query.Prepares|query.Temps) != 0
	if deallocate {
		sql += deallocateSQL
	}
	msg = pgwire.AppendQuery(msg, sql)
	owed++
	if err := o.SetDeadline(time.Now().Add(cleanTimeout)); err != nil {
		return err
	}
	if _, err := o.Write(msg); err != nil {
		return err
	}
	for ; owed > 0; owed-- {
		if err := o.untilReady(nil); err != nil {
			return err
		}
	}
	o.setState(noState)
	o.unnamed, o.numbers = unnamedOwner{}, numbersOwner{} // any simple query destroys the unnamed statement
	if deallocate {
		o.prepared.clear()
	}
	o.cancels.Forget()
	o.Release()
	return o.SetDeadline(time.Time{})
}

// untilReady reads until ReadyForQuery, which must say that no transaction is
// open, and fails on an ErrorResponse. ParameterStatus goes to onStatus, if any.
func (o *origin) untilReady(onStatus func(msg []byte)) error {
	var failed error
	skip := 0
	for {
		b := o.Bytes()
		if skip > 0 {
			n := min(skip, len(b))
			o.Discard(n)
			skip -= n
			b = o.Bytes()
		}
		if skip > 0 || len(b) < pgwire.HeaderSize {
			if err := o.Fill(); err != nil {
				return err
			}
			continue
		}
		typ, body, err := pgwire.Header(b)
		if err != nil {
			return err
		}
		full := pgwire.HeaderSize + body
		if inspected := typ == pgwire.MsgErrorResponse || typ == pgwire.MsgParameterStatus || typ == pgwire.MsgReadyForQuery; !inspected {
			skip = full
			continue
		}
		if len(b) < full && full <= pgwire.BufferSize {
			if err := o.Fill(); err != nil {
				return err
			}
			continue
		}
		switch typ {
		case pgwire.MsgErrorResponse:
			f := pgwire.ParseErrorFields(b[pgwire.HeaderSize:min(full, len(b))])
			failed = &pgwire.Error{Code: f.Code, Message: f.Message}
		case pgwire.MsgParameterStatus:
			if onStatus != nil && len(b) >= full {
				onStatus(b[:full])
			}
		case pgwire.MsgReadyForQuery:
			if body != 1 || len(b) < full {
				return fmt.Errorf("%w: ReadyForQuery", pgwire.ErrProtocol)
			}
			status := b[pgwire.HeaderSize]
			o.Discard(full)
			if failed == nil && status != pgwire.TxIdle {
				failed = fmt.Errorf("%w: a transaction is still open", pgwire.ErrProtocol)
			}
			return failed
		}
		skip = full
	}
}

// tryState puts the client's state in force and waits for the answer.
func (c *client) tryState() *pgwire.Error {
	o, st := c.origin, c.session.state
	var msg []byte
	owed := 0
	put := func(sql string) {
		if sql != "" {
			msg = pgwire.AppendQuery(msg, sql)
			owed++
		}
	}
	if o.state != "" {
		put(resetSettings)
	}
	put(st.sql)
	put(st.roles)
	c.db.counts.paramSets.Add(1)
	o.setState(st)
	o.unnamed = unnamedOwner{}
	err := o.SetDeadline(time.Now().Add(cleanTimeout))
	if err == nil {
		_, err = o.Write(msg)
	}
	var refused *pgwire.Error
	for ; err == nil && owed > 0; owed-- {
		var pe *pgwire.Error
		if err = o.untilReady(func(status []byte) { c.replies.put(status) }); errors.As(err, &pe) {
			refused, err = pe, nil
		}
	}
	if err == nil {
		err = o.SetDeadline(time.Time{})
	}
	switch {
	case err != nil:
		c.left.session |= query.Spoilt
		refused = pgwire.Errorf(pgwire.CodeConnectionFailure, "origin connection was lost")
		_ = o.SetDeadline(time.Time{})
	case refused == nil:
		return nil
	default:
		c.left.session |= query.Dirty
	}
	c.detach()
	return &pgwire.Error{Fatal: true, Code: refused.Code, Message: refused.Message}
}
