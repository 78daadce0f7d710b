package mysql

import "github.com/sluicedb/sluice/proxy/mysql/verdict"

// call looks at the name of what may be a function. One that stands behind a dot is no
// server's own.
func (s *scanner) call(member bool) {
	if member || !verdict.IsKnown(s.word) {
		s.j.traits |= foreign
	}
}

// sysVar looks at a system variable that is read.
func (s *scanner) sysVar() {
	switch string(trimScope(s.word)) {
	case "last_insert_id", "identity":
		s.j.traits |= readsLastID
	case "warning_count", "error_count":
		s.j.traits |= diagnostics
	}
}

// trimScope cuts session. and the like off a name.
func trimScope(name []byte) []byte {
	for i, c := range name {
		if c == '.' {
			return name[i+1:]
		}
	}
	return name
}

// function looks at a word that may be the name of a function with effects.
func (s *scanner) function() {
	switch string(s.word) {
	case "get_lock":
		s.j.traits |= takesLocks
		if s.peek() == '(' {
			s.next()
			if s.next(); s.token == tokenString && isPlainName(s.text) && s.peek() == ',' {
				s.j.taken = append(s.j.taken, string(s.text))
				return
			}
		}
		s.j.traits |= unmovable // of a name that is not known
	case "service_get_read_locks", "service_get_write_locks":
		s.j.traits |= unmovable
	case "release_lock":
		s.j.traits |= freesLocks
	case "release_all_locks":
		s.j.traits |= freesAllLocks
	case "last_insert_id":
		s.j.traits |= readsLastID
		if s.peek() == '(' {
			s.next()
			if s.peek() != ')' {
				s.j.traits |= setsLastID
			}
		}
	case "next", "previous": // VALUE FOR a sequence
		if s.next(); s.token == tokenWord && string(s.word) == "value" {
			s.j.traits |= unmovable
		}
	case "nextval", "lastval", "setval":
		s.j.traits |= unmovable // the sequence's last value is the connection's
	case "sql_calc_found_rows":
		s.j.traits |= countsRows
	case "rename":
		s.j.traits |= renames
	}
}

// isPlainName reports whether a string means the same in every character set.
func isPlainName(text []byte) bool {
	for _, c := range text {
		if c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}
