package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/mywire"
)

func TestPooling54MultiStatements(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t, mywire.CapMultiStatements), w.raw(t)
		a.exec(t, "CREATE TABLE IF NOT EXISTS several (id int)")
		a.exec(t, "DELETE FROM several")
		for range 2 {
			a.send(t, mywire.ComQuery, "SELECT 1; SELECT 2, 3; INSERT INTO several VALUES (1); SELECT 4")
			if rows, _, failed := a.rows(t, mywire.ComQuery); failed != nil || len(rows) != 3 {
				t.Errorf("%q, %v", rows, failed)
			}
			b.fails(t, "SELECT 1; SELECT 2", 1064)
			a.send(t, mywire.ComQuery, "BEGIN; INSERT INTO several VALUES (2); SELECT nothing; SELECT 4")
			if rows, _, failed := a.rows(t, mywire.ComQuery); failed == nil || failed.Code != 1054 || len(rows) != 0 {
				t.Errorf("%q, %v", rows, failed)
			}
			a.want(t, "SELECT COUNT(*) FROM several WHERE id = 2", "1") // the transaction goes on
			a.exec(t, "ROLLBACK")
			b.want(t, "SELECT COUNT(*) FROM several WHERE id = 2", "0")
		}
		b.send(t, mywire.ComSetOption, "\x00\x00")
		b.packet(t)
		b.send(t, mywire.ComQuery, "SELECT 1; SELECT 2")
		if rows, _, failed := b.rows(t, mywire.ComQuery); failed != nil || len(rows) != 2 {
			t.Errorf("behind COM_SET_OPTION: %q, %v", rows, failed)
		}
		b.send(t, mywire.ComSetOption, "\x01\x00")
		b.packet(t)
		b.fails(t, "SELECT 1; SELECT 2", 1064)
	})
}

func TestPooling54Call(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t), w.raw(t)
		a.exec(t, "DROP PROCEDURE IF EXISTS three")
		a.exec(t, "CREATE PROCEDURE three(IN n BIGINT, OUT m BIGINT) BEGIN SELECT n; SELECT n + 1; SELECT n + 2; SET m = n * 2; END")
		a.send(t, mywire.ComQuery, "CALL three(5, @m)")
		if rows, _, failed := a.rows(t, mywire.ComQuery); failed != nil || len(rows) != 3 {
			t.Errorf("%q, %v", rows, failed)
		}
		a.want(t, "SELECT @m", "10")
		b.want(t, "SELECT @m", "")
		a.reset(t)
		id, _ := b.prepare(t, "CALL three(?, ?)")
		for n := range int64(3) {
			rows, _, failed := b.execute(t, id, 0, n == 0, n, 0)
			if failed != nil || len(rows) != 4 { // the last of them of the OUT parameters
				t.Fatalf("%x, %v", rows, failed)
			}
			if m := number(t, rows[3:], nil); m != 2*n {
				t.Errorf("OUT parameter: %d", m)
			}
		}
		a.want(t, "SELECT 1", "1")
	})
}

func TestPooling60Kill(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(3))
		a, b, c := w.raw(t), w.raw(t), w.raw(t)
		ids := map[*raw]string{a: a.value(t, "SELECT CONNECTION_ID()"), b: b.value(t, "SELECT CONNECTION_ID()")}
		for range 3 {
			a.send(t, mywire.ComQuery, "SELECT SLEEP(300) AS a")
			b.send(t, mywire.ComQuery, "SELECT SLEEP(300) AS b")
			waitFor(t, func() bool { return w.sleeping(t) == 2 })
			for left, killed := range []*raw{b, a} {
				c.exec(t, "KILL QUERY "+ids[killed])
				rows, _, failed := killed.rows(t, mywire.ComQuery) // SLEEP that is interrupted returns 1, or the statement fails
				if failed != nil && failed.Code != 1317 || failed == nil && string(rows[0]) != "\x011" {
					t.Errorf("killed: %q, %v", rows, failed)
				}
				killed.want(t, "SELECT 1", "1")
				waitFor(t, func() bool { return w.sleeping(t) <= 1-left })
				if n := w.sleeping(t); n != 1-left {
					t.Errorf("%d go on, want %d", n, 1-left)
				}
			}
		}
		c.fails(t, "KILL 999999", 1094)
		c.send(t, mywire.ComProcessKill, id32(number32(t, ids[a])))
		c.expectOK(t)
		if _, err := a.Read(make([]byte, 1)); err != nil {
			t.Logf("%v", err)
		}
		waitFor(t, func() bool { return w.srv.Clients() == 2 })
	})
}

func number32(t testing.TB, s string) (n uint32) {
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPooling60CanceledContext(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.connect(t), w.connect(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := a.ExecContext(ctx, "SELECT SLEEP(30)")
			done <- err
		}()
		waitFor(t, func() bool { return w.sleeping(t) == 1 })
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		waitFor(t, func() bool { return w.sleeping(t) == 0 })
		want(t, b, "SELECT 1", "1")
	})
}

func TestPooling60QueryLimit(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		var cfg mysqlConfig
		w := newWorld(t, s, maxConns(1), func(c *mysqlConfig) { cfg = *c })
		a, b := w.raw(t), w.raw(t)
		a.send(t, mywire.ComQuery, "SELECT COUNT(*) FROM information_schema.columns a, information_schema.columns b, information_schema.columns c")
		waitFor(t, func() bool { return w.db.Stats().Live == 1 && w.db.Stats().Idle == 0 })
		limited := cfg
		limited.WaitTimeout = 100 * time.Millisecond
		w.db.SetConfig(limited)
		b.send(t, mywire.ComQuery, "SELECT 1")
		if _, _, e := b.rows(t, mywire.ComQuery); e == nil || e.Code != 1040 || !strings.HasPrefix(e.Message, "Failed to acquire a connection from the pool.") {
			t.Errorf("without a connection: %v", e)
		}
		limited = cfg
		limited.QueryTimeout = 300 * time.Millisecond
		w.db.SetConfig(limited)
		if _, _, e := a.rows(t, mywire.ComQuery); e == nil || e.Code != 1317 {
			t.Errorf("beyond the limit: %v", e)
		}
		w.db.SetConfig(cfg)
		b.want(t, "SELECT 2", "2")
		a.want(t, "SELECT 3", "3")
	})
}

// A statement that ends while the KILL that its time has brought about is on its way has the next one of its transaction spared.
func TestPooling60LateKill(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		asked, arrive := make(chan struct{}, 1), make(chan struct{})
		var dials atomic.Int32
		w := newWorld(t, s, maxConns(1), func(c *mysqlConfig) {
			c.QueryTimeout = time.Second
			dial := c.Dial
			c.Dial = func(ctx context.Context) (net.Conn, error) {
				if dials.Add(1) > 1 { // the first is the client's, and all others are for KILL
					select {
					case asked <- struct{}{}:
					default:
					}
					<-arrive
				}
				return dial(ctx)
			}
		})
		a, b := w.raw(t), s.direct(t, "")
		a.exec(t, "START TRANSACTION")
		b.want(t, "SELECT GET_LOCK('late kill', 1)", "1")
		a.send(t, mywire.ComQuery, "SELECT GET_LOCK('late kill', 60)")
		<-asked
		b.want(t, "SELECT RELEASE_LOCK('late kill')", "1")
		if rows, _, e := a.rows(t, mywire.ComQuery); e != nil || len(rows) != 1 {
			t.Fatalf("%d rows, %v", len(rows), e)
		}
		a.send(t, mywire.ComQuery, "SELECT SLEEP(0.5) + 1")
		time.AfterFunc(250*time.Millisecond, func() { close(arrive) }) // by then it would run, were it not made to wait
		rows, _, e := a.rows(t, mywire.ComQuery)
		if e != nil || len(rows) != 1 || !bytes.HasSuffix(rows[0], []byte("1")) { // SLEEP says 1 where it was interrupted
			t.Errorf("the next statement: %q, %v", rows, e)
		}
		a.exec(t, "COMMIT")
	})
}

func TestPooling60OriginAway(t *testing.T) {
	w := newWorld(t, servers[0], maxConns(1), func(c *mysqlConfig) {
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", "/nowhere")
		}
	})
	a := w.raw(t)
	for range 2 {
		a.send(t, mywire.ComQuery, "SELECT 1")
		if e := a.expectError(t); e.Code != 1429 || !strings.HasPrefix(e.Message, "Server connection attempt failed: ") {
			t.Errorf("%v", e)
		}
	}
	w = newWorld(t, servers[0], maxConns(1), func(c *mysqlConfig) { c.Password = "wrong" })
	a = w.raw(t)
	a.send(t, mywire.ComQuery, "SELECT 1")
	if e := a.expectError(t); e.Code != 1045 || !strings.HasPrefix(e.Message, "Server connection attempt failed: Access denied") {
		t.Errorf("%v", e)
	}
}

func TestPooling61Sizes(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		for _, caps := range []mywire.Capabilities{0, mywire.CapDeprecateEOF | mywire.CapSessionTrack} {
			a := w.raw(t, caps)
			// a row is one packet of the protocol's largest size, and its neighbours
			for _, n := range []int{1<<24 - 1 - 4, 1<<24 - 1 - 5, 1 << 24} {
				a.send(t, mywire.ComQuery, fmt.Sprintf("SELECT REPEAT('x', %d)", n))
				rows, _, failed := a.rows(t, mywire.ComQuery)
				if failed != nil || len(rows) != 1 {
					t.Fatalf("row of %d bytes: %v", n, failed)
				}
				if got, _, err := mywire.LenencString(rows[0]); err != nil || len(got) != n {
					t.Errorf("row of %d bytes: %d, %v", n, len(got), err)
				}
			}
			if caps == 0 {
				sendLong(t, a)
			}
			a.send(t, mywire.ComQuery, "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i FROM n") // numbers of packets wrap
			if rows, _, failed := a.rows(t, mywire.ComQuery); failed != nil || len(rows) != 1000 {
				t.Errorf("%d rows, %v", len(rows), failed)
			}
			id, _ := a.prepare(t, "SELECT LENGTH(?) + 0")
			long := strings.Repeat("z", 18<<20)
			p := []byte("\x17" + id32(id) + "\x00\x01\x00\x00\x00" + "\x00" + "\x01" + "\xfc\x00")
			p = mywire.AppendLenencString(p, long)
			b, _ := mywire.AppendPacket(nil, 0, p)
			if _, err := a.Write(b); err != nil {
				t.Fatal(err)
			}
			a.seq = 1 // of two
			rows, _, failed := a.rows(t, mywire.ComStmtExecute)
			if n := number(t, rows, failed); n != 18<<20 {
				t.Errorf("parameter of 18 MB: %d", n)
			}
		}
	})
}

// sendLong runs a statement of 40 MB.
func sendLong(t testing.TB, a *raw) {
	t.Helper()
	b, _ := mywire.AppendPacket(nil, 0, []byte("\x03SELECT LENGTH('"+strings.Repeat("y", 40<<20)+"')"))
	if _, err := a.Write(b); err != nil {
		t.Fatal(err)
	}
	a.seq = 2 // of three packets, of which the numbers go on
	rows, _, failed := a.rows(t, mywire.ComQuery)
	if failed != nil || string(rows[0]) != "\x0841943040" {
		t.Errorf("query of 40 MB: %q, %v", rows, failed)
	}
}

func TestPooling62ChangeUser(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a := w.raw(t)
		a.exec(t, "SET @x = 1")
		a.exec(t, "SET time_zone = '+05:00'")
		a.exec(t, "USE "+otherDatabase)
		id, _ := a.prepare(t, "SELECT 1")
		cu := mywire.ChangeUser{User: testUser, Schema: testDatabase, Plugin: mywire.PluginSHA2, Collation: 45, Auth: []byte("not for this challenge, which is of no use")}
		for _, password := range []string{testPassword, "wrong"} {
			b, _ := mywire.AppendPacket(nil, 0, cu.Append(nil, a.caps))
			if _, err := a.Write(b); err != nil {
				t.Fatal(err)
			}
			a.seq = 0
			p := a.packet(t)
			sw, err := mywire.ParseAuthSwitch(p)
			if err != nil || p[0] != mywire.HeaderEOF || sw.Plugin != mywire.PluginSHA2 {
				t.Fatalf("%x, %v", p, err)
			}
			b, _ = mywire.AppendPacket(nil, a.seq+1, sha2Answer(sw.Salt, password))
			if _, err := a.Write(b); err != nil {
				t.Fatal(err)
			}
			a.seq++
			if password != testPassword {
				if e := a.expectError(t); e.Code != 1045 {
					t.Errorf("wrong password: %v", e)
				}
				break
			}
			if p := a.packet(t); string(p) != "\x01\x03" {
				t.Fatalf("%x", p)
			}
			a.expectOK(t)
			a.want(t, "SELECT @x", "")
			a.want(t, "SELECT @@time_zone", "SYSTEM")
			a.want(t, "SELECT DATABASE()", "orders")
			if _, _, e := a.execute(t, id, 0, false); e == nil || e.Code != 1243 {
				t.Errorf("a statement of before: %v", e)
			}
		}
	})
}

func TestPooling63LocalInfile(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t, mywire.CapLocalFiles), w.raw(t)
		a.exec(t, "CREATE TABLE IF NOT EXISTS loaded (v varchar(100))")
		a.exec(t, "DELETE FROM loaded")
		a.send(t, mywire.ComQuery, "LOAD DATA LOCAL INFILE 'some file' INTO TABLE loaded")
		if p := a.packet(t); string(p) != "\xfbsome file" {
			t.Fatalf("%q", p)
		}
		var file []byte
		for i := range 3 {
			file, _ = mywire.AppendPacket(file, byte(2+i), []byte(strings.Repeat("a line\n", 10_000)))
		}
		file, _ = mywire.AppendPacket(file, 5, nil)
		if _, err := a.Write(file); err != nil {
			t.Fatal(err)
		}
		a.seq = 5
		if ok := a.expectOK(t); ok.AffectedRows != 30_000 {
			t.Errorf("%d rows loaded", ok.AffectedRows)
		}
		b.want(t, "SELECT COUNT(*) FROM loaded", "30000")
	})
}

// TestPooling60Vanished: what a driver leaves behind that vanishes is gone from the
// origin, whose connection serves the next.
func TestPooling60Vanished(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		b := w.raw(t)
		b.exec(t, "CREATE TABLE IF NOT EXISTS vanished (id int)")
		b.exec(t, "DELETE FROM vanished")
		id := b.value(t, "SELECT CONNECTION_ID() + 0")
		a := w.raw(t)
		a.exec(t, "BEGIN")
		a.exec(t, "INSERT INTO vanished VALUES (1)")
		a.Close()
		b.want(t, "SELECT COUNT(*) FROM vanished", "0")
		b.want(t, "SELECT CONNECTION_ID() + 0", id)
		a = w.raw(t)
		a.send(t, mywire.ComQuery, "SELECT SLEEP(60)")
		waitFor(t, func() bool { return w.sleeping(t) == 1 })
		a.Close()
		waitFor(t, func() bool { return w.sleeping(t) == 0 })
		b.want(t, "SELECT 1", "1")
		a = w.raw(t)
		half, _ := mywire.AppendPacket(nil, 0, []byte("\x03SELECT '"+strings.Repeat("x", 100_000)+"'"))
		if _, err := a.Write(half[:50_000]); err != nil {
			t.Fatal(err)
		}
		a.Close()
		b.want(t, "SELECT 2", "2")
	})
}

// TestPooling63Rogue: an origin asks for a file with which a driver has nothing to do.
func TestPooling63Rogue(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go rogue(ln)
	w := newWorld(t, server{addr: ln.Addr().String(), user: "u", password: "p"}, maxConns(1))
	a := w.raw(t, mywire.CapLocalFiles)
	a.send(t, mywire.ComQuery, "SELECT 1")
	if e := a.expectError(t); e.Code != mywire.CodeNotAllowed {
		t.Errorf("%v", e)
	}
	if n, err := a.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d more bytes", n)
	}
}

// rogue is an origin that answers every SELECT 1 by asking for a file.
func rogue(ln net.Listener) {
	a := mywire.Acceptor{Version: "8.0.0", AllowPlaintext: true, Plugin: mywire.PluginNative,
		Capabilities: rawCaps | mywire.CapSessionTrack | mywire.CapDeprecateEOF | mywire.CapLocalFiles}
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer nc.Close()
			d, err := a.Accept(nc, 1, func(string, string) (*mywire.Verifier, error) { return mywire.NewVerifier("p"), nil })
			if err != nil || d.Welcome(&mywire.OK{}) != nil {
				return
			}
			for {
				p, _, err := mywire.ReadPacket(nc, 1<<20)
				if err != nil {
					return
				}
				out, _ := mywire.AppendPacket(nil, 1, (&mywire.OK{Status: mywire.StatusAutocommit}).Append(nil, d.Login.Capabilities))
				switch {
				case strings.Contains(string(p), "max_prepared_stmt_count"):
					out = nil
					c := mywire.Column{Name: []byte("n"), Type: mywire.TypeLongLong}
					eof := mywire.OK{EOF: true}
					for i, payload := range [][]byte{{1}, c.Append(nil), {1, '9'}, eof.Append(nil, d.Login.Capabilities)} {
						out, _ = mywire.AppendPacket(out, byte(i+1), payload)
					}
				case strings.Contains(string(p), "SELECT 1"):
					out, _ = mywire.AppendPacket(nil, 1, []byte("\xfb/etc/passwd"))
				}
				if _, err := nc.Write(out); err != nil {
					return
				}
			}
		}()
	}
}

// TestPooling64Status: the status of a session is the server's own from its beginning, because drivers escape strings by it.
func TestPooling64Status(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		admin := s.admin(t)
		mode := value(t, admin, "SELECT @@GLOBAL.sql_mode")
		exec(t, admin, "SET GLOBAL sql_mode = CONCAT(@@GLOBAL.sql_mode, ',NO_BACKSLASH_ESCAPES')")
		defer exec(t, admin, "SET GLOBAL sql_mode = ?", mode)
		w := newWorld(t, s, maxConns(1))
		for i := range 2 {
			a := w.raw(t)
			if a.send(t, mywire.ComPing, ""); i > 0 { // no origin has said anything before
				if ok := a.expectOK(t); !ok.Status.Has(mywire.StatusNoBackslashEscapes) {
					t.Errorf("behind the login: status 0x%x", ok.Status)
				}
			} else {
				a.expectOK(t)
			}
			a.want(t, `SELECT '\'`, `\`)
			a.exec(t, "SET sql_mode = ''")
			a.send(t, mywire.ComResetConnection, "")
			if ok := a.expectOK(t); !ok.Status.Has(mywire.StatusNoBackslashEscapes) {
				t.Errorf("behind COM_RESET_CONNECTION: status 0x%x", ok.Status)
			}
		}
	})
}

func TestPooling64Capabilities(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		var clients []*raw
		for i := range 8 {
			var caps mywire.Capabilities
			for bit, c := range []mywire.Capabilities{mywire.CapDeprecateEOF, mywire.CapSessionTrack, mywire.CapMultiStatements} {
				if i>>bit&1 == 1 {
					caps |= c
				}
			}
			clients = append(clients, w.raw(t, caps))
		}
		clients[0].exec(t, "CREATE TABLE IF NOT EXISTS classes (id int primary key, v int)")
		clients[0].exec(t, "REPLACE INTO classes VALUES (1, 1), (2, 1)")
		for range 2 {
			for i, c := range clients {
				c.want(t, "SELECT COUNT(*) FROM classes", "2")
				if ok := c.exec(t, "UPDATE classes SET v = v WHERE id = 1"); !strings.HasPrefix(string(ok.Info), "Rows matched: 1") || ok.AffectedRows != 0 {
					t.Errorf("client %d: %+v %q", i, ok, ok.Info)
				}
				ok := c.exec(t, "SET time_zone = '+01:00'")
				told := false
				for ch := range mywire.Changes(ok.State) {
					told = told || string(ch.Name) == "time_zone" && string(ch.Value) == "+01:00"
					if ch.Kind == mywire.ChangeState {
						t.Errorf("client %d is told what it did not ask for", i)
					}
				}
				if told != c.caps.Has(mywire.CapSessionTrack) {
					t.Errorf("client %d: told %v", i, told)
				}
				id, _ := c.prepare(t, "SELECT id + ? FROM classes WHERE id = ?")
				rows, _, failed := c.execute(t, id, 0, true, 5, 1)
				if n := number(t, rows, failed); n != 6 {
					t.Errorf("client %d: %d", i, n)
				}
				c.send(t, mywire.ComFieldList, "classes\x00")
				if _, _, failed := c.rows(t, mywire.ComFieldList); failed != nil {
					t.Errorf("COM_FIELD_LIST: %v", failed)
				}
				c.send(t, mywire.ComStatistics, "")
				c.packet(t)
				c.send(t, mywire.ComPing, "")
				c.expectOK(t)
				c.send(t, mywire.ComBinlogDump, "")
				if e := c.expectError(t); e.Code != 1235 {
					t.Errorf("%v", e)
				}
			}
		}
		found := w.raw(t, mywire.CapFoundRows)
		if ok := found.exec(t, "UPDATE classes SET v = v WHERE id = 1"); ok.AffectedRows != 1 {
			t.Errorf("CapFoundRows: %+v", ok)
		}
		spaces := w.raw(t, mywire.CapIgnoreSpace)
		spaces.want(t, "SELECT COUNT (*) FROM classes", "2")
		if !strings.Contains(spaces.value(t, "SELECT @@sql_mode"), "IGNORE_SPACE") || strings.Contains(clients[0].value(t, "SELECT @@sql_mode"), "IGNORE_SPACE") {
			t.Error("sql_mode of a login with CapIgnoreSpace")
		}
	})
}
