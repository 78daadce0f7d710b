package mysql

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// maxOwn is the longest text in bytes that is looked at for being one that the
// proxy answers.
const maxOwn = 128

// own answers a text from what is known of the client, where that is what it
// asks for. It reports whether it did.
func (c *client) own(sql []byte) (bool, error) {
	s := newScanner(sql)
	defer s.free()
	switch s.next(); string(s.word) {
	case "kill":
		return c.ownKill(s)
	case "show":
		if c.origin != nil && !c.lease.asked {
			return false, nil
		}
		return c.ownShow(s)
	case "select":
		return c.ownSelect(s)
	case "commit", "rollback":
		for s.next(); s.token == tokenMark && s.mark == ';'; {
			s.next()
		}
		if !c.idle() || s.token != tokenEnd {
			return false, nil
		}
		c.affected, c.warned = 0, nil
		return true, c.answerOK()
	}
	return false, nil
}

// idle reports whether the client, for certain, has no transaction that a COMMIT
// or ROLLBACK would end.
func (c *client) idle() bool {
	chain, set := c.session.state.get("completion_type")
	return c.origin == nil && (!set || chain == "NO_CHAIN")
}

// ownShow answers SHOW WARNINGS and SHOW ERRORS, and the numbers of them.
func (c *client) ownShow(s *scanner) (bool, error) {
	what, columns := s.bareShow()
	switch what {
	case 0:
		return false, nil
	case countWarnings, countErrors:
		return true, c.answerNumber(string(columns[0].Name), what)
	}
	return true, c.answerWarnings(columns, c.warnings(what == showErrors))
}

// answerWarnings answers with warnings, which leaves FOUND_ROWS() as it is.
func (c *client) answerWarnings(columns []mywire.Column, rows [][]byte) error {
	found := c.found
	err := c.answerRows(columns, rows)
	c.found = found
	return err
}

// bareShow reads a text that is SHOW WARNINGS or SHOW ERRORS, or one of the numbers of them; what is 0 for others.
func bareShow(sql []byte) (what int, columns []mywire.Column) {
	if len(sql) >= maxOwn {
		return 0, nil
	}
	s := newScanner(sql)
	defer s.free()
	if s.next(); s.token != tokenWord || string(s.word) != "show" {
		return 0, nil
	}
	return s.bareShow()
}

// bareShow is the same, the scanner standing at the SHOW.
func (s *scanner) bareShow() (what int, columns []mywire.Column) {
	s.next()
	counts := s.token == tokenWord && string(s.word) == "count"
	if counts {
		for _, mark := range "(*)" {
			if s.next(); s.token != tokenMark || s.mark != byte(mark) {
				return 0, nil
			}
		}
		s.next()
	}
	word := string(s.word)
	if s.token != tokenWord || word != "warnings" && word != "errors" {
		return 0, nil
	}
	for s.next(); s.token == tokenMark && s.mark == ';'; {
		s.next()
	}
	if s.token != tokenEnd || s.broken {
		return 0, nil
	}
	if counts {
		what = countWarnings
		if word == "errors" {
			what = countErrors
		}
		return what, []mywire.Column{numberColumn("@@session."+strings.TrimSuffix(word, "s")+"_count", what)}
	}
	if what = showWarnings; word == "errors" {
		what = showErrors
	}
	return what, []mywire.Column{
		{Catalog: []byte("def"), Name: []byte("Level"), Collation: loginCharset, Length: 28, Type: mywire.TypeVarString, Flags: flagNotNull, Decimals: 31},
		{Catalog: []byte("def"), Name: []byte("Code"), Collation: charsetBinary, Length: 4, Type: mywire.TypeLong, Flags: flagNotNull | flagUnsigned | flagBinary},
		{Catalog: []byte("def"), Name: []byte("Message"), Collation: loginCharset, Length: 2048, Type: mywire.TypeVarString, Flags: flagNotNull, Decimals: 31},
	}
}

// Flags of columns (include/mysql_com.h), and the collation of numbers.
const (
	flagNotNull   = 1
	flagUnsigned  = 32
	flagBinary    = 128
	charsetBinary = 63
)

// warnings are the rows of SHOW WARNINGS, or of SHOW ERRORS.
func (c *client) warnings(errors bool) (rows [][]byte) {
	for b := c.warned; len(b) >= mywire.HeaderSize; {
		n, _ := mywire.Header(b)
		row := b[mywire.HeaderSize : mywire.HeaderSize+n]
		b = b[mywire.HeaderSize+n:]
		if level, _, err := mywire.LenencString(row); err == nil && (!errors || bytes.Equal(level, []byte("Error"))) {
			rows = append(rows, row)
		}
	}
	return rows
}

// ownSelect answers SELECT of one function of the session's, and of nothing else.
func (c *client) ownSelect(s *scanner) (bool, error) {
	what, label := s.bareFunction()
	if what == 0 || c.origin != nil && what != connectionID && (!c.lease.asked || what == lastInsertID) {
		return false, nil
	}
	return true, c.answerNumber(label, what)
}

// functionValue is what a function of the session's returns.
func (c *client) functionValue(what int) int64 {
	switch what {
	case connectionID:
		return int64(c.id)
	case lastInsertID:
		return int64(c.lastInsertID())
	case rowCount:
		return c.affected
	case countWarnings, countErrors:
		return int64(len(c.warnings(what == countErrors)))
	}
	return int64(c.found)
}

// bareFunction reads a text that is a SELECT of one function of the session's, and of
// nothing else; what is 0 for others.
func bareFunction(sql []byte) (what int, label string) {
	if len(sql) >= maxOwn {
		return 0, ""
	}
	s := newScanner(sql)
	defer s.free()
	if s.next(); s.token != tokenWord || string(s.word) != "select" {
		return 0, ""
	}
	return s.bareFunction()
}

// bareFunction is the same, the scanner standing at the SELECT.
func (s *scanner) bareFunction() (what int, label string) {
	s.next()
	what = sessionFunction(s)
	from := s.from
	switch {
	case what == 0:
		return 0, ""
	case s.token == tokenSysVar:
	default:
		for _, mark := range "()" {
			if s.next(); s.token != tokenMark || s.mark != byte(mark) {
				return 0, ""
			}
		}
	}
	label = string(bytes.TrimSpace(s.b[from:s.at]))
	if s.next(); s.token == tokenWord && string(s.word) == "as" {
		s.next()
	}
	if s.token == tokenWord || s.token == tokenName {
		label = string(s.text)
		s.next()
	}
	for s.token == tokenMark && s.mark == ';' {
		s.next()
	}
	if s.token != tokenEnd || s.broken {
		return 0, ""
	}
	return what, label
}

// Functions, and variables, of the session's, and what SHOW shows of it.
const (
	connectionID = 1 + iota
	lastInsertID
	rowCount
	foundRows
	showWarnings
	showErrors
	countWarnings
	countErrors
)

// sessionFunction is which of them the scanner stands at; 0 for none.
func sessionFunction(s *scanner) int {
	if s.token == tokenSysVar && !hasPrefix(s.word, "global") {
		switch string(trimScope(s.word)) {
		case "last_insert_id", "identity":
			return lastInsertID
		case "warning_count":
			return countWarnings
		case "error_count":
			return countErrors
		}
		return 0
	}
	if s.token != tokenWord {
		return 0
	}
	switch string(s.word) {
	case "connection_id":
		return connectionID
	case "last_insert_id":
		return lastInsertID
	case "row_count":
		return rowCount
	case "found_rows":
		return foundRows
	}
	return 0
}

// answerNumber answers with one row of one number.
func (c *client) answerNumber(label string, what int) error {
	n, column := c.functionValue(what), numberColumn(label, what)
	text := strconv.FormatInt(n, 10)
	if column.Flags&flagUnsigned != 0 {
		text = strconv.FormatUint(uint64(n), 10)
	}
	c.warned = nil
	return c.answerRows([]mywire.Column{column}, [][]byte{mywire.AppendLenencString(nil, text)})
}

func numberColumn(label string, what int) mywire.Column {
	column := mywire.Column{
		Catalog: []byte("def"), Name: []byte(label), Collation: charsetBinary, Length: 21, Type: mywire.TypeLongLong, Flags: flagNotNull | flagBinary,
	}
	switch what {
	case connectionID, lastInsertID:
		column.Flags |= flagUnsigned
	case countWarnings, countErrors:
		column.Flags = flagUnsigned | flagBinary
	}
	return column
}

// prepareOwn prepares what the proxy answers by itself, with these columns.
func (c *client) prepareOwn(text string, what int, columns []mywire.Column, whole bool) error {
	text = strings.Clone(text)
	if whole {
		if err := c.drop(); err != nil {
			return err
		}
	}
	var packets []byte
	for i := range columns {
		packets, _ = mywire.AppendPacket(packets, 0, columns[i].Append(nil))
	}
	s := c.db.statements.add(text, 0, c.session.state, judge([]byte(text)), metadata{columns: len(columns), packets: packets}, false)
	s.own = what
	return c.name(s)
}

// executeOwn executes one.
func (c *client) executeOwn(n *named) error {
	if n.own == showWarnings || n.own == showErrors {
		rows := c.warnings(n.own == showErrors)
		for i := range rows {
			rows[i] = binaryWarning(rows[i])
		}
		_, columns := bareShow([]byte(n.stmt.text))
		return c.answerWarnings(columns, rows)
	}
	column, err := mywire.ParseColumn(n.stmt.meta.packets[mywire.HeaderSize:])
	if err != nil {
		return err
	}
	row := binary.LittleEndian.AppendUint64([]byte{0, 0}, uint64(c.functionValue(n.own)))
	c.warned = nil
	return c.answerRows([]mywire.Column{column}, [][]byte{row})
}

// binaryWarning is a row of SHOW WARNINGS, of the text protocol, in the binary protocol: level, code, message.
func binaryWarning(text []byte) []byte {
	level, rest, err1 := mywire.LenencString(text)
	code, rest, err2 := mywire.LenencString(rest)
	number, err3 := strconv.ParseUint(string(code), 10, 32)
	if err1 != nil || err2 != nil || err3 != nil {
		return []byte{0, 1<<2 | 1<<3 | 1<<4} // a server that says something else says NULL to all of it
	}
	b := mywire.AppendLenencString([]byte{0, 0}, string(level))
	return append(binary.LittleEndian.AppendUint32(b, uint32(number)), rest...)
}

// answerRows answers with a result.
func (c *client) answerRows(columns []mywire.Column, rows [][]byte) error {
	if err := c.drop(); err != nil {
		return err
	}
	seq := c.lastSeq + 1
	put := func(payload func([]byte) []byte) {
		c.put(seq, payload)
		seq++
	}
	put(func(b []byte) []byte { return mywire.AppendLenenc(b, uint64(len(columns))) })
	for i := range columns {
		put(columns[i].Append)
	}
	if !c.caps.Has(mywire.CapDeprecateEOF) {
		put(mywire.EOF{Status: c.status}.Append)
	}
	for _, row := range rows {
		put(func(b []byte) []byte { return append(b, row...) })
	}
	put(func(b []byte) []byte { return c.appendEnd(b, &mywire.OK{EOF: true, Status: c.status}) })
	c.affected, c.found = -1, uint64(len(rows))
	return c.writeReplies()
}
