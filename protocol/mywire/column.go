package mywire

import (
	"encoding/binary"
	"fmt"
)

// A Column is the definition of a result's column, or of a statement's parameter
// (the manual's "Protocol::ColumnDefinition41"). Its byte strings are parts of the
// payload that it was read from.
type Column struct {
	Catalog, Schema, Table, OrgTable, Name, OrgName []byte
	Collation                                       uint16 // id of the collation, which names the character set
	Length                                          uint32
	Type                                            Type
	Flags                                           uint16
	Decimals                                        byte
	Default                                         []byte // only in the answer to COM_FIELD_LIST, as it was sent; else nil
}

// columnFixed is the length in bytes of what a definition holds behind its strings.
const columnFixed = 12

// ParseColumn reads the payload of a column's definition.
func ParseColumn(payload []byte) (Column, error) {
	r := reader{b: payload}
	c := Column{
		Catalog: r.lenencString(), Schema: r.lenencString(), Table: r.lenencString(),
		OrgTable: r.lenencString(), Name: r.lenencString(), OrgName: r.lenencString(),
	}
	if n := r.lenenc(); r.err == nil && n != columnFixed {
		r.fail(fmt.Errorf("%w: a column's definition has %d bytes of fixed length", ErrProtocol, n))
	}
	c.Collation, c.Length, c.Type, c.Flags, c.Decimals = r.uint16(), r.uint32(), Type(r.uint8()), r.uint16(), r.uint8()
	r.take(2)
	if r.err == nil && len(r.b) > 0 {
		c.Default = r.rest()
	}
	return c, r.err
}

// Append appends the payload of the definition.
func (c *Column) Append(dst []byte) []byte {
	for _, s := range [][]byte{c.Catalog, c.Schema, c.Table, c.OrgTable, c.Name, c.OrgName} {
		dst = AppendLenencString(dst, s)
	}
	dst = binary.LittleEndian.AppendUint16(append(dst, columnFixed), c.Collation)
	dst = binary.LittleEndian.AppendUint32(dst, c.Length)
	dst = binary.LittleEndian.AppendUint16(append(dst, byte(c.Type)), c.Flags)
	return append(append(dst, c.Decimals, 0, 0), c.Default...)
}

// A Type is that of a column or a parameter (enum_field_types,
// include/field_types.h).
type Type byte

// The types.
const (
	TypeDecimal    Type = 0x00
	TypeTiny       Type = 0x01
	TypeShort      Type = 0x02
	TypeLong       Type = 0x03
	TypeFloat      Type = 0x04
	TypeDouble     Type = 0x05
	TypeNull       Type = 0x06
	TypeTimestamp  Type = 0x07
	TypeLongLong   Type = 0x08
	TypeInt24      Type = 0x09
	TypeDate       Type = 0x0a
	TypeTime       Type = 0x0b
	TypeDateTime   Type = 0x0c
	TypeYear       Type = 0x0d
	TypeVarchar    Type = 0x0f
	TypeBit        Type = 0x10
	TypeVector     Type = 0xf2
	TypeJSON       Type = 0xf5
	TypeNewDecimal Type = 0xf6
	TypeEnum       Type = 0xf7
	TypeSet        Type = 0xf8
	TypeTinyBlob   Type = 0xf9
	TypeMediumBlob Type = 0xfa
	TypeLongBlob   Type = 0xfb
	TypeBlob       Type = 0xfc
	TypeVarString  Type = 0xfd
	TypeString     Type = 0xfe
	TypeGeometry   Type = 0xff
)

// value reads one value of a type in the binary protocol and returns it as it is
// on the wire, its length included.
func (r *reader) value(t Type) []byte {
	before := r.b
	switch t {
	case TypeNull:
	case TypeTiny:
		r.take(1)
	case TypeShort, TypeYear:
		r.take(2)
	case TypeLong, TypeInt24, TypeFloat:
		r.take(4)
	case TypeLongLong, TypeDouble:
		r.take(8)
	case TypeDate, TypeTime, TypeDateTime, TypeTimestamp:
		r.take(int(r.uint8()))
	default:
		r.lenencString()
	}
	if r.err != nil {
		return nil
	}
	return before[:len(before)-len(r.b)]
}
