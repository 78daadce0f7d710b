package postgres

import (
	"strings"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

// RESET goes back to the origin user's value, and for a driver on a connection of its
// own that would be the start-up packet's. So what is reset is put in force again
// right behind: in the text of a simple Query (see patch), by messages of the proxy's
// own behind an Execute, and before the next group where neither can be.

// listSettings take SET's constants for elements of a list, to be quoted (GUC_LIST_QUOTE,
// src/backend/utils/misc/guc_tables.c), and sets what it makes of them. set_config takes the list as it is.
var listSettings = map[string]bool{
	"search_path": true, "temp_tablespaces": true, "local_preload_libraries": true, "session_preload_libraries": true,
}

// maxIdentifier is the longest identifier in bytes (NAMEDATALEN - 1): SET cuts longer ones.
const maxIdentifier = 63

// set is what SET is to be given, where that has the value that set_config gives it.
func (v setting) set() (constants string, ok bool) {
	for _, s := range []string{v.name, v.value} {
		if strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) { // whose encoding is the client's
			return "", false
		}
	}
	for part := range strings.SplitSeq(v.name, ".") {
		if len(part) > maxIdentifier {
			return "", false
		}
	}
	if !listSettings[v.name] {
		return literal(v.value), true
	}
	var names []string
	for name := range strings.SplitSeq(v.value, ", ") {
		if !bare(name) {
			quoted := name
			if name = strings.TrimSuffix(strings.TrimPrefix(name, `"`), `"`); name == "" || len(name) != len(quoted)-2 || bare(name) || strings.Contains(name, `"`) {
				return "", false
			}
		}
		names = append(names, literal(name))
	}
	return strings.Join(names, ", "), true
}

// bare reports whether a name of a list needs no quotes. Keywords get some by SET.
func bare(name string) bool {
	for i, c := range []byte(name) {
		if c != '_' && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && len(name) <= maxIdentifier
}

// restoringSQL are statements that put settings in force again, as whom the session acts
// last. SET takes no snapshot, so that SET TRANSACTION may follow.
func restoringSQL(settings []setting, local bool) []string {
	scope := "SET "
	if local {
		scope = "SET LOCAL "
	}
	var sql []string
	var odd string
	add := func(v setting) {
		if constants, ok := v.set(); ok {
			sql = append(sql, scope+`"`+strings.ReplaceAll(v.name, ".", `"."`)+`" = `+constants)
		} else {
			odd = appendSetting(odd, v, local)
		}
	}
	flush := func() {
		if odd != "" {
			sql, odd = append(sql, odd), ""
		}
	}
	for _, v := range settings {
		if !v.says() {
			add(v)
		}
	}
	flush()
	for _, name := range []string{settingAuthorization, settingRole} {
		if i, ok := find(settings, name); ok {
			add(settings[i])
			flush()
		}
	}
	return sql
}

// toRestore are the statements that the client's session needs now. They are forgotten.
func (s *session) toRestore() []string {
	sql := append(restoringSQL(s.restore, false), restoringSQL(s.restoreLocal, true)...)
	s.restore, s.restoreLocal = nil, nil
	return sql
}

// appendRestore puts settings of the start-up packet in force again.
func (c *client) appendRestore(dst []byte) []byte {
	if sql := c.session.toRestore(); len(sql) > 0 {
		dst = c.appendOwn(dst, strings.Join(sql, "; "), restoring)
	}
	return dst
}

// executes reports whether the body of an Execute is of the portal that was bound last.
func (c *client) executes(body []byte) bool {
	portal, _, ok := pgwire.CString(body)
	return ok && string(portal) == c.bound.portal
}

// restoreName is the name of the statement and of the portal that restoreBehind uses.
const restoreName = namePrefix + "restore"

// restoreBehind is appendRestore behind an Execute, whose group goes on.
func (c *client) restoreBehind() {
	c.requests.gather()
	b := c.requests.buffer()
	add := func(kind byte, body string) {
		*b = append(pgwire.AppendHeader(*b, kind, len(body)), body...)
		c.ledger.push(entry{kind: kind, flags: own | restoring})
	}
	for _, sql := range c.session.toRestore() {
		add(pgwire.MsgClose, "S"+restoreName+"\x00") // of a group that was interrupted
		add(pgwire.MsgParse, restoreName+"\x00"+sql+"\x00\x00\x00")
		add(pgwire.MsgBind, restoreName+"\x00"+restoreName+"\x00\x00\x00\x00\x00\x00\x00")
		add(pgwire.MsgExecute, restoreName+"\x00\x00\x00\x00\x00")
		add(pgwire.MsgClose, "P"+restoreName+"\x00")
		add(pgwire.MsgClose, "S"+restoreName+"\x00")
	}
}

// restoreError is what ends a client whose settings cannot be put in force again, a
// role that is no more for one: what it sends next must not run without them. Where a
// transaction has failed before, they are as they were.
func restoreError(f pgwire.ErrorFields) error {
	if f.Code == pgwire.CodeInFailedTransaction {
		return nil
	}
	return pgwire.Fatalf(f.Code, "what the start-up packet has set cannot be put in force again: %s", f.Message)
}

// interrupts reports whether an error is nobody's fault but that of who has interrupted
// the origin: a cancel request or a timeout (class 57).
func interrupts(code string) bool { return strings.HasPrefix(code, "57") }
