package caching

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/postgres"
	"github.com/sluicedb/sluice/proxy/query"
)

// told collects what a database tells other proxies of.
type told struct {
	mu  sync.Mutex
	all int // how often of a write to anything
}

func (o *told) wrote(w cache.Write, _, _ bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if w.All {
		o.all++
	}
}

func (o *told) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all
}

const triggered = "create function NAME.trg() returns trigger language plpgsql as 'begin update NAME.stock set v = v + 1; return new; end'"

// TestCache31WriteOfAFormerCatalog: what a write spreads to is not said by a catalog
// that was another when the write is committed.
func TestCache31WriteOfAFormerCatalog(t *testing.T) {
	s, direct := tables(t, "create table NAME.orders (id int)", "create table NAME.stock as select 0 as v", triggered)
	others := &told{}
	w := newWorld(t, func(c *postgres.Config) { c.Wrote = others.wrote })
	w.ready(t, s+".stock")
	a, b := w.simply(t), w.simply(t)
	exec(t, a, "begin")
	exec(t, direct, "create trigger trg after insert on "+s+".orders for each row execute function "+s+".trg()")
	exec(t, a, "insert into "+s+".orders values (1)")
	exec(t, b, "create table "+s+".more ()") // so that the proxy looks at the catalog
	sql := "select v from " + s + ".stock"
	within(t, "a hit of what is from before the commit", func() bool {
		before := w.counts()
		got := rows(t, b, sql)
		if got != "0\n" {
			t.Fatalf("before the commit: %q", got)
		}
		return w.counts()[query.StatusHit] > before[query.StatusHit]
	})
	before := others.count()
	exec(t, a, "commit")
	if got := rows(t, b, sql); got != "1\n" {
		t.Errorf("after the commit: %q", got)
	}
	if others.count() == before {
		t.Error("other proxies were told of the table only that the former catalog knew of")
	}
}

// TestCache31WriteWhileTheCatalogIsInDoubt: a proxy that has heard of a change of the
// catalog, and could not look yet, tells others of writes to anything.
func TestCache31WriteWhileTheCatalogIsInDoubt(t *testing.T) {
	s, _ := tables(t, "create table NAME.orders (id int)", "create table NAME.stock as select 0 as v",
		"create function NAME.peek() returns int language sql stable as 'select v from NAME.stock'")
	others := &told{}
	w := newWorld(t, func(c *postgres.Config) { c.Wrote, c.MaxConns = others.wrote, 1 })
	w.ready(t, s+".stock")
	a := w.simply(t)
	for _, test := range []struct {
		sql  string
		all  bool
		what string
	}{
		{"select 1", false, "what nobody can change"},
		{"select v from NAME.stock", false, "a table"},
		{"insert into NAME.orders values (1)", true, "a write"},
		{"select NAME.peek()", true, "a function that may be another by now"},
	} {
		exec(t, a, "begin") // by the only connection, which the proxy waits for
		w.db.Results().Wrote(cache.Write{All: true}, true, false)
		before := others.count()
		rows(t, a, strings.ReplaceAll(test.sql, "NAME", s))
		exec(t, a, "commit")
		if got := others.count() > before; got != test.all {
			t.Errorf("%s: told of a write to anything: %v", test.what, got)
		}
		w.ready(t, s+".stock")
	}
}

// TestCache39UnwatchedLeases: once caching is switched on a proxy takes back what it
// did not watch until then, for those who had heard of it before.
func TestCache39UnwatchedLeases(t *testing.T) {
	others := &told{}
	w := newWorld(t, func(c *postgres.Config) { c.Wrote, c.Caching = others.wrote, cache.Policy{} })
	w.db.Results().SetPolicy(cache.Policy{MaxAge: time.Minute})
	w.db.Results().SetPolicy(cache.Policy{MaxAge: time.Hour})
	if got := others.count(); got != 1 {
		t.Errorf("told %d times, want once", got)
	}
}

// TestCache31CatalogChangedOutOfSight: behind what may have changed the catalog though its
// text does not say so, nothing is judged by the catalog of before.
func TestCache31CatalogChangedOutOfSight(t *testing.T) {
	s, _ := tables(t, "create function NAME.secure(t text) returns void language plpgsql as "+
		"'begin execute format(''alter table NAME.%I enable row level security'', t); end'",
		"create table NAME.a as select 1 as id", "create table NAME.b as select 1 as id", "create table NAME.c as select 1 as id", "create table NAME.d as select 1 as id")
	w := newWorld(t)
	writer, reader := w.simply(t), w.simply(t)
	for _, test := range []struct{ table, change string }{
		{"a", "select NAME.secure('a')"},
		{"b", "do $$ begin perform NAME.secure('b'); end $$"},
		{"c", "alter table NAME.c enable row level security -- " + strings.Repeat("x", query.MaxText)},
		{"d", "prepare p as select NAME.secure('d'); execute p; deallocate p"},
	} {
		w.ready(t, s+"."+test.table)
		sql := "select count(*) from " + s + "." + test.table
		w.expect(t, test.table, func() { rows(t, reader, sql); rows(t, reader, sql) }, query.StatusMiss, query.StatusHit)
		rows(t, writer, strings.ReplaceAll(test.change, "NAME", s))
		before := w.counts()
		within(t, "row security", func() bool {
			rows(t, reader, sql)
			after := w.counts()
			if after[query.StatusMiss] > before[query.StatusMiss] || after[query.StatusHit] > before[query.StatusHit] {
				t.Fatalf("%s: taken for what may be cached, behind what has made it none", test.table)
			}
			return w.db.Results().Ready()
		})
	}
}
