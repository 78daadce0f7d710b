package mysql

import (
	"strings"
	"testing"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// TestPoolingHostile: what a driver may send to do harm costs it its connection at most.
func TestPoolingHostile(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		b := w.raw(t)
		for _, query := range []string{"SELECT @@`identity", "SELECT @@'identity", "SELECT @@\"last_insert_id", "SELECT LAST_INSERT_ID(", "KILL", "SHOW", "SELECT", "`", "SHOW COUNT("} {
			a := w.raw(t)
			a.send(t, mywire.ComQuery, query)
			if _, _, e := a.rows(t, mywire.ComQuery); e == nil {
				t.Errorf("%s: no error", query)
			}
			a.want(t, "SELECT 1", "1")
		}
		for next := range byte(0x20) {
			a := w.raw(t)
			if _, err := a.Write([]byte{0, 0, 0, 0, next}); err != nil {
				t.Fatal(err)
			}
			if e := a.goodbye(t); e.Code != mywire.CodeMalformedPacket {
				t.Errorf("an empty packet before %x: %v", next, e)
			}
		}
		a := w.raw(t)
		long, _ := mywire.AppendPacket(nil, 0, []byte("\x16"+strings.Repeat(" ", mywire.MaxPayload+20_000)))
		for len(long) > 0 {
			n := min(len(long), 10_000)
			if _, err := a.Write(long[:n]); err != nil {
				t.Fatal(err)
			}
			long = long[n:]
		}
		a.seq = 1
		if e := a.expectError(t); e.Code != mywire.CodeNetPacketTooLarge {
			t.Errorf("a statement that is too long: %v", e)
		}
		a.want(t, "SELECT 1", "1")
		b.want(t, "SELECT 2", "2")
	})
}

// TestPooling53TwoIDs: statements of one text by several ids have each its own
// parameters sent ahead, and its own cursor.
func TestPooling53TwoIDs(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t), w.raw(t)
		one, _ := a.prepare(t, "SELECT CONCAT(?, '!')")
		two, _ := a.prepare(t, "SELECT CONCAT(?, '!')")
		a.send(t, mywire.ComStmtSendLongData, id32(one)+"\x00\x00a")
		a.send(t, mywire.ComStmtSendLongData, id32(two)+"\x00\x00b")
		for id, want := range map[uint32]string{one: "a!", two: "b!"} {
			a.send(t, mywire.ComStmtExecute, id32(id)+"\x00\x01\x00\x00\x00\x00\x01\xfc\x00")
			rows, _, failed := a.rows(t, mywire.ComStmtExecute)
			if failed != nil || len(rows) != 1 || !strings.HasSuffix(string(rows[0]), want) {
				t.Errorf("%q, %v, want %q", rows, failed, want)
			}
		}
		a.send(t, mywire.ComStmtSendLongData, id32(one)+"\x00\x00a")
		a.send(t, mywire.ComStmtSendLongData, id32(two)+"\x00\x00b")
		a.send(t, mywire.ComStmtClose, id32(two))
		a.send(t, mywire.ComStmtReset, id32(one))
		a.expectOK(t)
		b.want(t, "SELECT 1", "1")

		one, _ = a.prepare(t, "SELECT 1 UNION SELECT 2 UNION SELECT 3")
		two, _ = a.prepare(t, "SELECT 1 UNION SELECT 2 UNION SELECT 3")
		for _, id := range []uint32{one, two} {
			if _, status, failed := a.execute(t, id, mywire.CursorReadOnly, false); failed != nil || !status.Has(mywire.StatusCursorExists) {
				t.Fatalf("%x, %v", status, failed)
			}
		}
		a.send(t, mywire.ComStmtClose, id32(two))
		a.send(t, mywire.ComStmtFetch, id32(one)+"\x05\x00\x00\x00")
		if rows, _, failed := a.rows(t, mywire.ComStmtFetch); failed != nil || len(rows) != 3 {
			t.Errorf("%d rows, %v", len(rows), failed)
		}
		b.want(t, "SELECT 2", "2")
	})
}

// TestPooling61Boundary: a row goes on in a packet whose first byte says what no
// byte inside a row says.
func TestPooling61Boundary(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a := w.raw(t)
		for _, b := range []string{"FE", "FF"} {
			if n := len(a.value(t, "SELECT REPEAT(X'"+b+"', 17000000)")); n != 17_000_000 {
				t.Errorf("%d bytes", n)
			}
		}
	})
}
