package mywire

import (
	"errors"
	"fmt"
	"io"
)

// HeaderSize is the size in bytes of a packet's header: three of length and one
// of sequence number (the manual's "MySQL Packets").
const HeaderSize = 4

// MaxPayload is the largest payload of one packet in bytes. A payload of exactly
// this length goes on in the next packet, which may be empty.
const MaxPayload = 1<<24 - 1

// ErrProtocol is wrapped by every error that says the peer broke the protocol.
var ErrProtocol = errors.New("protocol violation")

// errTooLong is of a packet that is longer than there is leave for.
var errTooLong = fmt.Errorf("%w: packet is too long", ErrProtocol)

// Header reads the length of a packet's payload in bytes and its sequence number
// from b, which holds at least HeaderSize bytes.
func Header(b []byte) (payload int, seq byte) {
	_ = b[3]
	return int(b[0]) | int(b[1])<<8 | int(b[2])<<16, b[3]
}

// AppendHeader appends the header of a packet. payload is at most MaxPayload.
func AppendHeader(dst []byte, payload int, seq byte) []byte {
	return append(dst, byte(payload), byte(payload>>8), byte(payload>>16), seq)
}

// AppendPacket appends payload as one packet, or as several where it has
// MaxPayload bytes or more, the first of which bears seq. It returns the sequence
// number that comes after the last.
func AppendPacket(dst []byte, seq byte, payload []byte) ([]byte, byte) {
	for {
		n := min(len(payload), MaxPayload)
		dst = append(AppendHeader(dst, n, seq), payload[:n]...)
		payload = payload[n:]
		seq++ // wraps at 256, as the protocol has it
		if n < MaxPayload {
			return dst, seq
		}
	}
}

// BeginPacket appends a header whose length EndPacket fills in, for a payload
// that is appended in between and stays below MaxPayload. It returns where the
// packet begins.
func BeginPacket(dst []byte, seq byte) (out []byte, start int) {
	return AppendHeader(dst, 0, seq), len(dst)
}

// EndPacket sets the length of the packet that begins at start and ends with b.
func EndPacket(b []byte, start int) []byte {
	n := len(b) - start - HeaderSize
	b[start], b[start+1], b[start+2] = byte(n), byte(n>>8), byte(n>>16)
	return b
}

// ReadPacket reads one packet of at most limit bytes, which is below MaxPayload,
// and no byte more. It is for what is rare: the handshake, and what the proxy
// itself asks. A longer packet is an error that wraps ErrProtocol.
func ReadPacket(r io.Reader, limit int) (payload []byte, seq byte, err error) {
	var head [HeaderSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, 0, err
	}
	n, seq := Header(head[:])
	if n > limit {
		return nil, seq, errTooLong
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return payload, seq, err
}
