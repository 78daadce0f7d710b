package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestCommitIsAtomic(t *testing.T) {
	c := open(t, t.TempDir())
	ctx := t.Context()
	s := c.store
	seq, err := s.commit(ctx, []op{{key: "x.a", value: []byte("1")}, {key: "x.b", value: []byte("2")}, {key: "x.c", value: []byte("3")}})
	if err != nil {
		t.Fatal(err)
	}
	for i, key := range []string{"x.a", "x.b", "x.c"} {
		e, err := s.get(ctx, key)
		if err != nil || e.rev != seq-2+uint64(i) || string(e.value) != fmt.Sprint(i+1) {
			t.Errorf("%s: got %q at %d (%v), want %d at %d", key, e.value, e.rev, err, i+1, seq-2+uint64(i))
		}
	}
	// One stale key among many: nothing of the batch may be there.
	_, err = s.commit(ctx, []op{{key: "x.new", value: []byte("n")}, {key: "x.a", value: []byte("9"), expect: seq - 2}, {key: "x.b", value: []byte("9"), expect: 1}})
	if !errors.Is(err, errConflict) {
		t.Errorf("stale batch: got %v, want errConflict", err)
	}
	if e, err := s.get(ctx, "x.new"); err != nil || e.rev != 0 {
		t.Errorf("a part of a refused batch is there: %q at %d (%v)", e.value, e.rev, err)
	}
	if e, _ := s.get(ctx, "x.a"); string(e.value) != "1" {
		t.Errorf("x.a: got %q, want 1", e.value)
	}
	// A deletion leaves a mark whose revision a new creation must name.
	gone, err := s.commit(ctx, []op{{key: "x.a", expect: seq - 2}, {key: "x.b", expect: seq - 1}})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := s.get(ctx, "x.b"); err != nil || !e.deleted || e.value != nil || e.rev != gone {
		t.Errorf("deleted: got %+v (%v)", e, err)
	}
	if _, err := s.commit(ctx, []op{{key: "x.b", value: []byte("4")}}); !errors.Is(err, errConflict) {
		t.Errorf("creation over a mark: got %v, want errConflict", err)
	}
	if _, err := s.commit(ctx, []op{{key: "x.b", value: []byte("4"), expect: gone}}); err != nil {
		t.Error(err)
	}
	if _, err := s.commit(ctx, make([]op, batchLimit+1)); err == nil {
		t.Error("a commit above the limit passes")
	}
}

func TestCommitOfTheLargestBatch(t *testing.T) {
	c := open(t, t.TempDir())
	ops := make([]op, batchLimit)
	for i := range ops {
		ops[i] = op{key: fmt.Sprintf("x.%d", i), value: []byte("v")}
	}
	if _, err := c.store.commit(t.Context(), ops); err != nil {
		t.Fatal(err)
	}
	if e, err := c.store.get(t.Context(), "x.999"); err != nil || string(e.value) != "v" {
		t.Errorf("got %q (%v)", e.value, err)
	}
}

// TestCommitKnowsItself plays a lost acknowledgement: the same commit arrives
// twice, and the second conflicts with the first.
func TestCommitKnowsItself(t *testing.T) {
	c := open(t, t.TempDir())
	ctx := t.Context()
	ops := []op{{key: "x.a", value: []byte("1")}, {key: "x.b", value: []byte("2")}}
	seq, err := c.store.publish(ctx, "mine", ops)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.store.publish(ctx, "mine", ops); !errors.Is(err, errConflict) {
		t.Fatalf("got %v, want errConflict", err)
	}
	last, err := c.store.get(ctx, "x.b")
	if err != nil || last.txn != "mine" || last.rev != seq {
		t.Errorf("got %+v (%v), want the commit's name at %d", last, err, seq)
	}
}

func TestConcurrentWritersLoseNothing(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	tunnel, err := c.CreateTunnel(t.Context(), DefaultAccountID, "t")
	if err != nil {
		t.Fatal(err)
	}
	const writers, each = 8, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range each {
				_, err := c.UpdateTunnel(t.Context(), DefaultAccountID, tunnel.ID, func(next *Tunnel) error {
					next.Ingress = append(next.Ingress, Ingress{Hostname: fmt.Sprintf("h%d-%d.example", w, i), Service: "tcp://10.0.0.1:5432"})
					return nil
				})
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		}()
	}
	wg.Wait()
	t.Logf("%d changes met %v conflicts", writers*each, testutil.ToFloat64(c.metrics.conflicts))
	got, _ := c.Snapshot().Tunnel(tunnel.ID)
	if len(got.Ingress) != writers*each || got.ConfigVersion != 1+writers*each {
		t.Errorf("got %d hostnames at version %d, want %d at %d", len(got.Ingress), got.ConfigVersion, writers*each, 1+writers*each)
	}
}

func TestTwoNodesSeeEachOther(t *testing.T) {
	t.Parallel()
	url := startServer(t).ClientURL()
	dir := t.TempDir()
	first := openAt(t, dir, url, "one")
	second := openAt(t, dir, url, "two")
	run(t, first)
	run(t, second)

	tunnel, err := first.CreateTunnel(t.Context(), DefaultAccountID, "vpc")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := first.Snapshot().Tunnel(tunnel.ID); !ok {
		t.Error("the writer does not see its own write")
	}
	start := time.Now()
	await(t, second, "the other node sees it", func(s *Snapshot) bool { _, ok := s.Tunnel(tunnel.ID); return ok })
	t.Logf("seen by the other node after %v", time.Since(start))

	// A batch is seen whole or not at all.
	broken := make(chan string, 1)
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for ctx.Err() == nil {
			changed := second.Changed()
			snap := second.Snapshot()
			for _, d := range snap.Databases("") {
				_, token := snap.ServiceTokenByID(d.Managed.ServiceTokenID)
				_, app := snap.ApplicationByID(d.Managed.ApplicationID)
				_, _, route := snap.TunnelByHostname(d.Managed.Hostname)
				if !token || !app || !route {
					select {
					case broken <- fmt.Sprintf("token %v application %v route %v", token, app, route):
					default:
					}
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}()
	var last *NewDatabase
	for i := range 20 {
		if last, err = first.CreateManagedDatabase(t.Context(), tunnel.ID, "tcp://10.0.0.1:5432", managed(fmt.Sprintf("db%d", i)), nil); err != nil {
			t.Fatal(err)
		}
	}
	await(t, second, "the last database", func(s *Snapshot) bool { _, ok := s.DatabaseByID(last.Database.ID); return ok })
	cancel()
	<-watched
	select {
	case text := <-broken:
		t.Errorf("the watch shows half a batch: %s", text)
	default:
	}
	if err := second.DeleteTunnel(t.Context(), DefaultAccountID, tunnel.ID); err != nil {
		t.Fatal(err)
	}
	await(t, first, "the deletion", func(s *Snapshot) bool { _, ok := s.Tunnel(tunnel.ID); return !ok })
	if _, _, ok := first.Snapshot().TunnelByHostname(last.Hostname); ok {
		t.Error("a hostname of the deleted tunnel leads somewhere")
	}
}

func TestNodesRaceForTheFirstStart(t *testing.T) {
	t.Parallel()
	url := startServer(t).ClientURL()
	dir := t.TempDir()
	const nodes = 5
	opened := make([]*Control, nodes)
	var wg sync.WaitGroup
	for i := range nodes {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c, err := Open(context.Background(), nodeConfig(dir, url, fmt.Sprint(i)))
			if err != nil {
				t.Error(err)
				return
			}
			opened[i] = c
		}()
	}
	wg.Wait()
	winners := 0
	for _, c := range opened {
		if c == nil {
			continue
		}
		if _, ok := c.FirstToken(); ok {
			winners++
		}
		if string(c.CA()) != string(opened[0].CA()) {
			t.Error("two nodes have different CAs")
		}
		if n := len(c.Snapshot().APITokens(DefaultAccountID)); n != 1 {
			t.Errorf("a node knows %d API tokens, want 1", n)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if winners != 1 {
		t.Errorf("%d nodes made the first token, want 1", winners)
	}
	cfg := nodeConfig(t.TempDir(), url, "stranger")
	if c, err := Open(t.Context(), cfg); !errors.Is(err, ErrKeyset) {
		t.Errorf("a node without the keyset: got %v, %v, want ErrKeyset", c, err)
	}
}

// TestStoreAway ends the store under a running node and brings it back.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	dir := t.TempDir()
	c := openAt(t, dir, server.ClientURL(), "one")
	run(t, c)
	made, err := c.CreateTunnel(t.Context(), DefaultAccountID, "before")
	if err != nil {
		t.Fatal(err)
	}
	await(t, c, "the watch", func(*Snapshot) bool { return c.watching.Load() })
	again := restartable(t, server)
	eventually(t, "not ready without a store", func() bool { return c.Ready() != nil })
	if _, ok := c.Snapshot().Tunnel(made.ID); !ok {
		t.Error("the snapshot went with the store")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.CreateTunnel(ctx, DefaultAccountID, "during"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a write without a store: got %v, want ErrUnavailable", err)
	}
	wait := make(chan error, 1)
	go func() {
		_, err := c.CreateTunnel(context.Background(), DefaultAccountID, "waiting")
		wait <- err
	}()
	again()
	if err := <-wait; err != nil {
		t.Errorf("a write that waits for the store: %v", err)
	}
	other := openAt(t, dir, server.ClientURL(), "two")
	later, err := other.CreateTunnel(t.Context(), DefaultAccountID, "after")
	if err != nil {
		t.Fatal(err)
	}
	await(t, c, "the watch resumes", func(s *Snapshot) bool { _, ok := s.Tunnel(later.ID); return ok })
	eventually(t, "ready again", func() bool { return c.Ready() == nil })
}

// TestStoreRestartedUnderLoad restarts the store under writers of two nodes that all change one thing: every change that was
// acknowledged is in it, once.
func TestStoreRestartedUnderLoad(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	dir := t.TempDir()
	nodes := []*Control{openAt(t, dir, server.ClientURL(), "one"), openAt(t, dir, server.ClientURL(), "two")}
	for _, c := range nodes {
		run(t, c)
	}
	made, err := nodes[0].CreateDatabase(t.Context(), directDatabase("app"), nil)
	if err != nil {
		t.Fatal(err)
	}
	const each = 60
	var acknowledged, unsure atomic.Int64
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			for range each {
				_, err := nodes[i%2].UpdateDatabase(context.Background(), DefaultAccountID, made.Database.ID, func(d *Database) error {
					d.Caching.MaxAge++
					return nil
				}, nil)
				switch {
				case err == nil:
					acknowledged.Add(1)
				case errors.Is(err, ErrUnavailable), errors.Is(err, ErrConflict):
					unsure.Add(1) // whoever asks is told to look and to try again
				default:
					t.Errorf("change: %v", err)
				}
			}
		})
	}
	eventually(t, "some changes", func() bool { return acknowledged.Load() >= each })
	again := restartable(t, server)
	again()
	writers.Wait()
	e, err := nodes[0].store.get(t.Context(), nounKey(kindDatabase, made.Database.ID))
	if err != nil {
		t.Fatal(err)
	}
	var d Database
	if err := json.Unmarshal(e.value, &d); err != nil {
		t.Fatal(err)
	}
	got, least := int64(d.Caching.MaxAge-DefaultMaxAge), acknowledged.Load()
	t.Logf("%d changes acknowledged, %d unsure, %d applied", least, unsure.Load(), got)
	if got < least || got > least+unsure.Load() {
		t.Errorf("%d changes applied: %d were acknowledged and %d unsure", got, least, unsure.Load())
	}
	for i, c := range nodes {
		await(t, c, fmt.Sprintf("node %d has the last change", i), func(s *Snapshot) bool {
			has, ok := s.DatabaseByID(d.ID)
			return ok && has.Caching.MaxAge == d.Caching.MaxAge
		})
	}
}

func directDatabase(name string) *Database {
	d := managed(name)
	d.Origin.Host = "10.0.0.5"
	return d
}

func managed(name string) *Database {
	return &Database{
		AccountID: DefaultAccountID, Name: name,
		Origin: Origin{Database: "app", User: "app", Password: Plaintext("origin-password-" + Secret(name))},
	}
}

func TestUnknownStateIsPassedOver(t *testing.T) {
	c := open(t, t.TempDir())
	if _, err := c.store.commit(t.Context(), []op{
		{key: "tunnel.broken", value: []byte("{")}, {key: "novelty.x", value: []byte("{}")}, {key: "claim.hostname.###", value: []byte("x")},
	}); err != nil {
		if !strings.Contains(err.Error(), "subject") {
			t.Fatal(err)
		}
	}
	if err := c.store.load(t.Context(), c.replica); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Snapshot().Account(DefaultAccountID); !ok {
		t.Error("one bad entry hides the rest")
	}
}
