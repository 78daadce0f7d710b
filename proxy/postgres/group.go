package postgres

import (
	"bytes"
	"encoding/binary"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

// A group is one statement with all that a driver asks of it, whole in the read
// buffer: a simple Query, or Parse, Bind, Describe, Execute and Sync, of which Parse
// and Describe may be missing. The Describe is of the portal, or of the statement where
// it comes right behind a Parse. Its slices are of the read buffer.
type group struct {
	size     int // bytes of all its messages
	simple   bool
	parse    bool   // it has a Parse
	bound    bool   // its Bind has come
	describe bool   // it has a Describe of the portal
	about    bool   // it has one of the statement
	name     []byte // of the statement
	body     []byte // of its Parse: text, zero byte, types of parameters
	text     []byte
	types    []byte // OIDs of parameters, four bytes each
	bind     []byte // of Bind: formats, parameters, formats of results
}

// next cuts one whole message off b.
func next(b []byte) (typ byte, body, rest []byte, ok bool) {
	if len(b) < pgwire.HeaderSize {
		return 0, nil, nil, false
	}
	typ, n, err := pgwire.Header(b)
	if err != nil || len(b) < pgwire.HeaderSize+n {
		return 0, nil, nil, false
	}
	return typ, b[pgwire.HeaderSize : pgwire.HeaderSize+n], b[pgwire.HeaderSize+n:], true
}

// A reading says what bytes of a driver are to a group.
type reading uint8

const (
	noGroup   reading = iota // no group that could be answered from the cache
	partGroup                // what may yet become one
	oneGroup                 // one, and whatever comes behind it
)

// readGroup reads the group that b starts with. Where there is none the messages are
// taken one by one, which says what is wrong with them if anything is. Of a part it
// returns what has come.
func readGroup(b []byte) (g group, r reading) {
	if b[0] == pgwire.MsgQuery {
		_, body, rest, ok := next(b)
		if !ok {
			return g, noGroup
		}
		text, more, ok := pgwire.CString(body)
		g.simple, g.describe, g.text, g.size = true, true, text, len(b)-len(rest)
		if !ok || len(more) > 0 {
			return g, noGroup
		}
		return g, oneGroup
	}
	g, rest, r := readExecute(b)
	if r != oneGroup {
		return g, r
	}
	if len(rest) > 0 && rest[0] != pgwire.MsgSync {
		return g, noGroup
	}
	_, body, behind, ok := next(rest)
	switch {
	case !ok:
		return g, unfinished(rest)
	case len(body) != 0:
		return g, noGroup
	}
	rest = behind
	g.size = len(b) - len(rest)
	return g, oneGroup
}

// readExecute reads what b starts with, from a Parse or a Bind to the Execute, and
// returns what comes behind it.
func readExecute(b []byte) (g group, rest []byte, r reading) {
	for before := byte(0); ; {
		if len(b) == 0 {
			return g, nil, partGroup
		}
		typ := b[0]
		if !follows(before, typ) {
			return g, nil, noGroup
		}
		_, body, rest, ok := next(b)
		if !ok {
			return g, nil, unfinished(b)
		}
		if !g.take(before, typ, body) {
			return g, nil, noGroup
		}
		if typ == pgwire.MsgExecute {
			return g, rest, oneGroup
		}
		before, b = typ, rest
	}
}

// follows reports whether a message belongs behind another one of a group, 0 for none.
func follows(before, typ byte) bool {
	switch typ {
	case pgwire.MsgParse:
		return before == 0
	case pgwire.MsgBind:
		return before == 0 || before == pgwire.MsgParse || before == pgwire.MsgDescribe // of the statement: see take
	case pgwire.MsgDescribe:
		return before == pgwire.MsgBind || before == pgwire.MsgParse
	case pgwire.MsgExecute:
		return before == pgwire.MsgBind || before == pgwire.MsgDescribe
	}
	return false
}

// unfinished is what b is, a message that next cannot cut off.
func unfinished(b []byte) reading {
	if len(b) >= pgwire.HeaderSize {
		if _, _, err := pgwire.Header(b); err != nil {
			return noGroup
		}
	}
	return partGroup
}

// take takes one message of a group, behind another one. It reports false where it is
// not as it should be.
func (g *group) take(before, typ byte, body []byte) (ok bool) {
	switch typ {
	case pgwire.MsgParse:
		g.parse = true
		g.name, g.body, ok = pgwire.CString(body)
		return ok && g.setBody(g.body)
	case pgwire.MsgBind:
		bound := g.bound
		g.bound = true
		return !bound && g.takeBind(body)
	case pgwire.MsgDescribe:
		if before == pgwire.MsgParse {
			g.about = true
			name, rest, ok := pgwire.CString(body)
			return ok && len(rest) == 0 && len(name) > 0 && name[0] == 'S' && bytes.Equal(name[1:], g.name)
		}
		g.describe = true
		return !g.about && string(body) == "P\x00"
	default: // Execute of the unnamed portal, all rows
		return g.bound && string(body) == "\x00\x00\x00\x00\x00"
	}
}

// bare reports whether a group has no parameters.
func (g *group) bare() bool {
	_, ok := g.bareResults()
	return ok
}

// bareResults are the formats of the results of a group without parameters.
func (g *group) bareResults() (results []byte, ok bool) {
	n := 0
	results, ok = g.parameters(func(int, uint16, []byte) { n++ })
	return results, ok && n == 0 && len(g.types) == 0
}

// plain reports whether a group asks for what a simple query does.
func (g *group) plain() bool {
	results, ok := g.bareResults()
	return ok && allText(results)
}

// blind reports whether a group asks for rows of a new statement without their description.
func (g *group) blind() bool { return g.parse && !g.describe && !g.about }

// setBody takes the body of a Parse apart.
func (g *group) setBody(body []byte) bool {
	text, types, ok := pgwire.CString(body)
	if !ok || len(types) < 2 || len(types) != 2+4*int(binary.BigEndian.Uint16(types)) {
		return false
	}
	g.body, g.text, g.types = body, text, types[2:]
	return true
}

func (g *group) takeBind(body []byte) bool {
	portal, rest, ok := pgwire.CString(body)
	if !ok || len(portal) > 0 {
		return false
	}
	name, rest, ok := pgwire.CString(rest)
	if !ok || g.parse && !bytes.Equal(name, g.name) {
		return false
	}
	g.name, g.bind = name, rest
	return true
}

// parameters goes through the parameters of a Bind and returns its formats of
// results, two bytes each. It reports false where the Bind is not as it should be.
func (g *group) parameters(do func(i int, format uint16, value []byte)) (results []byte, ok bool) {
	formats, rest, ok := codes(g.bind)
	if !ok || len(rest) < 2 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(rest))
	rest = rest[2:]
	if given := len(formats) / 2; given > 1 && given != n {
		return nil, false
	}
	for i := range n {
		if len(rest) < 4 {
			return nil, false
		}
		size := int(int32(binary.BigEndian.Uint32(rest)))
		rest = rest[4:]
		if size > len(rest) || size < -1 {
			return nil, false
		}
		format := uint16(0)
		switch len(formats) {
		case 0:
		case 2:
			format = binary.BigEndian.Uint16(formats)
		default:
			format = binary.BigEndian.Uint16(formats[2*i:])
		}
		if size < 0 {
			do(i, format, nil)
			continue
		}
		do(i, format, rest[:size:size])
		rest = rest[size:]
	}
	results, rest, ok = codes(rest)
	return results, ok && len(rest) == 0
}

// codes reads a list of format codes.
func codes(b []byte) (list, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := 2 * int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}
