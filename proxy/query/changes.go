package query

// A Change is one setting that a text sets or resets.
type Change struct {
	Name  string // in lower case; "" with Reset: all of them
	Reset bool   // to what the session began with
	Local bool   // for the transaction only: of resets alone
	Site  Site   // of a Reset
}

// A Site is where a text can be made to reset a setting to something else: a
// statement put behind the one that resets it, or a value put in the place of a
// constant NULL. The zero value is nowhere.
type Site struct {
	At, Len int  // bytes of the text; Len 0 is a place to put a statement, that begins with a semicolon
	Command int  // number of the statement among those of the text, from 0
	Only    bool // the text has no other
}

// Changes names the settings that text with the bit Sets changes for longer than
// its transaction, and those that it resets; standard is Scan's. It reports false where it cannot
// name them all. What is set for the transaction only (SET LOCAL x = 1, SET TRANSACTION) is none of them.
func Changes(sql []byte, standard bool) ([]Change, bool) {
	r := reader{lexer: lexer{sql: sql}, standard: standard}
	r.advance()
	r.blank()
	for r.tok.kind != tokenEOF {
		from := len(r.found)
		r.local = false
		switch {
		case r.word("set"):
			r.set()
			r.site(from)
		case r.word("reset"):
			r.reset()
			r.site(from)
		default:
			r.calls()
		}
		for r.tok.kind != tokenEOF && !r.punct(';') { // also what a fault has left
			if r.tok.kind == tokenString && ambiguous(sql[r.tok.start:r.tok.end], r.standard) {
				r.bad, r.torn = true, true
			}
			r.advance()
		}
		r.blank()
		r.command++
	}
	for i := range r.found {
		if site := &r.found[i].Site; r.torn {
			*site = Site{}
		} else {
			site.Only = r.command == 1
		}
	}
	return r.found, !r.bad
}

// A reader reads statements token by token.
type reader struct {
	lexer
	standard bool
	tok      token
	end      int // of the token before
	command  int // number of the statement
	local    bool
	creates  bool // a statement creates something, whose text may hold statements
	found    []Change
	bad      bool
	torn     bool // where statements end is not certain
}

func (r *reader) advance() { r.end, r.tok = r.tok.end, r.next() }

// blank passes over statements that are empty, which are none.
func (r *reader) blank() {
	for r.punct(';') {
		r.advance()
	}
}

func (r *reader) text() []byte { return r.sql[r.tok.start:r.tok.end] }

func (r *reader) word(lower string) bool { return r.tok.kind == tokenWord && fold(r.text(), lower) }

func (r *reader) punct(c byte) bool { return r.tok.kind == tokenPunct && r.sql[r.tok.start] == c }

// skip passes over a word, if it is the next.
func (r *reader) skip(lower string) bool {
	if !r.word(lower) {
		return false
	}
	r.advance()
	return true
}

// add notes a change. As whom a session acts ends with its authorization (set_config_with_handle,
// src/backend/utils/misc/guc.c).
func (r *reader) add(name string, reset bool) {
	if r.local && !reset {
		return
	}
	r.found = append(r.found, Change{Name: name, Reset: reset, Local: r.local})
	if name == "session_authorization" {
		r.found = append(r.found, Change{Name: "role", Reset: reset, Local: r.local})
	}
}

// site notes, of what a statement resets, where the statement ends, if it is whole.
func (r *reader) site(from int) {
	if r.tok.kind != tokenEOF && !r.punct(';') {
		return
	}
	for i := from; i < len(r.found); i++ {
		if r.found[i].Reset {
			r.found[i].Site = Site{At: r.end, Command: r.command}
		}
	}
}

// modifier passes over a keyword of the grammar, if it is the next. Before a dot,
// = or TO it is the name of a setting instead, or begins one: SET session.tenant = 'x'.
func (r *reader) modifier(lower string) bool {
	if !r.word(lower) {
		return false
	}
	ahead := r.lexer
	t := ahead.next()
	if t.kind == tokenPunct && (r.sql[t.start] == '.' || r.sql[t.start] == '=') || t.kind == tokenWord && fold(r.sql[t.start:t.end], "to") {
		return false
	}
	r.advance()
	return true
}

// set reads SET (VariableSetStmt, src/backend/parser/gram.y).
func (r *reader) set() {
	r.advance()
	r.local = r.modifier("local")
	session := !r.local && r.modifier("session")
	session = r.modifier("session") || session // SET LOCAL SESSION AUTHORIZATION
	switch {
	case session && r.modifier("characteristics"):
		r.add("default_transaction_isolation", false)
		r.add("default_transaction_read_only", false)
		r.add("default_transaction_deferrable", false)
	case session && r.skip("authorization"):
		r.value("session_authorization")
	case r.modifier("transaction"), r.modifier("constraints"):
	case r.modifier("time"):
		r.value("timezone")
	case r.modifier("names"):
		if r.tok.kind == tokenEOF || r.punct(';') {
			r.add("client_encoding", true)
		} else {
			r.value("client_encoding")
		}
	case r.modifier("schema"):
		r.add("search_path", false)
	case r.modifier("xml"):
		r.add("xmloption", false)
	case r.modifier("role"):
		r.add("role", false)
	default:
		if name := r.name(); name != "" {
			r.value(name)
		}
	}
}

// value reads what name is set to as far as that it is DEFAULT, which is a reset.
func (r *reader) value(name string) {
	if name == "timezone" && (r.skip("zone") && r.skip("local")) {
		r.add(name, true)
		return
	}
	if !r.skip("to") && r.punct('=') {
		r.advance()
	}
	r.add(name, r.skip("default"))
}

// reset reads RESET (VariableResetStmt).
func (r *reader) reset() {
	r.advance()
	switch {
	case r.skip("all"):
		r.add("", true)
	case r.modifier("time"):
		r.skip("zone")
		r.add("timezone", true)
	case r.modifier("transaction"): // ISOLATION LEVEL, of the transaction
	case r.modifier("session"):
		r.skip("authorization")
		r.add("session_authorization", true)
	default:
		if name := r.name(); name != "" {
			r.add(name, true)
		}
	}
}

// name reads the name of a setting: words joined by dots.
func (r *reader) name() string {
	var name []byte
	for {
		switch r.tok.kind {
		case tokenWord, tokenQuoted:
			name = append(name, identifier(r.text())...)
		default:
			r.bad = true
			return ""
		}
		r.advance()
		if !r.punct('.') {
			break
		}
		name = append(name, '.')
		r.advance()
	}
	if r.punct('&') || len(name) > maxSetting { // U&"", which can spell anything
		r.bad = true
		return ""
	}
	return lower(name)
}

// maxSetting is the longest name of a setting in bytes that is remembered: two
// identifiers of NAMEDATALEN - 1 and a dot.
const maxSetting = 127

// lower is a name as settings compare: without regard to case (guc_name_compare).
func lower(name []byte) string {
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			name[i] = c | 0x20
		}
	}
	return string(name)
}

// boolean reads a constant as the usual clients spell it.
func boolean(b []byte) (value, known bool) {
	switch {
	case fold(b, "true"), fold(b, "'true'"), fold(b, "'t'"), fold(b, "'on'"), fold(b, "'1'"):
		return true, true
	case fold(b, "false"), fold(b, "'false'"), fold(b, "'f'"), fold(b, "'off'"), fold(b, "'0'"):
		return false, true
	}
	return false, false
}
