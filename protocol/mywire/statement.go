package mywire

import (
	"encoding/binary"
	"fmt"
)

// A Prepared is the first packet of the answer to COM_STMT_PREPARE.
type Prepared struct {
	ID       uint32
	Columns  uint16
	Params   uint16
	Warnings uint16
}

// PreparedSize is the length in bytes of the packet that a server sends of it.
const PreparedSize = 12

// ParsePrepared reads the payload of the packet.
func ParsePrepared(payload []byte) (Prepared, error) {
	r := reader{b: payload}
	if header := r.uint8(); r.err == nil && header != HeaderOK {
		r.fail(fmt.Errorf("%w: the answer to COM_STMT_PREPARE begins with 0x%02x", ErrProtocol, header))
	}
	p := Prepared{ID: r.uint32(), Columns: r.uint16(), Params: r.uint16()}
	if r.uint8(); r.err == nil && len(r.b) > 0 { // servers before MySQL 5.0 send no more
		p.Warnings = r.uint16()
	}
	return p, r.err
}

// Append appends the payload of the packet.
func (p Prepared) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(append(dst, HeaderOK), p.ID)
	dst = binary.LittleEndian.AppendUint16(dst, p.Columns)
	dst = binary.LittleEndian.AppendUint16(dst, p.Params)
	return binary.LittleEndian.AppendUint16(append(dst, 0), p.Warnings)
}

// StatementID reads the id of a statement, with which the payloads of
// COM_STMT_EXECUTE, _SEND_LONG_DATA, _CLOSE, _RESET and _FETCH begin.
func StatementID(payload []byte) (uint32, error) {
	r := reader{b: payload}
	r.uint8()
	id := r.uint32()
	return id, r.err
}

// SetStatementID puts another id into a payload that StatementID has read.
func SetStatementID(payload []byte, id uint32) { binary.LittleEndian.PutUint32(payload[1:], id) }

// ParseFetch reads the payload of COM_STMT_FETCH: a statement, and how many rows.
func ParseFetch(payload []byte) (id, rows uint32, err error) {
	r := reader{b: payload}
	r.uint8()
	id, rows = r.uint32(), r.uint32()
	return id, rows, r.err
}

// LongDataHead is the length in bytes of what the payload of
// COM_STMT_SEND_LONG_DATA holds before the data.
const LongDataHead = 1 + 4 + 2

// ParseLongData reads the head of the payload of COM_STMT_SEND_LONG_DATA: a
// statement, and the number of one of its parameters, counted from 0.
func ParseLongData(payload []byte) (id uint32, param uint16, err error) {
	r := reader{b: payload}
	r.uint8()
	id, param = r.uint32(), r.uint16()
	return id, param, r.err
}

// Flags of COM_STMT_EXECUTE (enum_cursor_type).
const (
	CursorReadOnly   = 1
	CursorForUpdate  = 2
	CursorScrollable = 4
	ParamsCounted    = 8 // with CapQueryAttributes: the number of parameters is given also where a statement has none
)

// An Execute is the head of the payload of COM_STMT_EXECUTE, all but the values of
// the parameters. Its byte strings are parts of the payload.
type Execute struct {
	ID    uint32
	Flags byte
	// Params is how many values there are: of parameters, then of attributes.
	Params int
	// Nulls has a bit for every value that is NULL and therefore not sent.
	Nulls []byte
	// Bound is whether the types are given. Where they are not, those of the
	// statement's last execution are meant.
	Bound bool
	// Types are two bytes for each value, or, where CapQueryAttributes was agreed
	// on, two bytes and a length-encoded name.
	Types []byte
	// Values is where in the payload the values begin.
	Values int
}

// ParseExecute reads the payload of COM_STMT_EXECUTE of a statement that has
// params parameters, as far as it goes: it may be cut short. An error that wraps
// ErrShort may be due to the cut.
func ParseExecute(payload []byte, params int, caps Capabilities) (Execute, error) {
	r := reader{b: payload}
	r.uint8()
	e := Execute{ID: r.uint32(), Flags: r.uint8(), Params: params}
	r.uint32() // how many times: once
	named := caps.Has(CapQueryAttributes)
	if named && (params > 0 || e.Flags&ParamsCounted != 0) {
		n := r.lenenc()
		if r.err == nil && (n < uint64(params) || n > maxParams) {
			r.fail(fmt.Errorf("%w: %d values for %d parameters", ErrProtocol, n, params))
		}
		e.Params = int(n)
	}
	if r.err == nil && e.Params > 0 {
		e.Nulls = r.take((e.Params + 7) / 8)
		e.Bound = r.uint8() == 1
		if e.Bound {
			e.Types = r.types(e.Params, named)
		}
	}
	e.Values = len(payload) - len(r.b)
	return e, r.err
}

// types is the block of n types, with names where there are any.
func (r *reader) types(n int, named bool) []byte {
	before := r.b
	if !named {
		return r.take(2 * n)
	}
	for i := 0; i < n && r.err == nil; i++ {
		r.uint16()
		r.lenencString()
	}
	if r.err != nil {
		return nil
	}
	return before[:len(before)-len(r.b)]
}

// Append appends the head of the payload, command byte included, for a server
// that caps were agreed on with; the values are to follow. named says whether
// Types holds names. Attributes, which a server without CapQueryAttributes does
// not take, must be gone: see WithoutAttributes.
func (e *Execute) Append(dst []byte, named bool, caps Capabilities) []byte {
	attributes := caps.Has(CapQueryAttributes)
	flags := e.Flags
	if !attributes {
		flags &^= ParamsCounted
	}
	dst = binary.LittleEndian.AppendUint32(append(dst, byte(ComStmtExecute)), e.ID)
	dst = binary.LittleEndian.AppendUint32(append(dst, flags), 1)
	if attributes && (e.Params > 0 || flags&ParamsCounted != 0) {
		dst = AppendLenenc(dst, uint64(e.Params))
	}
	if e.Params == 0 {
		return dst
	}
	dst = append(dst, e.Nulls...)
	if !e.Bound {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	if named == attributes {
		return append(dst, e.Types...)
	}
	r := reader{b: e.Types}
	for range e.Params {
		dst = append(dst, r.take(2)...)
		if named {
			r.lenencString()
		} else {
			dst = append(dst, 0)
		}
	}
	return dst
}

// WithoutAttributes takes the attributes off an Execute of a statement with params
// parameters, and returns the values that are left. It needs the whole payload,
// and the types, which may be those of an earlier execution. sent says of which
// parameters the values came by COM_STMT_SEND_LONG_DATA instead.
func (e *Execute) WithoutAttributes(payload []byte, params int, sent func(param int) bool) (values []byte, err error) {
	if params > e.Params || e.Values > len(payload) {
		return nil, errShort
	}
	types := reader{b: e.Types}
	r := reader{b: payload[e.Values:]}
	for i := 0; i < params && r.err == nil; i++ {
		t := Type(types.uint16())
		types.lenencString()
		if e.Nulls[i/8]&(1<<(i%8)) == 0 && !sent(i) {
			r.value(t)
		}
	}
	if r.err != nil || types.err != nil {
		return nil, errShort
	}
	e.Types = e.Types[:len(e.Types)-len(types.b)]
	e.Params, e.Nulls = params, e.Nulls[:(params+7)/8]
	return payload[e.Values : len(payload)-len(r.b)], nil
}
