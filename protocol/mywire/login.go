package mywire

import (
	"encoding/binary"
	"fmt"
)

// maxLogin bounds a client's answer to the greeting in bytes: the attributes, with
// room for the names and the password's answer, which MySQL holds to less than
// 1 KiB each (USERNAME_LENGTH, NAME_LEN, and 255).
const maxLogin = maxAttributes + 4<<10

// sslRequestSize is the length in bytes of the payload that asks for TLS: a Login
// that ends before the user's name.
const sslRequestSize = 32

// A Login is a client's answer to the greeting (the manual's
// "Protocol::HandshakeResponse41").
type Login struct {
	Capabilities Capabilities
	MaxPacket    uint32
	Collation    byte
	User         string
	Auth         []byte // the answer to the challenge
	Schema       string
	Plugin       string // of authentication; empty: not given
	Attributes   []Attribute
}

// Attribute is the value of the attribute of that name, or "".
func (l *Login) Attribute(name string) string {
	for _, a := range l.Attributes {
		if a.Name == name {
			return a.Value
		}
	}
	return ""
}

// ParseLogin reads the payload of a client's answer to the greeting. A request
// for TLS is one that has no user, with CapSSL.
func ParseLogin(payload []byte) (l *Login, wantsTLS bool, err error) {
	r := reader{b: payload}
	l = &Login{Capabilities: Capabilities(r.uint16())}
	if r.err == nil && !l.Capabilities.Has(CapProtocol41) {
		return nil, false, fmt.Errorf("%w: a client older than MySQL 4.1", ErrProtocol)
	}
	l.Capabilities |= Capabilities(r.uint16()) << 16
	l.MaxPacket, l.Collation = r.uint32(), r.uint8()
	r.take(19)
	if extended := r.uint32(); !l.Capabilities.Has(CapLongPassword) {
		l.Capabilities |= Capabilities(extended) << 32 // where MariaDB's clients put them
	}
	if r.err != nil {
		return nil, false, r.err
	}
	if len(payload) == sslRequestSize && l.Capabilities.Has(CapSSL) {
		return l, true, nil
	}
	l.User = string(r.cstring())
	switch {
	case l.Capabilities.Has(CapPluginAuthLenenc):
		l.Auth = r.lenencString()
	case l.Capabilities.Has(CapSecureConnection):
		l.Auth = r.take(int(r.uint8()))
	default:
		l.Auth = r.cstring()
	}
	// Some clients set a flag and leave out what it stands for, where that is last.
	if l.Capabilities.Has(CapConnectWithDB) && len(r.b) > 0 {
		l.Schema = string(r.lastString())
	}
	if l.Capabilities.Has(CapPluginAuth) && len(r.b) > 0 {
		l.Plugin = string(r.lastString())
	}
	if l.Capabilities.Has(CapConnectAttrs) && len(r.b) > 0 {
		l.Attributes = r.attributes()
	}
	return l, false, r.err
}

// AppendTLSRequest appends the payload that asks for TLS before the login.
func (l *Login) AppendTLSRequest(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(l.Capabilities))
	dst = binary.LittleEndian.AppendUint32(dst, l.MaxPacket)
	dst = append(append(dst, l.Collation), make([]byte, 19)...)
	return binary.LittleEndian.AppendUint32(dst, uint32(l.Capabilities>>32))
}

// Append appends the payload of the login. Auth has at most 255 bytes; names have
// no NUL.
func (l *Login) Append(dst []byte) []byte {
	dst = append(append(l.AppendTLSRequest(dst), l.User...), 0)
	dst = append(append(dst, byte(len(l.Auth))), l.Auth...)
	if l.Capabilities.Has(CapConnectWithDB) {
		dst = append(append(dst, l.Schema...), 0)
	}
	if l.Capabilities.Has(CapPluginAuth) {
		dst = append(append(dst, l.Plugin...), 0)
	}
	if l.Capabilities.Has(CapConnectAttrs) {
		dst = appendAttributes(dst, l.Attributes)
	}
	return dst
}
