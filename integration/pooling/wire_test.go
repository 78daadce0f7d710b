package pooling

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// patience bounds every wait for a message.
const patience = time.Minute

// A wire is a driver that is spoken by hand: what goes out in one packet, and what
// is waited for when, is the test's to say.
type wire struct {
	t      testing.TB
	conn   net.Conn
	fe     *pgproto3.Frontend
	pid    uint32
	secret []byte

	positions bool // until tells those of errors
}

// wire logs in.
func (w *world) wire(t testing.TB, params ...string) *wire {
	t.Helper()
	x, err := w.tryWire(t, params...)
	if err != nil {
		t.Fatalf("log in: %v", err)
	}
	return x
}

func (w *world) tryWire(t testing.TB, params ...string) (*wire, error) {
	return w.tryWireAs(t, func(cfg *pgconn.Config) {
		for i := 0; i+1 < len(params); i += 2 {
			cfg.RuntimeParams[params[i]] = params[i+1]
		}
	})
}

// tryWireAs is tryWire of a driver that is configured otherwise.
func (w *world) tryWireAs(t testing.TB, change func(*pgconn.Config)) (*wire, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cfg, err := pgconn.ParseConfig(w.url())
	if err != nil {
		return nil, err
	}
	change(cfg)
	pc, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	h, err := pc.Hijack()
	if err != nil {
		return nil, err
	}
	x := &wire{t: t, conn: h.Conn, fe: h.Frontend, pid: h.PID, secret: h.SecretKey}
	conn := h.Conn // and not what reads messages, of which a long test makes many
	t.Cleanup(func() { conn.Close() })
	return x, nil
}

func encode(msgs ...pgproto3.FrontendMessage) []byte {
	var out []byte
	for _, m := range msgs {
		var err error
		if out, err = m.Encode(out); err != nil {
			panic(err)
		}
	}
	return out
}

// send sends messages in one write.
func (x *wire) send(msgs ...pgproto3.FrontendMessage) {
	x.t.Helper()
	x.write(encode(msgs...))
}

func (x *wire) write(b []byte) {
	x.t.Helper()
	_ = x.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := x.conn.Write(b); err != nil {
		x.t.Fatalf("write: %v", err)
	}
}

// next receives one message, ParameterStatus and notices passed over.
func (x *wire) next() (pgproto3.BackendMessage, error) {
	for {
		_ = x.conn.SetReadDeadline(time.Now().Add(patience))
		m, err := x.fe.Receive()
		if err != nil {
			return nil, err
		}
		switch m.(type) {
		case *pgproto3.ParameterStatus, *pgproto3.NoticeResponse:
			continue
		}
		return m, nil
	}
}

// note writes a message down: its type's letter and what matters of it.
func note(m pgproto3.BackendMessage) string {
	switch m := m.(type) {
	case *pgproto3.ParseComplete:
		return "1"
	case *pgproto3.BindComplete:
		return "2"
	case *pgproto3.CloseComplete:
		return "3"
	case *pgproto3.NoData:
		return "n"
	case *pgproto3.ParameterDescription:
		return "t"
	case *pgproto3.RowDescription:
		return "T"
	case *pgproto3.PortalSuspended:
		return "s"
	case *pgproto3.EmptyQueryResponse:
		return "I"
	case *pgproto3.CopyInResponse:
		return "G"
	case *pgproto3.CopyOutResponse:
		return "H"
	case *pgproto3.CopyData:
		return "d"
	case *pgproto3.CopyDone:
		return "c"
	case *pgproto3.FunctionCallResponse:
		return "V:" + string(m.Result)
	case *pgproto3.NotificationResponse:
		return "A:" + m.Channel
	case *pgproto3.DataRow:
		values := make([]string, len(m.Values))
		for i, v := range m.Values {
			if values[i] = string(v); v == nil {
				values[i] = "NULL"
			}
		}
		return "D:" + strings.Join(values, ",")
	case *pgproto3.CommandComplete:
		return "C:" + strings.ReplaceAll(string(m.CommandTag), " ", "_")
	case *pgproto3.ErrorResponse:
		return "E:" + m.Code
	case *pgproto3.ReadyForQuery:
		return "Z:" + string(m.TxStatus)
	}
	return fmt.Sprintf("%T", m)
}

// read writes n messages down.
func (x *wire) read(n int) string {
	x.t.Helper()
	var got []string
	for range n {
		m, err := x.next()
		if err != nil {
			x.t.Fatalf("after %q: %v", strings.Join(got, " "), err)
		}
		got = append(got, note(m))
	}
	return strings.Join(got, " ")
}

// ready writes messages down until the n-th ReadyForQuery.
func (x *wire) ready(n int) string {
	x.t.Helper()
	s, err := x.tryReady(n)
	if err != nil {
		x.t.Fatalf("after %q: %v", s, err)
	}
	return s
}

func (x *wire) tryReady(n int) (string, error) {
	var got []string
	for n > 0 {
		m, err := x.next()
		if err != nil {
			return strings.Join(got, " "), err
		}
		got = append(got, note(m))
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			n--
		}
	}
	return strings.Join(got, " "), nil
}

// want sends messages in one packet and compares what comes up to the ReadyForQuery
// that the script ends with; or as many messages as the script has.
func (x *wire) want(script string, msgs ...pgproto3.FrontendMessage) {
	x.t.Helper()
	x.send(msgs...)
	x.got(script)
}

func (x *wire) got(script string) {
	x.t.Helper()
	var s string
	if n := strings.Count(script, "Z:"); n > 0 && strings.LastIndex(script, "Z:") == len(script)-3 {
		s = x.ready(n)
	} else {
		s = x.read(len(strings.Fields(script)))
	}
	if s != script {
		x.t.Fatalf("got  %s\nwant %s", s, script)
	}
}

// value is the one value of a simple query.
func (x *wire) value(sql string) string {
	x.t.Helper()
	x.send(q(sql))
	s := x.ready(1)
	_, rest, ok := strings.Cut(s, "D:")
	if !ok {
		x.t.Fatalf("%s: %s", sql, s)
	}
	v, _, _ := strings.Cut(rest, " C:")
	return v
}

// end reads until the connection ends, and fails if it does not.
func (x *wire) end() string {
	x.t.Helper()
	var got []string
	for {
		m, err := x.next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err != nil && !isTimeout(err) {
			return strings.Join(got, " ")
		}
		if err != nil {
			x.t.Fatalf("connection does not end: %v", err)
		}
		got = append(got, note(m))
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// reset ends the connection as a killed process with unread bytes does.
func (x *wire) reset() {
	if tc, ok := x.conn.(*net.TCPConn); ok {
		_ = tc.SetLinger(0)
	}
	x.conn.Close()
}

// cancel asks for what x runs to be cancelled, and waits until that is done.
func (w *world) cancel(t testing.TB, pid uint32, secret []byte) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", w.addr.String(), patience)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	msg := binary.BigEndian.AppendUint32(nil, uint32(12+len(secret)))
	msg = binary.BigEndian.AppendUint32(msg, 80877102)
	msg = binary.BigEndian.AppendUint32(msg, pid)
	if _, err := conn.Write(append(msg, secret...)); err != nil {
		t.Error(err)
		return
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("cancel request: %v", err)
	}
}

// Short names for messages.

func q(sql string) *pgproto3.Query { return &pgproto3.Query{String: sql} }

func parse(name, sql string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: sql} }

func bind(name string, args ...string) *pgproto3.Bind { return bindTo("", name, args...) }

func bindTo(portal, name string, args ...string) *pgproto3.Bind {
	b := &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: name}
	for _, a := range args {
		b.Parameters = append(b.Parameters, []byte(a))
	}
	return b
}

func describe(name string) *pgproto3.Describe { return &pgproto3.Describe{ObjectType: 'S', Name: name} }

func describePortal(name string) *pgproto3.Describe {
	return &pgproto3.Describe{ObjectType: 'P', Name: name}
}

func closeStatement(name string) *pgproto3.Close { return &pgproto3.Close{ObjectType: 'S', Name: name} }

func closePortal(name string) *pgproto3.Close { return &pgproto3.Close{ObjectType: 'P', Name: name} }

func rows(portal string, n uint32) *pgproto3.Execute {
	return &pgproto3.Execute{Portal: portal, MaxRows: n}
}

func copyData(s string) *pgproto3.CopyData { return &pgproto3.CopyData{Data: []byte(s)} }

var (
	execute  = &pgproto3.Execute{}
	flush    = &pgproto3.Flush{}
	syncMsg  = &pgproto3.Sync{}
	copyDone = &pgproto3.CopyDone{}
)

// eventually waits until is reports true, on real servers: there is nothing to be
// told by when another session's state has changed.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
