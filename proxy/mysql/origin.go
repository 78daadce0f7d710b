package mysql

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/stream/bufconn"
	"github.com/sluicedb/sluice/proxy/dialect"
)

// programName is what origin connections call themselves
// (performance_schema.session_connect_attrs).
const programName = "Sluice"

// cleanTimeout bounds what the proxy itself asks of an origin connection: the work
// between two clients of it, and questions on behalf of one.
const cleanTimeout = 5 * time.Second

// cancelTimeout bounds one cancel, its dial included: as long as is waited for
// what it is to end.
const cancelTimeout = cleanTimeout

var errOriginGone = errors.New("origin connection was lost")

var noDeadline time.Time

// An origin is one connection to the database. It belongs to the client that
// leases it, or to the pool.
type origin struct {
	*mywire.Conn
	db    *Database
	class class
	id    uint32 // the server's own number of it
	// generation is that of the configuration; 0 where nobody counts it
	generation int64

	role string // that it logged in with, as the server tells it

	prepared preparedSet
	state    *state // in force
	lastID   uint64 // LAST_INSERT_ID() of the time when nobody leased it
	multi    bool   // several statements at once are allowed
	cut      bool   // its deadlines were used to end a client; of the client's leaseMu

	cancels dialect.Cancels
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }

// Rest implements pool.Conn.
func (o *origin) Rest() { o.Conn.Rest() }

// Quiet implements pool.Conn.
func (o *origin) Quiet() bool { return o.Conn.Quiet() }

// Leaving reports whether the way to the origin is about to end: a relay or a
// connector on it is shutting down. The pool asks it.
func (o *origin) Leaving() bool { return stream.Leaving(o.Conn.Conn) }

// Close implements pool.Conn: it says goodbye and closes.
func (o *origin) Close() error {
	o.db.generations.Count(o.generation, -1)
	o.Drop()
	_ = o.SetDeadline(time.Now().Add(time.Second)) // of the goodbye and of TLS's
	_, _ = o.Write(appendCommand(nil, mywire.ComQuit, ""))
	return o.Conn.Close()
}

// ended takes in that the server has closed the connection behind an error, and renews the pools where that
// says that it stops.
func (o *origin) ended(e *mywire.Error) {
	if e.Code == mywire.CodeServerShutdown && o.db.failover.Ended(time.Now()) {
		o.renew()
	}
}

// askReadOnly asks whether the server takes no writes, as an error has it, which may be a statement's own, by
// SIGNAL, or of another option, and renews the pools where that is so.
func (o *origin) askReadOnly() error {
	n, err := o.number("SELECT CONCAT(@@GLOBAL.read_only) NOT IN ('0','OFF') OR CONCAT(@@GLOBAL.innodb_read_only) NOT IN ('0','OFF')")
	if isAnswer(err) {
		return nil
	}
	if err == nil && n > 0 && o.db.failover.ReadOnly(time.Now()) {
		o.renew()
	}
	return err
}

// renew renews the pools because the connection leads to a server that is no longer the one to ask.
func (o *origin) renew() {
	o.db.counts.failovers.Add(1)
	o.db.Renew()
}

// packet reads one packet, which must have room in the read buffer. It is good
// until the next.
func (o *origin) packet() ([]byte, error) {
	for {
		b := o.Bytes()
		if len(b) >= mywire.HeaderSize {
			n, _ := mywire.Header(b)
			if full := mywire.HeaderSize + n; len(b) >= full {
				if n == 0 {
					return nil, fmt.Errorf("%w: empty packet", mywire.ErrProtocol)
				}
				o.Discard(full) // the bytes stay where they are until the next Fill
				return b[mywire.HeaderSize:full], nil
			}
		}
		if err := o.Fill(); errors.Is(err, bufconn.ErrBufferFull) {
			return nil, fmt.Errorf("%w: packet is too long", mywire.ErrProtocol)
		} else if err != nil {
			return nil, err
		}
	}
}

// expectOK reads an OK packet, or one in the place of EOF. An ERR packet is the error.
func (o *origin) expectOK() (mywire.OK, error) {
	payload, err := o.packet()
	if err != nil {
		return mywire.OK{}, err
	}
	if payload[0] == mywire.HeaderErr {
		e, err := mywire.ParseError(payload)
		if err != nil {
			return mywire.OK{}, err
		}
		return mywire.OK{}, e
	}
	return mywire.ParseOK(payload, originCaps)
}

// ping asks for the status of the session.
func (o *origin) ping() (mywire.OK, error) {
	if _, err := o.Write(appendCommand(nil, mywire.ComPing, "")); err != nil {
		return mywire.OK{}, err
	}
	return o.expectOK()
}

// maxAnswer bounds what is kept of an answer to a question of the proxy's own, in
// bytes: 64 warnings (max_error_count's default) of 512 bytes and their headers.
const maxAnswer = 64 << 10

// A result is what a question of the proxy's own was answered with.
type result struct {
	packets []byte    // the rows, at most maxAnswer bytes
	first   []byte    // the first row
	end     mywire.OK // behind them; its byte strings are good until the next packet
}

// query asks a question of the proxy's own. An ERR packet is the error.
func (o *origin) query(sql string) (res result, err error) {
	if _, err := o.Write(appendCommand(nil, mywire.ComQuery, sql)); err != nil {
		return res, err
	}
	return o.result()
}

// result reads the answer to a question of the proxy's own.
func (o *origin) result() (res result, err error) {
	var r mywire.Reply
	r.Begin(mywire.ComQuery, originCaps)
	for !r.Done() {
		payload, err := o.packet()
		if err != nil {
			return res, err
		}
		part, err := r.Next(payload, len(payload))
		switch {
		case err != nil:
			return res, err
		case part == mywire.PartError:
			e, err := mywire.ParseError(payload)
			if err != nil {
				return res, err
			}
			return res, e
		case part == mywire.PartEOF:
			if res.end, err = mywire.ParseOK(payload, originCaps); err != nil {
				return res, err
			}
		case part == mywire.PartRow && len(res.packets)+len(payload) < maxAnswer:
			if res.packets, _ = mywire.AppendPacket(res.packets, 0, payload); res.first == nil {
				res.first = res.packets[mywire.HeaderSize:]
			}
		}
	}
	return res, nil
}

// number asks for one number.
func (o *origin) number(sql string) (uint64, error) {
	res, err := o.query(sql)
	if err != nil {
		return 0, err
	}
	text, _, err := mywire.LenencString(res.first)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", mywire.ErrProtocol, err)
	}
	return strconv.ParseUint(string(text), 10, 64)
}

// globalCharset asks for the character set of new sessions that name none; nil of a server that does not say.
func (o *origin) globalCharset() ([]setting, error) {
	res, err := o.query("SELECT @@GLOBAL.character_set_client, COALESCE(@@GLOBAL.character_set_results, ''), @@GLOBAL.collation_connection")
	if isAnswer(err) || err == nil && len(res.first) == 0 {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	settings := make([]setting, len(charsetSettings))
	for i, name := range charsetSettings {
		var value []byte
		if value, res.first, err = mywire.LenencString(res.first); err != nil {
			return nil, fmt.Errorf("%w: %w", mywire.ErrProtocol, err)
		}
		settings[i] = setting{name, string(value)}
	}
	return settings, nil
}

// dialOrigin connects and logs in: with the password that was good last, if it is
// still one of the two, and then with the other, so that the password can be
// changed here and at the origin in either order and nothing tries a wrong one
// again and again.
func (d *Database) dialOrigin(ctx context.Context, of class) (*origin, error) {
	cfg := d.cfg.Load()
	first, second := cfg.Password, cfg.FormerPassword
	if good := d.goodLogin.Load(); good != nil && *good == second && second != "" {
		first, second = second, first
	}
	o, err := d.logIn(ctx, cfg, of, first)
	if e, ok := errors.AsType[*mywire.Error](err); ok && e.Code == mywire.CodeAccessDenied && second != "" && second != first {
		if again, also := d.logIn(ctx, cfg, of, second); also == nil {
			o, err, first = again, nil, second
		}
	}
	if err == nil {
		d.goodLogin.Store(&first)
	}
	return o, err
}

// askRole asks for the role, which no reset takes back.
const askRole = "SELECT CURRENT_ROLE()"

// currentRole reads the answer; "" of a server that has no roles.
func (o *origin) currentRole() (string, error) {
	res, err := o.result()
	if isAnswer(err) {
		return "", nil
	}
	return string(res.first), err
}

// askSchema asks for the schema, which a reset leaves as it is.
const askSchema = "SELECT DATABASE()"

// currentSchema reads the answer; what is known of it where there is none.
func (o *origin) currentSchema() (string, error) {
	res, err := o.result()
	switch {
	case err != nil || len(res.first) == 0:
		return o.state.schema, err
	case res.first[0] == nullValue:
		return "", nil
	}
	name, _, err := mywire.LenencString(res.first)
	return string(name), err
}

// beginSession makes a session ready for its first client, and asks what server it is.
func (d *Database) beginSession(ctx context.Context, o *origin, version string, status mywire.Status) error {
	stop := context.AfterFunc(ctx, func() { _ = o.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := o.SetDeadline(time.Now().Add(cleanTimeout)); err != nil {
		return err
	}
	if _, err := o.Write(appendCommand(appendCommand(nil, mywire.ComQuery, beginning), mywire.ComQuery, askRole)); err != nil {
		return err
	}
	_, err := o.expectOK()
	if err == nil {
		o.role, err = o.currentRole()
	}
	if err != nil {
		return fmt.Errorf("begin a session at the origin: %w", err)
	}
	if w := d.welcome.Load(); w == nil || w.version != version || w.status != status {
		n, err := o.number("SELECT @@GLOBAL.max_prepared_stmt_count")
		if err != nil {
			return fmt.Errorf("ask the origin for its limits: %w", err)
		}
		told := &welcome{version: version, status: status, statements: int(n)}
		if !strings.Contains(version, "MariaDB") {
			if told.charset, err = o.globalCharset(); err != nil {
				return fmt.Errorf("ask the origin for its character set: %w", err)
			}
		}
		d.welcome.Store(told)
	}
	o.Release()
	if !stop() {
		return ctx.Err()
	}
	return o.SetDeadline(noDeadline)
}
