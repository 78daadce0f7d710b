package control

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sluicedb/sluice/access"
)

var everyone = []access.Rule{{Selector: access.SelectEveryone}}

func newApplication(t *testing.T, c *Control, hostname string, policies ...access.Policy) (*access.Application, error) {
	t.Helper()
	return c.CreateApplication(t.Context(), &access.Application{AccountID: DefaultAccountID, Name: hostname, Hostname: hostname, Policies: policies})
}

func TestReusablePolicyKnowsItsApplications(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	shared, err := c.CreatePolicy(t.Context(), DefaultAccountID, access.Policy{Name: "all", Decision: access.Bypass, Include: everyone})
	if err != nil {
		t.Fatal(err)
	}
	// What a link says besides its ID is not kept.
	app, err := newApplication(t, c, "a.example", access.Policy{ID: shared.ID, Reusable: true, Decision: access.Bypass, Include: everyone})
	if err != nil {
		t.Fatal(err)
	}
	if p := app.Policies[0]; p.Decision != "" || p.Include != nil || !p.Reusable {
		t.Errorf("a link is stored as %+v", p)
	}
	users := func() []string { p, _ := c.Snapshot().Policy(shared.ID); return p.Applications }
	if got := users(); len(got) != 1 || got[0] != app.ID {
		t.Errorf("part of %q", got)
	}
	if err := c.DeletePolicy(t.Context(), DefaultAccountID, shared.ID); !errors.Is(err, ErrInUse) {
		t.Errorf("deleted in use: %v", err)
	}
	other := "00000000000000000000000000000002"
	if err := c.DeletePolicy(t.Context(), other, shared.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("another account deletes it: %v", err)
	}
	_, err = c.CreateApplication(t.Context(), &access.Application{AccountID: other, Name: "a", Hostname: "a.example", Policies: []access.Policy{{ID: shared.ID, Reusable: true}}})
	if want := fmt.Sprintf("policies[0].id is that of no reusable policy: %q", shared.ID); err == nil || err.Error() != want {
		t.Errorf("another account links it: %v, want %s", err, want)
	}
	if _, err := c.UpdateApplication(t.Context(), DefaultAccountID, app.ID, func(a *access.Application) error { a.Policies = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	if got := users(); len(got) != 0 {
		t.Errorf("part of %q after it was taken away", got)
	}
	if err := c.DeletePolicy(t.Context(), DefaultAccountID, shared.ID); err != nil {
		t.Fatal(err)
	}
}

// TestReusablePolicyIsNotDeletedUnderALink: of a link and a deletion at the same time on two nodes exactly one succeeds.
func TestReusablePolicyIsNotDeletedUnderALink(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	dir := t.TempDir()
	one, two := openAt(t, dir, srv.ClientURL(), "one"), openAt(t, dir, srv.ClientURL(), "two")
	run(t, one)
	run(t, two)
	linked := 0
	for i := range 20 {
		shared, err := one.CreatePolicy(t.Context(), DefaultAccountID, access.Policy{Name: "all", Decision: access.Bypass, Include: everyone})
		if err != nil {
			t.Fatal(err)
		}
		var linkErr, deleteErr error
		var both sync.WaitGroup
		both.Go(func() {
			_, linkErr = newApplication(t, one, fmt.Sprintf("h%d.example", i), access.Policy{ID: shared.ID, Reusable: true})
		})
		both.Go(func() { deleteErr = two.DeletePolicy(t.Context(), DefaultAccountID, shared.ID) })
		both.Wait()
		var invalid *ValidationError
		switch {
		case linkErr == nil && errors.Is(deleteErr, ErrInUse):
			linked++
		case errors.As(linkErr, &invalid) && deleteErr == nil:
		default:
			t.Errorf("round %d: link %v, deletion %v", i, linkErr, deleteErr)
		}
	}
	t.Logf("linked %d times of 20", linked)
}

func TestTunnelSecretRotates(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	made, err := c.CreateTunnel(t.Context(), DefaultAccountID, "vpc")
	if err != nil {
		t.Fatal(err)
	}
	old, err := c.TunnelSecret(made)
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := c.RotateTunnelSecret(t.Context(), DefaultAccountID, made.ID, "", func(t *Tunnel) error { t.SecretVersion = 99; return nil })
	if err != nil {
		t.Fatal(err)
	}
	secret, err := c.TunnelSecret(rotated)
	if err != nil || secret == old || rotated.SecretVersion != 2 {
		t.Errorf("rotated to version %d (%v), the same secret: %v", rotated.SecretVersion, err, secret == old)
	}
	now, _ := c.Snapshot().Tunnel(made.ID)
	if now.SecretIs(old.Reveal()) || !now.SecretIs(secret.Reveal()) {
		t.Error("the old secret is still good, or the new one is not")
	}
	if _, err := c.RotateTunnelSecret(t.Context(), "00000000000000000000000000000002", made.ID, "", func(*Tunnel) error { return nil }); !errors.Is(err, ErrNotFound) {
		t.Errorf("another account rotates it: %v", err)
	}
}

// TestTrail: what a change has done is known exactly, though others change the same thing at the same time.
func TestTrail(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	tunnel, err := c.CreateTunnel(t.Context(), DefaultAccountID, "0")
	if err != nil {
		t.Fatal(err)
	}
	const writers, rounds = 8, 5
	steps := make(chan [2]string, writers*rounds)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for r := range rounds {
				ctx, trail := WithTrail(t.Context())
				name := fmt.Sprintf("w%d-%d", w, r)
				if _, err := c.UpdateTunnel(ctx, DefaultAccountID, tunnel.ID, func(t *Tunnel) error { t.Name = name; return nil }); err != nil {
					t.Error(err)
					return
				}
				changes := trail.Changes()
				if len(changes) != 1 || changes[0].Kind != "tunnel" || changes[0].ID != tunnel.ID || changes[0].After.(*Tunnel).Name != name {
					t.Errorf("changes %+v", changes)
					return
				}
				steps <- [2]string{changes[0].Before.(*Tunnel).Name, name}
			}
		})
	}
	all.Wait()
	close(steps)
	next := map[string]string{}
	for s := range steps {
		next[s[0]] = s[1]
	}
	// They make one chain from the first name to the last.
	name := "0"
	for range writers * rounds {
		name = next[name]
	}
	if last, _ := c.Snapshot().Tunnel(tunnel.ID); name == "" || last.Name != name {
		t.Errorf("the chain of changes ends in %q, the tunnel is %q", name, last.Name)
	}

	ctx, trail := WithTrail(t.Context())
	made, err := c.CreateManagedDatabase(ctx, tunnel.ID, "tcp://10.0.0.1:5432", managed("db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, change := range trail.Changes() {
		kinds[change.Kind]++
	}
	for _, kind := range []string{"tunnel", "service token", "application", "database"} {
		if kinds[kind] != 1 {
			t.Errorf("a managed database made %d of kind %s: %v", kinds[kind], kind, kinds)
		}
	}
	ctx, trail = WithTrail(t.Context())
	if err := c.DeleteDatabase(ctx, DefaultAccountID, made.Database.ID); err != nil {
		t.Fatal(err)
	}
	for _, change := range trail.Changes() {
		if deleted := change.After == nil; change.Before == nil || deleted == (change.Kind == "tunnel") {
			t.Errorf("deleting it: %+v", change)
		}
	}
}

func TestServiceTokenIsRefreshed(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	made, _, err := c.CreateServiceToken(t.Context(), DefaultAccountID, "app", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	refreshed, err := c.RefreshServiceToken(t.Context(), DefaultAccountID, made.ID)
	if err != nil || !refreshed.ExpiresAt.After(made.ExpiresAt) {
		t.Errorf("refreshed until %v of %v (%v)", refreshed.ExpiresAt, made.ExpiresAt, err)
	}
	changed, err := c.UpdateServiceToken(t.Context(), DefaultAccountID, made.ID, func(t *access.ServiceToken) error {
		t.Duration, t.SecretVersion, t.Secrets = 0, 77, nil
		return nil
	})
	if err != nil || !changed.ExpiresAt.IsZero() || changed.SecretVersion != 1 || len(changed.Secrets) != 1 {
		t.Errorf("changed to %+v (%v)", changed, err)
	}
}
