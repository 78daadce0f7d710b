package postgres

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

// A Policy says what becomes of what a client changes in its session.
type Policy uint8

const (
	// Replay gives it the session of a connection of its own: settings are put in
	// force again on every origin connection, and what cannot be moved keeps the
	// origin connection until it is gone. What a function changes unseen ends
	// with the transaction.
	Replay Policy = iota
	// Reset ends it with the transaction, as Hyperdrive does.
	Reset
	// Pin is Replay, and a client that may have changed what cannot be seen keeps
	// its origin connection until DISCARD ALL.
	Pin
)

// pinning are the reasons that keep an origin connection, Dirty with Policy Pin.
const pinning = query.Locks | query.Temps | query.Holds | query.Prepares

// A session is what a client has set, and left, in its session.
type session struct {
	base  *state // of the start-up packet: what RESET goes back to
	state *state // now, as far as transactions have ended

	touched      []query.Change // settings that may have changed since
	restore      []setting      // of base, reset by the client on its origin connection
	restoreLocal []setting      // likewise, for the transaction only

	unlisten []string      // channels of UNLISTEN, "" for all, in the transaction
	pins     query.Session // why it keeps its origin connection
	temps    bool          // it has had temporary tables in this lease, perhaps

	discards  uint64 // DISCARD ALLs so far
	discarded bool   // by DISCARD ALL: the origin connection is to go, and its state with it
	reports   []byte // ParameterStatus of that

	asked asking // what a tidy under way has asked for
	tries int    // tidies in a row that failed
}

// An asking is what a tidy asks of the origin.
type asking struct {
	reasons query.Session // of pinning
	values  []query.Change
	listens bool     // and the channels of LISTEN
	doubts  []string // channels that it may or may not listen to
	stops   []string // channels that it has unlistened, "" for all
	reset   bool     // and settings are reset
}

// open reports whether the client has left what only a reset of its origin
// connection undoes.
func (s *session) open() bool {
	return len(s.touched) > 0 || len(s.restore) > 0 || s.pins != 0 || len(s.asked.values) > 0 || s.asked.reasons != 0
}

// A judgement says what a text may leave behind.
type judgement struct {
	session  query.Session
	changes  []query.Change
	listens  []query.Listen
	sequence query.Session // Numbers and Asks
	begins   bool          // it is BEGIN, nothing else
	opens    bool          // it may begin a transaction block, beside other things
	frees    bool          // it may deallocate prepared statements
}

func judge(sql []byte, standard bool) (j judgement) {
	found := query.Scan(sql, standard)
	j.begins = begins(sql)
	j.frees = found&(query.Deallocates|query.Spoilt) != 0
	j.opens = found&(query.Begins|query.Spoilt) != 0 // what comes behind a spoiling call is not looked at
	j.session, j.sequence = found&^(query.Sets|query.Numbers|query.Asks|query.Begins|query.Deallocates), found&(query.Numbers|query.Asks)
	if found&query.Listens != 0 {
		j.listens = query.Channels(sql)
	}
	if found&query.Prepares != 0 && bytes.Contains(bytes.ToLower(sql), []byte(namePrefix)) {
		j.session |= query.Spoilt // it means the proxy's own
	}
	if found&(query.Sets|query.Spoilt) != 0 {
		var ok bool
		if j.changes, ok = query.Changes(sql, standard); !ok || len(j.changes) > maxSettings {
			j.session |= query.Dirty
			j.changes = slices.DeleteFunc(j.changes, func(ch query.Change) bool { return ch.Site.At == 0 })
		}
	}
	return j
}

// standard reports whether standard_conforming_strings is on for what the client
// sends next, for certain.
func (c *client) standard() bool {
	if s := &c.session; s.state != noState || len(s.touched) > 0 || len(s.asked.values) > 0 {
		if s.unsettled() {
			return false
		}
		if v, own := s.state.get("standard_conforming_strings"); own {
			return v == "on"
		}
	}
	return c.db.standard.Load()
}

// intern is the statement of a body for the client as it is now.
func (c *client) intern(body []byte) *statement {
	key := c.session.state.key
	if c.session.unsettled() {
		key = "client " + strconv.FormatUint(c.id, 10)
	}
	return c.db.statements.intern(key, body, c.standard())
}

// note notes what a text that is sent to the origin, as it is or patched, may leave behind.
func (c *client) note(j *judgement, patched bool) error {
	c.left.session |= j.session
	c.worked = c.worked || !j.begins
	c.freeing = c.freeing || j.frees
	if j.sequence != 0 && c.db.cfg.Load().Policy == Pin {
		c.left.session |= query.Dirty
	}
	c.session.temps = c.session.temps || j.session&query.Temps != 0
	for _, ch := range j.changes {
		c.touch(ch, !patched || ch.Site.At == 0)
	}
	if len(j.listens) > 0 {
		return c.noteListens(j.listens)
	}
	return nil
}

// touch notes that a setting may have changed, and whether what is reset is still to
// go back to the start-up packet's value.
func (c *client) touch(ch query.Change, restore bool) {
	s := &c.session
	if ch.Local {
		if value, ok := s.base.get(ch.Name); ok && restore {
			s.restoreLocal = put(s.restoreLocal, ch.Name, value)
		}
		return
	}
	switch ch.Name {
	case "": // RESET ALL leaves alone as whom it acts
		for _, v := range s.state.settings {
			if v.name != settingRole && v.name != settingAuthorization {
				c.touch(query.Change{Name: v.name, Reset: true}, restore)
			}
		}
		for _, t := range slices.Concat(s.touched, s.asked.values) {
			if t.Name != settingRole && t.Name != settingAuthorization {
				c.touch(query.Change{Name: t.Name, Reset: true}, restore)
			}
		}
		return
	case "transaction_isolation", "transaction_read_only", "transaction_deferrable": // of the transaction
		return
	case "seed": // it can be neither read nor reset
		c.left.session |= query.Spoilt
		return
	}
	if ch.Reset && restore {
		if value, ok := s.base.get(ch.Name); ok {
			s.restore = put(s.restore, ch.Name, value)
		}
	}
	if i, ok := find(s.restore, ch.Name); ok && !ch.Reset {
		s.restore = slices.Delete(s.restore, i, i+1)
	}
	i := slices.IndexFunc(s.touched, func(t query.Change) bool { return t.Name == ch.Name })
	switch {
	case i >= 0:
		s.touched[i].Reset = s.touched[i].Reset || ch.Reset
	case len(s.touched) >= maxSettings:
		c.left.session |= query.Dirty
	default:
		s.touched = append(s.touched, ch)
	}
}

// mayHave reports whether the client has, for all that is known, what keeps its
// origin connection for the reason.
func (c *client) mayHave(reason query.Session) bool {
	return (c.session.pins|c.session.asked.reasons|c.left.session)&reason != 0
}

// setState makes st the client's state.
func (c *client) setState(st *state) {
	c.session.state = st
	own := make([]pgwire.Param, len(st.settings))
	for i, v := range st.settings {
		own[i] = pgwire.Param{Name: v.name, Value: v.value}
	}
	c.settings = cacheable(*c.db.welcome.Load(), own)
}

// unsettled reports whether a setting that decides what a text means may have
// changed in ways not known yet: what is prepared then is the client's alone.
func (s *session) unsettled() bool {
	parse := func(t query.Change) bool { return parseSettings[t.Name] }
	return slices.ContainsFunc(s.touched, parse) || slices.ContainsFunc(s.asked.values, parse)
}

// apply sees to it, at the start of a group, that the origin connection is in the
// client's state. Nothing waits for it: it travels with the group.
func (c *client) apply() {
	if c.unsynced || c.copying {
		return
	}
	s := &c.session
	if c.origin.state != s.state.id {
		c.putState()
	}
	if len(s.restore)+len(s.restoreLocal) > 0 {
		c.requests.gather()
		b := c.requests.buffer()
		*b = c.appendRestore(*b)
	}
}

// resetSettings undoes every setting. RESET ALL leaves roles alone.
const resetSettings = "SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL"

// putState puts the client's state in force. Where that includes a role, what
// follows must not run without it: the session ends if it is refused.
func (c *client) putState() {
	o, st := c.origin, c.session.state
	sql := st.sql
	if o.state != "" {
		sql = resetSettings
		if st.sql != "" {
			sql += "; " + st.sql
		}
	}
	for _, sql := range []string{sql, st.roles, st.guard} {
		if sql != "" {
			c.putOwn(sql, silent)
		}
	}
	o.setState(st)
	o.unnamed = unnamedOwner{}
	c.session.restore, c.session.restoreLocal = nil, nil
	c.db.counts.paramSets.Add(1)
}

// putOwn sends a query of the proxy's own.
func (c *client) putOwn(sql string, flags uint8) {
	c.requests.gather()
	b := c.requests.buffer()
	*b = c.appendOwn(*b, sql, flags)
}

func (c *client) appendOwn(dst []byte, sql string, flags uint8) []byte {
	c.ledger.push(entry{kind: pgwire.MsgQuery, flags: own | flags})
	c.origin.unnamed = unnamedOwner{} // which any simple query destroys
	return pgwire.AppendQuery(dst, sql)
}

// applyState puts the client's state in force on the connection that it has just
// got. A start-up packet that no origin has accepted yet waits for the answer,
// because a query must not run without it; all else travels with the client's
// first message.
func (c *client) applyState() *pgwire.Error {
	st := c.session.state
	_, good := c.db.goodParams.Load(st.id)
	if st != c.session.base || good || st == noState {
		c.putState()
		return nil
	}
	if pe := c.tryState(); pe != nil {
		return pe
	}
	if c.db.goodCount.Add(1) <= maxGoodParams {
		c.db.goodParams.Store(st.id, true)
	}
	return nil
}
