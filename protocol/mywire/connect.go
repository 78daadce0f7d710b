package mywire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// ErrPlaintext is of a server that has no TLS where it is to have it.
var ErrPlaintext = errors.New("server does not support TLS")

// An UnknownPluginError is of a server that asks for an authentication that there
// is not here.
type UnknownPluginError struct{ Plugin string }

func (e *UnknownPluginError) Error() string {
	return fmt.Sprintf("server asks for authentication by %q; there are %s and %s", e.Plugin, PluginSHA2, PluginNative)
}

// A ConnectConfig says how to log in to a server.
type ConnectConfig struct {
	User, Password string
	Schema         string      // empty: none
	TLS            *tls.Config // nil: plain text
	// Capabilities are those that are wanted; Connect adds what it needs itself.
	// What the server does not have is left out.
	Capabilities Capabilities
	Collation    byte
	Attributes   []Attribute
	// Cleartext sends the password as it is where a server without TLS needs it,
	// which it does on a unix socket. Everywhere else it is encrypted for the
	// server's key. Nothing tells the one from the other but that it fails.
	Cleartext bool
}

// needed are the capabilities without which Connect does not go on.
const needed = CapProtocol41 | CapSecureConnection | CapPluginAuth

// own are those that Connect itself decides on.
const own = CapSSL | CapConnectWithDB | CapConnectAttrs | CapPluginAuthLenenc

// A Connected is a login that a server has accepted.
type Connected struct {
	Conn         net.Conn // TLS where that was asked for; nothing has been read that came behind OK
	Greeting     *Greeting
	Capabilities Capabilities // that were agreed on
	OK           OK
}

// Connect logs in on nc, which it closes where that fails. What the server
// refuses is an *Error. It blocks until the server has answered or ctx ends.
func Connect(ctx context.Context, nc net.Conn, cfg *ConnectConfig) (*Connected, error) {
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	l := login{cfg: cfg, conn: nc}
	c, err := l.run(ctx)
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// RequestTLS reads a server's greeting and asks for TLS, if the server offers it: then
// the handshake is next. A refusal is an *Error.
func RequestTLS(conn io.ReadWriter) (offered bool, err error) {
	payload, seq, err := ReadPacket(conn, maxGreeting)
	if err != nil {
		return false, fmt.Errorf("read greeting: %w", err)
	}
	g, err := ParseGreeting(payload)
	if err != nil || !g.Capabilities.Has(CapSSL) {
		return false, err
	}
	request := Login{Capabilities: needed | CapLongPassword | CapSSL, MaxPacket: maxPacket, Collation: g.Collation}
	b, _ := AppendPacket(nil, seq+1, request.AppendTLSRequest(nil))
	_, err = conn.Write(b)
	return err == nil, err
}

// A login is a client's side of the handshake.
type login struct {
	cfg  *ConnectConfig
	conn net.Conn
	seq  byte
	salt Salt
	// plugin is the one of the last answer; asked, whether the server was asked for its key
	plugin string
	asked  bool
}

func (l *login) run(ctx context.Context) (*Connected, error) {
	payload, err := l.read(maxGreeting)
	if err != nil {
		return nil, fmt.Errorf("read greeting: %w", err)
	}
	g, err := ParseGreeting(payload)
	if err != nil {
		return nil, err
	}
	if lacks := needed &^ g.Capabilities; lacks != 0 {
		return nil, fmt.Errorf("%w: the server lacks capabilities 0x%x", ErrProtocol, uint64(lacks))
	}
	caps := l.cfg.Capabilities&g.Capabilities&^own | needed
	caps |= CapLongPassword // clear at a MariaDB, whose own capabilities are not wanted here
	if l.cfg.Schema != "" {
		caps |= CapConnectWithDB
	}
	if len(l.cfg.Attributes) > 0 {
		caps |= CapConnectAttrs & g.Capabilities
	}
	answer := Login{
		Capabilities: caps, MaxPacket: maxPacket, Collation: l.cfg.Collation, User: l.cfg.User, Schema: l.cfg.Schema, Attributes: l.cfg.Attributes,
	}
	if l.cfg.TLS != nil {
		if err := l.startTLS(ctx, g, &answer); err != nil {
			return nil, err
		}
	}
	if answer.Plugin = g.Plugin; answer.Plugin != PluginNative {
		answer.Plugin = PluginSHA2 // if that is not what the user has, the server says so
	}
	l.salt, l.plugin = g.Salt, answer.Plugin
	answer.Auth = passwordAnswer(answer.Plugin, l.salt, l.cfg.Password)
	l.send(answer.Append(nil))
	ok, err := l.authenticate(answer.Capabilities)
	if err != nil {
		return nil, err
	}
	return &Connected{Conn: l.conn, Greeting: g, Capabilities: answer.Capabilities, OK: ok}, nil
}

// maxPacket is what a client tells a server that it takes in bytes: MySQL's
// largest max_allowed_packet.
const maxPacket = 1 << 30

func (l *login) startTLS(ctx context.Context, g *Greeting, answer *Login) error {
	if !g.Capabilities.Has(CapSSL) {
		return ErrPlaintext
	}
	answer.Capabilities |= CapSSL
	l.send(answer.AppendTLSRequest(nil))
	t := tls.Client(l.conn, l.cfg.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	l.conn = t
	return nil
}

// maxAuth bounds a packet of the server during authentication in bytes: a public
// key of RSA with 8192 bits in PEM form, and an OK packet with what changed.
const maxAuth = 16 << 10

// authenticate goes on until the server says OK.
func (l *login) authenticate(caps Capabilities) (OK, error) {
	for range 8 { // an AuthSwitch, a request for the key, the key, and the words around them
		payload, err := l.read(maxAuth)
		if err != nil {
			return OK{}, fmt.Errorf("read answer to login: %w", err)
		}
		if len(payload) == 0 {
			return OK{}, errShort
		}
		switch payload[0] {
		case HeaderOK:
			return ParseOK(payload, caps)
		case HeaderErr:
			e, err := ParseError(payload)
			if err != nil {
				return OK{}, err
			}
			return OK{}, e
		case HeaderEOF:
			a, err := ParseAuthSwitch(payload)
			if err != nil {
				return OK{}, err
			}
			if a.Plugin != PluginNative && a.Plugin != PluginSHA2 {
				return OK{}, &UnknownPluginError{a.Plugin}
			}
			l.salt, l.plugin = a.Salt, a.Plugin
			l.send(passwordAnswer(a.Plugin, l.salt, l.cfg.Password))
		case headerMoreData:
			if err := l.more(payload[1:]); err != nil {
				return OK{}, err
			}
		default:
			return OK{}, fmt.Errorf("%w: packet 0x%02x during authentication", ErrProtocol, payload[0])
		}
	}
	return OK{}, fmt.Errorf("%w: authentication does not end", ErrProtocol)
}

// more answers what caching_sha2_password says.
func (l *login) more(data []byte) error {
	switch {
	case l.plugin != PluginSHA2:
		return fmt.Errorf("%w: %s has no more to say", ErrProtocol, l.plugin)
	case len(data) == 1 && data[0] == sha2Fast:
		return nil // OK follows
	case len(data) == 1 && data[0] == sha2Full:
		if _, encrypted := l.conn.(*tls.Conn); encrypted || l.cfg.Cleartext {
			l.send(append([]byte(l.cfg.Password), 0))
			return nil
		}
		l.asked = true
		l.send([]byte{sha2Key})
		return nil
	case !l.asked:
		return fmt.Errorf("%w: a key that was not asked for", ErrProtocol)
	}
	cipher, err := encryptPassword(l.cfg.Password, l.salt, data)
	if err != nil {
		return err
	}
	l.send(cipher)
	return nil
}

func (l *login) read(limit int) ([]byte, error) {
	payload, seq, err := ReadPacket(l.conn, limit)
	l.seq = seq + 1
	return payload, err
}

// send leaves a failure to the read that comes next: a server that has hung up said
// why before that, with an error or a TLS alert.
func (l *login) send(payload []byte) {
	b, _ := AppendPacket(nil, l.seq, payload)
	_, _ = l.conn.Write(b)
	l.seq++
}
