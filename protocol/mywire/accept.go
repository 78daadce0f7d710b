package mywire

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// A Lookup finds the verifier of a user's password at a schema; nil refuses the
// user. The error, an *Error, is of what the driver is told before its password
// is looked at.
type Lookup func(user, schema string) (*Verifier, error)

// An Acceptor logs drivers in. Its fields must not change any more once it is in
// use; its methods may be called concurrently.
type Acceptor struct {
	// Version, Capabilities, Collation and Status are what every greeting says.
	// CapSSL is added where there is a TLS.
	Version      string
	Capabilities Capabilities
	Collation    byte
	Status       Status
	// Plugin is the one that is asked for where a driver has no wish of its own:
	// PluginSHA2 or PluginNative; empty means PluginSHA2.
	Plugin string
	// TLS makes the server's side of a TLS connection, its handshake included; nil
	// where there is no TLS.
	TLS func(net.Conn) (net.Conn, error)
	// AllowPlaintext lets drivers log in without TLS.
	AllowPlaintext bool

	once   sync.Once
	key    *rsa.PrivateKey
	public []byte // in PEM form
	keyErr error
}

// keyBits is the size of the key that passwords are encrypted with, as
// MySQL generates it (auth/sql_authentication.cc, create_rsa_key_pair).
const keyBits = 2048

// rsaKey makes the key when a driver first asks for it.
func (a *Acceptor) rsaKey() (*rsa.PrivateKey, []byte, error) {
	a.once.Do(func() {
		if a.key, a.keyErr = rsa.GenerateKey(rand.Reader, keyBits); a.keyErr != nil {
			return
		}
		var der []byte
		if der, a.keyErr = x509.MarshalPKIXPublicKey(&a.key.PublicKey); a.keyErr == nil {
			a.public = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		}
	})
	return a.key, a.public, a.keyErr
}

// An Accepted is a driver whose password was right. It is told so by Welcome, or
// by Refuse that it cannot be served all the same.
type Accepted struct {
	net.Conn       // TLS where the driver asked for it
	Login    Login // Capabilities are those that were agreed on
	TLS      bool
	Salt     Salt // of the greeting
	seq      byte
}

// Accept greets a driver with a connection's id, reads its login and checks its
// password, on nc, whose deadline the caller sets. An *Error has been told to the
// driver; the connection is for the caller to close after any error.
func (a *Acceptor) Accept(nc net.Conn, id uint32, lookup Lookup) (*Accepted, error) {
	d := &Accepted{Conn: nc, Salt: NewSalt()}
	err := a.accept(d, id, lookup)
	var e *Error
	switch {
	case err == nil:
		return d, nil
	case errors.As(err, &e):
		_ = d.Refuse(e)
	case errors.Is(err, ErrProtocol):
		_ = d.Refuse(Errorf(CodeHandshake, "Bad handshake"))
	}
	return nil, err
}

func (a *Acceptor) accept(d *Accepted, id uint32, lookup Lookup) error {
	caps := a.Capabilities
	if a.TLS != nil {
		caps |= CapSSL
	}
	plugin := a.Plugin
	if plugin == "" {
		plugin = PluginSHA2
	}
	g := Greeting{
		Version: a.Version, ID: id, Salt: d.Salt, Capabilities: caps, Collation: a.Collation, Status: a.Status, Plugin: plugin,
	}
	if err := d.send(g.Append(nil)); err != nil {
		return err
	}
	l, wantsTLS, err := d.login()
	if err == nil && wantsTLS {
		if a.TLS == nil {
			return fmt.Errorf("%w: TLS was not offered", ErrProtocol)
		}
		// Only the packet was read, so what a man in the middle may have sent
		// behind it goes into the handshake, which it breaks.
		t, err := a.TLS(d.Conn)
		if err != nil {
			return fmt.Errorf("TLS handshake with driver: %w", err)
		}
		d.Conn, d.TLS = t, true
		if l, wantsTLS, err = d.login(); err == nil && wantsTLS {
			return fmt.Errorf("%w: TLS is asked for twice", ErrProtocol)
		}
	}
	if err != nil {
		return err
	}
	if !d.TLS && !a.AllowPlaintext {
		return Errorf(CodeSecureTransport, "This server requires TLS: connect with ssl-mode=REQUIRED, or better VERIFY_IDENTITY")
	}
	d.Login = *l
	d.Login.Capabilities &= caps
	x := exchange{a: a, rw: d.Conn, secure: d.TLS, seq: d.seq, switches: d.Login.Capabilities.Has(CapPluginAuth)}
	plugin = d.Login.Plugin
	if plugin == "" && !x.switches {
		plugin = PluginNative // what there was before there were plugins
	}
	err = x.run(d.Login.User, d.Login.Schema, lookup, plugin, d.Salt, d.Login.Auth)
	d.seq, d.Login.Auth = x.seq, nil
	return err
}

// login reads a login, or a request for TLS.
func (d *Accepted) login() (*Login, bool, error) {
	payload, seq, err := ReadPacket(d.Conn, maxLogin)
	if err != nil {
		return nil, false, err
	}
	d.seq = seq + 1
	return ParseLogin(payload)
}

func (d *Accepted) send(payload []byte) error {
	b, seq := AppendPacket(nil, d.seq, payload)
	d.seq = seq
	_, err := d.Conn.Write(b)
	return err
}

// Welcome tells the driver that it is logged in.
func (d *Accepted) Welcome(ok *OK) error { return d.send(ok.Append(nil, d.Login.Capabilities)) }

// Refuse tells the driver why it cannot be served.
func (d *Accepted) Refuse(e *Error) error { return d.send(e.Append(nil)) }

// ChangeUser checks the password of a COM_CHANGE_USER packet with the number seq
// that came on c. salt is that of the driver's greeting, secure whether c is TLS.
// It returns the number of the packet to answer with, which is for the caller to
// write: OK, or ERR where the error is an *Error. After another error the
// connection is of no use.
func (a *Acceptor) ChangeUser(c *Conn, secure bool, cu *ChangeUser, seq byte, salt Salt, caps Capabilities, lookup Lookup) (next byte, err error) {
	x := exchange{a: a, rw: buffered{c}, secure: secure, again: true, seq: seq + 1, switches: caps.Has(CapPluginAuth)}
	plugin := cu.Plugin
	if plugin == "" {
		plugin = PluginNative
	}
	err = x.run(cu.User, cu.Schema, lookup, plugin, salt, cu.Auth)
	return x.seq, err
}

// buffered reads a Conn through its buffer.
type buffered struct{ *Conn }

func (b buffered) Read(p []byte) (int, error) {
	if len(b.Bytes()) == 0 {
		if err := b.Fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.Bytes())
	b.Discard(n)
	return n, nil
}

var _ io.ReadWriter = buffered{}
