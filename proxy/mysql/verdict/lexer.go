package verdict

import (
	"strings"

	"github.com/sluicedb/sluice/proxy/query"
)

// A kind is that of a token.
type kind uint8

const (
	kindEnd    kind = iota
	kindWord        // letters, digits, _, $, and bytes of characters beyond ASCII
	kindNumber      // a word that begins with a digit
	kindString      // '...' or "..."
	kindName        // `...`
	kindMark        // one byte of anything else
)

// A lexer reads tokens. Comments are blanks to it.
type lexer struct {
	sql string
	at  int

	kind  kind
	start int    // of the token
	text  string // of it, without quotes
	bad   string // why the text is not for certain what it seems, in words
}

// next reads a token.
func (l *lexer) next() {
	l.skip()
	l.start = l.at
	if l.at >= len(l.sql) {
		l.kind, l.text = kindEnd, ""
		return
	}
	switch c := l.sql[l.at]; {
	case isWord(c):
		for l.at < len(l.sql) && isWord(l.sql[l.at]) {
			l.at++
		}
		if l.kind = kindWord; c >= '0' && c <= '9' {
			l.kind = kindNumber
		}
		l.text = l.sql[l.start:l.at]
	case c == '\'' || c == '"':
		l.kind = kindString
		l.quoted(c)
	case c == '`':
		l.kind = kindName
		l.quoted(c)
	default:
		l.kind = kindMark
		l.at++
		l.text = l.sql[l.start:l.at]
	}
}

// quoted reads to the closing quote. A doubled one ends a token and begins the next,
// which comes to the same. In strings a backslash takes the next byte along.
func (l *lexer) quoted(quote byte) {
	from := l.at + 1
	for l.at = from; l.at < len(l.sql) && l.sql[l.at] != quote; l.at++ {
		if l.sql[l.at] == '\\' && quote != '`' {
			l.at++
		}
	}
	if l.at >= len(l.sql) {
		l.bad = "a quote is not closed"
		l.text, l.at = "", len(l.sql)
		return
	}
	l.text = l.sql[from:l.at]
	l.at++
}

// skip skips blanks and comments.
func (l *lexer) skip() {
	for l.at < len(l.sql) {
		rest := l.sql[l.at:]
		switch c := rest[0]; {
		case c == ' ' || c >= '\t' && c <= '\r':
			l.at++
		case c == '#', strings.HasPrefix(rest, "--") && (len(rest) == 2 || rest[2] <= ' ' || rest[2] == 0x7f):
			if n := strings.IndexByte(rest, '\n'); n >= 0 {
				l.at += n + 1
			} else {
				l.at = len(l.sql)
			}
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			body := rest[2:]
			if end >= 0 {
				body = body[:end]
			}
			switch {
			case end < 0:
				l.bad = "a comment is not closed"
			case strings.HasPrefix(body, "!"), strings.HasPrefix(body, "M!"):
				l.bad = "it has a comment whose text some servers run"
			case strings.HasPrefix(body, "+") && strings.Contains(strings.ToLower(body), "set_var"):
				l.bad = "it sets a variable by a hint"
			case strings.HasPrefix(body, "+") && strings.ContainsAny(body, "`'\""): // in which it may go on
				l.bad = "it has a hint with a quote"
			case strings.Contains(body, "/*"):
				l.bad = "it has a comment in a comment"
			}
			if l.at += 2 + len(body) + 2; end < 0 {
				l.at = len(l.sql)
			}
		default:
			return
		}
	}
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

// A scan is what the tokens of a text say by themselves.
type scan struct {
	verb     string          // the first word
	second   string          // and the second
	calls    map[string]bool // words in front of a parenthesis
	named    map[string]bool // names in quotes in front of one
	words    map[string]bool // all words
	bad      string          // why nothing is certain of the text
	variable bool            // it has @
	several  bool            // statements
}

// scanText reads all tokens of a text.
func scanText(sql string) scan {
	s := scan{calls: make(map[string]bool), named: make(map[string]bool), words: make(map[string]bool)}
	if strings.IndexByte(sql, 0) >= 0 {
		s.bad = "it has a zero byte"
	}
	l := lexer{sql: sql}
	var before kind
	var text string
	n, ended := 0, false
	for l.next(); l.kind != kindEnd; l.next() {
		if s.several = s.several || ended && (l.kind != kindMark || l.text != ";"); l.kind == kindWord {
			word := strings.ToLower(l.text)
			s.words[word] = true
			switch n++; n {
			case 1:
				s.verb = word
			case 2:
				s.second = word
			}
		}
		if l.kind == kindMark {
			switch l.text {
			case ";":
				ended = true
			case "@":
				s.variable = true
			case "{", "}", "\\":
				s.bad = "it has a brace or a backslash"
			case "(":
				if before == kindWord {
					s.calls[strings.ToLower(text)] = true
				} else if before == kindName {
					s.named[strings.ToLower(text)] = true
				}
			}
		}
		before, text = l.kind, l.text
	}
	if l.bad != "" {
		s.bad = l.bad
	}
	return s
}

// maxShape bounds a shape in bytes.
const maxShape = 500

// shape is a text with ? for its constants, without comments and runs of blanks. It
// reports false where a constant may have been taken for something else.
func shape(sql string) (string, bool) {
	if s := scanText(sql); s.bad != "" {
		return "", false
	}
	var out []byte
	l := lexer{sql: sql}
	end := 0
	var last token
	for l.next(); l.kind != kindEnd; l.next() {
		if l.start > end && len(out) > 0 {
			out = append(out, ' ')
		}
		t := token{l.kind, l.start, l.at}
		doubles := t.kind == kindString && t.doubles(last, sql)
		if last, end = t, t.end; doubles {
			continue
		}
		if l.kind == kindString || l.kind == kindNumber {
			out = query.AppendConstant(out)
		} else {
			out = append(out, sql[l.start:l.at]...)
		}
		if len(out) > maxShape {
			return string(out[:maxShape]) + "...", true
		}
	}
	return string(out), true
}
