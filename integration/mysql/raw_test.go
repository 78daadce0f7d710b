package mysql

import (
	"context"
	"crypto/sha256"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/proxy/mysql"
)

type mysqlConfig = mysql.Config

// A raw is a connection that sends what a test says.
type raw struct {
	net.Conn
	caps mywire.Capabilities
	seq  byte // of the last packet
}

const rawCaps = mywire.CapLongPassword | mywire.CapProtocol41 | mywire.CapSecureConnection | mywire.CapPluginAuth | mywire.CapConnectWithDB | mywire.CapMultiResults | mywire.CapPSMultiResults | mywire.CapTransactions

// raw connects with the least capabilities, and more.
func (w *world) raw(t testing.TB, more ...mywire.Capabilities) *raw {
	t.Helper()
	return w.rawAs(t, 45, more...)
}

// rawAs is raw with a collation.
func (w *world) rawAs(t testing.TB, collation byte, more ...mywire.Capabilities) *raw {
	t.Helper()
	r := &raw{caps: rawCaps}
	for _, c := range more {
		r.caps |= c
	}
	nc, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	r.Conn = nc
	if err := nc.SetDeadline(time.Now().Add(5 * patience)); err != nil {
		t.Fatal(err)
	}
	rawLogin(t, r, testUser, testPassword, collation)
	return r
}

func (r *raw) send(t testing.TB, cmd mywire.Command, text string) {
	t.Helper()
	b, _ := mywire.AppendPacket(nil, 0, append([]byte{byte(cmd)}, text...))
	if _, err := r.Write(b); err != nil {
		t.Fatal(err)
	}
	r.seq = 0
}

// packet reads a packet, whose number must be the next.
func (r *raw) packet(t testing.TB) []byte {
	t.Helper()
	p, seq, err := mywire.ReadPacket(r, mywire.MaxPayload)
	if err != nil {
		t.Fatal(err)
	}
	if r.seq++; seq != r.seq {
		t.Fatalf("packet %d where %d was due", seq, r.seq)
	}
	return p
}

func (r *raw) expectOK(t testing.TB) mywire.OK {
	t.Helper()
	p := r.packet(t)
	if p[0] == mywire.HeaderErr {
		e, _ := mywire.ParseError(p)
		t.Fatalf("want OK, got %v", e)
	}
	ok, err := mywire.ParseOK(p, r.caps)
	if err != nil {
		t.Fatalf("%v: %x", err, p)
	}
	return ok
}

func (r *raw) expectError(t testing.TB) *mywire.Error {
	t.Helper()
	e, err := mywire.ParseError(r.packet(t))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// each reads a reply to its end, and calls f for each packet.
func (r *raw) each(t testing.TB, cmd mywire.Command, f func(part mywire.Part, p []byte, status mywire.Status)) {
	t.Helper()
	var reply mywire.Reply
	reply.Begin(cmd, r.caps)
	for !reply.Done() {
		p := r.packet(t)
		part, err := reply.Next(p, len(p))
		if err != nil {
			t.Fatalf("%v: %x", err, p)
		}
		f(part, p, reply.Status)
	}
}

// rows reads a reply to its end: all rows of all results, as their bytes.
func (r *raw) rows(t testing.TB, cmd mywire.Command) (rows [][]byte, status mywire.Status, failed *mywire.Error) {
	t.Helper()
	r.each(t, cmd, func(part mywire.Part, p []byte, now mywire.Status) {
		switch status = now; part {
		case mywire.PartRow:
			rows = append(rows, p)
		case mywire.PartMore:
			rows[len(rows)-1] = append(rows[len(rows)-1], p...)
		case mywire.PartError:
			failed, _ = mywire.ParseError(p)
		}
	})
	return rows, status, failed
}

// value is the first column of the first row of a query.
func (r *raw) value(t testing.TB, query string) string {
	t.Helper()
	r.send(t, mywire.ComQuery, query)
	rows, _, failed := r.rows(t, mywire.ComQuery)
	if failed != nil || len(rows) == 0 {
		t.Fatalf("%s: %v", query, failed)
	}
	if rows[0][0] == 0xfb {
		return ""
	}
	v, _, err := mywire.LenencString(rows[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(v)
}

// waitFor waits until something is so.
func waitFor(t testing.TB, so func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !so() {
		if time.Now().After(deadline) {
			t.Fatal("timed out")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// dial logs in as a driver, and says whether that went well.
func (w *world) dial(caps mywire.Capabilities, user, password string) (net.Conn, error) {
	nc, err := net.Dial("tcp", w.addr)
	if err != nil {
		return nil, err
	}
	got, err := mywire.Connect(context.Background(), nc, &mywire.ConnectConfig{
		User: user, Password: password, Schema: testDatabase, Capabilities: caps, Collation: 45,
	})
	if err != nil {
		return nil, err
	}
	return got.Conn, nil
}

// rawLogin logs in by caching_sha2_password.
func rawLogin(t testing.TB, r *raw, user, password string, collation byte) {
	t.Helper()
	got, err := mywire.Connect(t.Context(), r.Conn, &mywire.ConnectConfig{
		User: user, Password: password, Schema: testDatabase, Capabilities: r.caps, Collation: collation,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.caps = got.Capabilities
}

// exec runs a statement that has no rows.
func (r *raw) exec(t testing.TB, query string) mywire.OK {
	t.Helper()
	r.send(t, mywire.ComQuery, query)
	return r.expectOK(t)
}

func (r *raw) want(t testing.TB, query, want string) {
	t.Helper()
	if got := r.value(t, query); got != want {
		t.Errorf("%s: got %q, want %q", query, got, want)
	}
}

// fails runs a statement that must fail.
func (r *raw) fails(t testing.TB, query string, code uint16) {
	t.Helper()
	r.send(t, mywire.ComQuery, query)
	if _, _, e := r.rows(t, mywire.ComQuery); e == nil || e.Code != code {
		t.Errorf("%s: %v, want error %d", query, e, code)
	}
}

// reset sends COM_RESET_CONNECTION.
func (r *raw) reset(t testing.TB) {
	t.Helper()
	r.send(t, mywire.ComResetConnection, "")
	r.expectOK(t)
}

// direct connects to the server itself.
func (s server) direct(t testing.TB, schema string) *raw {
	t.Helper()
	return s.directAs(t, schema, 45)
}

// directAs is direct with a collation.
func (s server) directAs(t testing.TB, schema string, collation byte) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	got, err := mywire.Connect(t.Context(), nc, &mywire.ConnectConfig{
		User: s.user, Password: s.password, TLS: s.tls(t), Schema: schema, Capabilities: rawCaps | mywire.CapMultiStatements, Collation: collation,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { got.Conn.Close() })
	return &raw{Conn: got.Conn, caps: got.Capabilities}
}

// admin asks the origin itself for a number.
func (w *world) admin(t testing.TB, query string) (n int) {
	t.Helper()
	r := w.direct(t, "")
	defer r.Close()
	r.send(t, mywire.ComQuery, query)
	rows, _, failed := r.rows(t, mywire.ComQuery)
	if failed != nil || len(rows) == 0 {
		t.Fatalf("%s: %v", query, failed)
	}
	for b := rows[0]; len(b) > 0; { // the last column
		v, rest, err := mywire.LenencString(b)
		if err != nil {
			t.Fatal(err)
		}
		n, _ = strconv.Atoi(string(v))
		b = rest
	}
	return n
}

// sleeping is how many statements of the tests sleep at the origin.
func (w *world) sleeping(t testing.TB) int {
	return w.admin(t, "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(%'")
}

// sha2Answer is an answer of caching_sha2_password.
func sha2Answer(salt mywire.Salt, password string) []byte {
	once := sha256.Sum256([]byte(password))
	twice := sha256.Sum256(once[:])
	mix := sha256.Sum256(append(twice[:], salt[:]...))
	for i := range mix {
		mix[i] ^= once[i]
	}
	return mix[:]
}
