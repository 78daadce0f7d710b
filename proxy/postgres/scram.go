package postgres

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

// bindable is a TLS connection with a driver, and the certificate that it was shown.
type bindable struct {
	*tls.Conn
	shown *tls.Certificate
}

// protocolName is the protocol's name in ALPN (PG_ALPN_PROTOCOL, src/include/libpq/pqcomm.h).
const protocolName = "postgresql"

// An unread is a connection of which something was read that its reader is to read.
type unread struct {
	net.Conn
	head []byte
}

func (u *unread) Read(p []byte) (int, error) {
	if len(u.head) == 0 {
		return u.Conn.Read(p)
	}
	n := copy(p, u.head)
	u.head = u.head[n:]
	return n, nil
}

// NetConn is the connection below, as of tls.Conn.
func (u *unread) NetConn() net.Conn { return u.Conn }

// handshake runs the server's side. There are no session tickets, as with
// PostgreSQL: a session that is resumed does not show its certificate again.
func (s *Server) handshake(conn net.Conn) (*bindable, error) {
	b := &bindable{}
	cfg := s.TLS.Clone()
	cfg.SessionTicketsDisabled = true
	cfg.NextProtos = []string{protocolName} // of drivers that name any
	if choose := cfg.GetCertificate; choose != nil && len(cfg.Certificates) == 0 {
		cfg.GetCertificate = func(hello *tls.ClientHelloInfo) (c *tls.Certificate, err error) {
			b.shown, err = choose(hello)
			return b.shown, err
		}
	} else if choose == nil && cfg.GetConfigForClient == nil && len(cfg.Certificates) == 1 {
		b.shown = &cfg.Certificates[0]
	}
	b.Conn = tls.Server(conn, cfg)
	return b, b.Handshake()
}

// endPoint is what binds the channel, nil where that is not known.
func (b *bindable) endPoint() []byte {
	if b.shown == nil || len(b.shown.Certificate) == 0 {
		return nil
	}
	leaf := b.shown.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(b.shown.Certificate[0]); err != nil {
			return nil
		}
	}
	return pgwire.EndPoint(leaf)
}

// scram runs the server's side of SCRAM-SHA-256, or, where there is something to
// bind the channel by, of SCRAM-SHA-256-PLUS if the driver likes.
func scram(conn net.Conn, v *pgwire.Verifier, binding []byte) error {
	mechanisms := []string{pgwire.SCRAMMechanism}
	if binding != nil {
		mechanisms = []string{pgwire.SCRAMPlusMechanism, pgwire.SCRAMMechanism}
	}
	if err := send(conn, &pgproto3.AuthenticationSASL{AuthMechanisms: mechanisms}); err != nil {
		return err
	}
	body, err := readPassword(conn)
	if err != nil {
		return err
	}
	var initial pgproto3.SASLInitialResponse
	if err := initial.Decode(body); err != nil {
		return fmt.Errorf("%w: SASLInitialResponse", pgwire.ErrProtocol)
	}
	if !slices.Contains(mechanisms, initial.AuthMechanism) {
		return pgwire.Fatalf(pgwire.CodeProtocolViolation, "client selected an invalid SASL authentication mechanism")
	}
	exchange := pgwire.NewSCRAMServer(v)
	exchange.Bind(binding, initial.AuthMechanism == pgwire.SCRAMPlusMechanism)
	first, err := exchange.First(initial.Data)
	if err != nil {
		return pgwire.Fatalf(pgwire.CodeProtocolViolation, "malformed SCRAM message")
	}
	if err := send(conn, &pgproto3.AuthenticationSASLContinue{Data: first}); err != nil {
		return err
	}
	if body, err = readPassword(conn); err != nil {
		return err
	}
	final, err := exchange.Final(body)
	if err != nil {
		return err
	}
	return send(conn, &pgproto3.AuthenticationSASLFinal{Data: final})
}
