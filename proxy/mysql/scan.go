package mysql

import (
	"bytes"
	"slices"
	"sync"
)

// Traits say what a text does to a session, or needs of it, that the server's
// session trackers do not tell, or not well enough.
type traits uint64

const (
	assignsVars   traits = 1 << iota // user variables
	makesTemps                       // temporary tables
	dropsTables                      // tables, which may be temporary ones
	takesLocks                       // GET_LOCK
	freesLocks                       // RELEASE_LOCK
	freesAllLocks                    // RELEASE_ALL_LOCKS
	locksTables                      // LOCK TABLES, FLUSH TABLES WITH READ LOCK
	unlocksTables                    // UNLOCK TABLES
	prepares                         // PREPARE
	deallocates                      // DEALLOCATE PREPARE, DROP PREPARE
	beginsXA                         // XA START
	endsXA                           // XA COMMIT, XA ROLLBACK
	oneShot                          // SET TRANSACTION
	savepoints                       // SAVEPOINT
	begins                           // BEGIN, START TRANSACTION
	ends                             // COMMIT, ROLLBACK
	readsLastID                      // LAST_INSERT_ID
	setsLastID                       // LAST_INSERT_ID(n), CALL
	diagnostics                      // SHOW WARNINGS, GET DIAGNOSTICS, @@warning_count
	countsRows                       // SQL_CALC_FOUND_ROWS
	loadsLocal                       // LOAD DATA LOCAL
	changesTables                    // CREATE, ALTER, DROP, RENAME, TRUNCATE
	moves                            // one INSERT, UPDATE, DELETE, REPLACE, or SELECT of a table
	kills                            // KILL
	unmovable                        // roles, handlers, trackers: what nothing puts in force again
	several                          // more than one statement
	calls                            // CALL: a procedure may do anything
	setsOnly                         // SET and USE, and nothing else
	schemaless                       // one SET, USE, SHOW, CREATE or DROP DATABASE: what needs no schema
	releases                         // COMMIT RELEASE
	inserts                          // INSERT, REPLACE, LOAD DATA, and what may be one: it may change LAST_INSERT_ID()
	unseen                           // it was too long to be read to its end
	foreign                          // it may call what somebody has made, or be read otherwise than it was here
	staysSet                         // SET ROLE, SET RESOURCE GROUP: what a reset does not take back
	renames                          // tables, which may be temporary ones
	oddBytes                         // bytes beyond ASCII that other character sets than UTF-8 may read otherwise
)

// A judgement is what is known of a text.
type judgement struct {
	traits
	readAs        *state   // the session's when the text was read
	made, dropped []string // names of temporary tables made, and of tables dropped
	taken         []string // names of GET_LOCK
	prepared      []string // names of PREPARE
	deallocated   []string // and of DEALLOCATE PREPARE
}

// judge reads a text. Whether a backslash escapes depends on sql_mode: where there
// is one both readings count.
func judge(sql []byte) judgement {
	s := newScanner(sql)
	defer s.free()
	s.run()
	if s.broken || s.sawCode && isOddCode(sql) {
		s.j.traits |= foreign
	}
	if !s.sawEscape && !s.sawCode && !s.sawBlank {
		return s.j
	}
	j := s.j
	for _, other := range []scanner{{}, {escapes: true, plain: true}, {escapes: true, comments: true}, {comments: true}, {escapes: true, blank: true}} {
		*s = other
		s.b = sql
		s.run()
		j.merge(&s.j)
	}
	return j
}

// isOddCode reports whether comments whose text may be executed leave more than two
// readings of a text: there are several, of which a server may execute some, or a quote
// or another comment begins inside.
func isOddCode(sql []byte) bool {
	_, code, _ := bytes.Cut(sql, []byte("/*"))
	if end := bytes.LastIndex(code, []byte("*/")); end >= 0 {
		code = code[:end]
	}
	return bytes.ContainsAny(code, "'\"`#") || bytes.Contains(code, []byte("--")) || bytes.Contains(code, []byte("/*"))
}

// frees are traits that are of a text only where every reading of it has them.
const frees = freesLocks | freesAllLocks | unlocksTables | deallocates | dropsTables | endsXA | ends | setsOnly | schemaless

// merge makes j what it is with another reading of the same text.
func (j *judgement) merge(o *judgement) {
	both := j.traits & o.traits
	j.traits = (j.traits|o.traits)&^frees | both&frees
	j.made, j.taken, j.prepared = append(j.made, o.made...), append(j.taken, o.taken...), append(j.prepared, o.prepared...)
	if !slices.Equal(j.dropped, o.dropped) {
		j.dropped = nil
	}
	if !slices.Equal(j.deallocated, o.deallocated) {
		j.deallocated = nil
	}
}

// scanners are kept because what points into itself cannot be on the stack.
var scanners = sync.Pool{New: func() any { return new(scanner) }}

func newScanner(sql []byte) *scanner {
	s := scanners.Get().(*scanner)
	*s = scanner{b: sql, escapes: true}
	return s
}

func (s *scanner) free() {
	*s = scanner{}
	scanners.Put(s)
}

// A token is what a scanner stands at.
type token uint8

const (
	tokenEnd    token = iota
	tokenWord         // a word, or a number
	tokenName         // `name`
	tokenString       // 'string', or "string or name"
	tokenVar          // @name
	tokenSysVar       // @@name, @@scope.name
	tokenMark         // anything else, one byte
)

// maxWord is how many bytes of a word are looked at: the longest that matters has 28.
const maxWord = 32

type scanner struct {
	b         []byte
	at        int
	j         judgement
	escapes   bool // a backslash escapes in strings
	plain     bool // but for those in "
	comments  bool // all comments are
	sawCode   bool // there are some whose text may be executed
	blank     bool // 0xa0 is space, as it is in latin1
	sawBlank  bool
	sawEscape bool
	sets      int  // statements that are SET or USE
	code      bool // inside a comment whose text is executed
	reads     bool // the statement is one that may read tables
	broken    bool // a quote is not closed

	token token
	from  int // where it begins
	mark  byte
	text  []byte // of a name, a string without its quotes, or a word as it stands
	lower [maxWord]byte
	word  []byte // text in lower case; of lower
}

// run reads all statements.
func (s *scanner) run() {
	s.next()
	for n := 0; s.token != tokenEnd; {
		if s.token == tokenMark && (s.mark == ';' || s.mark == '(') {
			s.next()
			continue
		}
		if n++; n > 1 {
			s.j.traits |= several
		}
		s.statement()
		if n > 1 {
			s.j.traits &^= schemaless
		}
		if s.sets < n {
			s.j.traits &^= setsOnly
		}
	}
}

// next reads one token.
func (s *scanner) next() {
	s.skipSpace()
	s.text, s.word = nil, nil
	if s.from = s.at; s.at >= len(s.b) {
		s.token = tokenEnd
		return
	}
	switch c := s.b[s.at]; {
	case s.isWord(c):
		s.token = tokenWord
		s.readWord()
	case c == '\'' || c == '"':
		s.token = tokenString
		s.readQuoted(c)
	case c == '`':
		s.token = tokenName
		s.readQuoted(c)
	case c == '@':
		s.readVar()
	default:
		if c == '[' { // in sql_mode MSSQL of MariaDB, what is up to the next ] is a name
			s.j.traits |= foreign
		}
		s.token, s.mark = tokenMark, c
		s.at++
	}
}

func (s *scanner) isWord(c byte) bool {
	switch c {
	case 0xa0:
		s.sawBlank = true
		return !s.blank
	case 0xff: // a blank in cp852, cp866 and keybcs2
		s.j.traits |= oddBytes
	}
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

func (s *scanner) readWord() {
	from := s.at
	for s.at < len(s.b) && s.isWord(s.b[s.at]) {
		s.at++
	}
	s.noteHalf(from)
	if s.b[from] == '$' { // what stands between two of $tag$ MySQL may take for a string
		s.j.traits |= foreign
	}
	s.setWord(s.b[from:s.at])
}

// noteHalf notes whether what follows the word that begins at from may be the second half of a
// character: 0x40 to 0x7e are in big5, gbk and sjis.
func (s *scanner) noteHalf(from int) {
	if s.at > from && s.b[s.at-1] >= 0x80 && s.at < len(s.b) && s.b[s.at] >= '@' && s.b[s.at] <= '~' {
		s.j.traits |= oddBytes
	}
}

func (s *scanner) setWord(text []byte) {
	s.text = text
	n := copy(s.lower[:], text)
	for i := range n {
		if c := s.lower[i]; c >= 'A' && c <= 'Z' {
			s.lower[i] = c + 'a' - 'A'
		}
	}
	s.word = s.lower[:n]
}

// readQuoted reads to the closing quote. A doubled quote ends one part and begins
// the next, which comes to the same.
func (s *scanner) readQuoted(quote byte) {
	s.at++
	from := s.at
	for s.at < len(s.b) && s.b[s.at] != quote {
		if s.b[s.at] == '\\' && s.at > from && s.b[s.at-1] >= 0x80 {
			s.j.traits |= oddBytes
		}
		if s.b[s.at] == '\\' && quote != '`' {
			s.sawEscape = true
			if s.escapes && (quote == '\'' || !s.plain) {
				s.at++
			}
		}
		s.at++
	}
	s.at = min(s.at, len(s.b))
	if quote == '`' && s.at > from && s.b[s.at-1] >= 0x80 {
		s.j.traits |= oddBytes
	}
	s.broken = s.broken || s.at == len(s.b)
	s.text = s.b[from:s.at]
	s.at = min(s.at+1, len(s.b))
}

func (s *scanner) readVar() {
	s.at++
	s.token = tokenVar
	if s.at < len(s.b) && s.b[s.at] == '@' {
		s.at++
		s.token = tokenSysVar
	}
	s.readVarPart()
	for s.token == tokenSysVar && len(s.text) > 0 && s.readDot() {
		name := append(bytes.TrimSuffix(bytes.Clone(s.text), []byte(".")), '.')
		if s.readVarPart(); len(s.text) == 0 {
			return
		}
		s.setWord(append(name, s.text...))
	}
}

// readVarPart reads a name of a variable, or the part of it up to a quote or a space.
func (s *scanner) readVarPart() {
	if s.at < len(s.b) && (s.b[s.at] == '`' || s.b[s.at] == '\'' || s.b[s.at] == '"') {
		s.readQuoted(s.b[s.at])
		s.setWord(s.text)
		return
	}
	from := s.at
	for s.at < len(s.b) && (s.isWord(s.b[s.at]) || s.b[s.at] == '.') {
		s.at++
	}
	s.noteHalf(from)
	s.setWord(s.b[from:s.at])
}

// readDot goes on to what is behind the dot of a system variable's name, around which space and comments
// may be, and reports whether there is one.
func (s *scanner) readDot() bool {
	at, code := s.at, s.code
	read := s.b[at-1] == '.'
	if s.peek() == '.' && !read {
		s.at++
		s.peek()
		return true
	}
	if !read {
		s.at, s.code = at, code
	}
	return read
}

// skipSpace goes on to the next token. The text of /*! and /*M! is code.
func (s *scanner) skipSpace() {
	for s.at < len(s.b) {
		rest := s.b[s.at:]
		switch c := rest[0]; {
		case c == ' ' || c >= '\t' && c <= '\r' || c == 0xa0 && s.blank:
			s.at++
		case c == '#':
			s.skipLine()
		case c == '-' && len(rest) > 1 && rest[1] == '-' && s.isComment(rest[2:]):
			s.skipLine()
		case c == '*' && s.code && len(rest) > 1 && rest[1] == '/':
			s.code = false
			s.at += 2
		case c == '/' && len(rest) > 1 && rest[1] == '*':
			s.skipComment(rest)
		default:
			return
		}
	}
}

// isComment reports whether two dashes begin a comment, which they do before a blank or a
// control character. Which bytes are those, but for the first ones of ASCII, depends on the
// character set.
func (s *scanner) isComment(behind []byte) bool {
	if len(behind) == 0 || behind[0] <= ' ' {
		return true
	}
	switch c := behind[0]; {
	case c == 0x7f:
		s.j.traits |= foreign
		return true
	case c >= 0x80:
		s.j.traits |= oddBytes
		return c == 0xa0 && s.blank
	}
	return false
}

func (s *scanner) skipLine() {
	for s.at < len(s.b) && s.b[s.at] != '\n' {
		s.at++
	}
}

func (s *scanner) skipComment(rest []byte) {
	s.at += 2
	n := 0
	switch {
	case len(rest) > 2 && rest[2] == '!':
		n = 1
	case len(rest) > 3 && rest[2] == 'M' && rest[3] == '!':
		n = 2
	}
	if s.sawCode = s.sawCode || n > 0; n > 0 && !s.comments { // with the number of a version perhaps
		s.code = true
		for s.at += n; s.at < len(s.b) && s.b[s.at] >= '0' && s.b[s.at] <= '9'; {
			s.at++
		}
		return
	}
	for s.at < len(s.b) {
		if s.b[s.at] == '*' && s.at+1 < len(s.b) && s.b[s.at+1] == '/' {
			s.at += 2
			return
		}
		s.at++
	}
}

// peek is the next byte that is not space, which ends up consumed; 0 at the end.
func (s *scanner) peek() byte {
	s.skipSpace()
	if s.at >= len(s.b) {
		return 0
	}
	return s.b[s.at]
}
