package caching

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/postgres"
	"github.com/sluicedb/sluice/proxy/query"
)

// TestCacheHitsWhateverTheWay: a group is looked up however its driver sends it, in
// pieces, described before, or right behind a statement whose effects are still asked
// about; and nobody who sends no group waits for one.
func TestCacheHitsWhateverTheWay(t *testing.T) {
	s, around := tables(t, "create table NAME.t as select i as id from generate_series(1, 3) i", "create table NAME.columns as select 1 as id")
	w := newWorld(t)
	w.ready(t, s+".t")
	front, do := w.raw(t)
	sync := &pgproto3.Sync{}
	sql := "select id from " + s + ".t order by id"
	group := append(ask(sql), sync)
	want(t, "stored", do(group...), "1", "2", "3", "ZI")
	want(t, "again", do(group...), "1", "2", "3", "ZI")

	t.Run("pieces", func(t *testing.T) {
		conn := hijack(t, w)
		all := parseToSync(sql)
		hits := w.counts()[query.StatusHit]
		n := w.asked(func() {
			for _, b := range all[:len(all)-1] {
				if _, err := conn.Write([]byte{b}); err != nil {
					t.Fatal(err)
				}
			}
			roundTrip(t, conn, all[len(all)-1:])
		})
		if got := w.counts()[query.StatusHit] - hits; n != 0 || got != 1 {
			t.Errorf("byte by byte: %d hits, the origin was asked %d times", got, n)
		}
	})
	t.Run("flush", func(t *testing.T) {
		for n, replies := range []int{1, 2, 3, 7} { // to Parse, Bind, Describe, and three rows to Execute
			do(group[:n+1]...)
			do(&pgproto3.Flush{})
			for range replies {
				if _, err := front.Receive(); err != nil {
					t.Fatal(err)
				}
			}
			rest := []string{"1", "2", "3", "ZI"}
			if n == 3 {
				rest = rest[3:]
			}
			want(t, "behind Flush", do(group[n+1:]...), rest...)
		}
	})
	t.Run("described before", func(t *testing.T) {
		for _, name := range []string{"", "named"} {
			want(t, "prepared", do(&pgproto3.Parse{Name: name, Query: sql}, &pgproto3.Describe{ObjectType: 'S', Name: name}, sync), "ZI")
			hits := w.counts()[query.StatusHit]
			n := w.asked(func() {
				for range 2 {
					want(t, "executed", do(&pgproto3.Bind{PreparedStatement: name}, &pgproto3.Execute{}, sync), "1", "2", "3", "ZI")
				}
			})
			if got := w.counts()[query.StatusHit] - hits; n != 0 || got != 2 {
				t.Errorf("%q: %d hits of 2, the origin was asked %d times", name, got, n)
			}
		}
	})
	t.Run("what is described", func(t *testing.T) {
		conn, direct := hijack(t, w), newWorld(t, func(c *postgres.Config) { c.Caching = cache.Policy{} })
		origin := hijack(t, direct)
		for _, ask := range [][]byte{groupOf(sql, false, false), groupOf(sql, true, false), groupOf(sql, false, true)} {
			wanted := string(in[:roundTrip(t, origin, ask)])
			roundTrip(t, conn, ask)
			hits := w.counts()[query.StatusHit]
			n := w.asked(func() {
				for range 3 {
					if got := string(in[:roundTrip(t, conn, ask)]); got != wanted {
						t.Errorf("%q, the origin says %q", got, wanted)
					}
				}
			})
			if got := w.counts()[query.StatusHit] - hits; n != 0 || got != 3 {
				t.Errorf("%q: %d hits of 3, the origin was asked %d times", ask, got, n)
			}
		}
		ask := groupOf(sql+" limit 9", true, false)
		wanted := string(in[:roundTrip(t, origin, ask)])
		w.expect(t, "statement described", func() {
			for range 2 {
				if got := string(in[:roundTrip(t, conn, ask)]); got != wanted {
					t.Errorf("%q, the origin says %q", got, wanted)
				}
			}
		}, query.StatusMiss, query.StatusHit)
	})
	t.Run("described, and then refused", func(t *testing.T) {
		sql := "select 6 / (id - 1) from " + s + ".t order by id"
		conn, direct := hijack(t, w), newWorld(t, func(c *postgres.Config) { c.Caching = cache.Policy{} })
		origin := hijack(t, direct)
		for _, ask := range [][]byte{pgwire.AppendQuery(nil, sql), groupOf(sql, false, false), groupOf(sql, true, false), groupOf(sql, false, true)} {
			wanted := string(in[:roundTrip(t, origin, ask)])
			w.expect(t, "an error behind a description", func() {
				if got := string(in[:roundTrip(t, conn, ask)]); got != wanted {
					t.Errorf("%q, the origin says %q", got, wanted)
				}
			}, query.StatusMiss)
		}
	})
	t.Run("described, and then not", func(t *testing.T) {
		sql := "select * from " + s + ".columns order by 1"
		prepared := []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Describe{ObjectType: 'S'}, sync}
		blind := []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}, sync}
		want(t, "stored", do(blind...), "1", "ZI")
		want(t, "again", do(blind...), "1", "ZI")
		exec(t, around, "alter table "+s+".columns add column more int default 2") // around the proxy
		want(t, "described", do(prepared...), "ZI")
		want(t, "by another description than what is stored", do(blind...), "1,2", "ZI")
	})
	t.Run("parameters are described", func(t *testing.T) {
		sql := "select id from " + s + ".t where id = $1"
		bind := &pgproto3.Bind{Parameters: [][]byte{[]byte("2")}}
		hits := w.counts()[query.StatusHit]
		for range 3 {
			want(t, "types and rows", do(&pgproto3.Parse{Query: sql}, &pgproto3.Describe{ObjectType: 'S'}, bind, &pgproto3.Execute{}, sync), "2", "ZI")
		}
		if w.counts()[query.StatusHit] != hits {
			t.Error("hits, though nobody knows the types of parameters")
		}
	})
	t.Run("behind a tidy", func(t *testing.T) {
		before := w.counts()
		for range 20 {
			want(t, "set", do(&pgproto3.Query{String: "set timezone = 'Asia/Tokyo'"}), "ZI")
			want(t, "read", do(group...), "1", "2", "3", "ZI")
		}
		after := w.counts()
		if n := after[query.StatusUncacheable] - before[query.StatusUncacheable]; n != 0 {
			t.Errorf("%d of 20 reads were not looked up", n)
		}
		if n := after[query.StatusHit] - before[query.StatusHit]; n != 19 {
			t.Errorf("%d hits of 20 reads, the first of which is a miss", n)
		}
	})
	t.Run("behind a tidy that finds a pin", func(t *testing.T) {
		want(t, "pinned", do(&pgproto3.Query{String: "create temp table kept (id int)"}), "ZI")
		hits := w.counts()[query.StatusHit]
		want(t, "read", do(group...), "1", "2", "3", "ZI")
		if got := w.counts()[query.StatusHit]; got != hits {
			t.Error("a client with a temporary table was answered from the cache")
		}
	})
}
