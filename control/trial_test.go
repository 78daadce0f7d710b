package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

var errTrial = &TestFailure{Code: TestRefused, Message: "refused"}

// TestManagedDatabaseIsAllOrNothing: while the test runs the way is there and the database is not; what the test refuses leaves
// nothing, and what it lets pass leaves everything.
func TestManagedDatabaseIsAllOrNothing(t *testing.T) {
	c := open(t, t.TempDir())
	ctx := t.Context()
	tunnel, err := c.CreateTunnel(ctx, DefaultAccountID, "vpc")
	if err != nil {
		t.Fatal(err)
	}
	left := func() string {
		s := c.Snapshot()
		return fmt.Sprint(len(s.Databases("")), len(s.ServiceTokens(DefaultAccountID)), len(s.Applications(DefaultAccountID)), s.routes.size, s.pending.size)
	}
	var verdict error
	trial := func(_ context.Context, candidate *Candidate) error {
		if got := left(); got != "0 1 1 1 1" || !candidate.Fresh {
			t.Errorf("during the test: %s, fresh %v", got, candidate.Fresh)
		}
		if _, err := json.Marshal(candidate); err != nil {
			t.Errorf("the candidate is not sealed: %v", err)
		}
		if _, err := c.CreateDatabase(ctx, &Database{AccountID: DefaultAccountID, Name: "db", Origin: Origin{Host: "h", Database: "d", User: "u"}}, nil); !errors.Is(err, ErrExists) {
			t.Errorf("its name is free: %v", err)
		}
		return verdict
	}
	verdict = errTrial
	if _, err := c.CreateManagedDatabase(ctx, tunnel.ID, "tcp://10.0.0.5:5432", managed("db"), trial); !errors.Is(err, verdict) {
		t.Errorf("got %v, want the test's verdict", err)
	}
	if got := left(); got != "0 0 0 0 0" {
		t.Errorf("left after a refusal: %s", got)
	}
	// Who asked is gone when the test is over.
	gone, cancel := context.WithCancel(ctx)
	if _, err := c.CreateManagedDatabase(gone, tunnel.ID, "tcp://10.0.0.5:5432", managed("db"), func(context.Context, *Candidate) error {
		cancel()
		return gone.Err()
	}); err == nil {
		t.Error("made for nobody")
	}
	if got := left(); got != "0 0 0 0 0" {
		t.Errorf("left when who asked was gone: %s", got)
	}
	verdict = nil
	made, err := c.CreateManagedDatabase(ctx, tunnel.ID, "tcp://10.0.0.5:5432", managed("db"), trial)
	if err != nil {
		t.Fatal(err)
	}
	if got := left(); got != "1 1 1 1 0" {
		t.Errorf("left after success: %s", got)
	}
	d, _ := c.Snapshot().Database("db")
	if pw, err := c.OriginPassword(d); err != nil || pw.Reveal() != "origin-password-db" || d.ID != made.Database.ID {
		t.Errorf("its password (err %v)", err)
	}
	checkVerifiers(t, d.Credentials[0], made.Password)
}

// TestReap: what a node that died in a test has left is taken away, and a test that comes too late finds that it was.
func TestReap(t *testing.T) {
	c := open(t, t.TempDir())
	ctx := t.Context()
	tunnel, err := c.CreateTunnel(ctx, DefaultAccountID, "vpc")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateManagedDatabase(ctx, tunnel.ID, "tcp://10.0.0.5:5432", managed("db"), func(context.Context, *Candidate) error {
		c.reapBefore(ctx, time.Now().Add(-pendingMax))
		if n := c.Snapshot().pending.size; n != 1 {
			t.Errorf("%d pending: one under way was taken away", n)
		}
		c.reapBefore(ctx, time.Now().Add(time.Second))
		if s := c.Snapshot(); s.pending.size != 0 || s.routes.size != 0 || len(s.ServiceTokens(DefaultAccountID)) != 0 {
			t.Error("something is left")
		}
		return nil
	})
	if !errors.Is(err, ErrConflict) {
		t.Errorf("got %v, want ErrConflict", err)
	}
	if n := len(c.Snapshot().Databases("")); n != 0 {
		t.Errorf("%d databases", n)
	}
}

// TestUpdateIsTested: a change of the connection is, one of something else is not, and the same password once more is no change.
func TestUpdateIsTested(t *testing.T) {
	c := open(t, t.TempDir())
	ctx := t.Context()
	var tested []string
	var verdict error
	trial := func(_ context.Context, candidate *Candidate) error {
		pw, err := c.OriginPassword(candidate.Database)
		if err != nil {
			t.Error(err)
		}
		tested = append(tested, candidate.Database.Origin.Host+" "+pw.Reveal())
		return verdict
	}
	d := managed("db")
	d.Origin.Host = "10.0.0.1"
	made, err := c.CreateDatabase(ctx, d, trial)
	if err != nil {
		t.Fatal(err)
	}
	update := func(change func(*Database)) (*Database, error) {
		return c.UpdateDatabase(ctx, DefaultAccountID, made.Database.ID, func(d *Database) error { change(d); return nil }, trial)
	}
	for _, change := range []func(*Database){
		func(d *Database) { d.Caching.MaxAge = 5 },
		func(d *Database) { d.Origin.Password = Plaintext("origin-password-db") },
		func(d *Database) { d.Origin.Password = Plaintext("second") },
		func(d *Database) { d.Origin.Host = "10.0.0.2" },
	} {
		if _, err := update(change); err != nil {
			t.Fatal(err)
		}
	}
	verdict = errTrial
	if _, err := update(func(d *Database) { d.Origin.Host = "10.0.0.3" }); !errors.Is(err, verdict) {
		t.Errorf("got %v, want the test's verdict", err)
	}
	if want := []string{"10.0.0.1 origin-password-db", "10.0.0.1 second", "10.0.0.2 second", "10.0.0.3 second"}; !slices.Equal(tested, want) {
		t.Errorf("tested %q, want %q", tested, want)
	}
	got, _ := c.Snapshot().Database("db")
	if got.Generation != 3 || got.Version != 5 || got.Origin.Host != "10.0.0.2" {
		t.Errorf("generation %d, version %d, host %s", got.Generation, got.Version, got.Origin.Host)
	}
	if _, err := c.CreateDatabase(ctx, managed("other"), func(context.Context, *Candidate) error { return errTrial }); !errors.As(err, new(*ValidationError)) {
		t.Errorf("faults come before the test: got %v", err)
	}
}

// TestOvertakenUpdate: of two changes that are tested at the same time the second is a conflict, and the first is not lost.
func TestOvertakenUpdate(t *testing.T) {
	c := open(t, t.TempDir())
	ctx := t.Context()
	d := managed("db")
	d.Origin.Host = "10.0.0.1"
	made, err := c.CreateDatabase(ctx, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	both.Add(2)
	meet := func(context.Context, *Candidate) error { both.Done(); both.Wait(); return nil }
	errs := make([]error, 2)
	var done sync.WaitGroup
	for i, change := range []func(*Database){
		func(d *Database) { d.Origin.Host = "10.0.0.2" },
		func(d *Database) { d.Origin.User = "other" },
	} {
		done.Go(func() {
			_, errs[i] = c.UpdateDatabase(ctx, DefaultAccountID, made.Database.ID, func(d *Database) error { change(d); return nil }, meet)
		})
	}
	done.Wait()
	got, _ := c.Snapshot().Database("db")
	first := errs[0] == nil && errors.Is(errs[1], ErrConflict) && got.Origin.Host == "10.0.0.2" && got.Origin.User == "app"
	second := errs[1] == nil && errors.Is(errs[0], ErrConflict) && got.Origin.Host == "10.0.0.1" && got.Origin.User == "other"
	if !first && !second {
		t.Errorf("errors %v, %v; host %s, user %s", errs[0], errs[1], got.Origin.Host, got.Origin.User)
	}
	if got.Generation != 2 {
		t.Errorf("generation %d, want 2", got.Generation)
	}
}

func TestPurgeCache(t *testing.T) {
	c := open(t, t.TempDir())
	d := managed("db")
	d.Origin.Host = "10.0.0.1"
	made, err := c.CreateDatabase(t.Context(), d, nil)
	if err != nil {
		t.Fatal(err)
	}
	for want := int64(1); want < 4; want++ {
		got, err := c.PurgeCache(t.Context(), DefaultAccountID, made.Database.ID)
		if err != nil || got.CacheEpoch != want || got.Generation != 1 || got.Version != 1 {
			t.Errorf("epoch %d, generation %d, version %d: %v", got.CacheEpoch, got.Generation, got.Version, err)
		}
	}
	// Neither a change nor its author touches the epoch.
	got, err := c.UpdateDatabase(t.Context(), DefaultAccountID, made.Database.ID, func(d *Database) error {
		d.CacheEpoch, d.Caching.MaxAge = 0, 7
		return nil
	}, nil)
	if err != nil || got.CacheEpoch != 3 {
		t.Errorf("epoch %d: %v", got.CacheEpoch, err)
	}
}

func TestLimitOfDatabases(t *testing.T) {
	c, err := Open(t.Context(), Config{DataDir: t.TempDir(), MaxDatabases: 2, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var limit *LimitError
	for i := range 3 {
		d := managed(fmt.Sprintf("db%d", i))
		d.Origin.Host = "10.0.0.1"
		_, err := c.CreateDatabase(t.Context(), d, nil)
		if got := errors.As(err, &limit); got != (i == 2) {
			t.Errorf("database %d: %v", i, err)
		}
	}
	if want := "the account has 2 databases, which is the most; delete one, or raise the server's --max-databases"; limit == nil || limit.Text != want {
		t.Errorf("got %v", limit)
	}
}

// TestAsk: nodes answer what they are asked, all or one of them, and nobody's silence is waited for.
func TestAsk(t *testing.T) {
	c := open(t, t.TempDir())
	candidate := &Candidate{Database: &Database{ID: "d", Name: "db"}}
	var failure *TestFailure
	if err := c.TestCandidate(t.Context(), candidate); !errors.As(err, &failure) || failure.Code != TestNoProxy {
		t.Errorf("nobody there: %v", err)
	}
	if got, err := c.Connections(t.Context(), "d"); err != nil || len(got) != 0 {
		t.Errorf("nobody there: %v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	verdicts := make(chan error, 3)
	go func() {
		ended <- c.ServeTests(ctx, func(_ context.Context, got *Candidate) error {
			if got.Database.Name != "db" {
				t.Errorf("got %+v", got)
			}
			return <-verdicts
		})
	}()
	go func() {
		ended <- c.ServeConnections(ctx, func(id string) map[int64]int { return map[int64]int{3: len(id), 2: 1} })
	}()
	eventually(t, "an answer", func() bool {
		got, err := c.Connections(ctx, "d")
		return err == nil && got[3] == 1 && got[2] == 1
	})
	verdicts <- nil
	eventually(t, "a test", func() bool { return c.TestCandidate(ctx, candidate) == nil })
	verdicts <- errTrial
	if err := c.TestCandidate(ctx, candidate); !errors.As(err, &failure) || *failure != *errTrial {
		t.Errorf("got %v", err)
	}
	verdicts <- errors.New("secret")
	if err := c.TestCandidate(ctx, candidate); !errors.As(err, &failure) || failure.Message != "The proxy could not make the test connection; its log says more." {
		t.Errorf("got %v", err)
	}
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
