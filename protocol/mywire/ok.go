package mywire

import (
	"encoding/binary"
	"fmt"
)

// First bytes of packets that are no rows (the manual's "Generic Response Packets").
const (
	HeaderOK     = 0x00
	HeaderInfile = 0xfb
	HeaderEOF    = 0xfe // an OK packet in the place of EOF has it too
	HeaderErr    = 0xff
)

// eofSize is the size of an EOF packet's payload in bytes; one that begins with
// 0xfe and has at least maxEOF is a row with a long first column.
const (
	eofSize = 5
	maxEOF  = 9
)

// An OK is the packet that ends a command or, with CapDeprecateEOF, the rows of a
// result. Its byte strings are parts of the payload.
type OK struct {
	EOF          bool // it stands in the place of an EOF packet
	AffectedRows uint64
	LastInsertID uint64
	Status       Status
	Warnings     uint16
	Info         []byte // for people: how many records matched, say
	State        []byte // the session's state changes, for Changes
}

// ParseOK reads the payload of an OK packet, with 0x00 or 0xfe as its first byte,
// as it is sent where caps were agreed on.
func ParseOK(payload []byte, caps Capabilities) (OK, error) {
	r := reader{b: payload}
	header := r.uint8()
	if r.err == nil && header != HeaderOK && header != HeaderEOF {
		r.fail(fmt.Errorf("%w: an OK packet does not begin with 0x%02x", ErrProtocol, header))
	}
	ok := OK{EOF: header == HeaderEOF, AffectedRows: r.lenenc(), LastInsertID: r.lenenc(), Status: Status(r.uint16()), Warnings: r.uint16()}
	if r.err != nil || len(r.b) == 0 {
		return ok, r.err
	}
	if !caps.Has(CapSessionTrack) {
		// The manual says that the rest is the text; the servers put its length first.
		ok.Info = r.lenencString()
		return ok, r.err
	}
	ok.Info = r.lenencString()
	if ok.Status.Has(StatusStateChanged) {
		ok.State = r.lenencString()
	}
	return ok, r.err
}

// Append appends the payload of the OK packet for a peer that agreed on caps:
// without CapSessionTrack the state changes, and the flag for them, are left out.
func (ok *OK) Append(dst []byte, caps Capabilities) []byte {
	header := byte(HeaderOK)
	if ok.EOF {
		header = HeaderEOF
	}
	status := ok.Status
	track := caps.Has(CapSessionTrack) && status.Has(StatusStateChanged)
	if !track {
		status &^= StatusStateChanged
	}
	dst = AppendLenenc(append(dst, header), ok.AffectedRows)
	dst = AppendLenenc(dst, ok.LastInsertID)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(status))
	dst = binary.LittleEndian.AppendUint16(dst, ok.Warnings)
	if len(ok.Info) > 0 || track {
		dst = AppendLenencString(dst, ok.Info)
	}
	if track {
		dst = AppendLenencString(dst, ok.State)
	}
	return dst
}

// An EOF is the packet that ends columns, and rows without CapDeprecateEOF.
type EOF struct {
	Warnings uint16
	Status   Status
}

// ParseEOF reads the payload of an EOF packet.
func ParseEOF(payload []byte) (EOF, error) {
	if len(payload) != eofSize || payload[0] != HeaderEOF {
		return EOF{}, fmt.Errorf("%w: malformed EOF packet", ErrProtocol)
	}
	return EOF{Warnings: binary.LittleEndian.Uint16(payload[1:]), Status: Status(binary.LittleEndian.Uint16(payload[3:]))}, nil
}

// Append appends the payload of the EOF packet.
func (e EOF) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint16(append(dst, HeaderEOF), e.Warnings)
	return binary.LittleEndian.AppendUint16(dst, uint16(e.Status))
}
