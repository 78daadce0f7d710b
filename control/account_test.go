package control

import (
	"errors"
	"sync"
	"testing"
	"time"
)

// TestAccountThatFillsIsNotDeleted: what comes into an account after it was found empty keeps it there.
func TestAccountThatFillsIsNotDeleted(t *testing.T) {
	c := open(t, t.TempDir())
	account, _, err := c.CreateAccount(t.Context(), "team")
	if err != nil {
		t.Fatal(err)
	}
	attempts, full := 0, errors.New("not empty")
	err = c.transact(t.Context(), func(x *tx) error {
		s, err := x.unlessChanged()
		if err != nil {
			return err
		}
		if len(s.Tunnels(account.ID)) > 0 {
			return full
		}
		if attempts++; attempts == 1 {
			if _, err := c.CreateTunnel(t.Context(), account.ID, "vpc"); err != nil {
				return err
			}
		}
		return x.write(nounKey(kindAccount, account.ID), nil)
	})
	if !errors.Is(err, full) || attempts != 1 {
		t.Errorf("got %v after %d attempts, want it to be seen that the account is no longer empty", err, attempts)
	}
	var kept *ValidationError
	if err := c.DeleteAccount(t.Context(), account.ID); !errors.As(err, &kept) {
		t.Errorf("delete: %v", err)
	}
}

// TestCreateInDeletedAccount: a request that was let in before its account went leaves nothing.
func TestCreateInDeletedAccount(t *testing.T) {
	c := open(t, t.TempDir())
	account, _, err := c.CreateAccount(t.Context(), "team")
	if err != nil {
		t.Fatal(err)
	}
	attempts := 0
	err = c.transact(t.Context(), func(x *tx) error {
		if err := x.createIn(account.ID, kindTunnel, newID(), &Tunnel{}); err != nil {
			return err
		}
		if attempts++; attempts == 1 { // what it has read is past by the time it commits
			return c.DeleteAccount(t.Context(), account.ID)
		}
		return nil
	})
	if !errors.Is(err, ErrNotFound) || attempts != 1 {
		t.Errorf("got %v after %d attempts, want %v after the second read", err, attempts, ErrNotFound)
	}
}

// TestLastAdminTokenStays: two that delete each other's token at the same time do not lock everybody out.
func TestLastAdminTokenStays(t *testing.T) {
	c := open(t, t.TempDir())
	for round := range 10 {
		tokens := c.Snapshot().APITokens(DefaultAccountID)
		if len(tokens) < 2 {
			if _, _, err := c.CreateAPIToken(t.Context(), DefaultAccountID, "second", ScopeAdmin, time.Time{}); err != nil {
				t.Fatal(err)
			}
			tokens = c.Snapshot().APITokens(DefaultAccountID)
		}
		var wg sync.WaitGroup
		for _, token := range tokens {
			wg.Go(func() { _ = c.DeleteAPIToken(t.Context(), DefaultAccountID, token.ID) }) // one of them is refused
		}
		wg.Wait()
		if left := len(c.Snapshot().APITokens(DefaultAccountID)); left != 1 {
			t.Fatalf("round %d: %d tokens are left, want 1", round, left)
		}
	}
}
