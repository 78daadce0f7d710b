package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

// maxTidies is how often a tidy is tried: a cancel request or a timeout of the
// client's own may have hit it, on a busy server several times in a row.
const maxTidies = 10

// quiet reports whether nothing is owed that somebody waits for: a tidy is owed to
// nobody, and may be read on at any byte. The lock is held.
func (c *client) quiet() bool {
	if c.ledger.n == 0 {
		return c.giving.left == 0
	}
	return c.ledger.owed == 0 && !c.session.discarded && (c.giving.left == 0 || c.giving.drop)
}

// letGo ends the lease if the client has no more use for the origin connection,
// and asks the origin what the client has left where that is not known. It reports
// whether the lease has ended. The lock is held.
func (c *client) letGo() bool {
	if !c.settled() {
		return false
	}
	gone := c.left.session&query.Spoilt != 0 || c.dead.Load() || c.session.discarded
	if !gone && c.tidy() {
		return false
	}
	if c.deliver(); !gone && c.session.pins != 0 {
		c.rest()
		return false
	}
	c.detach()
	return true
}

// tidy asks the origin what the client has left in its session, behind the
// replies that the driver has got, and reports whether there was a reason to.
// Whatever the driver sends next travels behind it.
func (c *client) tidy() bool {
	s := &c.session
	s.restoreLocal = nil
	if c.left.session == query.Clean && len(s.touched) == 0 && len(s.restore) == 0 {
		return false
	}
	policy := c.db.cfg.Load().Policy
	if policy == Reset { // whatever there is goes with the connection, but for channels
		if len(s.touched) > 0 || len(s.restore) > 0 {
			c.left.session |= query.Dirty
		}
		s.touched, s.restore = nil, nil
	}
	found := c.left.session
	if policy == Reset {
		found &= query.Listens
	}
	if found == query.Clean && len(s.touched) == 0 {
		return false
	}
	ask := asking{values: s.touched}
	switch {
	case policy == Pin && found&query.Dirty != 0:
		ask.reasons, ask.listens = pinning|query.Dirty, true
	case found&query.Dirty == 0:
		ask.reasons, ask.listens = found&pinning, found&query.Listens != 0
	case len(s.touched) == 0:
		ask.reasons, ask.listens, ask.reset = pinning, true, true
	default: // the settings first: a reset would take them away
		found = query.Clean
	}
	c.left.session &^= found
	msg := c.appendRestore(nil)
	msg = c.appendOwn(msg, ask.sql(), tidying|silent)
	if ask.reset {
		c.origin.setState(noState)
	}
	if ask.listens {
		ask.doubts, ask.stops, s.unlisten = c.uncertain(), s.unlisten, nil
	}
	s.asked, s.touched = ask, nil
	c.rest()
	c.tidying.Store(time.Now().UnixNano())
	if _, err := c.origin.Write(msg); err != nil { // the pump will find out why
		c.left.session |= query.Spoilt
	}
	return true
}

// reasonSQL asks whether there is a reason of pinning. Names and operators are
// pg_catalog's, whatever the client's search_path is.
var reasonSQL = []struct {
	reason query.Session
	sql    string
}{
	{query.Locks, "EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory'" +
		" AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND granted)"},
	{query.Temps, "EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass" +
		" AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())"},
	{query.Holds, "EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)"},
	{query.Prepares, "EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql)"},
}

// sql is the query that asks. Its row has a column for each reason, and two for
// each setting: its value, and whether that is what a reset gives.
func (a *asking) sql() string {
	var b strings.Builder
	patient := func(t query.Change) bool { return t.Name == "statement_timeout" }
	if !slices.ContainsFunc(a.values, patient) { // in which case it is asked for
		b.WriteString("SET LOCAL statement_timeout = 0; ")
	}
	sep := "SELECT "
	add := func(sql string) {
		b.WriteString(sep + sql)
		sep = ", "
	}
	for _, r := range reasonSQL {
		if a.reasons&r.reason != 0 {
			add(r.sql)
		}
	}
	for _, v := range a.values {
		add("pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting(" + literal(v.Name) + ", true), 'UTF8'), 'hex')")
		if v.Reset {
			add("(SELECT setting OPERATOR(pg_catalog.=) reset_val FROM pg_catalog.pg_settings WHERE pg_catalog.lower(name) OPERATOR(pg_catalog.=) " +
				literal(v.Name) + ")")
		} else {
			add("false")
		}
	}
	if a.listens {
		add("(SELECT pg_catalog.string_agg(pg_catalog.encode(pg_catalog.convert_to(c, 'UTF8'), 'hex'), ',') FROM pg_catalog.pg_listening_channels() c)")
	}
	if sep == "SELECT " {
		add("1")
	}
	if a.reset {
		b.WriteString("; " + resetSettings)
	}
	if a.listens {
		b.WriteString("; UNLISTEN *")
	}
	return b.String()
}

// tidied takes the row that a tidy is answered with.
func (c *client) tidied(row []byte) error {
	s := &c.session
	if len(row) < 2 {
		return fmt.Errorf("%w: DataRow", pgwire.ErrProtocol)
	}
	row = row[2:]
	next := func() (value []byte, null bool) {
		if len(row) < 4 {
			return nil, true
		}
		n := int(int32(binary.BigEndian.Uint32(row)))
		if row = row[4:]; n < 0 || n > len(row) {
			return nil, true
		}
		value, row = row[:n], row[n:]
		return value, false
	}
	pins := s.pins &^ s.asked.reasons
	for _, r := range reasonSQL {
		if s.asked.reasons&r.reason != 0 {
			if v, _ := next(); string(v) == "t" {
				pins |= r.reason
			}
		}
	}
	pins |= s.asked.reasons & query.Dirty
	settings := slices.Clone(s.state.settings)
	for _, v := range s.asked.values {
		coded, null := next()
		was, _ := next()
		value, err := hex.DecodeString(string(coded))
		if err != nil {
			return fmt.Errorf("%w: value of a setting", pgwire.ErrProtocol)
		}
		settings = c.settle1(settings, v, string(value), null || v.Reset && string(was) == "t")
	}
	if len(s.asked.values) > 0 {
		same := c.origin.state == s.state.id
		if c.setState(newState(settings)); len(settings) > maxSettings || len(s.state.id) > maxSettingBytes {
			return pgwire.Fatalf(pgwire.CodeLimitExceeded, "the session has more than %d settings, or %d bytes of them", maxSettings, maxSettingBytes)
		}
		if same {
			c.origin.setState(s.state)
		}
	}
	if s.asked.listens {
		coded, _ := next()
		var channels []string
		for _, h := range strings.FieldsFunc(string(coded), func(r rune) bool { return r == ',' }) {
			name, err := hex.DecodeString(h)
			if err != nil {
				return fmt.Errorf("%w: name of a channel", pgwire.ErrProtocol)
			}
			channels = append(channels, string(name))
		}
		c.listened(channels)
	}
	s.asked, s.tries = asking{}, 0
	return c.pin(pins)
}

// settle1 takes in what one setting has come to be.
func (c *client) settle1(settings []setting, v query.Change, value string, unset bool) []setting {
	switch v.Name {
	case settingRole:
		unset = unset || value == "none"
	case settingAuthorization:
		unset = unset || value == c.db.cfg.Load().User
	}
	if _, begun := c.session.base.get(v.Name); begun && v.Name != settingRole || !unset {
		return put(settings, v.Name, value)
	}
	if i, ok := find(settings, v.Name); ok {
		settings = slices.Delete(settings, i, i+1)
	}
	return settings
}

// untidied sees to a tidy that has failed: it is tried again, unless the client
// cannot be told from then on what its session is.
func (c *client) untidied(f pgwire.ErrorFields) error {
	s := &c.session
	if s.tries++; s.tries >= maxTidies {
		return pgwire.Fatalf(f.Code, "the state of the session cannot be read: %s", f.Message)
	}
	if f.Code != pgwire.CodeInsufficientPrivilege { // what cannot be read cannot have been set either
		for _, v := range s.asked.values {
			c.touch(query.Change{Name: v.Name}, false)
		}
	}
	c.left.session |= s.asked.reasons
	if s.asked.reset {
		c.left.session |= query.Dirty
	}
	if s.asked.listens {
		c.left.session |= query.Listens
		s.unlisten = append(s.asked.stops, s.unlisten...)
	}
	s.asked = asking{}
	return nil
}

// pin makes pins the reasons why the client keeps its origin connection.
func (c *client) pin(pins query.Session) error {
	s := &c.session
	if s.pins == 0 && pins != 0 {
		if !c.db.pool.Pin() {
			s.pins = 0
			e := pgwire.Fatalf(pgwire.CodeTooManyConnections, "too many sessions keep an origin connection for themselves")
			e.Hint = "Session advisory locks, temporary tables, cursors WITH HOLD and PREPARE keep one until they are gone."
			return e
		}
	} else if s.pins != 0 && pins == 0 {
		c.db.pool.Unpin()
	}
	c.db.counts.pin(s.pins, -1)
	c.db.counts.pin(pins, 1)
	s.pins = pins
	s.temps = s.temps || pins&query.Temps != 0
	return nil
}

// forgetLeft forgets what was left on an origin connection that is given back.
func (c *client) forgetLeft() {
	s := &c.session
	_ = c.pin(0)
	c.listenAll() // what was not asked may have been committed
	s.touched, s.restore, s.restoreLocal, s.unlisten, s.asked, s.tries, s.discarded = nil, nil, nil, nil, asking{}, 0, false
	c.tidying.Store(0)
}
