package query

// A lexer walks SQL text as PostgreSQL's scanner does (src/backend/parser/scan.l),
// as far as telling words from strings, comments and the rest needs it.
type lexer struct {
	sql []byte
	pos int
}

type tokenKind uint8

const (
	tokenEOF    tokenKind = iota
	tokenWord             // an unquoted identifier or keyword
	tokenQuoted           // a "quoted" identifier, quotes included
	tokenString           // any string constant
	tokenPunct            // one other byte
)

type token struct {
	kind       tokenKind
	start, end int
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}

func isWordStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

func isWord(c byte) bool { return isWordStart(c) || c >= '0' && c <= '9' || c == '$' }

// next returns the next token, white space and comments passed over.
func (l *lexer) next() token {
	l.skipBlank()
	start := l.pos
	if start >= len(l.sql) {
		return token{tokenEOF, start, start}
	}
	c := l.sql[start]
	switch {
	case isWordStart(c):
		for l.pos < len(l.sql) && isWord(l.sql[l.pos]) {
			l.pos++
		}
		// A string with a prefix: E'', B'', X'', N'', U&''.
		if l.pos < len(l.sql) && l.pos-start == 1 && l.sql[l.pos] == '\'' {
			escape := c == 'e' || c == 'E'
			l.quoted('\'', escape)
			// What continues it is read as it is. A plain string's may be taken for one of its own.
			for escape && l.continued() {
				l.quoted('\'', true)
			}
			return token{tokenString, start, l.pos}
		}
		return token{tokenWord, start, l.pos}
	case c == '\'':
		// With standard_conforming_strings off a backslash escapes here too. To
		// take it for an ordinary byte is right for every default of 20 years;
		// Scan calls text with both unsafe, so nothing rests on it.
		l.quoted('\'', false)
		return token{tokenString, start, l.pos}
	case c == '"':
		l.quoted('"', false)
		return token{tokenQuoted, start, l.pos}
	case c == '$' && l.dollarQuoted():
		return token{tokenString, start, l.pos}
	case c >= '0' && c <= '9':
		for l.pos < len(l.sql) && (isWord(l.sql[l.pos]) || l.sql[l.pos] == '.') {
			l.pos++
		}
		return token{tokenPunct, start, l.pos}
	}
	l.pos++
	return token{tokenPunct, start, l.pos}
}

func (l *lexer) skipBlank() {
	for l.pos < len(l.sql) {
		switch c := l.sql[l.pos]; {
		case isSpace(c):
			l.pos++
		case c == '-' && l.at(1) == '-':
			for l.pos < len(l.sql) && l.sql[l.pos] != '\n' && l.sql[l.pos] != '\r' {
				l.pos++
			}
		case c == '/' && l.at(1) == '*':
			l.comment()
		default:
			return
		}
	}
}

// comment passes over a block comment; they nest.
func (l *lexer) comment() {
	for depth := 0; l.pos < len(l.sql); {
		switch {
		case l.sql[l.pos] == '/' && l.at(1) == '*':
			depth++
			l.pos += 2
		case l.sql[l.pos] == '*' && l.at(1) == '/':
			depth--
			l.pos += 2
			if depth == 0 {
				return
			}
		default:
			l.pos++
		}
	}
}

// at is the byte i behind pos, or 0.
func (l *lexer) at(i int) byte {
	if l.pos+i < len(l.sql) {
		return l.sql[l.pos+i]
	}
	return 0
}

// quoted passes over text between quotes, from the opening one at pos; a doubled
// quote stands for itself.
func (l *lexer) quoted(q byte, backslash bool) {
	for l.pos++; l.pos < len(l.sql); l.pos++ {
		switch {
		case backslash && l.sql[l.pos] == '\\':
			l.pos++
		case l.sql[l.pos] == q:
			if l.at(1) != q {
				l.pos++
				return
			}
			l.pos++
		}
	}
	l.pos = min(l.pos, len(l.sql))
}

// continued goes to the quote with which a string goes on behind white space with a
// line end in it (scan.l, quotecontinue), and reports whether there is one.
func (l *lexer) continued() bool {
	line := false
	for i := l.pos; i < len(l.sql); i++ {
		switch c := l.sql[i]; {
		case c == '\n' || c == '\r':
			line = true
		case isSpace(c):
		case c == '-' && i+1 < len(l.sql) && l.sql[i+1] == '-':
			for i+1 < len(l.sql) && l.sql[i+1] != '\n' && l.sql[i+1] != '\r' {
				i++
			}
		case c == '\'' && line:
			l.pos = i
			return true
		default:
			return false
		}
	}
	return false
}

// dollarQuoted passes over $tag$...$tag$ and reports whether it stood at pos.
func (l *lexer) dollarQuoted() bool {
	i := l.pos + 1
	for i < len(l.sql) && l.sql[i] != '$' {
		if !isWord(l.sql[i]) || i == l.pos+1 && !isWordStart(l.sql[i]) {
			return false
		}
		i++
	}
	if i >= len(l.sql) {
		return false
	}
	tag := l.sql[l.pos : i+1]
	for j := i + 1; j+len(tag) <= len(l.sql); j++ {
		if l.sql[j] == '$' && string(l.sql[j:j+len(tag)]) == string(tag) {
			l.pos = j + len(tag)
			return true
		}
	}
	l.pos = len(l.sql)
	return true
}
