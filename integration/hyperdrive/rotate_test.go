package hyperdrive

import (
	"context"
	"fmt"
	"strings"
	"testing"

	v4 "github.com/sluicedb/sluice/control/api/v4"
	"github.com/sluicedb/sluice/integration/harness"
)

// TestRotateOriginPassword: an update reaches new origin connections only, cuts nobody, and shows when the last old one is gone.
func TestRotateOriginPassword(t *testing.T) {
	w := newWorld(t, "any")
	target, err := w.sluice.Database(w.ctx, w.pg, "", "app", append(direct(w.pg.Addr, w.pg.Port), "--ca-certificate", w.pg.CAFile)...)
	must(t, err)
	client, err := target.Connect(w.ctx)
	must(t, err)
	defer client.Close(w.ctx)
	old, err := client.Begin(w.ctx)
	must(t, err)
	if _, err := old.Exec(w.ctx, "select 1"); err != nil {
		t.Fatal(err)
	}

	const rotated = "rotated-hunter4"
	w.admin("alter role " + harness.PostgresUser + " password '" + rotated + "'")
	update := func(password string) []string { return []string{"SLUICE_ORIGIN_PASSWORD=" + password} }
	if got := w.fails(update("wrong-hunter2"), "database", "update", "app"); !strings.Contains(got, "(code 2013)") {
		t.Errorf("a wrong password: %s", got)
	}
	var updated v4.Database
	w.do(&updated, update(rotated), "database", "update", "app")
	if updated.Generation != 2 || updated.Version != 2 || updated.CacheEpoch != 0 {
		t.Errorf("generation %d, version %d, cache epoch %d", updated.Generation, updated.Version, updated.CacheEpoch)
	}
	count := func() (old, current int) {
		var shown struct {
			Connections []v4.Connections `json:"connections"`
		}
		w.do(&shown, nil, "database", "get", "app")
		for _, c := range shown.Connections {
			if c.Current {
				current += c.Connections
			} else {
				old += c.Connections
			}
		}
		return old, current
	}
	// The transaction goes on, on the connection that it has; others have new ones.
	if user, err := query(w.ctx, target); err != nil || user != harness.PostgresUser {
		t.Errorf("%q: %v", user, err)
	}
	if user, err := currentUser(w.ctx, old.Conn()); err != nil || user != harness.PostgresUser {
		t.Errorf("the old connection: %q, %v", user, err)
	}
	if old, current := count(); old != 1 || current == 0 {
		t.Errorf("%d old connections and %d current ones, want 1 and some", old, current)
	}
	if got := w.cli("database", "get", "app"); !strings.Contains(got, "1 of generation 1 (old, end when next idle)") {
		t.Errorf("get:\n%s", got)
	}
	must(t, old.Commit(w.ctx))
	must(t, harness.WaitFor(w.ctx, nil, func(_ context.Context) error {
		if old, _ := count(); old != 0 {
			return fmt.Errorf("%d old connections", old)
		}
		return nil
	}))
	if user, err := currentUser(w.ctx, client); err != nil || user != harness.PostgresUser {
		t.Errorf("the client of before: %q, %v", user, err)
	}
}

// TestUpdatesMeet: of two command lines that change one version the second is told so, and the first is not lost.
func TestUpdatesMeet(t *testing.T) {
	w := newWorld(t, "any")
	_, err := w.sluice.Database(w.ctx, w.pg, "", "app", append(direct(w.pg.Addr, w.pg.Port), "--ca-certificate", w.pg.CAFile)...)
	must(t, err)
	const rounds = 5
	for round := range rounds {
		var before v4.Database
		w.do(&before, nil, "database", "get", "app")
		errs := make(chan error, 2)
		for _, args := range [][]string{
			{"--origin-connection-limit", fmt.Sprint(10 + round), "--max-age", fmt.Sprint(10 + round)},
			{"--swr", fmt.Sprint(20 + round), "--sslmode", []string{"verify-ca", "verify-full"}[round%2]},
		} {
			go func() {
				_, err := w.sluice.CLI(w.ctx, nil, append([]string{"database", "update", "app"}, args...)...)
				errs <- err
			}()
		}
		worked := int64(0)
		for range 2 {
			if err := <-errs; err == nil {
				worked++
			} else if !strings.Contains(err.Error(), "(code 1004)") {
				t.Fatal(err)
			}
		}
		var after v4.Database
		w.do(&after, nil, "database", "get", "app")
		changed := int64(0)
		if after.OriginConnectionLimit == 10+round && after.Caching.MaxAge == 10+round {
			changed++
		}
		if after.Caching.StaleWhileRevalidate == 20+round && after.MTLS.SSLMode == []string{"verify-ca", "verify-full"}[round%2] {
			changed++
		}
		if worked == 0 || changed != worked || after.Version != before.Version+worked {
			t.Errorf("round %d: %d updates worked, %d are there, version %d after %d", round, worked, changed, after.Version, before.Version)
		}
	}
}
