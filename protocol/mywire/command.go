package mywire

import "encoding/binary"

// The payloads of commands begin with the command's own byte; what is read here
// is what the manual's "Command Phase" says follows it.

// A ChangeUser is the payload of COM_CHANGE_USER.
type ChangeUser struct {
	User, Schema string
	Auth         []byte // the answer to the challenge of the greeting
	Collation    uint16 // 0: not given
	Plugin       string // empty: not given
	Attributes   []Attribute
}

// ParseChangeUser reads the payload of COM_CHANGE_USER.
func ParseChangeUser(payload []byte, caps Capabilities) (*ChangeUser, error) {
	r := reader{b: payload}
	r.uint8()
	c := &ChangeUser{User: string(r.cstring())}
	if caps.Has(CapSecureConnection) {
		c.Auth = r.take(int(r.uint8()))
	} else {
		c.Auth = r.cstring()
	}
	c.Schema = string(r.lastString())
	if r.err != nil || len(r.b) == 0 {
		return c, r.err
	}
	c.Collation = r.uint16()
	if caps.Has(CapPluginAuth) && len(r.b) > 0 {
		c.Plugin = string(r.lastString())
	}
	if caps.Has(CapConnectAttrs) && len(r.b) > 0 {
		c.Attributes = r.attributes()
	}
	return c, r.err
}

// Append appends the payload of COM_CHANGE_USER, command byte included, for a
// server that caps were agreed on with, among them CapProtocol41 and
// CapSecureConnection. Auth has at most 255 bytes.
func (c *ChangeUser) Append(dst []byte, caps Capabilities) []byte {
	dst = append(append(append(dst, byte(ComChangeUser)), c.User...), 0)
	dst = append(append(dst, byte(len(c.Auth))), c.Auth...)
	dst = append(append(dst, c.Schema...), 0)
	dst = binary.LittleEndian.AppendUint16(dst, c.Collation)
	if caps.Has(CapPluginAuth) {
		dst = append(append(dst, c.Plugin...), 0)
	}
	if caps.Has(CapConnectAttrs) {
		dst = appendAttributes(dst, c.Attributes)
	}
	return dst
}

// ParseFieldList reads the payload of COM_FIELD_LIST: a table, and a pattern of
// its columns' names.
func ParseFieldList(payload []byte) (table, pattern []byte, err error) {
	r := reader{b: payload}
	r.uint8()
	table = r.cstring()
	pattern = r.rest()
	return table, pattern, r.err
}

// ParseProcessKill reads the payload of COM_PROCESS_KILL: a connection's id.
func ParseProcessKill(payload []byte) (id uint32, err error) {
	r := reader{b: payload}
	r.uint8()
	id = r.uint32()
	return id, r.err
}

// The options of COM_SET_OPTION (enum_mysql_set_option).
const (
	OptionMultiStatementsOn  = 0
	OptionMultiStatementsOff = 1
)

// ParseSetOption reads the payload of COM_SET_OPTION.
func ParseSetOption(payload []byte) (option uint16, err error) {
	r := reader{b: payload}
	r.uint8()
	option = r.uint16()
	return option, r.err
}

// ParseQuery reads the payload of COM_QUERY, as far as it goes: it may be cut
// short. sql is its text; attributes is what comes before that, in whole, where
// CapQueryAttributes was agreed on. An error that wraps ErrShort may be due to the
// cut, in which case the attributes are not all there.
func ParseQuery(payload []byte, caps Capabilities) (sql []byte, attributes []byte, err error) {
	r := reader{b: payload}
	r.uint8()
	if caps.Has(CapQueryAttributes) {
		before := r.b
		r.queryAttributes()
		if r.err != nil {
			return nil, nil, r.err
		}
		attributes = before[:len(before)-len(r.b)]
	}
	sql = r.rest()
	return sql, attributes, r.err
}

// NoAttributes is what stands before the text of COM_QUERY where
// CapQueryAttributes was agreed on and there are no attributes: a number of
// parameters, and of sets of them, which is always 1.
var NoAttributes = []byte{0, 1}

// maxParams is the most parameters that a statement can have (UINT_MAX16 in
// sql/sql_prepare.cc). Attributes count like parameters.
const maxParams = 1<<16 - 1

func (r *reader) queryAttributes() {
	n := r.lenenc()
	if sets := r.lenenc(); r.err == nil && (n > maxParams || sets != 1) {
		r.fail(errTooLong)
	}
	if n == 0 || r.err != nil {
		return
	}
	nulls := r.take(int(n+7) / 8)
	bound := r.uint8()
	types := make([]Type, 0, min(int(n), len(r.b)/3))
	for i := 0; i < int(n) && r.err == nil && bound == 1; i++ {
		types = append(types, Type(r.uint16()))
		r.lenencString()
	}
	for i := 0; i < len(types) && r.err == nil; i++ {
		if nulls[i/8]&(1<<(i%8)) == 0 {
			r.value(types[i])
		}
	}
}
