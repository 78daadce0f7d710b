package mysql

// set reads a SET, behind that word.
func (s *scanner) set() {
	scoped := false // SESSION, GLOBAL: said of what follows
	target, depth := true, 0
	if s.token == tokenWord && string(s.word) == "statement" { // SET STATEMENT ... FOR another
		s.sets--
		s.j.traits |= calls
		for s.token != tokenEnd && (s.token != tokenWord || string(s.word) != "for") {
			s.next()
		}
		s.next()
		s.statement()
		return
	}
	for ; s.token != tokenEnd && (s.token != tokenMark || s.mark != ';'); s.next() {
		if s.token == tokenName || s.token == tokenString && (target || s.peek() == '(') { // with ANSI_QUOTES
			s.token = tokenWord
			s.setWord(s.text)
		}
		switch s.token {
		case tokenMark:
			switch s.mark {
			case '(':
				depth++
			case ')':
				depth--
			case ',':
				target = target || depth == 0
				continue
			}
		case tokenVar:
			if target || s.peek() == ':' {
				s.j.traits |= assignsVars
			}
		case tokenSysVar:
			if target {
				s.setSysVar()
			} else {
				s.sysVar()
			}
		case tokenWord:
			switch word := string(s.word); {
			case !target:
				if s.peek() == '(' {
					s.call(false)
				}
				s.function()
			case word == "session" || word == "local" || word == "global" || word == "persist" || word == "persist_only":
				scoped = true
				continue
			case word == "transaction":
				if !scoped {
					s.j.traits |= oneShot
				}
			case word == "role" || word == "resource":
				s.j.traits |= unmovable | staysSet
			default:
				s.setNamed(s.word)
			}
		}
		target = false
	}
}

// setSysVar looks at a system variable that is set by its name with @@.
func (s *scanner) setSysVar() {
	switch string(s.word) {
	case "transaction_isolation", "tx_isolation", "transaction_read_only", "tx_read_only":
		s.j.traits |= oneShot
	}
	s.setNamed(trimScope(s.word))
}

// setNamed looks at a system variable that is set, whose value is not told, or not to be
// told from what follows others.
func (s *scanner) setNamed(name []byte) {
	switch {
	case hasPrefix(name, "session_track"), string(name) == "character_set_database", string(name) == "collation_database":
		s.j.traits |= unmovable
	case string(name) == "last_insert_id", string(name) == "identity":
		s.j.traits |= setsLastID
	}
}

func hasPrefix(word []byte, prefix string) bool {
	return len(word) >= len(prefix) && string(word[:len(prefix)]) == prefix
}
