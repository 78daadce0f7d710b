package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sort"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/proxy/dialect"
)

// applicationName is what origin connections call themselves in pg_stat_activity.
const applicationName = "Sluice"

// cleanTimeout bounds the work between two clients of an origin connection:
// rolling back and resetting.
const cleanTimeout = 5 * time.Second

// cancelTimeout bounds one cancel request, its dial included: as long as is
// waited for what it is to end (cleanTimeout), so that a client that is gone is
// done with after that, also where the way to the origin is gone too.
const cancelTimeout = cleanTimeout

var errOriginGone = errors.New("origin connection was lost")

// An origin is one connection to the database. It belongs to the client that
// leases it, or to the pool.
type origin struct {
	*pgwire.Conn
	db     *Database
	pid    uint32
	secret []byte
	// standby is whether the server, as far as it says, was one that only reads
	// when the connection was made. Servers before PostgreSQL 14 do not say.
	standby bool
	// generation is that of the configuration; 0 where nobody counts it
	generation int64

	prepared preparedSet
	unnamed  unnamedOwner // whose statement the unnamed one is
	numbers  numbersOwner // whose values of sequences are there
	zone     string       // its own time zone, as of its login
	state    string       // id of the client's state that is in force
	hasty    bool         // which has a short timeout
	cut      bool         // its deadlines were used to end a client; of the client's leaseMu

	cancels dialect.Cancels
}

// An unnamedOwner names a client's unnamed statement, its gen-th.
type unnamedOwner struct{ client, gen uint64 }

// dialOrigin connects and logs in: with the password that was good last, if it is
// still one of the two, and then with the other, so that the password can be
// changed here and at the origin in either order and nothing tries a wrong one
// again and again.
func (d *Database) dialOrigin(ctx context.Context) (*origin, error) {
	cfg := d.cfg.Load()
	first, second := cfg.Password, cfg.FormerPassword
	if good := d.goodLogin.Load(); good != nil && *good == second && second != "" {
		first, second = second, first
	}
	o, err := d.logIn(ctx, cfg, first)
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == pgwire.CodeInvalidPassword && second != "" && second != first {
		if again, also := d.logIn(ctx, cfg, second); also == nil {
			o, err, first = again, nil, second
		}
	}
	if err == nil {
		d.goodLogin.Store(&first)
	}
	return o, err
}

func (d *Database) logIn(ctx context.Context, cfg *Config, password string) (*origin, error) {
	// Every setting that pgconn would take from the environment or from files
	// of the user that runs the proxy is given here, or overwritten below.
	pc, err := pgconn.ParseConfig("host=origin port=5432 user=origin dbname=origin sslmode=disable passfile=/dev/null " +
		"servicefile=/dev/null target_session_attrs=any application_name=" + applicationName)
	if err != nil {
		return nil, fmt.Errorf("configure origin connection: %w", err)
	}
	pc.Host, pc.User, pc.Database, pc.Password = cfg.Host, cfg.User, cfg.Database, password
	pc.TLSConfig, pc.Fallbacks = cfg.TLS, nil
	pc.RuntimeParams = map[string]string{"application_name": applicationName}
	pc.LookupFunc = func(context.Context, string) ([]string, error) { return []string{cfg.Host}, nil }
	pc.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return cfg.Dial(ctx) }
	pc.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend { return pgproto3.NewFrontend(r, unfailing{w}) }
	pc.OnNotice, pc.OnNotification = nil, nil
	pc.ChannelBinding, pc.RequireAuth = "prefer", ""
	if cfg.TLS == nil || cfg.TLS.InsecureSkipVerify && cfg.TLS.VerifyConnection == nil {
		pc.RequireAuth = "!password" // whoever answers could ask for it in the clear
	}
	conn, err := d.connect(ctx, pc)
	if err != nil {
		if strings.Contains(err.Error(), "server refused TLS connection") { // pgconn has no type for it
			return nil, dialect.ErrPlaintext
		}
		if strings.Contains(err.Error(), "require_auth check failed") {
			return nil, dialect.ErrCleartext
		}
		return nil, fmt.Errorf("connect to origin of %s: %w", d.name, err)
	}
	h, err := conn.Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over origin connection of %s: %w", d.name, err)
	}
	if err := takeOver(h); err != nil {
		h.Conn.Close()
		return nil, fmt.Errorf("take over origin connection of %s: %w", d.name, err)
	}
	welcome := make([]pgwire.Param, 0, len(h.ParameterStatuses))
	for name, value := range h.ParameterStatuses {
		welcome = append(welcome, pgwire.Param{Name: name, Value: value})
	}
	sort.Slice(welcome, func(i, j int) bool { return welcome[i].Name < welcome[j].Name })
	d.welcome.Store(&welcome)
	d.standard.Store(h.ParameterStatuses["standard_conforming_strings"] == "on")
	reads, said := h.ParameterStatuses["in_hot_standby"]
	return &origin{
		Conn: pgwire.NewConn(h.Conn, false), db: d, pid: h.PID, secret: h.SecretKey, standby: reads == "on" || !said,
		zone: h.ParameterStatuses["TimeZone"],
	}, nil
}

// unfailing is the writer of a login, whose failures it leaves to the read that comes
// next: an origin that has hung up said why before that, with a TLS alert perhaps.
type unfailing struct{ io.Writer }

func (w unfailing) Write(p []byte) (int, error) {
	_, _ = w.Writer.Write(p)
	return len(p), nil
}

// connect asks for protocol 3.2, whose keys to cancel by cannot be guessed, and for 3.0
// where the origin, a pooler perhaps, answers that with an error instead of with the
// version that it has.
func (d *Database) connect(ctx context.Context, pc *pgconn.Config) (*pgconn.PgConn, error) {
	pc.MinProtocolVersion, pc.MaxProtocolVersion = "3.0", "3.2"
	if !d.oldWire.Load() {
		conn, err := pgconn.ConnectConfig(ctx, pc)
		pe, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || pe.Code != pgwire.CodeFeatureNotSupported && pe.Code != pgwire.CodeProtocolViolation {
			return conn, err
		}
	}
	pc.MaxProtocolVersion = "3.0"
	conn, err := pgconn.ConnectConfig(ctx, pc)
	d.oldWire.Store(err == nil)
	return conn, err
}

// takeOver makes sure that pgconn no longer reads from h. Where one of its writes
// took longer than 15 ms it reads in the background, and after Hijack that reader
// may still wait for bytes, which are the proxy's. A read through it, past its
// deadline, waits until the reader has ended.
func takeOver(h *pgconn.HijackedConn) error {
	if err := h.Conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	if m, err := h.Frontend.Receive(); err == nil {
		return fmt.Errorf("%w: %T after the login", pgwire.ErrProtocol, m)
	} else if !isTimeout(err) {
		return err
	}
	return h.Conn.SetReadDeadline(time.Time{})
}

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
	_, _ = o.Write(pgwire.AppendMessage(nil, pgwire.MsgTerminate))
	return o.Conn.Close()
}

// cancel asks the origin to cancel what runs on the connection. It blocks until
// the origin has closed the request's own connection, which it does after it has
// signalled, or until cancelTimeout.
func (o *origin) cancel(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, cancelTimeout)
	defer stop()
	o.db.counts.cancels.Add(1)
	o.cancels.Done(o.sendCancel(ctx)) // there is nobody to tell, as the protocol has it
}

// sendCancel reports whether it is certain what became of the request: that it
// was not made, or that the origin has taken note.
func (o *origin) sendCancel(ctx context.Context) bool {
	cfg := o.db.cfg.Load()
	nc, err := cfg.Dial(ctx)
	if err != nil {
		return true
	}
	defer nc.Close()
	deadline, _ := ctx.Deadline()
	if err := nc.SetDeadline(deadline); err != nil {
		return true
	}
	if cfg.TLS != nil {
		if ok, err := pgwire.RequestTLS(nc); !ok || err != nil {
			return true
		}
		t := tls.Client(nc, cfg.TLS)
		if err := t.HandshakeContext(ctx); err != nil {
			return true
		}
		nc = t
	}
	if _, err := nc.Write(pgwire.AppendCancelRequest(nil, o.pid, o.secret)); err != nil {
		return false
	}
	// The origin closes without a word, in TLS without close_notify too.
	_, err = nc.Read(make([]byte, 1))
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
