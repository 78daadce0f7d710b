package caching

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/proxy"
)

// A member is one proxy of a fleet.
type member struct {
	*proxy.Proxy
	addr  string
	state *control.Control
}

// A fleet is two proxies, each with a connection of its own to one NATS server, in
// front of pg.
type fleet struct {
	members  [2]member
	options  *server.Options
	nats     *server.Server
	database *control.NewDatabase
}

// newFleet gives each of its proxies so many bytes of cache.
func newFleet(t *testing.T, memory ...int64) *fleet {
	t.Helper()
	f := &fleet{options: &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true}}
	f.startNATS(t)
	dir := t.TempDir()
	target := pg.Target()
	for i := range f.members {
		state, err := control.Open(t.Context(), control.Config{DataDir: filepath.Join(dir, strconv.Itoa(i)), StoreURL: f.nats.ClientURL(),
			KeysetFile: filepath.Join(dir, "keyset.json"), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = state.Close() })
		if i == 0 {
			f.database, err = state.CreateDatabase(t.Context(), &control.Database{AccountID: control.DefaultAccountID, Name: testDatabase,
				MTLS: control.MTLS{SSLMode: control.SSLNoVerify}, OriginConnectionLimit: 5,
				Origin: control.Origin{Scheme: "postgres", Host: target.Host, Port: target.Port, Database: target.Database, User: target.User,
					Password: control.Plaintext(control.Secret(target.Password))}}, nil)
			if err != nil {
				t.Fatal(err)
			}
		}
		f.members[i] = f.member(t, state, memory[i])
	}
	return f
}

func (f *fleet) startNATS(t *testing.T) {
	t.Helper()
	options := *f.options
	srv, err := server.NewServer(&options)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		t.Fatal("no NATS")
	}
	f.options.Port = srv.Addr().(*net.TCPAddr).Port
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	f.nats = srv
}

func (f *fleet) member(t *testing.T, state *control.Control, memory int64) member {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := member{proxy.New(proxy.Config{Source: state, DirectOrigins: proxy.DirectAny, AllowPlaintext: true, Grace: time.Second,
		CacheMemory: memory, Fleet: state, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}), ln.Addr().String(), state}
	ctx, stop := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := state.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	wait.Go(func() {
		if err := m.Serve(ctx, ln, nil); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); wait.Wait() })
	return m
}

// connect connects a driver to one of the proxies, once that knows the database.
func (f *fleet) connect(t *testing.T, i int) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cfg, err := pgx.ParseConfig(fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", testDatabase, f.database.Password.Reveal(), f.members[i].addr, testDatabase))
	if err != nil {
		t.Fatal(err)
	}
	for {
		conn, err := pgx.ConnectConfig(ctx, cfg)
		if err == nil {
			t.Cleanup(func() { conn.Close(context.Background()) })
			return conn
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func (m member) hits(f *fleet) uint64 {
	if s := m.Cache(f.database.Database.ID); s != nil {
		return s.Statuses["hit"]
	}
	return 0
}

// warm reads by a proxy until that is a hit.
func (f *fleet) warm(t *testing.T, i int, conn *pgx.Conn, sql string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		before := f.members[i].hits(f)
		if got := rows(t, conn, sql); f.members[i].hits(f) > before {
			return got
		}
	}
	t.Fatalf("%s is never a hit at proxy %d", sql, i)
	return ""
}

// TestCache39FleetWritesOfOthers: what is written through one proxy is at once stale at
// the others, and while they cannot hear each other nothing is returned from memory.
func TestCache39FleetWritesOfOthers(t *testing.T) {
	s, _ := tables(t, "create table NAME.t as select 1 as id, 0 as v", "create table NAME.other as select 1 as id")
	f := newFleet(t, 16<<20, 16<<20)
	a, b := f.connect(t, 0), f.connect(t, 1)
	sql, other := "select v from "+s+".t where id = 1", "select id from "+s+".other"
	// fresh reads by proxy 1 until it is what was written, and how often it was not.
	fresh := func(want string) (stale int) {
		t.Helper()
		for deadline := time.Now().Add(patience); rows(t, b, sql) != want; stale++ {
			if time.Now().After(deadline) {
				t.Fatalf("proxy 1 reads %q, not %q", rows(t, b, sql), want)
			}
		}
		return stale
	}
	f.warm(t, 1, b, other)
	stale := 0
	for i := 1; i <= 50; i++ {
		f.warm(t, 1, b, sql)
		exec(t, a, "update "+s+".t set v = $1", i)
		stale += fresh(fmt.Sprintln(i))
	}
	t.Logf("%d stale reads behind 50 writes", stale) // while a message was on its way
	for deadline := time.Now().Add(patience); ; {    // a machine under load may miss beats
		f.warm(t, 1, b, other)
		exec(t, a, "update "+s+".t set v = 50")
		before := f.members[1].hits(f)
		if rows(t, b, other); f.members[1].hits(f) == before+1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a write put out what is of another table")
		}
	}
	// A change of the catalog is heard of too.
	f.warm(t, 1, b, sql)
	exec(t, a, "alter table "+s+".t enable row level security")
	for quiet, deadline := 0, time.Now().Add(patience); quiet < 20; quiet++ {
		before := f.members[1].hits(f)
		if rows(t, b, sql); f.members[1].hits(f) > before {
			quiet = 0
		}
		if time.Now().After(deadline) {
			t.Fatal("a table with row security is answered from memory")
		}
	}
	exec(t, a, "alter table "+s+".t disable row level security")
	f.warm(t, 1, b, sql)

	f.nats.Shutdown()
	f.nats.WaitForShutdown()
	f.suspended(t, true)
	before := f.members[1].hits(f)
	exec(t, a, "update "+s+".t set v = 1000")
	if got := rows(t, b, sql); got != "1000\n" || f.members[1].hits(f) != before {
		t.Errorf("%q, or a hit, while the proxies cannot hear each other", got)
	}
	f.startNATS(t)
	f.suspended(t, false)
	if got := f.warm(t, 1, b, sql); got != "1000\n" {
		t.Errorf("%q is from before", got)
	}
	exec(t, a, "update "+s+".t set v = 2000")
	fresh("2000\n")
	// A purge reaches all.
	for i, conn := range []*pgx.Conn{a, b} {
		f.warm(t, i, conn, other)
	}
	if _, err := f.members[0].state.PurgeCache(t.Context(), control.DefaultAccountID, f.database.Database.ID); err != nil {
		t.Fatal(err)
	}
	for i := range f.members {
		for deadline := time.Now().Add(patience); f.members[i].Cache(f.database.Database.ID).Statuses["miss"] == 0; {
			if time.Now().After(deadline) {
				t.Fatal("no purge")
			}
		}
		conn := []*pgx.Conn{a, b}[i]
		for deadline := time.Now().Add(patience); ; {
			misses := f.members[i].Cache(f.database.Database.ID).Statuses["miss"]
			if rows(t, conn, other); f.members[i].Cache(f.database.Database.ID).Statuses["miss"] > misses {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("proxy %d was not purged", i)
			}
		}
	}
}

// TestCache39FleetMemberWithoutACache: a proxy that keeps nothing tells those that do
// of what is written through it.
func TestCache39FleetMemberWithoutACache(t *testing.T) {
	s, _ := tables(t, "create table NAME.t as select 1 as id, 0 as v")
	f := newFleet(t, 0, 16<<20)
	a, b := f.connect(t, 0), f.connect(t, 1)
	sql := "select v from " + s + ".t where id = 1"
	for i := 1; i <= 5; i++ {
		f.warm(t, 1, b, sql)
		exec(t, a, "update "+s+".t set v = $1", i)
		for deadline := time.Now().Add(patience); rows(t, b, sql) != fmt.Sprintln(i); {
			if time.Now().After(deadline) {
				t.Fatalf("proxy 1 reads %q, not %d", rows(t, b, sql), i)
			}
		}
	}
	for range 5 {
		rows(t, a, sql)
	}
	if c := f.members[0].Cache(f.database.Database.ID); c.Enabled || c.Entries != 0 || c.Statuses["hit"]+c.Statuses["miss"] != 0 {
		t.Errorf("the proxy without a cache has one: %+v", c)
	}
}

// suspended waits until both caches rest, or neither.
func (f *fleet) suspended(t *testing.T, want bool) {
	t.Helper()
	for i, m := range f.members {
		for deadline := time.Now().Add(patience); m.Cache(f.database.Database.ID).Suspended != want; {
			if time.Now().After(deadline) {
				t.Fatalf("proxy %d: suspended is not %v", i, want)
			}
		}
	}
}
