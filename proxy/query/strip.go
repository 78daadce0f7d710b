package query

import "bytes"

// Normalise returns sql without comments and without blanks at its ends, in dst
// where something had to be left out. Two texts with the same normal form mean the
// same; letters and blanks inside are not touched. A comment leaves a blank, as it
// parts words. Hints (/*+ ... */) stay: some origins obey them. A text with a
// comment that does not end is an error of the origin's to report and stays as it
// is. standard_conforming_strings must be on.
func Normalise(dst, sql []byte) []byte {
	sql = trim(sql)
	if !bytes.Contains(sql, []byte("--")) && !bytes.Contains(sql, []byte("/*")) {
		return sql
	}
	dst = dst[:0]
	l := lexer{sql: sql}
	for {
		gap := l.pos
		t := l.next()
		for gap < t.start {
			if isSpace(sql[gap]) {
				dst = append(dst, sql[gap])
				gap++
				continue
			}
			n, ok := commentLength(sql[gap:])
			if !ok {
				return sql
			}
			if bytes.HasPrefix(sql[gap:], []byte("/*+")) {
				dst = append(dst, sql[gap:gap+n]...)
			} else {
				dst = append(dst, ' ')
			}
			gap += n
		}
		if t.kind == tokenEOF {
			return trim(dst)
		}
		dst = append(dst, sql[t.start:t.end]...)
	}
}

// commentLength is that of the comment that b starts with, and whether it ends.
func commentLength(b []byte) (int, bool) {
	l := lexer{sql: b}
	if b[0] == '-' {
		for l.pos < len(b) && b[l.pos] != '\n' && b[l.pos] != '\r' {
			l.pos++
		}
		return l.pos, true
	}
	for depth := 0; l.pos < len(b); {
		switch {
		case b[l.pos] == '/' && l.at(1) == '*':
			depth++
			l.pos += 2
		case b[l.pos] == '*' && l.at(1) == '/':
			depth--
			l.pos += 2
			if depth == 0 {
				return l.pos, true
			}
		default:
			l.pos++
		}
	}
	return len(b), false
}

func trim(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}
