package control

import (
	"testing"
	"time"

	"github.com/sluicedb/sluice/access"
)

// TestSigningKeysOnSchedule: the next key is told of before it signs, and the former one is accepted for a while.
func TestSigningKeysOnSchedule(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	c.signingLife = DefaultSigningLife
	first := c.signing.Load().record.Keys[0]
	assertion := access.Assertion{ApplicationID: "app", Hostname: "db.example"}
	now := time.Now()
	token, err := c.Signer().Sign(assertion, now)
	if err != nil {
		t.Fatal(err)
	}
	accepted := func() bool {
		_, err := c.Verifier().Verify(token, "app", "db.example", now)
		return err == nil
	}
	takes := first.From.Add(DefaultSigningLife)
	for _, step := range []struct {
		name         string
		at           time.Time
		keys, signs  int // how many, and which
		firstCounted bool
	}{
		{"while it is young", first.From.Add(time.Hour), 1, 0, true},
		{"a week before the end", takes.Add(-signingLead), 2, 0, true},
		{"once more", takes.Add(-signingLead + time.Minute), 2, 0, true},
		{"a moment before", takes.Add(-time.Second), 2, 0, true},
		{"its time is over", takes, 2, 1, true},
		{"within the overlap", takes.Add(signingOverlap - time.Second), 2, 1, true},
		{"after it", takes.Add(signingOverlap), 1, 0, false},
	} {
		if err := c.tendSigning(t.Context(), step.at); err != nil {
			t.Fatal(err)
		}
		s := c.signing.Load()
		if len(s.signers) != step.keys || len(s.verifier.Keys) != step.keys || s.at(step.at) != step.signs || accepted() != step.firstCounted {
			t.Errorf("%s: %d keys, %d signs, the first is accepted %v", step.name, len(s.signers), s.at(step.at), accepted())
		}
	}
	if last := c.signing.Load().record.Keys[0]; last.ID == first.ID || !last.From.Equal(takes) {
		t.Errorf("the key after it: %s from %v, want %v", last.ID, last.From, takes)
	}
	// A server that was off for long, or that has a key from before keys had times, gives notice all the same.
	late := takes.Add(10 * DefaultSigningLife)
	if err := c.tendSigning(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	if next := c.signing.Load().record.Keys[1]; !next.From.Equal(late.Add(signingLead)) {
		t.Errorf("after a long pause the next key signs from %v, want %v", next.From, late.Add(signingLead))
	}
	c.signingLife = 0
	if err := c.tendSigning(t.Context(), late.Add(10*DefaultSigningLife)); err != nil || len(c.signing.Load().signers) != 1 {
		t.Errorf("without a life: %d keys (%v)", len(c.signing.Load().signers), err)
	}
}

// TestRotateSigningKey: what an operator asks for replaces what was to come, outlives a restart, and opens after a rotation of
// the keyset.
func TestRotateSigningKey(t *testing.T) {
	dir := t.TempDir()
	c, err := Open(t.Context(), Config{DataDir: dir, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	for range 5 { // the last of them counts
		if err := c.RotateSigningKey(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_, keys := c.SigningKeys()
	if len(keys) != 2 || !keys[0].Signs || keys[1].Signs {
		t.Fatalf("keys %+v", keys)
	}
	if from := keys[1].From; from.Before(before.Add(promptLead-time.Second)) || !keys[0].Until.Equal(from.Add(promptOverlap)) || !keys[1].Until.IsZero() {
		t.Errorf("keys %+v", keys)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, dir)
	run(t, c)
	if _, err := c.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if state := finished(t, c); state.Failure != "" {
		t.Fatal(state.Failure)
	}
	_, again := c.SigningKeys()
	if len(again) != 2 || again[1].ID != keys[1].ID {
		t.Errorf("after a restart: %+v", again)
	}
	next := c.signing.Load().signers[1]
	token, err := next.Sign(access.Assertion{ApplicationID: "app", Hostname: "db.example"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Verifier().Verify(token, "app", "db.example", time.Now()); err != nil {
		t.Errorf("what the next key signs is not accepted yet: %v", err)
	}
}
