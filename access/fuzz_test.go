package access

import (
	"crypto/ed25519"
	"encoding/json"
	"testing"
)

func FuzzApplication(f *testing.F) {
	f.Add([]byte(`{"name":"a","domain":"*.example.com","policies":[{"id":"1","name":"p","decision":"allow","include":[{"ip":{"ip":"::/0"}}],"exclude":[{"geo":{}}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a Application
		if json.Unmarshal(b, &a) != nil {
			return
		}
		invalid := a.Validate() != nil
		dir := directory{apps: map[string]*Application{host: &a}}
		d := Decide(dir, Request{Hostname: host, Time: now})
		for _, p := range a.Policies {
			for _, r := range append(append(p.Include, p.Require...), p.Exclude...) {
				if _, known := r.Selector.valueKey(); !known && !invalid {
					t.Fatalf("selector %q passes validation", r.Selector)
				}
			}
		}
		if d.Outcome == Allowed && d.PolicyID == "" && len(a.Policies) == 0 {
			t.Fatal("admitted without a policy")
		}
		if invalid {
			return
		}
		again, err := json.Marshal(a)
		if err != nil {
			t.Fatalf("a valid application does not marshal: %v", err)
		}
		var back Application
		if err := json.Unmarshal(again, &back); err != nil || back.Validate() != nil {
			t.Fatalf("a valid application does not come back: %v", err)
		}
	})
}

func FuzzAssertion(f *testing.F) {
	seed := make([]byte, ed25519.SeedSize)
	key := ed25519.NewKeyFromSeed(seed)
	v := &Verifier{Issuer: "i", Keys: map[string]ed25519.PublicKey{"k": key.Public().(ed25519.PublicKey)}}
	valid, err := NewSigner("i", "k", key).Sign(Assertion{ApplicationID: "a", Hostname: host}, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(valid)
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := v.Verify(text, "a", host, now)
		if err == nil && (a.Hostname != host || a.ApplicationID != "a") {
			t.Fatalf("verified %+v", a)
		}
	})
}

func FuzzSecret(f *testing.F) {
	f.Add("slst_", NewSecret("slst_"))
	f.Add("", "")
	f.Fuzz(func(t *testing.T, prefix, s string) {
		if WellFormedSecret(prefix, s) && len(s) != len(prefix)+secretRandom+secretChecksum {
			t.Fatalf("%q passes", s)
		}
		if HostnameFault(s) == "" && len(s) > maxHostname {
			t.Fatalf("hostname %q passes", s)
		}
		var h Hash
		if h.UnmarshalText([]byte(s)) == nil && len(s) != 64 {
			t.Fatalf("hash %q passes", s)
		}
	})
}
