package pooling

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// heap is the memory in use in bytes.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// fill writes n bytes in pieces of 64 KB.
func (x *wire) fill(n int) error {
	piece := []byte(strings.Repeat("x", 64<<10))
	for n > 0 {
		_ = x.conn.SetWriteDeadline(time.Now().Add(patience))
		m, err := x.conn.Write(piece[:min(n, len(piece))])
		if err != nil {
			return err
		}
		n -= m
	}
	return nil
}

// drain reads one message without keeping it.
func (x *wire) drain(t *testing.T) (typ byte, n int) {
	t.Helper()
	_ = x.conn.SetReadDeadline(time.Now().Add(patience))
	var head [5]byte
	if _, err := io.ReadFull(x.conn, head[:]); err != nil {
		t.Fatal(err)
	}
	n = int(binary.BigEndian.Uint32(head[1:])) - 4
	for left := int64(n); left > 0; {
		_ = x.conn.SetReadDeadline(time.Now().Add(patience))
		m, err := io.CopyN(io.Discard, x.conn, min(left, 1<<20))
		if left -= m; err != nil {
			t.Fatal(err)
		}
	}
	return head[0], n
}

func TestPooling35(t *testing.T) {
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	// FunctionCall: int4pl is 177 since ever.
	x.want("V:\x00\x00\x00\x05 Z:I", &pgproto3.FunctionCall{Function: 177, ArgFormatCodes: []uint16{1},
		Arguments: [][]byte{{0, 0, 0, 2}, {0, 0, 0, 3}}, ResultFormatCode: 1})
	x.want("E:42883 Z:I", &pgproto3.FunctionCall{Function: 1, ArgFormatCodes: []uint16{1}, ResultFormatCode: 1})
	y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))

	const size = 100 << 20
	before := heap()
	x.send(parse("s", "select length($1::text)"), flush)
	x.got("1")
	b := encode(bind("s", ""))
	at := len(b) - 4 - 2 // the parameter's length; behind it the count of result formats
	binary.BigEndian.PutUint32(b[at:], size)
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-1+size))
	x.write(b[:at+4])
	if err := x.fill(size); err != nil {
		t.Fatal(err)
	}
	if after := heap(); after > before+16<<20 {
		t.Errorf("heap grew by %d bytes", after-before)
	}
	x.write(b[at+4:])
	x.want(fmt.Sprintf("2 D:%d C:SELECT_1 Z:I", size), execute, syncMsg)

	x.send(q(fmt.Sprintf("select repeat('x', %d)", size)))
	var got []string
	for {
		typ, n := x.drain(t)
		got = append(got, string(typ))
		if typ == 'D' && n != size+6 {
			t.Errorf("DataRow of %d bytes", n)
		}
		if typ == 'Z' {
			break
		}
	}
	if s := strings.Join(got, ""); s != "TDCZ" {
		t.Errorf("reply: %s", s)
	}
	if after := heap(); after > before+16<<20 {
		t.Errorf("heap grew by %d bytes", after-before)
	}
	y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
}

// Messages around the size of the buffers, whole and byte by byte.
func TestLongMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x, y := w.wire(t), w.wire(t)
	for _, size := range []int{16<<10 - 40, 16<<10 - 20, 16<<10 - 6, 16<<10 - 5, 16<<10 - 1, 16 << 10, 16<<10 + 1, 32 << 10, 100_000, 1 << 20} {
		pad := strings.Repeat("y", size)
		comment := "/*" + pad + "*/"
		name := strings.Repeat("n", 1000)
		script := fmt.Sprintf("T D:1 C:SELECT_1 Z:I 1 2 D:2 C:SELECT_1 Z:I 1 2 D:%s C:SELECT_1 3 Z:I 1 2 D:3 C:SELECT_1 Z:I", pad)
		msgs := encode(
			q("select 1 "+comment),
			parse("", "select 2 "+comment), bind(""), execute, syncMsg,
			parse(name, "select $1::text"), bind(name, pad), execute, closeStatement(name), syncMsg,
			parse("s", "select 3 "+comment), bind("s"), execute, syncMsg)
		for _, packet := range []int{len(msgs), 1000, 16 << 10, 1<<14 + 1} {
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for b := msgs; len(b) > 0; b = b[min(packet, len(b)):] {
					_, _ = x.conn.Write(b[:min(packet, len(b))])
				}
			}()
			x.got(script)
			<-sent
			x.want("T D:4 C:SELECT_1 Z:I", q("select 4"))
			y.want("T D:5 C:SELECT_1 Z:I", q("select 5"))
			x.want("3 Z:I", closeStatement("s"), syncMsg)
		}
	}
	small := encode(q("select 1"), parse("s", "select $1::text"), bind("s", "a"), describePortal(""), execute, closeStatement("s"), syncMsg)
	go func() {
		for i := range small {
			_, _ = x.conn.Write(small[i : i+1])
		}
	}()
	x.got("T D:1 C:SELECT_1 Z:I 1 2 T D:a C:SELECT_1 3 Z:I")
	// Names that fit no buffer are refused, not waited for.
	for _, m := range []pgproto3.FrontendMessage{describe(strings.Repeat("n", 20000)), bind(strings.Repeat("n", 20000)),
		parse(strings.Repeat("n", 20000), "select 1"), closeStatement(strings.Repeat("n", 20000))} {
		z := w.wire(t)
		z.send(m, syncMsg)
		if got := z.end(); got != "E:54000" {
			t.Errorf("%T: %s", m, got)
		}
	}
	y.want("T D:5 C:SELECT_1 Z:I", q("select 5"))
}

func TestPooling36(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x := w.wire(t)
	x.send(q("do $$ begin for i in 1..5000 loop raise notice '% %', i, repeat('n', 100); end loop; end $$"))
	for next := 1; ; {
		_ = x.conn.SetReadDeadline(time.Now().Add(patience))
		m, err := x.fe.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := m.(*pgproto3.NoticeResponse); ok {
			if !strings.HasPrefix(n.Message, fmt.Sprintf("%d n", next)) {
				t.Fatalf("notice %d: %.20s", next, n.Message)
			}
			next++
		}
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			if next != 5001 {
				t.Errorf("%d notices", next-1)
			}
			break
		}
	}
	// A ParameterStatus comes where the origin has put it.
	x.send(q("select 1; set timezone = 'Asia/Tokyo'; select 2"))
	var got []string
	for len(got) == 0 || got[len(got)-1] != "Z" {
		m, err := x.fe.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *pgproto3.ParameterStatus:
			got = append(got, m.Name+"="+m.Value)
		case *pgproto3.DataRow:
			got = append(got, string(m.Values[0]))
		case *pgproto3.ReadyForQuery:
			got = append(got, "Z")
		}
	}
	if s := strings.Join(got, " "); s != "1 2 TimeZone=Asia/Tokyo Z" && s != "1 TimeZone=Asia/Tokyo 2 Z" {
		t.Errorf("order: %s", s)
	}
}

// A reader that stands still holds up nobody else, and no memory.
func TestPooling34(t *testing.T) {
	w := newWorld(t, maxConns(2))
	x, y := w.wire(t), w.wire(t)
	before := heap()
	x.send(q("copy (select repeat('x', 1000) from generate_series(1, 200000)) to stdout"))
	x.got("H d")
	for range 100 {
		y.want("T D:1 C:SELECT_1 Z:I", q("select 1"))
	}
	if after := heap(); after > before+16<<20 {
		t.Errorf("heap grew by %d bytes", after-before)
	}
	if got := x.ready(1); !strings.HasSuffix(got, "C:COPY_200000 Z:I") || strings.Count(got, "d") != 199999 {
		t.Errorf("%d rows", strings.Count(got, "d"))
	}
}

// A driver that writes much before it reads anything.
func TestDuplex(t *testing.T) {
	t.Parallel()
	w := newWorld(t, maxConns(1))
	x := w.wire(t)
	var msgs []pgproto3.FrontendMessage
	var want strings.Builder
	for i := range 3000 {
		arg := fmt.Sprintf("%d-%s", i, strings.Repeat("z", 500))
		msgs = append(msgs, parse("", "select $1::text"), bind("", arg), execute, syncMsg)
		fmt.Fprintf(&want, "1 2 D:%s C:SELECT_1 Z:I ", arg)
	}
	written := make(chan error, 1)
	go func() {
		_ = x.conn.SetWriteDeadline(time.Now().Add(patience))
		_, err := x.conn.Write(encode(msgs...))
		written <- err
	}()
	if got := x.ready(3000) + " "; got != want.String() {
		t.Errorf("replies differ")
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	// Far more than the ledger takes: closes that are answered by the proxy.
	msgs = []pgproto3.FrontendMessage{q("begin")}
	for range 50000 {
		msgs = append(msgs, closeStatement("none"))
	}
	go func() { _, err := x.conn.Write(encode(append(msgs, syncMsg, q("commit"))...)); written <- err }()
	if got := x.ready(3); got != "C:BEGIN Z:T "+strings.Repeat("3 ", 50000)+"Z:T C:COMMIT Z:I" {
		t.Errorf("%.200s", got)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.connect(t).Ping(ctx); err != nil {
		t.Error(err)
	}
}
