package verdict

import (
	"bytes"
	"strings"
	"unsafe"

	"github.com/sluicedb/sluice/proxy/query"
)

// maxDigits is the longest number in digits that is left out of a skeleton: all of as many fit a BIGINT.
const maxDigits = 18

// Skeleton implements query.Source. What is left out are the contents of strings and the
// digits of numbers where nothing but a value can stand: behind an operator, a comma, an
// opening parenthesis, or a word that nothing else follows. So none of them is a name, an
// alias, a part of a date's or a character set's literal, or a variable, and neither reader looks at it. It
// reports false of a text with any other, and of those that the two readers may cut into
// tokens in different places. All else is as it stands, comments and hints too.
func (source) Skeleton(dst, text []byte) (normal, skeleton []byte, ok bool) {
	normal = bytes.TrimSpace(text) // as Judge has it
	if len(text) > query.MaxText || bytes.IndexByte(normal, 0) >= 0 {
		return normal, dst, false
	}
	l := lexer{sql: unsafe.String(unsafe.SliceData(normal), len(normal))} // which nobody keeps
	var last, second token                                                // the two before the one that is read
	for l.next(); l.kind != kindEnd; l.next() {
		t := token{l.kind, l.start, l.at}
		gap, is := l.sql[last.end:t.start], l.sql[t.start:t.end]
		if oddComment(gap) {
			return normal, dst, false
		}
		dst = append(dst, gap...)
		switch {
		case t.kind == kindString && t.doubles(last, l.sql):
		case t.kind == kindString && takesValue(l.sql, second, last):
			dst = append(dst, is[0], is[0])
		case t.kind == kindNumber && len(is) <= maxDigits && digits(is) && (takesValue(l.sql, second, last) || t.fraction(second, last, l.sql)):
			dst = append(dst, '0')
		case t.kind == kindString, t.kind == kindNumber, is == "/" && t.behind(last) && l.sql[last.start] == '/': // a comment to one reader
			return normal, dst, false
		default:
			dst = append(dst, is...)
		}
		second, last = last, t
	}
	rest := l.sql[last.end:]
	return normal, append(dst, rest...), l.bad == "" && !oddComment(rest)
}

// A token is where one is in a text.
type token struct {
	kind       kind
	start, end int
}

// behind reports whether t comes right behind another.
func (t token) behind(last token) bool { return last.kind != kindEnd && last.end == t.start }

// doubles reports whether t goes on with the string before it: the quote between stands for itself.
func (t token) doubles(last token, sql string) bool {
	return t.behind(last) && last.kind == kindString && sql[last.start] == sql[t.start]
}

// fraction reports whether t is what follows the point of a number.
func (t token) fraction(second, last token, sql string) bool {
	return t.behind(last) && sql[last.start] == '.' && last.behind(second) && second.kind == kindNumber
}

// valueMarks are marks behind which nothing but a value, or what has one in it, can stand.
const valueMarks = "=<>!(,+-*/%|&^~"

// valueWords are reserved words likewise. (Behind OFFSET and ESCAPE too, which may be names.)
var valueWords = set("like and or xor not in then else when between select limit rlike regexp where having on by case interval div mod distinct separator")

// takesValue reports whether a constant behind a token, which has another before it, can be
// nothing but a value.
func takesValue(sql string, second, last token) bool {
	switch last.kind {
	case kindMark:
		return strings.IndexByte(valueMarks, sql[last.start]) >= 0
	case kindWord:
		if second.kind == kindMark && sql[second.start] == '.' { // a name, whatever it says
			return false
		}
		var low [maxValueWord]byte
		word := sql[last.start:last.end]
		if len(word) > len(low) {
			return false
		}
		for i := range len(word) {
			low[i] = word[i] | 0x20 // of what words have, letters alone become letters
		}
		return valueWords[string(low[:len(word)])]
	}
	return false
}

// maxValueWord is the longest of valueWords in bytes.
const maxValueWord = len("separator")

// oddComment reports whether a comment between two tokens may be none to the parser, which takes
// -- for one before a blank only.
func oddComment(gap string) bool {
	for {
		i := strings.Index(gap, "--")
		if i < 0 {
			return false
		}
		if gap = gap[i+2:]; len(gap) > 0 && strings.IndexByte(" \t\r\n", gap[0]) < 0 {
			return true
		}
	}
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
