package mysql

import (
	"slices"
	"strings"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// A Policy says what becomes of what a client changes in its session.
type Policy uint8

const (
	// Replay gives it the session of a connection of its own: settings are put in
	// force again on every origin connection, and what cannot be moved keeps the
	// origin connection until it is gone.
	Replay Policy = iota
	// Reset ends it with the transaction, as Hyperdrive does: the origin connection is
	// reset after it in any case, because a trigger's or a view's doing goes unseen.
	Reset
	// Pin is Replay: what a server's trackers tell of leaves nothing unseen.
	Pin
)

// pins are reasons why a client keeps its origin connection beyond a transaction.
type pins uint16

const (
	pinVars     pins = 1 << iota // user variables
	pinTemps                     // temporary tables
	pinLocks                     // GET_LOCK
	pinTables                    // LOCK TABLES
	pinPrepares                  // PREPARE
	pinUnknown                   // what nobody knows how to move, or what it is
)

// pinReasons name them.
var pinReasons = [...]struct {
	reason pins
	name   string
}{
	{pinVars, "user_variable"}, {pinTemps, "temporary_table"}, {pinLocks, "user_lock"},
	{pinTables, "lock_tables"}, {pinPrepares, "prepare"}, {pinUnknown, "unknown"},
}

// holds are reasons why the transaction of a client is not over, whatever the
// status says.
type holds uint8

const (
	holdXA        holds = 1 << iota // XA START: until XA COMMIT or ROLLBACK
	holdOneShot                     // SET TRANSACTION: until the next transaction has ended
	holdSavepoint                   // SAVEPOINT with autocommit off, which the status does not show
)

// A session is what a client has set in its session.
type session struct {
	base  *state // of the login: what COM_RESET_CONNECTION goes back to
	state *state // now
	multi bool   // it may send several statements at once
}

// A lease is what a client has done on the origin connection that it has.
type lease struct {
	pins    pins
	counted pins // pins that are in the counts, and in the pool's budget
	holds   holds
	cursors int  // open
	longs   int  // statements with parameters sent ahead
	dirty   bool // to be reset before the next client
	locked  bool // tables may be, with autocommit off, in a transaction that the status does not show
	spoilt  bool // not for another client
	seen    bool // something of it is there to be seen, reset or not
	ids     ids
	askID   bool   // LAST_INSERT_ID() may have changed since
	gotID   uint64 // what OK packets have said it is

	askCollation bool // collation_connection has, which is not told
	asked        bool // warnings and counts of rows there are no longer those of the client's last statement

	temps    []string // names of temporary tables
	locks    []string // and of GET_LOCK
	prepared []string // and of PREPARE
}

// busy reports whether something of the client's is open on its origin connection.
func (c *client) busy() bool {
	l := &c.lease
	return c.status.Has(mywire.StatusInTrans) || l.holds != 0 || l.cursors > 0 || l.longs > 0
}

// autocommit reports whether it is on.
func (c *client) autocommit() bool { return c.status.Has(mywire.StatusAutocommit) }

// noteText notes what a command has left, whose text said what it would do. before
// is the status before it.
func (c *client) noteText(failed bool, before mywire.Status) {
	l, j := &c.lease, &c.running
	t := j.traits
	if t&^(moves|inserts|readsLastID|setsLastID|diagnostics|countsRows|changesTables|loadsLocal|unseen|setsOnly|schemaless|foreign|oddBytes) != 0 {
		if failed && t&several == 0 { // what it has done before goes
			l.dirty = l.dirty || t&(takesLocks|assignsVars|unmovable|prepares|makesTemps|calls) != 0
		} else {
			if failed { // it may not have come to what frees
				j.traits &^= frees
				j.dropped, j.deallocated = nil, nil
			}
			c.noteKept(j)
			c.noteTransaction(j.traits)
		}
	}
	if t&(calls|foreign|unseen) != 0 || t&oddBytes != 0 && !(j.readAs.isUTF8() && c.session.state.isUTF8()) {
		l.dirty = true
	}
	if l.holds&holdOneShot != 0 && t&oneShot == 0 && !c.status.Has(mywire.StatusInTrans) &&
		(before.Has(mywire.StatusInTrans) || t&moves != 0 && !failed) {
		l.holds &^= holdOneShot
		l.dirty = true
	}
	if t&changesTables != 0 && !failed {
		c.db.statements.retireAll()
	}
	switch {
	case c.autocommit() || t&(ends|several) == ends && !failed:
		l.locked = false
	case t&setsOnly == 0:
		l.locked = true
	}
	l.dirty = l.dirty || l.pins != 0
}

// noteKept notes what keeps the origin connection, and what does no longer.
func (c *client) noteKept(j *judgement) {
	l, t := &c.lease, j.traits
	if t&assignsVars != 0 {
		l.pins |= pinVars
	}
	if t&unmovable != 0 {
		l.pins |= pinUnknown
	}
	l.seen = l.seen || t&staysSet != 0
	if t&makesTemps != 0 && len(j.made) == 0 || t&renames != 0 && len(l.temps) > 0 {
		l.pins |= pinUnknown
	}
	if t&(makesTemps|dropsTables) != 0 {
		l.temps = l.names(l.temps, c.qualified(j.dropped), c.qualified(j.made))
		l.pin(pinTemps, len(l.temps) > 0)
	}
	if t&takesLocks != 0 {
		l.locks = l.names(l.locks, nil, j.taken)
		l.pin(pinLocks, true)
	}
	if t&freesAllLocks != 0 && t&takesLocks == 0 {
		l.locks = nil
		l.pin(pinLocks, false)
	}
	if t&(prepares|deallocates) != 0 {
		l.prepared = l.names(l.prepared, j.deallocated, j.prepared)
		l.pin(pinPrepares, len(l.prepared) > 0)
	}
	if t&unlocksTables != 0 {
		l.pin(pinTables, false)
	}
	if t&locksTables != 0 {
		l.pin(pinTables, true)
	}
}

// qualified are names of tables with their schema.
func (c *client) qualified(names []string) []string {
	all := make([]string, len(names))
	for i, name := range names {
		if all[i] = name; !strings.Contains(name, ".") {
			all[i] = c.session.state.schema + "." + name
		}
	}
	return all
}

// isUTF8 reports whether texts are read as UTF-8, in which no byte of a character beyond
// ASCII means anything by itself.
func (s *state) isUTF8() bool {
	charset, set := s.get("character_set_client")
	return !set || plainCharsets[charset]
}

func (l *lease) pin(reason pins, is bool) {
	if l.dirty = true; is {
		l.pins |= reason
	} else {
		l.pins &^= reason
	}
}

// A client may keep this many things of a kind by their names, each of this many bytes:
// three names of 64 characters (NAME_CHAR_LEN) of up to four bytes hold schema, dot and quotes.
const (
	maxNames   = 200
	maxNameLen = 3 * 64 * 4
)

// names are names without gone and with more. Where there are too many nobody counts
// any more, and the client keeps its origin connection to the end.
func (l *lease) names(names, gone, more []string) []string {
	names = append(without(without(names, gone), more), more...)
	long := slices.ContainsFunc(more, func(name string) bool { return len(name) > maxNameLen })
	if len(names) > maxNames || long {
		l.pin(pinUnknown, true)
		return nil
	}
	return names
}

// without are the names that are not among gone.
func without(names, gone []string) []string {
	kept := names[:0]
	for _, name := range names {
		there := true
		for _, g := range gone {
			there = there && g != name
		}
		if there {
			kept = append(kept, name)
		}
	}
	return kept
}

func (c *client) noteTransaction(t traits) {
	l := &c.lease
	if t&beginsXA != 0 {
		l.holds |= holdXA
	}
	if t&endsXA != 0 {
		l.holds &^= holdXA
	}
	if t&oneShot != 0 {
		l.holds |= holdOneShot
	}
	if t&savepoints != 0 && !c.autocommit() {
		l.holds |= holdSavepoint
	}
	if t&ends != 0 {
		l.holds &^= holdSavepoint
	}
}

// settlePins counts the pins, and ends the client where there are too many.
func (c *client) settlePins() error {
	l := &c.lease
	if c.db.cfg.Load().Policy == Reset && l.pins != 0 {
		l.pins, l.dirty = 0, true
	}
	if l.pins == l.counted {
		return nil
	}
	switch {
	case l.counted == 0:
		if !c.pool.Pin() {
			l.pins = 0
			return mywire.Errorf(mywire.CodeUserLimitReached, "too many sessions keep an origin connection for themselves: "+
				"user variables, temporary tables, locks and PREPARE keep one until they are gone")
		}
	case l.pins == 0:
		c.pool.Unpin()
	}
	c.db.counts.pin(l.counted, -1)
	c.db.counts.pin(l.pins, 1)
	l.counted = l.pins
	return nil
}
