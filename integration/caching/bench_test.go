package caching

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

// BenchmarkHit measures hits on one connection, beside an echo server in the same
// process that returns as many bytes, and beside the same query without a cache.
// Allocations are those of driver, proxy and all.
func BenchmarkHit(b *testing.B) {
	s, _ := tables(b, "create table NAME.t as select i as id, repeat('x', 150) as body from generate_series(1, 100) i", "alter table NAME.t add primary key (id)")
	w := newWorld(b)
	w.ready(b, s+".t")
	sql := "select * from " + s + ".t where id = 7"
	simple, extended := pgwire.AppendQuery(nil, sql), parseToSync(sql)
	reply := 0
	for _, m := range []struct {
		name string
		ask  []byte
	}{{"simple", simple}, {"extended", extended}} {
		b.Run(m.name, func(b *testing.B) {
			conn := hijack(b, w)
			reply = roundTrip(b, conn, m.ask)
			before := w.counts()[query.StatusHit]
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				roundTrip(b, conn, m.ask)
				n++
			}
			if hits := w.counts()[query.StatusHit] - before; int(hits) != n {
				b.Fatalf("%d hits of %d", hits, n)
			}
		})
	}
	b.Run("origin", func(b *testing.B) {
		conn := hijack(b, w)
		ask := pgwire.AppendQuery(nil, strings.Replace(sql, "id = 7", "id = 7 and random() < 2", 1))
		for b.Loop() {
			roundTrip(b, conn, ask)
		}
	})
	b.Run("echo", func(b *testing.B) {
		conn := echo(b, len(simple), reply)
		in := make([]byte, reply)
		for b.Loop() {
			if _, err := conn.Write(simple); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(conn, in); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestHitAllocates: a hit allocates nothing, whether asked for by one message or by a whole group, in driver, proxy and cache.
func TestHitAllocates(t *testing.T) {
	s, _ := tables(t, "create table NAME.t as select i as id, repeat('x', 150) as body from generate_series(1, 100) i")
	w := newWorld(t)
	w.ready(t, s+".t")
	sql := "select * from " + s + ".t where id = 7"
	for name, ask := range map[string][]byte{"simple": pgwire.AppendQuery(nil, sql), "extended": parseToSync(sql),
		"not described": groupOf(sql, false, false), "statement described": groupOf(sql, true, false)} {
		conn := hijack(t, w)
		for range 100 {
			roundTrip(t, conn, ask)
		}
		const runs = 1000
		before := w.counts()[query.StatusHit]
		if n := testing.AllocsPerRun(runs-1, func() { roundTrip(t, conn, ask) }); n > hitAllocations { // and one to warm up
			t.Errorf("%s: %v allocations a hit", name, n)
		}
		if hits := w.counts()[query.StatusHit] - before; hits != runs {
			t.Errorf("%s: %d hits of %d", name, hits, runs)
		}
	}
}

// TestMissAllocates: who asks for one result after the other does not make anew each time
// what asks the origin. What is left is made of the result and its key.
func TestMissAllocates(t *testing.T) {
	s, _ := tables(t, "create table NAME.t as select i as id, repeat('x', 150) as body from generate_series(1, 100) i")
	w := newWorld(t)
	w.ready(t, s+".t")
	const first = "1000000000"
	sql := "select * from " + s + ".t where id = "
	parameter := pgwire.AppendMessage(nil, pgwire.MsgParse, append(append([]byte{0}, sql...), "$1::bigint\x00\x00\x00"...)...)
	parameter = pgwire.AppendMessage(parameter, pgwire.MsgBind, append(append([]byte{0, 0, 0, 0, 0, 1, 0, 0, 0, byte(len(first))}, first...), 0, 0)...)
	parameter = pgwire.AppendMessage(pgwire.AppendMessage(parameter, pgwire.MsgDescribe, 'P', 0), pgwire.MsgExecute, 0, 0, 0, 0, 0)
	for _, m := range []struct {
		name string
		ask  []byte
		most float64
	}{{"a new text", pgwire.AppendQuery(nil, sql+first), 9}, {"a new parameter", pgwire.AppendMessage(parameter, pgwire.MsgSync), 14}} {
		conn := hijack(t, w)
		at := bytes.Index(m.ask, []byte(first))
		n, _ := strconv.Atoi(first)
		miss := func() {
			n++
			strconv.AppendInt(m.ask[:at], int64(n), 10)
			roundTrip(t, conn, m.ask)
		}
		for range 100 {
			miss()
		}
		const runs = 1000
		before := w.counts()[query.StatusMiss]
		got := testing.AllocsPerRun(runs-1, miss) // and one to warm up
		if got > m.most+hitAllocations {
			t.Errorf("%s: %v allocations a miss", m.name, got)
		}
		if misses := w.counts()[query.StatusMiss] - before; misses != runs {
			t.Errorf("%s: %d misses of %d", m.name, misses, runs)
		}
	}
}

// TestMissKeeps: what a client's misses are asked with goes when its driver is silent for a while.
func TestMissKeeps(t *testing.T) {
	s, _ := tables(t, "create table NAME.t as select i as id from generate_series(1, 1000) i")
	w := newWorld(t)
	w.ready(t, s+".t")
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what pools hold on to goes with the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const clients, most = 200, 1500 // bytes: an entry takes 700, and an inner client 2,500
	var conns []net.Conn
	for range clients {
		conns = append(conns, hijack(t, w))
	}
	before, misses := heap(), w.counts()[query.StatusMiss]
	for i, conn := range conns {
		roundTrip(t, conn, pgwire.AppendQuery(nil, fmt.Sprintf("select * from %s.t where id = %d", s, i)))
	}
	if misses = w.counts()[query.StatusMiss] - misses; misses != clients {
		t.Errorf("%d misses of %d", misses, clients)
	}
	within(t, "little memory", func() bool { return (heap()-before)/clients <= most })
}

// parseToSync is a group of the extended protocol that asks for what a simple query does.
func parseToSync(sql string) []byte { return groupOf(sql, false, true) }

// groupOf is a group that asks for descriptions of its statement and its portal, or not.
func groupOf(sql string, statement, portal bool) []byte {
	b := pgwire.AppendMessage(nil, pgwire.MsgParse, append(append([]byte{0}, sql...), 0, 0, 0)...)
	if statement {
		b = pgwire.AppendMessage(b, pgwire.MsgDescribe, 'S', 0)
	}
	b = pgwire.AppendMessage(b, pgwire.MsgBind, 0, 0, 0, 0, 0, 0, 0, 0)
	if portal {
		b = pgwire.AppendMessage(b, pgwire.MsgDescribe, 'P', 0)
	}
	b = pgwire.AppendMessage(b, pgwire.MsgExecute, 0, 0, 0, 0, 0)
	return pgwire.AppendMessage(b, pgwire.MsgSync)
}

func hijack(b testing.TB, w *world) net.Conn {
	var h *pgconn.HijackedConn
	h, err := w.simply(b).PgConn().Hijack()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.Conn.Close() })
	return h.Conn
}

var in = make([]byte, 64<<10)

// roundTrip asks and reads up to ReadyForQuery, which ends what comes.
func roundTrip(b testing.TB, conn net.Conn, ask []byte) int {
	if _, err := conn.Write(ask); err != nil {
		b.Fatal(err)
	}
	for n := 0; ; {
		m, err := conn.Read(in[n:])
		if err != nil {
			b.Fatal(err)
		}
		if n += m; n >= 6 && in[n-6] == pgwire.MsgReadyForQuery && in[n-1] == pgwire.TxIdle && in[n-2] == 5 {
			return n
		}
	}
}

// echo is a connection to a server that answers so many bytes with so many.
func echo(b *testing.B, ask, reply int) net.Conn {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		got, out := make([]byte, ask), make([]byte, reply)
		for {
			if _, err := io.ReadFull(conn, got); err != nil {
				return
			}
			if _, err := conn.Write(out); err != nil {
				return
			}
		}
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}
