package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	v4 "github.com/sluicedb/sluice/control/api/v4"
	"github.com/sluicedb/sluice/integration/harness"
)

// TestRefused: whoever is not admitted gets an error that a driver understands, the refusal is in
// the audit log, and the origin sees no connection.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	setup := within(t)
	mustQuery(setup, t, w.target) // the path itself works

	// two more hostnames for the same origin: one admits somebody else, one admits nobody
	const other, guarded = "other.internal.example", "guarded.internal.example"
	for _, name := range []string{other, guarded} {
		w.run(setup, t, "tunnel", "route", tunnelName, name, w.pg.Origin())
		w.run(setup, t, "access", "app", "create", "--hostname", name)
	}
	stranger := w.newToken(setup, t, "stranger")
	w.run(setup, t, "access", "policy", "create", "--app", other, "--include-token", stranger.name)
	expired := w.expiredToken(setup, t, "expired")
	w.run(setup, t, "access", "policy", "create", "--app", hostname, "--include-token", expired.name)
	disabled := w.newToken(setup, t, "disabled")
	w.run(setup, t, "access", "policy", "create", "--app", hostname, "--include-token", disabled.name)
	w.run(setup, t, "access", "token", "disable", disabled.name)
	// routed, and guarded by no application at all
	const bare = "bare.internal.example"
	w.run(setup, t, "tunnel", "route", tunnelName, bare, w.pg.Origin())

	wrong := w.token
	wrong.secret = stranger.secret
	unknown := w.token
	unknown.clientID = strings.Repeat("0", 32) + ".access"
	for i, test := range []struct {
		name     string
		token    accessToken
		hostname string
		record   v4.AuditRecord // drivers are told the outcome too
	}{
		{"wrong secret", wrong, hostname, turnedAway(wrong.clientID)},
		{"unknown client id", unknown, hostname, turnedAway("")}, // it may be a misplaced secret, and is not recorded
		{"expired token", expired, hostname, turnedAway(expired.clientID)},
		{"disabled token", disabled, hostname, turnedAway(disabled.clientID)},
		{"no policy", w.token, guarded, denied(w.token.clientID, guarded)},
		{"policy for another token", w.token, other, denied(w.token.clientID, other)},
		{"policy for another application", stranger, hostname, denied(stranger.clientID, hostname)},
		{"no application", w.token, bare, denied(w.token.clientID, bare)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			target := w.database(ctx, t, fmt.Sprintf("refused%d", i), test.token, test.hostname, "--skip-test")
			before, since := w.pg.Connections(), time.Now()
			err := query(ctx, target)
			refusedFor(t, err, test.record.Outcome)
			if after := w.pg.Connections(); after != before {
				t.Errorf("the origin saw %d connections", after-before)
			}
			w.audited(ctx, t, since, test.record)
		})
	}
}

// TestRevoked: deleting a token, and deleting a policy, end what they admitted, live connections
// included, and the origin sees nobody of theirs again.
func TestRevoked(t *testing.T) {
	w := newWorld(t)
	for i, test := range []struct {
		name    string
		outcome string // of who comes later
		revoke  func(accessToken) []string
	}{
		{"token", "unauthenticated", func(token accessToken) []string { return []string{"access", "token", "delete", token.name} }},
		{"policy", "denied", func(token accessToken) []string {
			return []string{"access", "policy", "delete", "admits " + token.name, "--app", hostname}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := within(t)
			token := w.newToken(ctx, t, fmt.Sprintf("revoked%d", i))
			w.run(ctx, t, "access", "policy", "create", "--app", hostname, "--name", "admits "+token.name, "--include-token", token.name)
			target := w.database(ctx, t, token.name, token, hostname)
			conn := connect(ctx, t, target)
			mustExec(ctx, t, conn, "select 1")

			since := time.Now()
			w.run(ctx, t, test.revoke(token)...)
			if err := harness.WaitFor(ctx, nil, func(ctx context.Context) error {
				if _, err := conn.Exec(ctx, "select 1"); err == nil && !conn.IsClosed() {
					return fmt.Errorf("the client still has answers")
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			before := w.pg.Connections()
			refusedFor(t, query(ctx, target), test.outcome)
			if after := w.pg.Connections(); after != before {
				t.Errorf("the origin saw %d connections", after-before)
			}
			w.audited(ctx, t, since, v4.AuditRecord{Action: "access.decide", Target: hostname, Actor: token.clientID})
			mustQuery(ctx, t, w.target) // nobody else was cut for good
		})
	}
}

// TestHostnameBelongsToOneTunnel: another tunnel cannot take it.
func TestHostnameBelongsToOneTunnel(t *testing.T) {
	w := newWorld(t)
	ctx := within(t)
	since := time.Now()
	if _, err := w.sluice.Tunnel(ctx, "vpc-2"); err != nil {
		t.Fatal(err)
	}
	before := w.pg.Connections()
	out, err := w.sluice.CLI(ctx, nil, "tunnel", "route", "vpc-2", hostname, "tcp://127.0.0.1:1")
	if err == nil {
		t.Errorf("the other tunnel took the hostname: %s", out)
	}
	if after := w.pg.Connections(); after != before {
		t.Errorf("the origin saw %d connections", after-before)
	}
	w.audited(ctx, t, since, v4.AuditRecord{Action: "tunnel.configure", Outcome: "error"})
	mustQuery(ctx, t, w.target) // and it still leads where it led
}

// TestDeletedTunnel: its token admits no connector, its connector is cut off, and its hostname
// leads nowhere.
func TestDeletedTunnel(t *testing.T) {
	w := newWorld(t)
	ctx := within(t)
	mustQuery(ctx, t, w.target)
	since := time.Now()
	w.run(ctx, t, "tunnel", "delete", tunnelName, "--force")
	if err := harness.WaitFor(ctx, nil, func(ctx context.Context) error {
		if query(ctx, w.target) == nil {
			return fmt.Errorf("the deleted tunnel still carries queries")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	before := w.pg.Connections()
	startCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if second, err := w.sluice.StartConnector(startCtx, "deleted", w.connectorToken, nil); err == nil {
		t.Errorf("a connector with a deleted tunnel's token is ready (pid %d)", second.PID())
	}
	err := query(ctx, w.target)
	if got := code(err); got == "" {
		t.Errorf("got %v, want an error with an SQLSTATE", err)
	}
	if after := w.pg.Connections(); after != before {
		t.Errorf("the origin saw %d connections", after-before)
	}
	w.audited(ctx, t, since, v4.AuditRecord{Action: "session.connector", Outcome: "unauthenticated"})
}

// turnedAway is the record of a client that the relay did not let in: the proxy had not asked for
// a hostname yet.
func turnedAway(clientID string) v4.AuditRecord {
	return v4.AuditRecord{Action: "session.client", Outcome: "unauthenticated", Actor: clientID}
}

// denied is the record of a client that is let in, and not to this hostname.
func denied(clientID, hostname string) v4.AuditRecord {
	return v4.AuditRecord{Action: "access.decide", Outcome: "denied", Actor: clientID, Target: hostname}
}

// refusedFor: the driver was told why, with the SQLSTATE of a proxy that has no connection for it.
func refusedFor(t *testing.T, err error, reason string) {
	t.Helper()
	if code(err) != "58000" || !strings.Contains(err.Error(), "Server connection attempt failed: "+reason) {
		t.Errorf("got %v, want SQLSTATE 58000 for %q", err, reason)
	}
}

// query connects and asks for one row.
func query(ctx context.Context, target harness.Target) error {
	conn, err := target.Connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	var one int
	return conn.QueryRow(ctx, "select 1").Scan(&one)
}

func mustQuery(ctx context.Context, t *testing.T, target harness.Target) {
	t.Helper()
	if err := query(ctx, target); err != nil {
		t.Fatalf("database %s: %v", target.Database, err)
	}
}

// audited waits for a record with what want has set, no older than since.
func (w *world) audited(ctx context.Context, t *testing.T, since time.Time, want v4.AuditRecord) {
	t.Helper()
	waitCtx, cancel := context.WithTimeout(ctx, time.Minute) // records are written in batches
	defer cancel()
	same := func(got, want string) bool { return want == "" || got == want }
	if err := harness.WaitFor(waitCtx, nil, func(context.Context) error {
		var records []v4.AuditRecord
		if err := w.sluice.Do(ctx, &records, nil, "audit", "list"); err != nil {
			return err
		}
		if !slices.ContainsFunc(records, func(r v4.AuditRecord) bool {
			return !r.When.Before(since.Truncate(time.Second)) && same(r.Action, want.Action) && same(r.Target, want.Target) &&
				same(r.Outcome, want.Outcome) && same(r.Actor, want.Actor)
		}) {
			return fmt.Errorf("none of %d audit records is like %+v: %+v", len(records), want, records[:min(5, len(records))])
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
