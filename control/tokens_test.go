package control

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sluicedb/sluice/access"
)

func TestServiceTokens(t *testing.T) {
	c := open(t, t.TempDir())
	ctx := t.Context()
	tok, secret, err := c.CreateServiceToken(ctx, DefaultAccountID, "app", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.CreateServiceToken(ctx, DefaultAccountID, "", 0); len(faults(err)) != 1 {
		t.Errorf("no name: got %v", err)
	}
	tunnel, err := c.CreateTunnel(ctx, DefaultAccountID, "vpc")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.UpdateTunnel(ctx, DefaultAccountID, tunnel.ID, func(next *Tunnel) error {
		next.Ingress = []Ingress{{Hostname: "db.example", Service: "tcp://10.0.0.1:5432"}, {Hostname: "*.wild.example", Service: "tcp://10.0.0.1:5432"}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	app, err := c.CreateApplication(ctx, &access.Application{
		AccountID: DefaultAccountID, Name: "app", Hostname: "db.example",
		Policies: []access.Policy{{Name: "p", Decision: access.NonIdentity, Include: []access.Rule{{Selector: access.SelectAnyServiceToken}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateApplication(ctx, &access.Application{AccountID: DefaultAccountID, Name: "again", Hostname: "db.example"}); !errors.Is(err, ErrExists) {
		t.Errorf("a second application: got %v, want ErrExists", err)
	}
	outcome := func(hostname string, s Secret) access.Outcome {
		return access.Decide(c.Snapshot(), access.Request{Hostname: hostname, ClientID: tok.ClientID, ClientSecret: s.Reveal(), Time: time.Now()}).Outcome
	}
	want := func(what string, got, want access.Outcome) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	want("valid", outcome("db.example", secret), access.Allowed)
	want("hostname without application", outcome("x.wild.example", secret), access.Denied)
	_, second, err := c.RotateServiceToken(ctx, DefaultAccountID, tok.ID, 0, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	want("old within its grace", outcome("db.example", secret), access.Allowed)
	want("new", outcome("db.example", second), access.Allowed)
	if _, _, err := c.RotateServiceToken(ctx, DefaultAccountID, tok.ID, 0, time.Now().Add(time.Hour)); !errors.Is(err, access.ErrTwoSecrets) {
		t.Errorf("a third secret: got %v, want ErrTwoSecrets", err)
	}
	if _, _, err := c.RotateServiceToken(ctx, DefaultAccountID, tok.ID, 1, time.Time{}); !errors.Is(err, ErrConflict) {
		t.Errorf("rotation of a secret that was rotated meanwhile: got %v, want ErrConflict", err)
	}
	want("new, after the one that came late", outcome("db.example", second), access.Allowed)
	set := func(change func(*access.ServiceToken)) {
		t.Helper()
		if _, err := c.UpdateServiceToken(ctx, DefaultAccountID, tok.ID, func(next *access.ServiceToken) error { change(next); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	set(func(next *access.ServiceToken) { next.Disabled, next.Secrets, next.ClientID = true, nil, "x" })
	want("disabled", outcome("db.example", second), access.Unauthenticated)
	set(func(next *access.ServiceToken) { next.Disabled = false })
	want("enabled again", outcome("db.example", second), access.Allowed)
	want("the previous secret after that", outcome("db.example", secret), access.Unauthenticated)

	// A move of the application leaves the old hostname without one.
	if _, err := c.UpdateApplication(ctx, DefaultAccountID, app.ID, func(next *access.Application) error { next.Hostname = "*.wild.example"; return nil }); err != nil {
		t.Fatal(err)
	}
	want("old hostname", outcome("db.example", second), access.Denied)
	want("below the wildcard", outcome("x.wild.example", second), access.Allowed)
	if err := c.DeleteApplication(ctx, DefaultAccountID, app.ID); err != nil {
		t.Fatal(err)
	}
	want("no application", outcome("x.wild.example", second), access.Denied)
	if err := c.DeleteServiceToken(ctx, DefaultAccountID, tok.ID); err != nil {
		t.Fatal(err)
	}
	want("deleted", outcome("x.wild.example", second), access.Unauthenticated)
}

func TestSeenIsWrittenInBatches(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	ctx := t.Context()
	at := time.Now().UTC().Truncate(time.Second)
	tok, _, err := c.CreateServiceToken(ctx, DefaultAccountID, "app", 0)
	if err != nil {
		t.Fatal(err)
	}
	api := c.Snapshot().APITokens(DefaultAccountID)[0]
	before := commits(t, c)
	for range 1000 {
		c.Seen(tok.ID, at)
		c.Seen(tok.ID, at.Add(-time.Hour))
		c.Seen(api.ID, at)
		c.Seen("a token that is not there", at)
	}
	if commits(t, c) != before || !c.Snapshot().LastSeen(tok.ID).IsZero() {
		t.Error("a use was written at once")
	}
	c.writeSeen(ctx)
	for _, id := range []string{tok.ID, api.ID} {
		if got := c.Snapshot().LastSeen(id); !got.Equal(at) {
			t.Errorf("last seen %v, want %v", got, at)
		}
	}
	if c.Snapshot().seen.size != 2 {
		t.Errorf("%d tokens seen, want 2", c.Snapshot().seen.size)
	}
	if err := c.DeleteServiceToken(ctx, DefaultAccountID, tok.ID); err != nil {
		t.Fatal(err)
	}
	if !c.Snapshot().LastSeen(tok.ID).IsZero() {
		t.Error("a deleted token was seen")
	}
}

// commits returns the store's sequence.
func commits(t *testing.T, c *Control) uint64 {
	t.Helper()
	state, err := info(t.Context(), c.store.stream)
	if err != nil {
		t.Fatal(err)
	}
	return state.State.LastSeq
}

func TestAPITokens(t *testing.T) {
	c := open(t, t.TempDir())
	tok, secret, err := c.CreateAPIToken(t.Context(), DefaultAccountID, "ci", ScopeRead, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	got, ok := c.Snapshot().APIToken(access.HashSecret(secret.Reveal()))
	if !ok || got.ID != tok.ID || got.Expired(time.Now()) || !got.Expired(time.Now().Add(time.Hour)) {
		t.Errorf("got %+v", got)
	}
	if n := len(c.Snapshot().APITokens(DefaultAccountID)); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
	if err := c.DeleteAPIToken(t.Context(), DefaultAccountID, tok.ID); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Snapshot().APIToken(access.HashSecret(secret.Reveal())); ok {
		t.Error("a deleted token is known")
	}
}

func TestAudit(t *testing.T) {
	c := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	const records = 1200 // more than a chunk
	for i := range records {
		account := DefaultAccountID
		if i%10 == 0 {
			account = "00000000000000000000000000000002"
		}
		c.Audit(AuditRecord{Account: account, Actor: "a", Action: "access.decide", Target: fmt.Sprint(i), Outcome: "allowed", Remote: "192.0.2.1"})
	}
	go func() { done <- c.Run(ctx) }()
	eventually(t, "the records are written", func() bool { return testutil.ToFloat64(c.metrics.auditWritten) == records })
	cancel() // what is queued is written before Run returns
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	all, next, err := c.AuditRecords(t.Context(), AuditFilter{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 10 || all[0].Target != "1199" || all[9].Target != "1190" {
		t.Fatalf("got %d records, the first %+v", len(all), all[0])
	}
	written, err := info(t.Context(), c.audit.stream)
	if err != nil || written.State.Msgs > records/2 { // one account's run of nine goes together
		t.Errorf("%d records are %d messages (%v)", records, written.State.Msgs, err)
	}
	page, _, err := c.AuditRecords(t.Context(), AuditFilter{Limit: 5, BeforeSequence: next})
	if err != nil || len(page) != 5 || page[0].Target != "1189" {
		t.Errorf("the next page: %d records (%v)", len(page), err)
	}
	after := page[0].Sequence
	few, end, err := c.AuditRecords(t.Context(), AuditFilter{Account: "00000000000000000000000000000002", Limit: MaxAuditRecords})
	if err != nil || len(few) != records/10 || end != 0 {
		t.Errorf("one account's: got %d records (%v), want %d", len(few), err, records/10)
	}
	for filter, want := range map[AuditFilter]int{
		{Target: "7"}:                               1,
		{Target: "7", Account: "x"}:                 0,
		{Outcome: "denied"}:                         0,
		{Since: time.Now().Add(2 * time.Hour)}:      0,
		{Before: time.Now().Add(-time.Hour)}:        0,
		{Since: time.Now().Add(-time.Hour)}:         defaultAuditRecords,
		{Action: "access.decide", Limit: 1_000_000}: MaxAuditRecords,
		{Actor: "a", BeforeSequence: 1}:             0,
		{Action: "access.*", AfterSequence: after}:  10,
		{Action: "acces*s"}:                         0,
		{AfterSequence: 1 << 40}:                    0,
	} {
		got, _, err := c.AuditRecords(t.Context(), filter)
		if err != nil || len(got) != want {
			t.Errorf("%+v: got %d records (%v), want %d", filter, len(got), err, want)
		}
	}
	for range auditQueue + 7 { // nobody writes the queue now
		c.Audit(AuditRecord{Action: "flood"})
	}
	if got := testutil.ToFloat64(c.metrics.auditDropped); got != 7 {
		t.Errorf("%v records dropped, want 7", got)
	}
}

func TestCollectors(t *testing.T) {
	c := open(t, t.TempDir())
	reg := prometheus.NewPedanticRegistry()
	for _, m := range c.Collectors() {
		reg.MustRegister(m)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	if n, err := testutil.GatherAndCount(reg); err != nil || n < 8 {
		t.Errorf("%d metrics (%v)", n, err)
	}
}
