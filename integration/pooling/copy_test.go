package pooling

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/protocol/stream/bufconn"
)

func TestPooling33(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	x.want("C:CREATE_TABLE Z:I", q("create unlogged table p33 (a int, b text)"))
	pid := x.value("select pg_backend_pid()")

	// In bulk: 32 MB in messages of 64 KB and of one row.
	x.want("G", q("copy p33 from stdin"))
	row := "1\t" + strings.Repeat("x", 1000) + "\n"
	chunk := encode(copyData(strings.Repeat(row, 64)))
	for range 500 {
		x.write(chunk)
		if n := bufconn.BuffersInUse(); n > 1000 {
			t.Fatalf("%d buffers are held", n)
		}
	}
	for range 100 {
		x.send(copyData(row))
	}
	x.want("C:COPY_32100 Z:I", copyDone)

	// A bad row: the origin refuses at once, the rest is swallowed.
	for range 10 {
		x.want("G", q("copy p33 from stdin"))
		x.send(copyData("bad\trow\n"))
		x.got("E:22P02 Z:I")
		x.send(copyData(row), copyData(row))
		y.want("T D:1 C:SELECT_1 Z:I", q("select 1")) // on the same backend
		x.want("T D:2 C:SELECT_1 Z:I", copyData(row), copyDone, q("select 2"))
	}
	// In a transaction, which keeps the origin connection.
	x.want("C:BEGIN Z:T G", q("begin"), q("copy p33 from stdin"))
	x.want("E:22P02 Z:E", copyData("bad\trow\n"))
	x.want("C:ROLLBACK Z:I", copyData(row), copyDone, q("rollback"))

	// Data sent ahead, and two of them.
	x.want("G C:COPY_1 Z:I G C:COPY_2 Z:I T D:3 C:SELECT_1 Z:I", q("copy p33 from stdin"), copyData(row), copyDone,
		q("copy p33 from stdin"), copyData(row), copyData(row), copyDone, q("select 3"))
	x.want("G E:22P02 Z:I T D:4 C:SELECT_1 Z:I", q("copy p33 from stdin"), copyData("bad\n"), copyData(row), copyDone, q("select 4"))
	x.want("E:42P01 Z:I T D:5 C:SELECT_1 Z:I", q("copy none from stdin"), copyData(row), copyDone, q("select 5"))
	x.want("G E:57014 Z:I", q("copy p33 from stdin"), &pgproto3.CopyFail{Message: "enough"})
	if got := x.value("select pg_backend_pid()"); got != pid {
		t.Errorf("backend %s, was %s", got, pid)
	}

	// COPY TO, and out of a client's sight.
	x.want("H d d d c C:COPY_3 Z:I", q("copy (select generate_series(1, 3)) to stdout"))
	x.want("C:TRUNCATE_TABLE Z:I C:DROP_TABLE Z:I", q("truncate p33"), q("drop table p33"))
}

// COPY by the extended protocol: Syncs sent while the origin takes data are ignored,
// by it and therefore by the proxy.
func TestPooling33Extended(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	x.want("C:CREATE_TABLE Z:I", q("create unlogged table p33e (a int)"))
	start := []pgproto3.FrontendMessage{parse("", "copy p33e from stdin"), bind(""), execute}

	// libpq's way: a Sync behind Execute, another behind CopyDone.
	x.want("1 2 G", append(start, syncMsg)...)
	x.want("C:COPY_1 Z:I", copyData("1\n"), copyDone, syncMsg)
	y.want("T D:1 C:SELECT_1 Z:I", q("select count(*) from p33e"))
	// With Flush and none.
	x.want("1 2 G", append(start, flush)...)
	x.want("C:COPY_2 Z:I", copyData("1\n"), flush, copyData("2\n"), copyDone, syncMsg)
	// All ahead, with and without the early Sync.
	x.want("1 2 G C:COPY_1 Z:I 1 2 D:4 C:SELECT_1 Z:I",
		append(append(start, syncMsg), copyData("1\n"), copyDone, syncMsg, parse("", "select count(*) from p33e"), bind(""), execute, syncMsg)...)
	x.want("1 2 G C:COPY_1 Z:I", append(start, copyData("1\n"), copyDone, syncMsg)...)
	// Syncs in the middle of the data.
	x.want("1 2 G", append(start, syncMsg)...)
	x.send(copyData("1\n"), syncMsg, copyData("2\n"), syncMsg)
	x.want("C:COPY_2 Z:I", copyDone, syncMsg)
	// An error is followed by nothing until a Sync that counts.
	x.want("1 2 G", append(start, syncMsg)...)
	x.want("E:22P02", copyData("x\n"))
	y.send(q("select count(*) from p33e")) // waits: the group has not ended
	x.want("Z:I", copyData("1\n"), copyDone, syncMsg)
	y.got("T D:7 C:SELECT_1 Z:I")
	x.want("T D:2 C:SELECT_1 Z:I", q("select 2"))
	// CopyDone without Sync leaves the group open; the transaction is not another's.
	x.want("1 2 G", append(start, flush)...)
	x.want("C:COPY_1", copyData("1\n"), copyDone, flush)
	y.send(q("select count(*) from p33e"))
	x.want("1 2 E:22012 Z:I", parse("", "select 1/(random()*0)::int"), bind(""), execute, syncMsg) // and all is rolled back
	y.got("T D:7 C:SELECT_1 Z:I")
	x.want("C:DROP_TABLE Z:I", q("drop table p33e"))
}

// A COPY that fails before it has read the Sync that was sent ahead.
func TestCopyRefusedByTrigger(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	x.send(q("create table p33t (a int); create function p33t() returns trigger language plpgsql as $$ begin raise 'no'; end $$; " +
		"create trigger t before insert on p33t for each statement execute function p33t()"))
	x.ready(1)
	for i := range 5 {
		x.send(parse("", "copy p33t from stdin"), bind(""), execute, syncMsg)
		if got := x.read(4); got != "1 2 G E:P0001" {
			t.Fatal(got)
		}
		x.got("Z:I")
		x.want("Z:I", copyData("1\n"), copyDone, syncMsg)
		y.want(fmt.Sprintf("T D:%d C:SELECT_1 Z:I", i), q(fmt.Sprint("select ", i)))
		x.conn.Close()
		x = w.wire(t)
	}
	x.send(q("drop table p33t; drop function p33t()"))
	x.ready(1)
}
