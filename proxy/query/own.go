package query

// An Own is a command that the pooler answers from the client's own state,
// because on a shared origin connection it would hit the wrong thing.
type Own uint8

// The commands that Command recognises.
const (
	NotOwn        Own = iota
	DiscardAll        // DISCARD ALL
	DeallocateAll     // DEALLOCATE [PREPARE] ALL
	Deallocate        // DEALLOCATE [PREPARE] name
)

// maxOwn bounds the text that Command looks at, in bytes: the longest command
// that it knows, with a name of 63 bytes, quoted, and some blanks.
const maxOwn = 256

// Command recognises a text that is nothing but one command of the pooler's own,
// and the name it is about, folded as PostgreSQL folds identifiers.
func Command(sql []byte) (Own, string) {
	if len(sql) > maxOwn || !mayBeOwn(sql) {
		return NotOwn, ""
	}
	var toks [4]token
	n := 0
	l := lexer{sql: sql}
	for t := l.next(); t.kind != tokenEOF; t = l.next() {
		if t.kind == tokenPunct && sql[t.start] == ';' && l.next().kind == tokenEOF {
			break
		}
		if n == len(toks) {
			return NotOwn, ""
		}
		toks[n] = t
		n++
	}
	is := func(i int, word string) bool {
		return i < n && toks[i].kind == tokenWord && fold(sql[toks[i].start:toks[i].end], word)
	}
	arg := n - 1 // the name comes last
	switch {
	case n == 2 && is(0, "discard") && is(1, "all"):
		return DiscardAll, ""
	case n != 2 && (n != 3 || !is(1, "prepare")) || !is(0, "deallocate"):
		return NotOwn, ""
	case is(arg, "all"):
		return DeallocateAll, ""
	case toks[arg].kind == tokenWord || toks[arg].kind == tokenQuoted:
		return Deallocate, identifier(sql[toks[arg].start:toks[arg].end])
	}
	return NotOwn, ""
}

// mayBeOwn is the quick no for nearly every text.
func mayBeOwn(sql []byte) bool {
	for i, c := range sql {
		if isSpace(c) {
			continue
		}
		return c == '/' || c == '-' || c|0x20 == 'd' && i+1 < len(sql) && (sql[i+1]|0x20 == 'i' || sql[i+1]|0x20 == 'e')
	}
	return false
}

// identifier is the name that a token stands for.
func identifier(tok []byte) string {
	if tok[0] != '"' {
		low := make([]byte, len(tok))
		for i, c := range tok {
			if c >= 'A' && c <= 'Z' {
				c |= 0x20
			}
			low[i] = c
		}
		return string(low)
	}
	name := make([]byte, 0, len(tok))
	for i := 1; i < len(tok)-1; i++ {
		name = append(name, tok[i])
		if tok[i] == '"' {
			i++
		}
	}
	return string(name)
}
