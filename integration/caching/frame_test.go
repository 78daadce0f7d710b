package caching

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedb/sluice/proxy/postgres"
	"github.com/sluicedb/sluice/proxy/query"
)

// TestCache30Notifications: a notification that comes while a miss is under way reaches
// its client, once, and is in no hit.
func TestCache30Notifications(t *testing.T) {
	s, direct := tables(t, "create table NAME.t as select i as id from generate_series(1, 100000) i")
	w := newWorld(t)
	w.ready(t, s+".t")
	var mu sync.Mutex
	var heard []string
	cfg, err := pgx.ParseConfig(w.url())
	if err != nil {
		t.Fatal(err)
	}
	cfg.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, n.Payload)
	}
	listener, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close(context.Background())
	exec(t, listener, "listen "+s)
	count := func(payload string) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range heard {
			if p == payload {
				n++
			}
		}
		return n
	}
	other := w.connect(t)
	for i := range 20 {
		payload := fmt.Sprint("payload ", i)
		sql := fmt.Sprintf("select count(*), %d from %s.t", i, s)
		done := make(chan struct{})
		go func() { defer close(done); exec(t, direct, "select pg_notify($1, $2)", s, payload) }()
		want := rows(t, listener, sql)
		<-done
		for deadline := time.Now().Add(patience); count(payload) == 0; {
			if time.Now().After(deadline) {
				t.Fatalf("no notification %q", payload)
			}
			if got := rows(t, listener, sql); got != want {
				t.Fatalf("%q, want %q", got, want)
			}
		}
		if got := rows(t, other, sql); got != want {
			t.Fatalf("another client reads %q, want %q", got, want)
		}
		if n := count(payload); n != 1 {
			t.Errorf("%q came %d times", payload, n)
		}
	}
	if n := w.counts()[query.StatusHit]; n < 10 {
		t.Errorf("%d hits prove nothing", n)
	}
}

// TestCache45SecretsStaySecret: what is in statements and parameters shows in no log and
// no report, and each query has one status.
func TestCache45SecretsStaySecret(t *testing.T) {
	s, _ := tables(t, "create table NAME.t as select 1 as id, 'x'::text as body")
	w := newWorld(t)
	w.ready(t, s+".t")
	conn, simple := w.connect(t), w.simply(t)
	before := w.counts()
	queries := 0
	ask := func(c *pgx.Conn, sql string, args ...any) {
		queries++
		_, _ = tryRows(c, sql, args...)
	}
	for range 3 {
		ask(simple, "select * from "+s+".t where body = 'hunter2'")
		ask(conn, "select * from "+s+".t where body = $1", "hunter2")
		ask(simple, "select * from "+s+".t where body = 'hunter2' and random() < 2")
		ask(simple, "select 'hunter2'")
		ask(simple, "update "+s+".t set body = 'hunter2'")
		ask(simple, "begin")
		ask(simple, "select * from "+s+".t where body = 'hunter2'")
		ask(simple, "commit")
		ask(simple, "select hunter2 from nowhere where 'hunter2")
		ask(simple, "select 1/0 from "+s+".t where body = 'hunter2'")
		ask(simple, "select 'hunter2'; select 'hunter2'")
		ask(simple, "set a.b = 'hunter2'")
	}
	after := w.counts()
	var sum uint64
	for i := range after {
		sum += after[i] - before[i]
	}
	// "set" and the like may be answered by the proxy itself, and are no queries then.
	if most := uint64(queries); sum > most || sum < most-6 {
		t.Errorf("%d statuses of %d queries: %v", sum, queries, after)
	}
	report := w.db.Results().Report(100)
	shown := fmt.Sprintf("%+v", report) + w.log.String()
	if strings.Contains(shown, "hunter2") {
		t.Errorf("a secret shows in %s", shown)
	}
	if len(report.Top) == 0 || len(report.Reasons) == 0 || report.Top[0].Hits == 0 || report.BytesHit == 0 {
		t.Errorf("%+v", report)
	}
	e := w.db.Results().Explain(t.Context(), "select * from "+s+".t where body = 'hunter2'")
	if e.Status != query.StatusMiss || len(e.Reads) != 1 || e.Reads[0] != s+".t" {
		t.Errorf("%+v", e)
	}
	if e := w.db.Results().Explain(t.Context(), "update "+s+".t set body = 'hunter2'"); len(e.Writes) != 1 || e.Status != query.StatusNotAQuery {
		t.Errorf("%+v", e)
	}
	off := newWorld(t, func(c *postgres.Config) { c.Caching.MaxAge = 0 })
	if e := off.db.Results().Explain(t.Context(), "select 1"); e.Status != query.StatusDisabled {
		t.Errorf("%+v", e)
	}
}
