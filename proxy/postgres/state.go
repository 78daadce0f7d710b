package postgres

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A client may have this many settings of its own, of this many bytes in all as
// SQL: they travel with its first message to an origin connection.
const (
	maxSettings     = 200
	maxSettingBytes = 64 << 10
)

// A setting is a run-time parameter (GUC) with its value.
type setting struct{ name, value string } // name in lower case

// The settings that say as whom a session acts. They are put in force after all
// others, for which their privileges may not suffice, in this order.
const (
	settingAuthorization = "session_authorization"
	settingRole          = "role"
)

// says reports whether a setting says as whom the session acts.
func (v setting) says() bool { return v.name == settingRole || v.name == settingAuthorization }

// A state is what a client has set for its session. It is never changed.
type state struct {
	settings []setting // by name
	sql      string    // puts it in force on a connection that has nothing set; "" for nothing
	roles    string    // likewise, of the settings that say as whom
	guard    string    // ends the session if roles has failed
	id       string    // tells it from others
	key      string    // of what decides what a statement's text means
	hasty    bool      // it has a short timeout
}

var noState = new(state)

// put sets name in settings, which are sorted.
func put(settings []setting, name, value string) []setting {
	i, found := find(settings, name)
	if found {
		settings[i].value = value
		return settings
	}
	return slices.Insert(settings, i, setting{name, value})
}

func find(settings []setting, name string) (int, bool) {
	return slices.BinarySearchFunc(settings, name, func(s setting, name string) int { return strings.Compare(s.name, name) })
}

// get returns a setting of the client's own.
func (s *state) get(name string) (string, bool) {
	if i, ok := find(s.settings, name); ok {
		return s.settings[i].value, true
	}
	return "", false
}

// newState makes a state of sorted settings, which it keeps.
func newState(settings []setting) *state {
	if len(settings) == 0 {
		return noState
	}
	s := &state{settings: settings}
	var guard []string
	var key strings.Builder
	for _, v := range settings {
		if parseSettings[v.name] {
			key.WriteString(v.name + "=" + v.value + "\x00")
		}
		s.hasty = s.hasty || (v.name == "statement_timeout" || v.name == "transaction_timeout") && short(v.value)
		if !v.says() {
			s.sql = appendSetting(s.sql, v, false)
		}
	}
	for _, name := range []string{settingAuthorization, settingRole} {
		if value, ok := s.get(name); ok {
			s.roles = appendSetting(s.roles, setting{name, value}, false)
			guard = append(guard, "pg_catalog.current_setting("+literal(name)+") OPERATOR(pg_catalog.<>) "+valueSQL(value))
		}
	}
	if guard != nil {
		s.guard = "SELECT CASE WHEN " + strings.Join(guard, " OR ") +
			" THEN pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid()) END"
	}
	s.id, s.key = s.sql+s.roles, key.String()
	return s
}

// shortTimeout is what no statement of the proxy's own takes on a server that is not overloaded by far.
const shortTimeout = time.Second

// timeUnits are those of the origin's settings, milliseconds where none is named.
var timeUnits = map[string]time.Duration{
	"us": time.Microsecond, "": time.Millisecond, "ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
}

// short reports whether a timeout of the origin's may hit statements of the proxy's own.
func short(timeout string) bool {
	timeout = strings.TrimSpace(timeout)
	number := strings.TrimRight(timeout, "abcdefghijklmnopqrstuvwxyz ")
	unit, ok := timeUnits[strings.TrimSpace(timeout[len(number):])]
	n, err := strconv.ParseFloat(number, 64)
	return ok && err == nil && n > 0 && n*float64(unit) < float64(shortTimeout)
}

// setState notes that the settings of st are in force, and nothing else is set.
func (o *origin) setState(st *state) { o.state, o.hasty = st.id, st.hasty }

func appendSetting(sql string, v setting, local bool) string {
	if sql == "" {
		sql = "SELECT "
	} else {
		sql += ", "
	}
	return sql + "pg_catalog.set_config(" + literal(v.name) + "," + valueSQL(v.value) + "," + strconv.FormatBool(local) + ")"
}

// valueSQL is an expression for a value, in ASCII: it means the same in whatever
// client_encoding is in force.
func valueSQL(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return "pg_catalog.convert_from(" + literal(`\x`+hex.EncodeToString([]byte(s))) + "::pg_catalog.bytea,'UTF8')"
		}
	}
	return literal(s)
}

// parseSettings decide what a statement's text means when it is prepared, its
// constants included: clients that differ in them share no prepared statement.
var parseSettings = map[string]bool{
	"search_path": true, settingRole: true, settingAuthorization: true, "client_encoding": true, "standard_conforming_strings": true,
	"backslash_quote": true, "datestyle": true, "intervalstyle": true, "timezone": true, "timezone_abbreviations": true,
	"transform_null_equals": true, "xmloption": true, "xmlbinary": true, "array_nulls": true, "lc_monetary": true,
	"extra_float_digits": true, "bytea_output": true, "default_text_search_config": true,
}
