package mywire

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strings"
)

// SaltSize is the size in bytes of an authentication's challenge (SCRAMBLE_LENGTH).
const SaltSize = 20

// maxGreeting bounds the first packet of a server in bytes. A version of MySQL's
// has at most 60 (SERVER_VERSION_LENGTH), the name of a plugin 64 (NAME_CHAR_LEN).
const maxGreeting = 1024

// protocolVersion is the first byte of a greeting (PROTOCOL_VERSION).
const protocolVersion = 10

// A Salt is the challenge of an authentication.
type Salt [SaltSize]byte

// NewSalt makes a random Salt of the bytes that servers use: seven bits, and
// neither NUL nor '$' (generate_user_salt, mysys/crypt_genhash_impl.cc).
func NewSalt() Salt {
	var s Salt
	rand.Read(s[:]) // never fails: crypto/rand ends the program instead
	for i := range s {
		if s[i] &= 0x7f; s[i] == 0 || s[i] == '$' {
			s[i]++
		}
	}
	return s
}

// A Greeting is the first packet of a server (the manual's "Protocol::HandshakeV10").
type Greeting struct {
	Version      string
	ID           uint32 // of the connection
	Salt         Salt
	Capabilities Capabilities
	Collation    byte
	Status       Status
	Plugin       string // of authentication
}

// MariaDB reports whether the server is one.
func (g *Greeting) MariaDB() bool {
	return strings.Contains(g.Version, "MariaDB") || !g.Capabilities.Has(CapLongPassword)
}

// ParseGreeting reads the payload of the first packet of a server. Where that is
// an ERR packet the error is an *Error.
func ParseGreeting(payload []byte) (*Greeting, error) {
	if len(payload) > 0 && payload[0] == HeaderErr {
		e, err := ParseError(payload)
		if err != nil {
			return nil, err
		}
		return nil, e
	}
	r := reader{b: payload}
	if v := r.uint8(); r.err == nil && v != protocolVersion {
		return nil, fmt.Errorf("%w: a server of protocol version %d", ErrProtocol, v)
	}
	g := &Greeting{Version: string(r.cstring()), ID: r.uint32()}
	first := r.take(8)
	r.take(1)
	g.Capabilities = Capabilities(r.uint16())
	if r.err == nil && len(r.b) == 0 {
		return nil, fmt.Errorf("%w: a server older than MySQL 4.1", ErrProtocol)
	}
	g.Collation, g.Status = r.uint8(), Status(r.uint16())
	g.Capabilities |= Capabilities(r.uint16()) << 16
	saltLength := int(r.uint8())
	r.take(6)
	if extended := r.uint32(); !g.Capabilities.Has(CapLongPassword) {
		g.Capabilities |= Capabilities(extended) << 32
	}
	second := r.take(max(13, saltLength-8))
	if r.err != nil {
		return nil, r.err
	}
	copy(g.Salt[:], first)
	copy(g.Salt[8:], second[:12])
	if g.Capabilities.Has(CapPluginAuth) {
		g.Plugin = string(r.lastString())
	}
	return g, r.err
}

// Append appends the payload of the greeting.
func (g *Greeting) Append(dst []byte) []byte {
	dst = append(append(append(dst, protocolVersion), g.Version...), 0)
	dst = binary.LittleEndian.AppendUint32(dst, g.ID)
	dst = append(append(dst, g.Salt[:8]...), 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(g.Capabilities))
	dst = binary.LittleEndian.AppendUint16(append(dst, g.Collation), uint16(g.Status))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(g.Capabilities>>16))
	dst = append(append(dst, SaltSize+1), make([]byte, 6)...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(g.Capabilities>>32))
	dst = append(append(dst, g.Salt[8:]...), 0)
	if g.Capabilities.Has(CapPluginAuth) {
		dst = append(append(dst, g.Plugin...), 0)
	}
	return dst
}

// An AuthSwitch is a server's wish to authenticate by another plugin, with another
// salt (the manual's "Protocol::AuthSwitchRequest").
type AuthSwitch struct {
	Plugin string
	Salt   Salt
}

// ParseAuthSwitch reads the payload of the packet. One of a single byte asks for
// the authentication of servers older than MySQL 4.1: then Plugin is empty.
func ParseAuthSwitch(payload []byte) (AuthSwitch, error) {
	if len(payload) == 1 {
		return AuthSwitch{}, nil
	}
	r := reader{b: payload}
	r.uint8()
	a := AuthSwitch{Plugin: string(r.cstring())}
	copy(a.Salt[:], bytes.TrimSuffix(r.rest(), []byte{0}))
	return a, r.err
}

// Append appends the payload of the packet.
func (a *AuthSwitch) Append(dst []byte) []byte {
	dst = append(append(append(dst, HeaderEOF), a.Plugin...), 0)
	return append(append(dst, a.Salt[:]...), 0)
}
