package pgwire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// MaxStartup is the largest start-up packet in bytes, its length field
// included (MAX_STARTUP_PACKET_LENGTH, src/include/libpq/pqcomm.h).
const MaxStartup = 10000

// Codes in the place of a protocol version (src/include/libpq/pqcomm.h).
const (
	codeCancel = 80877102 // 1234.5678
	codeSSL    = 80877103 // 1234.5679
	codeGSSENC = 80877104 // 1234.5680
)

// NewestMinor is the newest minor version of protocol 3 that is spoken here: 3.2
// differs from 3.0 in the length of the keys to cancel by. There never was a 3.1.
const NewestMinor = 2

// Lengths in bytes of the secret in a key that is given out: the protocol's, and what
// PostgreSQL 18 gives out (MAX_CANCEL_KEY_LENGTH, src/include/storage/procsignal.h).
const (
	secretSize     = 4
	longSecretSize = 32
)

// maxSecret is the longest secret in a cancel request in bytes (protocol 3.2,
// message format of CancelRequest).
const maxSecret = 256

// recordHandshake is what a TLS connection begins with: the content type of a
// record with a message of the handshake (RFC 8446, section 5.1). No length of a
// start-up packet begins so.
const recordHandshake = 0x16

// A Kind says what a start-up packet asks for.
type Kind uint8

// The kinds of start-up packets. KindTLS is none: TLS begins without having been
// asked for.
const (
	KindStartup Kind = iota
	KindCancel
	KindSSL
	KindGSSENC
	KindTLS
)

// A Startup is the first packet of a connection, or of its next stage after an
// SSLRequest or GSSENCRequest was answered.
type Startup struct {
	Kind Kind

	// Of a StartupMessage: the version's halves, and name and value of every
	// parameter in the order sent.
	Major, Minor uint16
	Params       []Param

	// Of a CancelRequest.
	PID    uint32
	Secret []byte

	// Of KindTLS: what was read of its first record.
	Head []byte
}

// SecretSize is how many bytes the secret of the driver's key has, in the version
// of the protocol that it asked for.
func (s *Startup) SecretSize() int {
	if s.Minor < 2 {
		return secretSize
	}
	return longSecretSize
}

// A Param is one name and value of a start-up packet.
type Param struct{ Name, Value string }

// Param is the value of the last parameter of that name, or "".
func (s *Startup) Param(name string) string {
	for i := len(s.Params) - 1; i >= 0; i-- {
		if s.Params[i].Name == name {
			return s.Params[i].Value
		}
	}
	return ""
}

// ReadStartup reads one start-up packet, no byte more. Errors that are the
// peer's fault wrap ErrProtocol.
func ReadStartup(r io.Reader) (*Startup, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	if head[0] == recordHandshake {
		return &Startup{Kind: KindTLS, Head: head[:]}, nil
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 8 || n > MaxStartup {
		return nil, fmt.Errorf("%w: invalid length of start-up packet", ErrProtocol)
	}
	body := make([]byte, n-4)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return parseStartup(body)
}

func parseStartup(body []byte) (*Startup, error) {
	code, rest := binary.BigEndian.Uint32(body), body[4:]
	switch code {
	case codeSSL, codeGSSENC:
		if len(rest) != 0 {
			return nil, fmt.Errorf("%w: bytes behind an encryption request", ErrProtocol)
		}
		if code == codeSSL {
			return &Startup{Kind: KindSSL}, nil
		}
		return &Startup{Kind: KindGSSENC}, nil
	case codeCancel:
		if len(rest) < 4+secretSize || len(rest) > 4+maxSecret {
			return nil, fmt.Errorf("%w: invalid length of cancel request", ErrProtocol)
		}
		return &Startup{Kind: KindCancel, PID: binary.BigEndian.Uint32(rest), Secret: rest[4:]}, nil
	}
	s := &Startup{Kind: KindStartup, Major: uint16(code >> 16), Minor: uint16(code)}
	if s.Major != 3 {
		return s, nil
	}
	for {
		name, more, ok := CString(rest)
		if !ok {
			return nil, fmt.Errorf("%w: start-up packet without terminator", ErrProtocol)
		}
		if len(name) == 0 {
			if len(more) != 0 {
				return nil, fmt.Errorf("%w: bytes behind the start-up packet's terminator", ErrProtocol)
			}
			return s, nil
		}
		value, more, ok := CString(more)
		if !ok {
			return nil, fmt.Errorf("%w: start-up parameter without value", ErrProtocol)
		}
		s.Params = append(s.Params, Param{string(name), string(value)})
		rest = more
	}
}

// AppendCancelRequest appends the packet that asks a server to cancel what the
// backend with that key runs.
func AppendCancelRequest(dst []byte, pid uint32, secret []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(12+len(secret)))
	dst = binary.BigEndian.AppendUint32(dst, codeCancel)
	dst = binary.BigEndian.AppendUint32(dst, pid)
	return append(dst, secret...)
}

// RequestTLS asks a server for TLS and reports whether it agreed. It reads one
// byte, no more: what a server sends before the handshake is not trusted.
func RequestTLS(rw io.ReadWriter) (bool, error) {
	msg := binary.BigEndian.AppendUint32(nil, 8)
	msg = binary.BigEndian.AppendUint32(msg, codeSSL)
	if _, err := rw.Write(msg); err != nil {
		return false, err
	}
	var answer [1]byte
	if _, err := io.ReadFull(rw, answer[:]); err != nil {
		return false, err
	}
	return answer[0] == 'S', nil
}
