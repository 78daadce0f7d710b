package postgres

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

// maxPassword bounds the body of a message during authentication in bytes: a
// SASL message of 1024 (PostgreSQL's bound) with its mechanism's name.
const maxPassword = 2048

// login takes a connection from its first byte to the first ReadyForQuery. It
// returns nil, nil where the connection was a cancel request, now done. Errors
// have been told to the driver as far as there is one.
func (s *Server) login(nc net.Conn) (*client, error) {
	conn, start, err := s.begin(nc)
	var binding []byte
	if b, ok := conn.(*bindable); ok {
		conn, binding = b.Conn, b.endPoint()
	}
	if err != nil {
		var pe *pgwire.Error
		if errors.As(err, &pe) && conn != nil {
			_, _ = conn.Write(pe.Append(nil))
		}
		return nil, err
	}
	if start.Kind == pgwire.KindCancel {
		s.cancel(start)
		return nil, nil
	}
	c, err := s.authenticate(conn, start, binding)
	if err == nil {
		err = s.greet(c, start.Params)
	}
	if err != nil {
		var pe *pgwire.Error
		if errors.As(err, &pe) {
			e := *pe
			e.Fatal = true
			_, _ = conn.Write(e.Append(nil))
		}
		return nil, err
	}
	return c, nil
}

// begin answers requests for encryption until the start-up or cancel packet comes.
// A driver may also begin with TLS, without asking, if it says by ALPN which protocol
// it means to speak in it; as PostgreSQL 17 has it.
func (s *Server) begin(nc net.Conn) (net.Conn, *pgwire.Startup, error) {
	conn, encrypted := nc, false
	for asked := 0; asked < 3; asked++ { // GSSENC, then SSL, then the packet
		start, err := pgwire.ReadStartup(conn)
		if err != nil {
			return conn, nil, err
		}
		switch start.Kind {
		case pgwire.KindCancel:
			return conn, start, nil
		case pgwire.KindStartup:
			if !encrypted && !s.AllowPlaintext {
				e := pgwire.Fatalf(pgwire.CodeInvalidAuthorization, "this server requires TLS")
				e.Hint = "Connect with sslmode=require, or better verify-full."
				return conn, nil, e
			}
			return conn, start, nil
		case pgwire.KindTLS:
			if asked > 0 || s.TLS == nil {
				return conn, nil, fmt.Errorf("%w: TLS where a start-up packet was due", pgwire.ErrProtocol)
			}
			t, err := s.handshake(&unread{conn, start.Head})
			if err != nil {
				return nil, nil, fmt.Errorf("TLS handshake with driver: %w", err)
			}
			if t.ConnectionState().NegotiatedProtocol != protocolName {
				return nil, nil, fmt.Errorf("%w: direct TLS without ALPN", pgwire.ErrProtocol)
			}
			conn, encrypted = t, true
			continue
		}
		if start.Kind == pgwire.KindSSL && s.TLS != nil && !encrypted {
			if _, err := conn.Write([]byte{'S'}); err != nil {
				return conn, nil, err
			}
			// Only the eight bytes of the request were read, so what a man in
			// the middle may have sent behind them goes into the handshake,
			// which it breaks.
			t, err := s.handshake(conn)
			if err != nil {
				return nil, nil, fmt.Errorf("TLS handshake with driver: %w", err)
			}
			conn, encrypted = t, true
			continue
		}
		if _, err := conn.Write([]byte{'N'}); err != nil {
			return conn, nil, err
		}
	}
	return conn, nil, fmt.Errorf("%w: too many requests for encryption", pgwire.ErrProtocol)
}

// authenticate checks who a driver is. An unknown database or user goes through
// the same exchange as a wrong password.
func (s *Server) authenticate(conn net.Conn, start *pgwire.Startup, binding []byte) (*client, error) {
	if start.Major != 3 {
		return nil, pgwire.Fatalf(pgwire.CodeFeatureNotSupported, "unsupported frontend protocol %d.%d: server supports 3.0 to 3.%d", start.Major, start.Minor, pgwire.NewestMinor)
	}
	if r := start.Param("replication"); r != "" && r != "false" && r != "off" && r != "no" && r != "0" {
		e := pgwire.Fatalf(pgwire.CodeFeatureNotSupported, "replication connections cannot be pooled")
		e.Hint = "Connect to the origin directly for replication."
		return nil, e
	}
	user, name := start.Param("user"), start.Param("database")
	if user == "" {
		return nil, pgwire.Fatalf(pgwire.CodeInvalidAuthorization, "no PostgreSQL user name specified in startup packet")
	}
	if name == "" {
		name = user
	}
	db, known := s.Lookup(name)
	var v *pgwire.Verifier
	forward := false
	if known {
		v, forward = (*db.verifiers.Load())[user], db.cfg.Load().ForwardApplicationName
	}
	begun, err := startState(start, forward)
	if err != nil {
		return nil, err
	}
	if err := negotiate(conn, start); err != nil {
		return nil, err
	}
	found := v != nil
	if !found {
		v = pgwire.MockVerifier(s.mockSecret, user)
	}
	if err := scram(conn, v, binding); err != nil || !found {
		if err == nil || errors.Is(err, pgwire.ErrPassword) {
			err = pgwire.Fatalf(pgwire.CodeInvalidPassword, "password authentication failed for user %q", user)
		}
		return nil, err
	}
	c := &client{s: s, db: db, user: user}
	c.waiter = db.pool.Waiter(user)
	c.session = session{base: begun, state: begun}
	c.secret = make([]byte, start.SecretSize())
	c.conn = pgwire.NewConn(conn, true)
	c.requests.src = c.conn
	return c, nil
}

// negotiate tells a driver that asks for a newer protocol than there is, or for
// options of it, which there are none of, what it gets.
func negotiate(conn net.Conn, start *pgwire.Startup) error {
	var unknown []string
	for _, p := range start.Params {
		if strings.HasPrefix(p.Name, "_pq_.") {
			unknown = append(unknown, p.Name)
		}
	}
	if start.Minor <= pgwire.NewestMinor && len(unknown) == 0 {
		return nil
	}
	// The manual speaks of the minor version here. PostgreSQL sends the whole one,
	// and libpq reads that.
	version := 3<<16 | uint32(min(start.Minor, pgwire.NewestMinor))
	msg, err := (&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: version, UnrecognizedOptions: unknown}).Encode(nil)
	if err != nil {
		return err
	}
	_, err = conn.Write(msg)
	return err
}

func send(w io.Writer, m pgproto3.BackendMessage) error {
	b, err := m.Encode(nil)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// readPassword reads one message of authentication, no byte more.
func readPassword(r io.Reader) ([]byte, error) {
	var head [pgwire.HeaderSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	typ, n, err := pgwire.Header(head[:])
	if err != nil || typ != pgwire.MsgPassword || n > maxPassword {
		return nil, pgwire.Fatalf(pgwire.CodeProtocolViolation, "expected SASL response")
	}
	body := make([]byte, n)
	_, err = io.ReadFull(r, body)
	return body, err
}

// greet makes c known and sends what follows a successful login: the origin's
// parameters, those of the client's start-up in their place, its key, ReadyForQuery.
func (s *Server) greet(c *client, startup []pgwire.Param) error {
	welcome, err := c.db.parameters()
	if err != nil {
		return err
	}
	if err := s.add(c); err != nil {
		return err
	}
	out, err := (&pgproto3.AuthenticationOk{}).Encode(nil)
	if err != nil {
		return err
	}
	for _, p := range welcome {
		value := p.Value
		for _, own := range startup {
			if strings.EqualFold(own.Name, p.Name) {
				value = own.Value
			}
		}
		out = pgwire.AppendParameterStatus(out, p.Name, value)
	}
	c.settings = cacheable(welcome, ownSettings(startup))
	out = pgwire.AppendMessage(out, pgwire.MsgBackendKeyData, c.key()...)
	out = pgwire.AppendReadyForQuery(out, pgwire.TxIdle)
	if _, err := c.conn.Write(out); err != nil {
		s.remove(c)
		return err
	}
	c.status = pgwire.TxIdle
	return nil
}

// parameters are what the origin reports at a login. Only before the first
// origin connection of a database is there anything to wait for.
func (d *Database) parameters() ([]pgwire.Param, error) {
	if w := d.welcome.Load(); w != nil {
		return *w, nil
	}
	o, err := d.pool.Get(d.pool.Waiter(""))
	if err != nil {
		return nil, poolError(err)
	}
	d.pool.Put(o)
	return *d.welcome.Load(), nil
}
