package mysql

import (
	"context"
	"strconv"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// cancel asks the origin to end what runs on the connection, by another one. It
// blocks until the origin has taken note, or until cancelTimeout.
func (o *origin) cancel(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, cancelTimeout)
	defer stop()
	o.db.counts.cancels.Add(1)
	o.cancels.Done(o.sendCancel(ctx))
}

// sendCancel reports whether it is certain what became of the cancel: that it was
// not made, or that the origin has taken note.
func (o *origin) sendCancel(ctx context.Context) bool {
	side, err := o.db.dialOrigin(ctx, o.class)
	if err != nil {
		return true
	}
	defer side.Close()
	deadline, _ := ctx.Deadline()
	if err := side.SetDeadline(deadline); err != nil {
		return true
	}
	if _, err := side.Write(appendCommand(nil, mywire.ComQuery, "KILL QUERY "+strconv.FormatUint(uint64(o.id), 10))); err != nil {
		return false
	}
	_, err = side.expectOK()
	return err == nil || isAnswer(err)
}

// isAnswer reports whether an error is one that the origin has sent.
func isAnswer(err error) bool {
	_, ok := err.(*mywire.Error)
	return ok
}

// busyOrigin is the client's origin connection, marked as about to be cancelled,
// if what runs since then runs on it.
func (c *client) busyOrigin(since int64) *origin {
	c.leaseMu.Lock()
	defer c.leaseMu.Unlock()
	if c.origin == nil || since == 0 || c.since.Load() != since {
		return nil
	}
	c.origin.cancels.Start()
	return c.origin
}

// cancelOrigin cancels what runs on the client's origin connection, beside the caller.
func (c *client) cancelOrigin() {
	o := c.origin
	o.cancels.Start()
	c.s.work.Go(func() { o.cancel(context.Background()) }) // bounded by cancelTimeout
}

// ownKill serves KILL: the ids that drivers know are the proxy's.
func (c *client) ownKill(s *scanner) (bool, error) {
	query := false
	s.next()
	for s.token == tokenWord {
		if id, err := strconv.ParseUint(string(s.word), 10, 64); err == nil {
			return true, c.kill(id, query)
		}
		query = query || string(s.word) == "query"
		s.next()
	}
	return true, c.answerError(mywire.Errorf(mywire.CodeNotSupportedYet, "KILL takes the number of a connection here"))
}

// kill ends what the client of an id runs, or its connection. It is one of the same
// user; another's nobody has.
func (c *client) kill(id uint64, query bool) error {
	v := c.s.byID(id)
	if v == nil {
		return c.answerError(mywire.Errorf(mywire.CodeNoSuchThread, "Unknown thread id: %d", id))
	}
	if db, user := v.account(); db != c.db || user != c.user {
		return c.answerError(mywire.Errorf(mywire.CodeNoSuchThread, "Unknown thread id: %d", id))
	}
	if !query {
		v.killed.Store(true)
	}
	if v == c {
		return c.answerError(mywire.Errorf(mywire.CodeQueryInterrupted, "Query execution was interrupted"))
	}
	if !v.cancelWait() {
		if o := v.busyOrigin(v.since.Load()); o != nil {
			if c.s.mayCancel() {
				o.cancel(context.Background()) // bounded by cancelTimeout
				c.s.canceled()
			} else {
				o.cancels.Done(true)
			}
		}
	}
	if !query {
		v.wake()
	}
	return c.answerOK()
}
