package mysql

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/proxy/dialect"
)

// offered are the capabilities that drivers can have. Compression and attributes
// of queries are not among them, nor what MariaDB adds.
const offered = mywire.CapLongPassword | mywire.CapFoundRows | mywire.CapLongFlag | mywire.CapConnectWithDB | mywire.CapODBC |
	mywire.CapLocalFiles | mywire.CapIgnoreSpace | mywire.CapProtocol41 | mywire.CapInteractive | mywire.CapTransactions |
	mywire.CapSecureConnection | mywire.CapMultiStatements | mywire.CapMultiResults | mywire.CapPSMultiResults | mywire.CapPluginAuth |
	mywire.CapConnectAttrs | mywire.CapPluginAuthLenenc | mywire.CapSessionTrack | mywire.CapDeprecateEOF

// wanted are the capabilities that origin connections are to have.
const wanted = originCaps | mywire.CapLongFlag | mywire.CapLocalFiles | mywire.CapTransactions | mywire.CapMultiResults | mywire.CapPSMultiResults

// firstVersion is what the greeting says until an origin has said what it is.
const firstVersion = "8.0.36"

// learn makes the version of the first origin the one that the greeting tells
// drivers, which decide by it what they ask for. A greeting comes before it is known
// which database a driver wants, and is the same for all: it does not change again.
func (s *Server) learn(version string) {
	if a := s.acceptor.Load(); a != nil && (a.Version != firstVersion || a.Version == version || !isVersion(version)) {
		return
	}
	a := &mywire.Acceptor{
		Version: version, Capabilities: offered, Collation: loginCharset, Status: mywire.StatusAutocommit, AllowPlaintext: s.AllowPlaintext, Plugin: s.Plugin,
	}
	if s.TLS != nil {
		a.TLS = s.handshake
	}
	s.acceptor.Store(a)
}

// maxVersion is the longest version of a server in bytes (SERVER_VERSION_LENGTH).
const maxVersion = 60

// isVersion reports whether a text begins like the version of a server of our time.
func isVersion(text string) bool {
	major, rest, ok := strings.Cut(text, ".")
	n, err := strconv.Atoi(major)
	if !ok || err != nil || n < 5 || n > 99 || len(text) > maxVersion || rest == "" || rest[0] < '0' || rest[0] > '9' {
		return false
	}
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

func (s *Server) handshake(nc net.Conn) (net.Conn, error) {
	ctx, stop := context.WithTimeout(context.Background(), s.LoginTimeout)
	defer stop()
	return serverTLS(ctx, nc, s.TLS)
}

// login logs a driver in. What goes wrong the driver has been told.
func (s *Server) login(nc net.Conn) (*client, error) {
	c := &client{s: s, id: s.nextID()}
	d, err := s.acceptor.Load().Accept(nc, c.id, func(user, schema string) (*mywire.Verifier, error) {
		return c.find(user, schema), nil
	})
	if err != nil {
		return nil, err
	}
	c.caps, c.salt, c.secure = d.Login.Capabilities, d.Salt, d.TLS
	c.conn = mywire.NewConn(d.Conn, true)
	if !c.caps.Has(mywire.CapProtocol41 | mywire.CapSecureConnection) {
		_ = d.Refuse(mywire.Errorf(mywire.CodeNotSupportedAuth, "Client does not support authentication protocol requested by server; consider upgrading MySQL client"))
		return nil, fmt.Errorf("%w: capabilities 0x%x", mywire.ErrProtocol, uint64(c.caps))
	}
	c.startSession(uint16(d.Login.Collation))
	if err := s.add(c); err != nil {
		if e, ok := errors.AsType[*mywire.Error](err); ok {
			_ = d.Refuse(e)
		}
		return nil, err
	}
	if err := d.Welcome(&mywire.OK{Status: c.status}); err != nil {
		s.remove(c)
		return nil, err
	}
	return c, nil
}

// find makes the database of a login the client's, and returns the verifier of its
// user; nil where there is none. A driver that names no database means the one
// that is called like its user.
func (c *client) find(user, schema string) *mywire.Verifier {
	if schema == "" {
		schema = user
	}
	db, ok := c.s.Lookup(schema)
	if !ok {
		return nil
	}
	c.leaseMu.Lock()
	c.db, c.user = db, user
	c.leaseMu.Unlock()
	verifiers := *db.verifiers.Load()
	if v := verifiers[user]; v != nil {
		return v
	}
	for _, v := range verifiers { // who does not exist is asked what others are asked
		if v.Check != nil {
			return &mywire.Verifier{Check: func([]byte) bool { return false }}
		}
	}
	return nil
}

// startSession gives a client that has logged in its session.
func (c *client) startSession(charset uint16) {
	p := c.db.pools[classOf(c.caps)]
	w := p.Waiter(c.user)
	c.leaseMu.Lock()
	c.pool, c.waiter = p, w
	c.leaseMu.Unlock()
	st := loginState(charset, c.caps, c.db.cfg.Load().Database)
	c.session = session{base: st, state: st, multi: c.caps.Has(mywire.CapMultiStatements)}
	c.status = c.statusOf(st)
	if told := c.db.welcome.Load(); told != nil {
		c.s.learn(told.version)
	}
}

// changeUser serves COM_CHANGE_USER: another user, perhaps of another database,
// with a session of its own, on the same connection.
func (c *client) changeUser(payload []byte, whole bool) error {
	cu, err := mywire.ParseChangeUser(payload, c.caps)
	if err != nil || !whole {
		return c.answerError(errMalformed)
	}
	if err := c.drop(); err != nil {
		return err
	}
	c.resetSession()
	if cu.Schema == "" {
		cu.Schema = c.db.name
	}
	before := c.db
	next, err := c.s.acceptor.Load().ChangeUser(c.conn, c.secure, cu, 0, c.salt, c.caps, func(user, schema string) (*mywire.Verifier, error) {
		return c.find(user, schema), nil
	})
	if err != nil {
		c.leaseMu.Lock()
		c.db = before
		c.leaseMu.Unlock()
		return c.fail(next, err)
	}
	charset := cu.Collation
	if charset == 0 {
		charset = loginCharset
	}
	c.startSession(charset)
	c.put(next, func(b []byte) []byte { return (&mywire.OK{Status: c.status}).Append(b, c.caps) })
	return c.writeReplies()
}

// logIn makes an origin connection. An origin without TLS may be a unix socket, on
// which MySQL takes the password in the clear and nothing else, and says no more
// of what it got instead than that it was wrong. What is not encrypted goes no
// further than a connector's own machine.
func (d *Database) logIn(ctx context.Context, cfg *Config, of class, password string) (*origin, error) {
	o, err := d.connect(ctx, cfg, of, password, false)
	if e, ok := errors.AsType[*mywire.Error](err); ok && e.Code == mywire.CodeAccessDenied && cfg.TLS == nil {
		if again, also := d.connect(ctx, cfg, of, password, true); also == nil {
			return again, nil
		}
	}
	return o, err
}

func (d *Database) connect(ctx context.Context, cfg *Config, of class, password string, cleartext bool) (*origin, error) {
	nc, err := cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	caps := wanted
	if of == classFound {
		caps |= mywire.CapFoundRows
	}
	got, err := mywire.Connect(ctx, nc, &mywire.ConnectConfig{
		User: cfg.User, Password: password, Schema: cfg.Database, TLS: cfg.TLS, Capabilities: caps, Collation: loginCharset,
		Attributes: []mywire.Attribute{{Name: "program_name", Value: programName}}, Cleartext: cleartext,
	})
	if errors.Is(err, mywire.ErrPlaintext) {
		return nil, dialect.ErrPlaintext
	}
	if err != nil {
		return nil, fmt.Errorf("connect to origin of %s: %w", d.name, err)
	}
	o := &origin{Conn: mywire.NewConn(got.Conn, false), db: d, class: of, id: got.Greeting.ID, state: newState(nil, cfg.Database)}
	if !got.Capabilities.Has(originCaps) {
		err = fmt.Errorf("%w: a server older than MySQL 5.7 or MariaDB 10.2", mywire.ErrProtocol)
	} else {
		err = d.beginSession(ctx, o, strings.TrimPrefix(got.Greeting.Version, "5.5.5-"), got.OK.Status&^ofReply)
	}
	if err != nil {
		o.Drop() // what has come, or room for what did not
		got.Conn.Close()
		return nil, err
	}
	return o, nil
}
