package postgres

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/pool"
	"github.com/sluicedb/sluice/proxy/query"
	"github.com/sluicedb/sluice/proxy/results"
)

// BenchmarkMiss is what a read of a text that nobody has sent before costs the proxy, between a driver and an
// origin that take no time, with caching and with caching disabled.
func BenchmarkMiss(b *testing.B) {
	for _, m := range []struct {
		name   string
		policy cache.Policy
	}{{"cached", cache.Policy{MaxAge: time.Minute, Stale: time.Second}}, {"disabled", cache.Policy{}}} {
		b.Run(m.name, func(b *testing.B) { benchmarkMiss(b, m.policy) })
	}
}

func benchmarkMiss(b *testing.B, policy cache.Policy) {
	store := cache.New(cache.Config{MaxBytes: 512 << 20})
	defer store.Close()
	cfg := Config{Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("no cancel requests") }, Limits: Limits{MaxConns: 2}, Cache: store, Caching: policy}
	db := NewDatabase("d", cfg, nil)
	db.welcome.Store(&[]pgwire.Param{{Name: "TimeZone", Value: "UTC"}, {Name: "client_encoding", Value: "UTF8"}})
	db.standard.Store(true)
	said := answers(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("body")}}},
		&pgproto3.DataRow{Values: [][]byte{make([]byte, 200)}}, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	db.pool = pool.New(pool.Config[*origin]{Max: 1, WaitTimeout: time.Second, Dial: func(context.Context) (*origin, error) {
		return &origin{Conn: pgwire.NewConn(&parrot{said: said}, false), db: db}, nil
	}})
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { db.pool.Run(ctx) })
	if policy.MaxAge > 0 {
		running.Go(func() { db.results.Keep(ctx, func() (results.Origin, error) { return benchCatalog{}, nil }) })
		for !db.results.Ready() {
			time.Sleep(time.Millisecond)
		}
	}
	s := &Server{Logger: slog.New(slog.DiscardHandler)}
	s.once.Do(s.init)
	side := &novice{b: b, left: 1000}
	c := &client{s: s, db: db, id: 1, waiter: db.pool.Waiter(""), talk: talk{status: pgwire.TxIdle}, conn: pgwire.NewConn(side, true)}
	c.session = session{base: noState, state: noState}
	c.settings = cacheable(*db.welcome.Load(), nil)
	c.requests.src = c.conn
	b.ReportAllocs()
	_ = c.serve()
	b.StopTimer()
	b.ReportMetric(float64(processor()-side.began)/float64(b.N), "cpu-ns/op")
	if n := db.results.Counts().Statuses[query.StatusMiss]; policy.MaxAge > 0 && int(n) < b.N {
		b.Fatalf("%d misses of %d", n, b.N)
	}
	cancel()
	running.Wait()
}

// A benchCatalog lets everything be cached, as of one table.
type benchCatalog struct{}

func (benchCatalog) Fingerprint() (string, error) { return "the same", nil }
func (benchCatalog) Load() (query.Source, error)  { return benchSource{query.Postgres(nil)}, nil }
func (benchCatalog) Done(error)                   {}

type benchSource struct{ query.Source }

func (benchSource) Judge(text string) *query.Verdict {
	return &query.Verdict{Status: query.StatusMiss, Text: text, Tables: []uint32{1}}
}

// A parrot is an origin that answers every request alike.
type parrot struct {
	script
	said []byte
	owed int
}

func (p *parrot) Write(b []byte) (int, error) { p.owed++; return len(b), nil }
func (p *parrot) Read(b []byte) (int, error) {
	if p.owed == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	p.owed--
	return copy(b, p.said), nil
}
func (p *parrot) SetReadDeadline(time.Time) error { return nil }
func (p *parrot) SetDeadline(time.Time) error     { return nil }

// A novice is a driver that never asks the same twice.
type novice struct {
	script
	b     *testing.B
	left  int // before it counts
	n     int
	began time.Duration
	buf   []byte
	rest  []byte
}

func (d *novice) Write(b []byte) (int, error) { return len(b), nil }
func (d *novice) Read(p []byte) (int, error) {
	if len(d.rest) == 0 {
		if d.left--; d.left == 0 {
			d.b.ResetTimer()
			d.began = processor()
		}
		if d.left <= 0 && !d.b.Loop() {
			return 0, io.EOF
		}
		d.n++
		d.buf = append(d.buf[:0], "Q\x00\x00\x00\x00SELECT body FROM bodies WHERE id = 1"...)
		d.buf = append(strconv.AppendInt(d.buf, int64(d.n)+100_000_000, 10), "::bigint % 10000\x00"...)
		d.buf[4] = byte(len(d.buf) - 1)
		d.rest = d.buf
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}
func (d *novice) SetReadDeadline(time.Time) error { return nil }
func (d *novice) SetDeadline(time.Time) error     { return nil }

// processor is what the process has taken of the processor so far.
func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
