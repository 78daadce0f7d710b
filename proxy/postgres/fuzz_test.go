package postgres

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/protocol/stream/bufconn"
	"github.com/sluicedb/sluice/proxy/pool"
)

// A script is one side of a connection: it says what next gives, and keeps what it
// is told.
type script struct {
	next func(s *script, p []byte) int // 0: the end; -1: the deadline has passed

	mu    sync.Mutex
	out   []byte
	late  bool
	heard func(s *script) // what to do when it was told something, or the deadline changed
}

func (s *script) Read(p []byte) (int, error) {
	switch n := s.next(s, p); n {
	case -1:
		return 0, os.ErrDeadlineExceeded
	case 0:
		return 0, io.EOF
	default:
		return n, nil
	}
}

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	s.out = append(s.out, p...)
	s.mu.Unlock()
	s.wake()
	return len(p), nil
}

func (s *script) wake() {
	if s.heard != nil {
		s.heard(s)
	}
}

func (s *script) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	s.late = !t.IsZero() && t.Before(time.Now())
	s.mu.Unlock()
	s.wake()
	return nil
}

func (s *script) SetDeadline(t time.Time) error  { return s.SetReadDeadline(t) }
func (*script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) Close() error                   { return s.SetReadDeadline(time.Unix(1, 0)) }
func (*script) LocalAddr() net.Addr              { return nil }
func (*script) RemoteAddr() net.Addr             { return nil }

// replies is what an origin says, connection after connection: one group of replies
// at a time, in pieces. Where it is causal a group waits for the request that ends
// the like, as on a real origin.
type replies struct {
	causal bool
	piece  int

	mu     sync.Mutex
	cond   *sync.Cond
	groups [][]byte
	fatal  bool
	asked  int // requests that ReadyForQuery answers, of the connections before
	given  int // groups
}

func (r *replies) next(s *script, p []byte) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.causal && !r.hangUp() && (len(r.groups) == 0 || r.given >= r.asked+asks(s)) {
		s.mu.Lock()
		late := s.late
		s.mu.Unlock()
		if late {
			return -1
		}
		r.cond.Wait()
	}
	if len(r.groups) == 0 {
		return 0
	}
	g := r.groups[0]
	n := copy(p[:min(len(p), r.piece)], g)
	if r.groups[0] = g[n:]; n == len(g) {
		r.groups = r.groups[1:]
		r.given++
	}
	return n
}

// hangUp reports whether the origin has nothing more to say, and said goodbye.
func (r *replies) hangUp() bool { return len(r.groups) == 0 && r.fatal }

// cutGroups cuts what an origin says behind every ReadyForQuery.
func cutGroups(b []byte) (groups [][]byte) {
	at := 0
	for at+pgwire.HeaderSize <= len(b) {
		typ, body, err := pgwire.Header(b[at:])
		if err != nil || at+pgwire.HeaderSize+body > len(b) {
			break
		}
		if at += pgwire.HeaderSize + body; typ == pgwire.MsgReadyForQuery {
			groups = append(groups, b[:at])
			b, at = b[at:], 0
		}
	}
	if len(b) > 0 {
		groups = append(groups, b)
	}
	return groups
}

// asks counts the messages that ReadyForQuery answers, among what s was told.
func asks(s *script) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := s.out; len(b) >= pgwire.HeaderSize; {
		typ, body, err := pgwire.Header(b)
		if err != nil || len(b) < pgwire.HeaderSize+body {
			break
		}
		if typ == pgwire.MsgSync || typ == pgwire.MsgQuery || typ == pgwire.MsgFunctionCall {
			n++
		}
		b = b[pgwire.HeaderSize+body:]
	}
	return n
}

// connect is a new connection to the origin.
func (r *replies) connect(before *script) *script {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before != nil {
		r.asked += asks(before)
	}
	return &script{next: r.next, heard: func(*script) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.cond.Broadcast()
	}}
}

// serveScript runs one client from its first request to its end and returns what
// the driver was told. Whatever the two sides say, it must end, leave no reference
// to a statement and no buffer behind, and tell the driver whole messages. With
// ready over 0 the driver stays for that many ReadyForQuery, or 2 s.
func serveScript(t *testing.T, driver, origins []byte, piece int, ready int) []byte {
	t.Helper()
	before := bufconn.BuffersInUse()
	said := &replies{groups: cutGroups(origins), piece: piece, causal: ready > 0}
	said.cond, said.fatal = sync.NewCond(&said.mu), bytes.Contains(origins, []byte("FATAL"))
	cfg := Config{Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("no cancel requests") }, Limits: Limits{MaxConns: 2}}
	db := NewDatabase("d", cfg, nil)
	db.welcome.Store(&[]pgwire.Param{{Name: "TimeZone", Value: "UTC"}}) // as a login would
	ctx, cancel := context.WithCancel(t.Context())
	dials := 0
	var last *script
	db.pool = pool.New(pool.Config[*origin]{Max: 1, WaitTimeout: time.Second, Dial: func(context.Context) (*origin, error) {
		if dials++; dials > 20 { // enough: the database is taken away
			cancel()
			return nil, errOriginGone
		}
		last = said.connect(last)
		return &origin{Conn: pgwire.NewConn(last, false), db: db}, nil
	}})
	ran := make(chan struct{})
	go func() { defer close(ran); db.Run(ctx) }()
	s := &Server{Logger: slog.New(slog.DiscardHandler)}
	s.once.Do(s.init)
	side := new(script)
	side.next = func(_ *script, p []byte) int {
		if len(driver) == 0 && ready > 0 {
			for deadline := time.Now().Add(2 * time.Second); readies(side) < ready && time.Now().Before(deadline); {
				runtime.Gosched()
			}
		}
		n := copy(p[:min(len(p), piece)], driver)
		driver = driver[n:]
		return n
	}
	c := &client{s: s, db: db, id: 1, waiter: db.pool.Waiter(""), talk: talk{status: pgwire.TxIdle}, conn: pgwire.NewConn(side, true)}
	c.session = session{base: noState, state: noState}
	c.requests.src = c.conn
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.serve()
		s.work.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		panic("a client does not end")
	}
	if st := db.pool.Stats(); st.Live != st.Idle || st.Waiting != 0 {
		t.Errorf("pool: %+v", st)
	}
	cancel()
	<-ran
	if n := bufconn.BuffersInUse(); n != before {
		t.Errorf("%d buffers are held", n-before)
	}
	r := db.statements
	for _, st := range r.byKey {
		if st.refs != 0 || st.idle == nil {
			t.Errorf("statement %q has %d references", st.body, st.refs)
		}
	}
	if len(r.byKey) != r.idle.Len() || c.namedBytes != 0 || len(c.closed) > maxOwed {
		t.Errorf("%d statements, %d of them idle, %d bytes", len(r.byKey), r.idle.Len(), c.namedBytes)
	}
	for b := side.out; len(b) >= pgwire.HeaderSize; {
		_, body, err := pgwire.Header(b)
		if err != nil {
			t.Fatalf("the driver was told %q", b)
		}
		b = b[min(len(b), pgwire.HeaderSize+body):]
	}
	return side.out
}

// readies counts the ReadyForQuery that s was told.
func readies(s *script) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Count(s.out, []byte("Z\x00\x00\x00\x05"))
}

func requests(msgs ...pgproto3.FrontendMessage) (b []byte) {
	for _, m := range msgs {
		b, _ = m.Encode(b)
	}
	return b
}

func answers(msgs ...pgproto3.BackendMessage) (b []byte) {
	for _, m := range msgs {
		b, _ = m.Encode(b)
	}
	return b
}

// transcripts are what a driver and an origin say to each other.
func transcripts() [][2][]byte {
	parse := func(name, sql string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: sql} }
	bind := func(name string) *pgproto3.Bind { return &pgproto3.Bind{PreparedStatement: name} }
	one, two, three := &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.CloseComplete{}
	execute, sync, done := &pgproto3.Execute{}, &pgproto3.Sync{}, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}
	idle, active := &pgproto3.ReadyForQuery{TxStatus: 'I'}, &pgproto3.ReadyForQuery{TxStatus: 'T'}
	row := &pgproto3.DataRow{Values: [][]byte{bytes.Repeat([]byte("x"), 40)}}
	bad := &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "42601", Message: "no"}
	fatal := &pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "57P01", Message: "bye"}
	describe := &pgproto3.Describe{ObjectType: 'S', Name: "s"}
	closing := &pgproto3.Close{ObjectType: 'S', Name: "s"}
	params, columns := &pgproto3.ParameterDescription{}, &pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("column")}}}
	q := func(sql string) *pgproto3.Query { return &pgproto3.Query{String: sql} }
	g, d, c := &pgproto3.CopyInResponse{}, &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}
	return [][2][]byte{
		{requests(q("select 1")), answers(columns, row, done, idle)},
		{requests(parse("", "select 1"), bind(""), execute, sync), answers(one, two, row, done, idle)},
		{requests(parse("s", "select 1"), describe, sync, bind("s"), execute, sync), answers(one, params, columns, idle, two, row, done, idle)},
		{requests(q("select 1"), q("DISCARD ALL"), q("deallocate s")), answers(columns, fatal)},
		{requests(q("DISCARD ALL")), nil},
		{requests(parse("s", "select 1"), closing, describe, sync, &pgproto3.Terminate{}), answers(one, bad, idle)},
		{requests(closing, closing, sync, describe, sync), answers(bad, idle)},
		// What is sent to the origin for these depends on what it has answered by then, or
		// on more than the requests.
		{requests(q("copy t from stdin"), d, d, c, q("select 1")), answers(g, done, idle, columns, row, done, idle)},
		{requests(parse("", "copy t from stdin"), bind(""), execute, sync, d, c, sync), answers(one, two, g, done, idle)},
		{requests(parse("", "copy t from stdin"), bind(""), execute, sync, d, c, sync), answers(one, two, g, bad, idle, idle)},
		{requests(&pgproto3.FunctionCall{Function: 1}, q("rollback")), answers(&pgproto3.FunctionCallResponse{Result: []byte("x")}, idle, done, idle)},
		{requests(parse("s", "bad"), bind("s"), execute, sync, parse("s", "select 1"), closing, parse("s", "select 2"), sync), answers(bad, idle, one, one, idle)},
		{requests(q("begin"), parse("s", "select 1"), sync, closing, parse("s", "select 1"), bind("s"), sync), answers(done, active, one, active, three, one, two, idle)},
	}
}

// steady is how many of the transcripts, from the first, always go the same way.
const steady = 7

func TestScripts(t *testing.T) {
	for i, s := range transcripts()[:steady] {
		ready := bytes.Count(s[1], []byte("Z\x00\x00\x00\x05"))
		whole := serveScript(t, s[0], s[1], 1<<20, max(ready, 1))
		for _, piece := range []int{1, 2, 7, 64, 1 << 20} {
			if got := serveScript(t, s[0], s[1], piece, max(ready, 1)); !bytes.Equal(got, whole) {
				t.Errorf("%d: in pieces of %d bytes the driver was told\n%q, else\n%q", i, piece, got, whole)
			}
		}
	}
}

func FuzzClient(f *testing.F) {
	for i, s := range transcripts() {
		f.Add(s[0], s[1], uint8(i*16))
	}
	f.Fuzz(func(t *testing.T, driver, origins []byte, piece uint8) {
		serveScript(t, driver, origins, int(piece)+1, 0)
	})
}

// FuzzOptions splits options as a server's command line, and quotes what comes of it.
func FuzzOptions(f *testing.F) {
	for _, s := range []string{"-c a=b", "--a-b=c", `-c a=b\ c`, "-ca=b -c", "-c", "--", `\`, "-c a=b\\", "-c search_path=a,b -c x.y='z'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		st, err := startState(&pgwire.Startup{Params: []pgwire.Param{{Name: "options", Value: s}, {Name: "work_mem", Value: s}}}, true)
		if err != nil {
			return
		}
		sql := st.id
		// Every quote of a value is doubled, every backslash too: an even number of each.
		if bytes.Count([]byte(sql), []byte("'"))%2 != 0 || bytes.Count([]byte(sql), []byte(`\`))%2 != 0 {
			t.Errorf("%q becomes %s", s, sql)
		}
	})
}
