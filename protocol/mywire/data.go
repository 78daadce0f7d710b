package mywire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrShort is wrapped, with ErrProtocol, by errors that say that a packet ends
// before what it must have. Of a packet of which only a part has been read it
// says that there is more to read first.
var ErrShort = errors.New("packet ends early")

var errShort = fmt.Errorf("%w: %w", ErrProtocol, ErrShort)

// first bytes of length-encoded integers, and of NULL in their place (the
// manual's "Protocol::LengthEncodedInteger").
const (
	lenencNull = 0xfb
	lenenc2    = 0xfc
	lenenc3    = 0xfd
	lenenc8    = 0xfe
)

// AppendLenenc appends a length-encoded integer.
func AppendLenenc(dst []byte, n uint64) []byte {
	switch {
	case n < lenencNull:
		return append(dst, byte(n))
	case n < 1<<16:
		return binary.LittleEndian.AppendUint16(append(dst, lenenc2), uint16(n))
	case n < 1<<24:
		return append(dst, lenenc3, byte(n), byte(n>>8), byte(n>>16))
	}
	return binary.LittleEndian.AppendUint64(append(dst, lenenc8), n)
}

// AppendLenencString appends a length-encoded string.
func AppendLenencString[T ~string | ~[]byte](dst []byte, s T) []byte {
	return append(AppendLenenc(dst, uint64(len(s))), s...)
}

// Lenenc reads a length-encoded integer and returns what follows it. NULL in its
// place, and the byte 0xff, which begins none, are errors like a missing byte.
func Lenenc(b []byte) (n uint64, rest []byte, err error) {
	r := reader{b: b}
	n = r.lenenc()
	return n, r.b, r.err
}

// LenencString reads a length-encoded string, which is a part of b, and returns
// what follows it.
func LenencString(b []byte) (s, rest []byte, err error) {
	r := reader{b: b}
	s = r.lenencString()
	return s, r.b, r.err
}

// A reader takes a payload apart. After the first thing that is not there every
// other is zero, and err says so.
type reader struct {
	b   []byte
	err error
}

// fail makes everything that is still asked for zero.
func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// take is the next n bytes, nil where they are not all there.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail(errShort)
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}

func (r *reader) uint8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) lenenc() uint64 {
	switch first := r.uint8(); first {
	case lenencNull, 0xff:
		r.fail(fmt.Errorf("%w: no length-encoded integer begins with 0x%02x", ErrProtocol, first))
		return 0
	case lenenc2:
		return uint64(r.uint16())
	case lenenc3:
		b := r.take(3)
		if b == nil {
			return 0
		}
		return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16
	case lenenc8:
		b := r.take(8)
		if b == nil {
			return 0
		}
		return binary.LittleEndian.Uint64(b)
	default:
		return uint64(first)
	}
}

func (r *reader) lenencString() []byte {
	n := r.lenenc()
	if r.err == nil && n > uint64(len(r.b)) {
		r.fail(errShort)
	}
	if r.err != nil {
		return nil
	}
	return r.take(int(n))
}

// cstring is what comes before the next zero byte.
func (r *reader) cstring() []byte {
	i := bytes.IndexByte(r.b, 0)
	if i < 0 {
		r.fail(errShort)
		return nil
	}
	s := r.take(i)
	r.take(1)
	return s
}

// lastString is a string that ends with a zero byte, or with the packet.
func (r *reader) lastString() []byte {
	if bytes.IndexByte(r.b, 0) < 0 {
		return r.rest()
	}
	return r.cstring()
}

// rest is everything that is left.
func (r *reader) rest() []byte { return r.take(len(r.b)) }
