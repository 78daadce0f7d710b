package postgres

import (
	"bytes"
	"encoding/binary"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

// A group is one statement with all that a driver asks of it, whole in the read
// buffer: a simple Query, or Parse, Bind, Describe, Execute and Sync, of which Parse
// and Describe may be missing. Its slices are of the read buffer.
type group struct {
	size     int // bytes of all its messages
	simple   bool
	parse    bool   // it has a Parse
	describe bool   // it has a Describe of the portal
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

// readGroup reads the group that b starts with. It reports false where there is
// none that could be answered from the cache: the messages are then taken one by
// one, which says what is wrong with them if anything is.
func readGroup(b []byte) (g group, ok bool) {
	typ, body, rest, ok := next(b)
	if !ok {
		return g, false
	}
	if typ == pgwire.MsgQuery {
		text, more, ok := pgwire.CString(body)
		g.simple, g.describe, g.text, g.size = true, true, text, len(b)-len(rest)
		return g, ok && len(more) == 0
	}
	if g, rest, ok = readExecute(b); !ok {
		return g, false
	}
	if typ, body, rest, ok = next(rest); !ok || typ != pgwire.MsgSync || len(body) != 0 {
		return g, false
	}
	g.size = len(b) - len(rest)
	return g, true
}

// readExecute reads what b starts with, from a Parse or a Bind to the Execute, and
// returns what comes behind it.
func readExecute(b []byte) (g group, rest []byte, ok bool) {
	typ, body, rest, ok := next(b)
	if ok && typ == pgwire.MsgParse {
		g.parse = true
		if g.name, g.body, ok = pgwire.CString(body); !ok || !g.setBody(g.body) {
			return g, nil, false
		}
		typ, body, rest, ok = next(rest)
	}
	if !ok || typ != pgwire.MsgBind || !g.takeBind(body) {
		return g, nil, false
	}
	if typ, body, rest, ok = next(rest); ok && typ == pgwire.MsgDescribe && string(body) == "P\x00" {
		g.describe = true
		typ, body, rest, ok = next(rest)
	}
	// Of the unnamed portal, all rows.
	return g, rest, ok && typ == pgwire.MsgExecute && string(body) == "\x00\x00\x00\x00\x00"
}

// bare reports whether a group has no parameters.
func (g *group) bare() bool {
	n := 0
	_, ok := g.parameters(func(int, uint16, []byte) { n++ })
	return ok && n == 0 && len(g.types) == 0
}

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
