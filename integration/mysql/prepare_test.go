package mysql

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// prepare prepares a statement, and returns its id and how many parameters it has.
func (r *raw) prepare(t testing.TB, query string) (id uint32, params int) {
	t.Helper()
	r.send(t, mywire.ComStmtPrepare, query)
	p := r.packet(t)
	head, err := mywire.ParsePrepared(p)
	if err != nil {
		t.Fatalf("prepare %q: %v: %q", query, err, p)
	}
	for _, n := range []uint16{head.Params, head.Columns} {
		for range n {
			if _, err := mywire.ParseColumn(r.packet(t)); err != nil {
				t.Fatal(err)
			}
		}
		if n > 0 && !r.caps.Has(mywire.CapDeprecateEOF) {
			if _, err := mywire.ParseEOF(r.packet(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return head.ID, int(head.Params)
}

func id32(id uint32) string { return string(binary.LittleEndian.AppendUint32(nil, id)) }

// execute executes a statement with 64-bit integers; types says whether it names their types.
func (r *raw) execute(t testing.TB, id uint32, flags byte, types bool, values ...int64) (rows [][]byte, status mywire.Status, failed *mywire.Error) {
	t.Helper()
	b := id32(id) + string([]byte{flags, 1, 0, 0, 0})
	if len(values) > 0 {
		b += strings.Repeat("\x00", (len(values)+7)/8)
		if types {
			b += "\x01" + strings.Repeat("\x08\x00", len(values))
		} else {
			b += "\x00"
		}
		for _, v := range values {
			b += string(binary.LittleEndian.AppendUint64(nil, uint64(v)))
		}
	}
	r.send(t, mywire.ComStmtExecute, b)
	return r.rows(t, mywire.ComStmtExecute)
}

// number is the one 64-bit integer of a binary row.
func number(t testing.TB, rows [][]byte, failed *mywire.Error) int64 {
	t.Helper()
	if failed != nil || len(rows) != 1 || len(rows[0]) < 2+8 {
		t.Fatalf("want one row, got %x, %v", rows, failed)
	}
	return int64(binary.LittleEndian.Uint64(rows[0][2:]))
}

func TestPooling52Prepared(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(2))
		a, b := w.raw(t), w.raw(t)
		id, params := a.prepare(t, "SELECT ? + 0")
		if params != 1 {
			t.Fatalf("%d parameters", params)
		}
		rows, _, failed := a.execute(t, id, 0, true, 41)
		if n := number(t, rows, failed); n != 41 {
			t.Errorf("got %d", n)
		}
		// the other connection, where nobody has prepared it, and no types come along
		b.exec(t, "BEGIN")
		b.value(t, "SELECT COUNT(*) FROM information_schema.tables")
		for i := range int64(4) {
			if i == 2 {
				b.exec(t, "COMMIT")
				b.exec(t, "SET @pinned = 1") // takes the other one
			}
			rows, _, failed = a.execute(t, id, 0, false, i)
			if n := number(t, rows, failed); n != i {
				t.Errorf("got %d, want %d", n, i)
			}
		}
		// of the same text, with other types in between
		c := w.raw(t)
		idC, _ := c.prepare(t, "SELECT ? + 0")
		c.send(t, mywire.ComStmtExecute, id32(idC)+"\x00\x01\x00\x00\x00"+"\x00"+"\x01"+"\xfd\x00"+"\x027x")
		if _, _, failed := c.rows(t, mywire.ComStmtExecute); failed != nil {
			t.Error(failed)
		}
		rows, _, failed = a.execute(t, id, 0, false, 9)
		if n := number(t, rows, failed); n != 9 {
			t.Errorf("with the types of another client: %d", n)
		}
		a.send(t, mywire.ComStmtClose, id32(id))
		if _, _, failed := a.execute(t, id, 0, true, 1); failed == nil || failed.Code != 1243 {
			t.Errorf("a closed statement: %v", failed)
		}
		a.send(t, mywire.ComStmtPrepare, "SELECT nonsense FROM nowhere")
		if e := a.expectError(t); e.Code != 1146 {
			t.Errorf("a bad statement: %v", e)
		}
	})
}

func TestPooling52Cap(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(2))
		before := w.admin(t, "SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'")
		var wg sync.WaitGroup
		for i := range 4 {
			c := w.raw(t)
			wg.Go(func() {
				ids := make([]uint32, 300)
				for j := range ids {
					ids[j], _ = c.prepare(t, fmt.Sprintf("SELECT ? + %d", j))
				}
				for j, id := range ids {
					rows, _, failed := c.execute(t, id, 0, true, int64(i))
					if n := number(t, rows, failed); n != int64(i+j) {
						t.Errorf("statement %d: %d", j, n)
					}
				}
			})
		}
		wg.Wait()
		if n := w.admin(t, "SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'") - before; n > 400 {
			t.Errorf("%d statements are prepared at the origin", n)
		}
	})
}

func TestPooling52AfterDDL(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.connect(t), w.connect(t)
		exec(t, a, "DROP TABLE IF EXISTS altered")
		exec(t, a, "CREATE TABLE altered (id int)")
		exec(t, a, "INSERT INTO altered VALUES (1)")
		stmt, err := b.PrepareContext(t.Context(), "SELECT * FROM altered WHERE id = ?")
		if err != nil {
			t.Fatal(err)
		}
		defer stmt.Close()
		for i := range 5 {
			exec(t, a, fmt.Sprintf("ALTER TABLE altered ADD c%d int DEFAULT %d", i, i))
			rows, err := stmt.QueryContext(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			columns, _ := rows.Columns()
			if rows.Close(); len(columns) != i+2 {
				t.Errorf("%d columns behind ALTER TABLE %d", len(columns), i)
			}
			want(t, b, fmt.Sprintf("SELECT c%d FROM altered WHERE id = ?", i), fmt.Sprint(i), 1)
		}
	})
}

func TestPooling53LongData(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		w := newWorld(t, s, maxConns(1))
		a, b := w.raw(t), w.raw(t)
		id, _ := a.prepare(t, "SELECT LENGTH(?), ?")
		for i := range 3 {
			a.send(t, mywire.ComStmtSendLongData, id32(id)+"\x00\x00"+strings.Repeat("x", 30_000))
			if i == 0 {
				a.send(t, mywire.ComStmtSendLongData, id32(id)+"\x01\x00"+"second")
			}
		}
		a.send(t, mywire.ComStmtExecute, id32(id)+"\x00\x01\x00\x00\x00"+"\x00"+"\x01"+"\xfc\x00\xfc\x00")
		rows, _, failed := a.rows(t, mywire.ComStmtExecute)
		if failed != nil || len(rows) != 1 || !bytes.Contains(rows[0], binary.LittleEndian.AppendUint32(nil, 90_000)) || !bytes.Contains(rows[0], []byte("second")) {
			t.Errorf("%q, %v", rows, failed)
		}
		b.want(t, "SELECT 1", "1") // the connection is free
		a.send(t, mywire.ComStmtSendLongData, id32(id)+"\x00\x00"+"gone")
		a.send(t, mywire.ComStmtReset, id32(id))
		a.expectOK(t)
		b.want(t, "SELECT 2", "2")
		a.send(t, mywire.ComStmtSendLongData, id32(id)+"\x00\x00"+"gone")
		a.send(t, mywire.ComStmtClose, id32(id))
		a.want(t, "SELECT 3", "3")
		b.want(t, "SELECT 4", "4")
	})
}

func TestPooling53Cursor(t *testing.T) {
	onBoth(t, func(t *testing.T, s server) {
		for _, caps := range []mywire.Capabilities{0, mywire.CapDeprecateEOF} {
			w := newWorld(t, s, maxConns(1))
			a, b := w.raw(t, caps), w.raw(t)
			b.exec(t, "CREATE TABLE IF NOT EXISTS cursed (id bigint primary key)")
			b.exec(t, "REPLACE INTO cursed VALUES (1), (2), (3), (4), (5)")
			id, _ := a.prepare(t, "SELECT id FROM cursed ORDER BY id")
			rows, status, failed := a.execute(t, id, mywire.CursorReadOnly, false)
			if failed != nil || len(rows) != 0 || !status.Has(mywire.StatusCursorExists) {
				t.Fatalf("execute: %d rows, status %x, %v", len(rows), status, failed)
			}
			total := 0
			for i := range 3 {
				a.send(t, mywire.ComStmtFetch, id32(id)+"\x02\x00\x00\x00")
				rows, status, failed := a.rows(t, mywire.ComStmtFetch)
				if failed != nil {
					t.Fatal(failed)
				}
				total += len(rows)
				if last := status.Has(mywire.StatusLastRowSent); last != (i == 2) {
					t.Errorf("fetch %d: status %x", i, status)
				}
			}
			if total != 5 {
				t.Errorf("%d rows", total)
			}
			b.want(t, "SELECT 1", "1") // the connection is free
			if _, status, _ = a.execute(t, id, mywire.CursorReadOnly, false); !status.Has(mywire.StatusCursorExists) {
				t.Errorf("status %x", status)
			}
			a.send(t, mywire.ComStmtReset, id32(id))
			a.expectOK(t)
			b.want(t, "SELECT 2", "2")
			a.send(t, mywire.ComStmtFetch, id32(id)+"\x02\x00\x00\x00")
			if e := a.expectError(t); e.Code != 1421 {
				t.Errorf("a fetch without a cursor: %v", e)
			}
			a.Close()
			b.Close()
			w.stop()
		}
	})
}
