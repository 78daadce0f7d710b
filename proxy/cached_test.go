package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"testing"

	"github.com/sluicedb/sluice/control"
)

// A statement is explained by the database that is asked about, whatever databases of
// other accounts are called.
func TestExplainTakesTheDatabaseByItsID(t *testing.T) {
	ctx := t.Context()
	state, err := control.Open(ctx, control.Config{DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	account, _, err := state.CreateAccount(ctx, "other")
	if err != nil {
		t.Fatal(err)
	}
	create := func(account, name string, caching control.Caching) string {
		t.Helper()
		made, err := state.CreateDatabase(ctx, &control.Database{AccountID: account, Name: name, Caching: caching,
			Origin: control.Origin{Scheme: "postgres", Host: "db.internal.example", Port: 5432, Database: name, User: "app", Password: control.Plaintext("secret")}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return made.Database.ID
	}
	first := create(control.DefaultAccountID, "app", control.Caching{Disabled: true})
	p := New(Config{Source: state, CacheMemory: 1 << 20, Logger: slog.New(slog.DiscardHandler),
		Dial: func(context.Context, Target) (net.Conn, error) { return nil, errors.New("no relay") }})
	defer p.cache.Close()
	p.setStart(func(*database) {})
	var taken []string
	for _, name := range []string{"app", first} { // that of the first, and its ID
		id := create(account.ID, name, control.Caching{})
		taken = append(taken, id)
		if e := p.Explain(ctx, id, "SELECT CURRENT_TIMESTAMP"); e == nil || e.Status != "volatile" {
			t.Errorf("%s: got %+v, want volatile", name, e)
		}
	}
	for id := range p.running {
		if !slices.Contains(taken, id) {
			t.Error("another account's database was taken up")
		}
	}
	if e := p.Explain(ctx, first, "SELECT CURRENT_TIMESTAMP"); e == nil || e.Status != "disabled" {
		t.Errorf("the first: got %+v, want disabled", e)
	}
}
