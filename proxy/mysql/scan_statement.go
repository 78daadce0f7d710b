package mysql

import "strings"

// statement reads one statement to its end, the scanner standing at its first token.
func (s *scanner) statement() {
	s.reads = false
	if s.token != tokenWord {
		s.rest(false)
		return
	}
	switch string(s.word) {
	case "select", "with", "values", "table", "insert", "replace", "update", "delete":
		s.reads = true
		if c := s.word[0]; c == 'i' || c == 'r' || c == 'u' || c == 'd' {
			s.j.traits |= moves
		}
		if c := s.word[0]; c == 'i' || c == 'r' {
			s.j.traits |= inserts
			s.insertInto()
		} else {
			s.next()
		}
		s.rest(false)
	case "set":
		s.sets++
		s.j.traits |= setsOnly | schemaless
		s.next()
		s.set()
	case "use":
		s.sets++
		s.j.traits |= setsOnly | schemaless
		s.next()
		s.rest(false)
	case "call":
		s.j.traits |= setsLastID | calls
		s.next()
		s.rest(true)
	case "load", "get", "do":
		s.load(string(s.word))
	case "create", "drop", "alter", "rename", "truncate":
		s.define()
	case "lock", "unlock", "flush", "backup", "handler", "install":
		s.lock(string(s.word))
	case "prepare", "deallocate", "execute":
		s.prepare(string(s.word))
	case "begin", "start", "commit", "rollback", "savepoint", "xa":
		s.transaction(string(s.word))
	case "kill":
		s.j.traits |= kills
		s.next()
		s.rest(false)
	case "show":
		s.j.traits |= schemaless
		s.next()
		s.show()
	case "analyze": // a statement that MariaDB runs, perhaps
		s.j.traits |= inserts
		s.next()
		s.rest(false)
	case "explain", "describe", "desc", "check", "checksum", "optimize", "repair", "grant", "revoke", "help", "release":
		s.next()
		s.rest(false)
	default: // IF, LOOP and the like of MariaDB, say
		s.j.traits |= foreign
		s.next()
		s.rest(false)
	}
}

// insertInto reads INSERT INTO and the table, whose columns may follow: no call.
func (s *scanner) insertInto() {
	for s.next(); s.token == tokenWord; s.next() {
		switch string(s.word) {
		case "low_priority", "delayed", "high_priority", "ignore", "into":
			continue
		}
		break
	}
	for s.isName() {
		if s.next(); s.token != tokenMark || s.mark != '.' {
			break
		}
		s.next()
	}
	if s.token == tokenMark && s.mark == '(' {
		s.next()
	}
}

// isName reports whether the token may be a name.
func (s *scanner) isName() bool {
	return s.token == tokenWord || s.token == tokenName || s.token == tokenString
}

// rest reads to the end of the statement. assigns says that the user variables
// that it names are assigned to.
func (s *scanner) rest(assigns bool) {
	into := assigns
	for dot := false; s.token != tokenEnd && (s.token != tokenMark || s.mark != ';'); s.next() {
		member := dot
		dot = s.token == tokenMark && s.mark == '.'
		switch s.token {
		case tokenVar:
			if c := s.peek(); into || c == ':' {
				s.j.traits |= assignsVars
			}
		case tokenSysVar:
			s.sysVar()
		case tokenName, tokenString:
			if s.peek() == '(' { // which the servers' own functions may be called by too
				s.setWord(s.text)
				s.call(member)
				s.function()
			}
		case tokenWord:
			if s.peek() == '(' {
				s.call(member)
			}
			switch s.word[0] { // most words are none of these
			case 'i', 'f', 'g', 'r', 'l', 's', 'n', 'p':
				if string(s.word) == "into" {
					into = true
				} else if string(s.word) == "from" && s.reads {
					s.j.traits |= moves
				}
				s.function()
			}
		}
	}
}

// load reads LOAD, GET DIAGNOSTICS and DO.
func (s *scanner) load(verb string) {
	if s.next(); verb == "load" {
		s.j.traits |= inserts
	}
	for s.token == tokenWord && verb != "do" {
		switch string(s.word) {
		case "local":
			if verb == "load" {
				s.j.traits |= loadsLocal
			}
		case "diagnostics":
			s.j.traits |= diagnostics
		case "infile":
			s.rest(true)
			return
		}
		s.next()
	}
	s.rest(verb != "do")
}

// define reads CREATE, DROP, ALTER, RENAME and TRUNCATE.
func (s *scanner) define() {
	verb := string(s.word)
	s.j.traits |= changesTables
	if verb == "rename" {
		s.j.traits |= renames
	}
	temporary := false
	s.next()
	for s.token != tokenEnd && (s.token != tokenMark || s.mark != ';') {
		switch string(s.word) {
		case "temporary":
			temporary = true
			if verb == "create" {
				s.j.traits |= makesTemps
			}
		case "prepare":
			s.j.traits &^= changesTables
			s.prepared(&s.j.deallocated, deallocates)
			return
		case "table", "tables":
			if verb == "create" { // of a SELECT, perhaps
				s.j.traits |= inserts
			}
			s.next()
			s.tables(verb, temporary)
			return
		case "database", "schema":
			s.j.traits |= schemaless
		case "function", "procedure", "trigger", "event": // whose bodies do nothing now
			if verb == "create" || verb == "alter" {
				s.skip()
				return
			}
		}
		s.next()
	}
	s.rest(false)
}

// skip reads to the end of a definition: the semicolons in it end nothing, unless there
// is another statement behind one.
func (s *scanner) skip() {
	for ended := false; s.token != tokenEnd; s.next() {
		if ended {
			s.j.traits |= foreign
		}
		ended = ended || s.token == tokenMark && s.mark == ';'
	}
}

// tables reads the names of tables of CREATE TEMPORARY TABLE and DROP TABLE.
func (s *scanner) tables(verb string, temporary bool) {
	for s.token == tokenWord && (string(s.word) == "if" || string(s.word) == "not" || string(s.word) == "exists") {
		s.next()
	}
	for verb == "drop" || verb == "create" && temporary {
		if !s.isName() {
			break
		}
		name := string(s.text)
		if s.next(); s.token == tokenMark && s.mark == '.' {
			s.next()
			name += "." + string(s.text)
			s.next()
		}
		if verb == "create" {
			s.j.made = append(s.j.made, name)
			break
		}
		s.j.traits |= dropsTables
		s.j.dropped = append(s.j.dropped, name)
		if s.token != tokenMark || s.mark != ',' {
			break
		}
		s.next()
	}
	s.rest(false)
}

// lock reads what locks for the session.
func (s *scanner) lock(verb string) {
	s.next()
	instance := s.token == tokenWord && string(s.word) == "instance" // which UNLOCK TABLES leaves locked
	switch {
	case verb == "lock" && instance:
		s.j.traits |= unmovable
	case verb == "unlock" && instance:
	case verb == "lock":
		s.j.traits |= locksTables
	case verb == "unlock":
		s.j.traits |= unlocksTables
	case verb == "backup":
		s.j.traits |= unmovable
	}
	for ; s.isName() || s.token == tokenMark && s.mark != ';'; s.next() {
		switch word := string(s.word); {
		case verb == "flush" && (word == "lock" || word == "export"):
			s.j.traits |= locksTables
		case verb == "handler" && word == "open":
			s.j.traits |= unmovable
		}
	}
	s.rest(false)
}

// prepare reads PREPARE, DEALLOCATE PREPARE and EXECUTE.
func (s *scanner) prepare(verb string) {
	switch verb {
	case "prepare":
		s.prepared(&s.j.prepared, prepares)
	case "deallocate":
		if s.next(); s.token == tokenWord {
			s.prepared(&s.j.deallocated, deallocates)
			return
		}
		s.rest(false)
	default:
		s.j.traits |= readsLastID | setsLastID // it may
		if s.next(); s.token == tokenWord && string(s.word) == "immediate" {
			s.j.traits |= unmovable
		}
		s.rest(false)
	}
}

// prepared reads the name of a statement, the scanner standing at PREPARE.
func (s *scanner) prepared(names *[]string, t traits) {
	s.j.traits |= t
	if s.next(); s.isName() {
		*names = append(*names, lowered(s.text))
	}
	for ; t == prepares && s.token != tokenEnd && (s.token != tokenMark || s.mark != ';'); s.next() {
		if s.token == tokenString {
			s.preparedText(lowered(s.text))
		}
	}
	s.rest(false)
}

// preparedText looks at a part of the text of PREPARE: what EXECUTE leaves stays behind
// DEALLOCATE PREPARE.
func (s *scanner) preparedText(text string) {
	if strings.Contains(text, "kill") {
		s.j.traits |= kills
	}
	if strings.Contains(text, "@") || strings.Contains(text, "lock") || strings.Contains(text, "temporary") {
		s.j.traits |= unmovable
	}
}

func lowered(b []byte) string {
	out := make([]byte, len(b))
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		out[i] = c
	}
	return string(out)
}

// transaction reads what begins and ends transactions.
func (s *scanner) transaction(verb string) {
	s.next()
	second := ""
	if s.token == tokenWord {
		second = string(s.word)
	}
	switch {
	case verb == "begin", verb == "start" && second == "transaction":
		s.j.traits |= begins
		ended := s.token == tokenEnd || s.token == tokenMark && s.mark == ';'
		if !ended && second != "work" && second != "transaction" { // BEGIN NOT ATOMIC and a block, say
			s.j.traits |= foreign
		}
	case verb == "savepoint":
		s.j.traits = s.j.traits&^ends | savepoints
	case verb == "xa" && (second == "start" || second == "begin"): // the last of several decides
		s.j.traits = s.j.traits&^endsXA | beginsXA
	case verb == "xa" && (second == "commit" || second == "rollback"):
		s.j.traits |= endsXA
	case verb == "commit", verb == "rollback" && second != "to":
		s.j.traits |= ends
		for no := false; s.token == tokenWord; s.next() {
			if string(s.word) == "release" && !no {
				s.j.traits |= releases
			}
			no = string(s.word) == "no"
		}
	}
	s.rest(false)
}

// show reads a SHOW, behind that word.
func (s *scanner) show() {
	for ; s.token != tokenEnd && (s.token != tokenMark || s.mark != ';'); s.next() {
		if s.token != tokenWord {
			continue
		}
		switch string(s.word) {
		case "warnings", "errors":
			s.j.traits |= diagnostics
		case "where":
			s.rest(false)
			return
		}
	}
}
