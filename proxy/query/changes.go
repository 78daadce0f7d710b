package query

// A Change is one setting that a text sets or resets for the session.
type Change struct {
	Name  string // in lower case; "" with Reset: all of them
	Reset bool   // to what the session began with
}

// Changes names the settings that text with the bit Sets changes for longer than
// its transaction; standard is Scan's. It reports false where it cannot name them all. What is set
// for the transaction only (SET LOCAL, SET TRANSACTION) is none of them.
func Changes(sql []byte, standard bool) ([]Change, bool) {
	r := reader{lexer: lexer{sql: sql}, standard: standard}
	r.advance()
	for r.tok.kind != tokenEOF {
		switch {
		case r.word("set"):
			r.set()
		case r.word("reset"):
			r.reset()
		default:
			r.calls()
		}
		for r.tok.kind != tokenEOF && !r.punct(';') { // also what a fault has left
			if r.tok.kind == tokenString && ambiguous(sql[r.tok.start:r.tok.end], r.standard) {
				r.bad = true
			}
			r.advance()
		}
		r.advance()
	}
	return r.found, !r.bad
}

// A reader reads statements token by token.
type reader struct {
	lexer
	standard bool
	tok      token
	found    []Change
	bad      bool
}

func (r *reader) advance() { r.tok = r.next() }

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
	r.found = append(r.found, Change{name, reset})
	if name == "session_authorization" {
		r.found = append(r.found, Change{"role", reset})
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
	if r.modifier("local") {
		return
	}
	session := r.modifier("session")
	session = r.modifier("session") || session // SET SESSION SESSION AUTHORIZATION
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
		r.value("client_encoding")
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
	if name == "timezone" && (r.skip("zone") && r.word("local")) {
		r.add(name, true)
		return
	}
	if !r.skip("to") && r.punct('=') {
		r.advance()
	}
	none := r.tok.kind == tokenEOF || r.punct(';') // SET NAMES
	r.add(name, r.word("default") || none)
}

// reset reads RESET (VariableResetStmt).
func (r *reader) reset() {
	r.advance()
	switch {
	case r.skip("all"):
		r.add("", true)
	case r.modifier("time"):
		r.add("timezone", true)
	case r.modifier("transaction"): // ISOLATION LEVEL, of the transaction
	case r.modifier("session"):
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

// calls reads one statement for calls of set_config.
func (r *reader) calls() {
	for r.tok.kind != tokenEOF && !r.punct(';') {
		if r.tok.kind == tokenString && ambiguous(r.text(), r.standard) {
			r.bad = true
		}
		if !r.skip("set_config") {
			r.advance()
			continue
		}
		if r.punct('(') {
			r.setConfig()
		}
	}
}

// setConfig reads the arguments of set_config: the first must be a plain constant,
// and the third tells whether it is for the transaction only.
func (r *reader) setConfig() {
	r.advance()
	arg := r.text()
	if r.tok.kind != tokenString || len(arg) < 2 || arg[0] != '\'' || arg[len(arg)-1] != '\'' || ambiguous(arg, r.standard) {
		r.bad = true
		return
	}
	name := lower(append([]byte(nil), arg[1:len(arg)-1]...))
	r.advance()
	comma := r.punct(',')
	depth, args := 1, 1
	var last token // what the third argument begins with
	words := 0     // of it
	for ; depth > 0; r.advance() {
		switch {
		case r.tok.kind == tokenEOF:
			r.bad = true
			return
		case r.word("set_config"):
			r.bad = true // it is called too, and nobody has read what it sets
		case r.punct('('), r.punct('['):
			depth++
		case r.punct(')'), r.punct(']'):
			depth--
		case r.punct(',') && depth == 1:
			args++
			continue
		}
		if args == 3 && depth > 0 {
			if words++; words == 1 {
				last = r.tok
			}
		}
	}
	local, known := boolean(r.sql[last.start:last.end])
	switch {
	case !comma || args != 3 || words != 1 || !known || len(name) > maxSetting:
		r.bad = true
	case !local:
		r.add(name, false)
	}
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
