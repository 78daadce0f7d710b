package mywire

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
)

func TestLenenc(t *testing.T) {
	for n, size := range map[uint64]int{0: 1, 250: 1, 251: 3, 65535: 3, 65536: 4, 1<<24 - 1: 4, 1 << 24: 9, math.MaxUint64: 9} {
		b := AppendLenenc(nil, n)
		got, rest, err := Lenenc(append(b, 'x'))
		if got != n || string(rest) != "x" || err != nil || len(b) != size {
			t.Errorf("%d: %x, got %d, %q, %v", n, b, got, rest, err)
		}
		if _, _, err := Lenenc(b[:len(b)-1]); !errors.Is(err, ErrShort) {
			t.Errorf("%d cut short: %v", n, err)
		}
	}
	for _, first := range []byte{0xfb, 0xff} {
		if _, _, err := Lenenc([]byte{first, 0, 0}); !errors.Is(err, ErrProtocol) || errors.Is(err, ErrShort) {
			t.Errorf("0x%02x: %v", first, err)
		}
	}
	for _, s := range []string{"", "a", strings.Repeat("x", 300), strings.Repeat("y", 70000)} {
		got, rest, err := LenencString(AppendLenencString(nil, s))
		if string(got) != s || len(rest) != 0 || err != nil {
			t.Errorf("%d bytes: got %d, %v", len(s), len(got), err)
		}
	}
	// A length that no memory has is no more than a string that is not there.
	if _, _, err := LenencString([]byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'x'}); !errors.Is(err, ErrShort) {
		t.Errorf("2^64-1 bytes: %v", err)
	}
}

// A payload of MaxPayload bytes goes on in an empty packet, and the sequence
// number wraps.
func TestAppendPacketSplits(t *testing.T) {
	for _, tt := range []struct {
		size    int
		seq     byte
		lengths []int
		next    byte
	}{
		{0, 0, []int{0}, 1},
		{5, 255, []int{5}, 0},
		{MaxPayload - 1, 3, []int{MaxPayload - 1}, 4},
		{MaxPayload, 254, []int{MaxPayload, 0}, 0},
		{MaxPayload + 1, 255, []int{MaxPayload, 1}, 1},
	} {
		b, next := AppendPacket(make([]byte, 0, tt.size+2*HeaderSize), tt.seq, make([]byte, tt.size))
		if next != tt.next {
			t.Errorf("%d bytes: next is %d", tt.size, next)
		}
		for i, want := range tt.lengths {
			n, seq := Header(b)
			if n != want || seq != tt.seq+byte(i) {
				t.Fatalf("%d bytes: packet %d has %d bytes and number %d", tt.size, i, n, seq)
			}
			b = b[HeaderSize+n:]
		}
		if len(b) != 0 {
			t.Errorf("%d bytes: %d too many", tt.size, len(b))
		}
	}
}

func TestReadPacket(t *testing.T) {
	b, _ := AppendPacket(nil, 7, []byte("hello"))
	r := bytes.NewReader(append(b, "more"...))
	payload, seq, err := ReadPacket(r, 5)
	if string(payload) != "hello" || seq != 7 || err != nil || r.Len() != 4 {
		t.Errorf("%q, %d, %v, %d left", payload, seq, err, r.Len())
	}
	if _, _, err := ReadPacket(bytes.NewReader(b), 4); !errors.Is(err, ErrProtocol) {
		t.Errorf("over the limit: %v", err)
	}
	if _, _, err := ReadPacket(bytes.NewReader(b[:6]), 5); err == nil {
		t.Error("half a packet is taken")
	}
}
