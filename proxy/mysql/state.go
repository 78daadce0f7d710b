package mysql

import (
	"encoding/hex"
	"slices"
	"strings"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// A client may have this many settings of its own, of this many bytes in all as
// SQL: they travel with its first command on an origin connection.
const (
	maxSettings     = 200
	maxSettingBytes = 16 << 10
)

// A setting is a session variable with its value, as the server tells it.
type setting struct{ name, value string } // name in lower case

// A state is what a client has set for its session. It is never changed.
type state struct {
	settings []setting // by name
	schema   string    // the default database
	id       string    // tells its settings from others'
	key      string    // of what decides what a statement's text means
}

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

// parseSettings decide what a statement's text means when it is prepared: clients
// that differ in them share no prepared statement.
var parseSettings = map[string]bool{
	"sql_mode": true, "character_set_client": true, "collation_connection": true,
	"character_set_results": true, "time_zone": true, "lc_time_names": true, "default_week_format": true,
	"div_precision_increment": true, "sql_auto_is_null": true, "block_encryption_mode": true, "group_concat_max_len": true,
	"sql_select_limit": true, "old_mode": true, "collation_server": true, "default_collation_for_utf8mb4": true,
	"character_set_collations": true, "explicit_defaults_for_timestamp": true, "default_storage_engine": true,
	"system_versioning_asof": true,
}

// newState makes a state of sorted settings, which it keeps.
func newState(settings []setting, schema string) *state {
	s := &state{settings: settings, schema: schema}
	var id, key strings.Builder
	key.WriteString(schema + "\x00")
	for _, v := range settings {
		id.WriteString(v.name + "=" + v.value + "\x00")
		if parseSettings[v.name] {
			key.WriteString(v.name + "=" + v.value + "\x00")
		}
	}
	s.id, s.key = id.String(), key.String()
	return s
}

// with is s in another schema.
func (s *state) with(schema string) *state {
	if s.schema == schema {
		return s
	}
	return newState(s.settings, schema)
}

// but is s with these settings, of which the names are sorted too.
func (s *state) but(settings []setting) *state {
	all := slices.Clone(s.settings)
	for _, v := range settings {
		all = put(all, v.name, v.value)
	}
	return newState(all, s.schema)
}

// parsing are the settings of s that decide what a text means.
func (s *state) parsing() *state {
	var settings []setting
	for _, v := range s.settings {
		if parseSettings[v.name] {
			settings = append(settings, v)
		}
	}
	return newState(settings, s.schema)
}

// loginCharset is the character set and collation that origin connections log in
// with, utf8mb4_general_ci, which every server has (charset-def.cc).
const loginCharset = 45

// ignoreSpace stands for the sql_mode of a login with CapIgnoreSpace: the server's
// own, and one more.
const ignoreSpace = "\x00ignore_space"

// loginState is the state that a login begins with, with a character set (the id
// of a collation) and capabilities.
func loginState(charset uint16, caps mywire.Capabilities, schema string) *state {
	var settings []setting
	if charset != 0 && charset != loginCharset {
		for _, name := range charsetSettings[:2] {
			settings = append(settings, setting{name, itoa(uint64(defaultCollation(charset)))})
		}
		settings = append(settings, setting{"collation_connection", itoa(uint64(charset))})
	}
	if caps.Has(mywire.CapIgnoreSpace) {
		settings = put(settings, "sql_mode", ignoreSpace)
	}
	return newState(settings, schema)
}

// defaultCollation is the default collation of a collation's character set, which MariaDB alone takes
// for that. The numbers are those of information_schema.collations; of other character sets than the three that
// drivers log in with, a collation stands for itself.
func defaultCollation(id uint16) uint16 {
	switch {
	case id == 46, id >= 224 && id <= 247, id >= 255 && id <= 323: // utf8mb4
		return 45
	case id == 76, id == 83, id >= 192 && id <= 215, id == 223: // utf8mb3
		return 33
	case id == 5, id == 15, id == 31, id >= 47 && id <= 49, id == 94: // latin1
		return 8
	}
	return id
}

// charsetSettings are the variables that the character set of a login sets.
var charsetSettings = []string{"character_set_client", "character_set_results", "collation_connection"}

// defaults are values to go back to that are not DEFAULT, the server's own; of
// some MySQL takes the opposite for that.
var defaults = map[string]string{
	"foreign_key_checks": "@@GLOBAL.foreign_key_checks", "unique_checks": "@@GLOBAL.unique_checks",
	"character_set_client": "45", "character_set_results": "45", "collation_connection": "45",
}

// change is the statement that takes a session from the settings of from to those
// of to; "" where there is nothing to change. SESSION holds for all that follows.
func change(from, to *state) string {
	if from.id == to.id {
		return ""
	}
	var b strings.Builder
	set := func(name, value string) {
		if b.Len() == 0 {
			b.WriteString("SET SESSION ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(name + "=" + value)
	}
	i, j := 0, 0
	for i < len(from.settings) || j < len(to.settings) {
		switch {
		case j == len(to.settings) || i < len(from.settings) && from.settings[i].name < to.settings[j].name:
			name := from.settings[i].name
			if value, ok := defaults[name]; ok {
				set(name, value)
			} else {
				set(name, "DEFAULT")
			}
			i++
		case i == len(from.settings) || to.settings[j].name < from.settings[i].name:
			set(to.settings[j].name, valueSQL(to.settings[j]))
			j++
		default:
			if from.settings[i].value != to.settings[j].value {
				set(to.settings[j].name, valueSQL(to.settings[j]))
			}
			i, j = i+1, j+1
		}
	}
	return b.String()
}

// nullable are variables whose NULL is told like a text without a character, which they
// cannot be, or which means the same.
var nullable = map[string]bool{
	"character_set_results": true, "default_tmp_storage_engine": true, "enforce_storage_engine": true, "innodb_ft_user_stopword_table": true,
	"innodb_tmpdir": true, "external_table_storage_engine": true, "external_table_secondary_storage_engine": true,
}

// valueSQL is an expression for a value that means the same whatever sql_mode and
// character set are in force.
func valueSQL(v setting) string {
	switch {
	case v.value == ignoreSpace:
		return "CONCAT(@@GLOBAL.sql_mode,',IGNORE_SPACE')"
	case v.value == "" && nullable[v.name]:
		return "NULL"
	case v.value == "DEFAULT" && v.name == "system_versioning_asof": // which it is called, and no text
		return v.value
	case isNumber(v.value):
		return v.value
	}
	return quoted(v.value)
}

// quoted is a string constant that means the same whatever sql_mode is in force.
func quoted(value string) string {
	for _, c := range []byte(value) {
		if c < ' ' || c >= 0x7f || c == '\'' || c == '\\' {
			return "X'" + hex.EncodeToString([]byte(value)) + "'"
		}
	}
	return "'" + value + "'"
}

func isNumber(s string) bool {
	digits, dots := 0, 0
	for i, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c == '.' && dots == 0:
			dots++
		case c == '-' && i == 0:
		default:
			return false
		}
	}
	return digits > 0
}
