package access

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestNewServiceToken(t *testing.T) {
	tok, secret, err := NewServiceToken("app", 24*time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	if !wellFormedClientID(tok.ClientID) {
		t.Errorf("client ID %q", tok.ClientID)
	}
	if !WellFormedSecret(SecretPrefix, secret) {
		t.Error("the secret does not have the form of one")
	}
	if want := now.Add(24 * time.Hour); !tok.ExpiresAt.Equal(want) {
		t.Errorf("expires %v, want %v", tok.ExpiresAt, want)
	}
	stored, err := json.Marshal(tok)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(stored), secret) {
		t.Error("the stored token holds its secret")
	}
	var back ServiceToken
	if err := json.Unmarshal(stored, &back); err != nil {
		t.Fatal(err)
	}
	if back.check(HashSecret(secret), now) != "" {
		t.Error("the token read back does not know its secret")
	}
	if tok, _, _ := NewServiceToken("app", 0, now); !tok.ExpiresAt.IsZero() {
		t.Error("a token without duration expires")
	}
	if _, _, err := NewServiceToken("", -1, now); err == nil || err.Error() != "name is required; duration must not be negative" {
		t.Errorf("got %v", err)
	}
}

func TestSecretForm(t *testing.T) {
	secret := NewSecret("slat_")
	for i := range secret {
		other := []byte(secret)
		other[i] ^= 1
		if WellFormedSecret("slat_", string(other)) {
			t.Errorf("a secret with byte %d changed passes the checksum", i)
		}
	}
	for _, bad := range []string{"", "slat_", secret[:len(secret)-1], secret + "0", strings.Repeat("0", len(secret))} {
		if WellFormedSecret("slat_", bad) {
			t.Errorf("%q passes", bad)
		}
	}
	seen := map[rune]bool{}
	for range 200 {
		for _, c := range RandomText(40) {
			seen[c] = true
		}
	}
	if len(seen) != len(alphanumerics) {
		t.Errorf("8000 characters use %d of %d", len(seen), len(alphanumerics))
	}
}

func TestValidateReportsEveryFault(t *testing.T) {
	app := Application{
		Hostname: "db.example:5432",
		Policies: []Policy{
			{ID: "1", Decision: "maybe", Include: []Rule{{Selector: "geo"}, {Selector: SelectIP, Value: "10"}}},
			{ID: "1", Name: "two", Decision: Allow, Require: []Rule{{Selector: SelectServiceToken}}, Exclude: []Rule{{Selector: SelectEveryone, Value: "x"}}},
		},
	}
	var v *ValidationError
	if err := app.Validate(); !errors.As(err, &v) {
		t.Fatalf("got %v", err)
	}
	want := []string{
		"name is required",
		"domain must be a name alone, without scheme, port or path",
		"policies[0].name is required",
		`policies[0].decision must be allow, block, bypass or non_identity, not "maybe"`,
		`policies[0].include[0] has the unknown selector "geo"`,
		`policies[0].include[1] is not an IP address or a range in CIDR form: "10"`,
		"policies[1].include needs at least one rule: a policy without one matches nothing",
		"policies[1].require[0] needs a value for service_token.token_id",
		"policies[1].exclude[0] must not have a value: everyone takes none",
		"policies[1].id is that of another policy of this application",
	}
	if got := v.Error(); got != strings.Join(want, "; ") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.ReplaceAll(got, "; ", "\n"), strings.Join(want, "\n"))
	}
}

func TestHostnameFault(t *testing.T) {
	for _, good := range []string{"db", "db.internal.example", "*.internal.example", "xn--bcher-kva.example", "a_b.c", strings.Repeat("a.", 126) + "a"} {
		if fault := HostnameFault(good); fault != "" {
			t.Errorf("%q %s", good, fault)
		}
	}
	for _, bad := range []string{"", "*", "*.", "*.com", "a.*.example", "a*.example", "**.example.com", "db.example:5432", "db.example/x",
		"tcp://db", "DB.example", "-a.example", "a-.example", "a..b", ".a", "a.", "bücher.example", "a b", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a"} {
		if HostnameFault(bad) == "" {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestRuleJSON(t *testing.T) {
	for _, text := range []string{
		`{"service_token":{"token_id":"x"}}`, `{"any_valid_service_token":{}}`, `{"ip":{"ip":"10.0.0.0/8"}}`,
		`{"everyone":{}}`, `{"certificate":{}}`, `{"common_name":{"common_name":"x"}}`,
	} {
		var r Rule
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if got, err := json.Marshal(r); err != nil || string(got) != text {
			t.Errorf("got %s (%v), want %s", got, err, text)
		}
	}
	for _, text := range []string{
		`{}`, `[]`, `null`, `"everyone"`, `{"everyone":{},"ip":{"ip":"::1"}}`, `{"ip":"::1"}`, `{"ip":{"ip":7}}`,
		`{"everyone":{"except":"x"}}`, `{"ip":{"ip":"::1","port":"1"}}`, `{"everyone":{"":"x"}}`,
	} {
		var r Rule
		if err := json.Unmarshal([]byte(text), &r); err == nil {
			t.Errorf("%s is taken as %+v", text, r)
		}
	}
}

// TestSignerReuses: the same open is given the same assertion for some seconds, and never an old one.
func TestSignerReuses(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSigner("sluice", "k1", key)
	sign := func(client string, at time.Time) string {
		t.Helper()
		token, err := s.Sign(Assertion{ApplicationID: "app", ClientID: client, Hostname: host}, at)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	first := sign(idA, now)
	for name, tt := range map[string]struct {
		client string
		at     time.Time
		same   bool
	}{
		"soon after":        {idA, now.Add(assertionReuse - time.Nanosecond), true},
		"somebody else":     {idB, now, false},
		"later":             {idA, now.Add(assertionReuse), false},
		"clock turned back": {idA, now.Add(-time.Second), false},
	} {
		s.signed = map[Assertion]signed{{ApplicationID: "app", ClientID: idA, Hostname: host}: {first, now}}
		if got := sign(tt.client, tt.at); (got == first) != tt.same {
			t.Errorf("%s: the same %v, want %v", name, got == first, tt.same)
		}
	}
	for i := range maxSigned + 10 {
		sign(strconv.Itoa(i), now)
	}
	if n := len(s.signed); n > maxSigned {
		t.Errorf("%d assertions are kept, at most %d may be", n, maxSigned)
	}
}

func TestTunnel33Assertion(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	good := Assertion{ApplicationID: "app", ClientID: idA, Hostname: host}
	v := &Verifier{Issuer: "sluice", Keys: map[string]ed25519.PublicKey{"k1": pub}}
	sign := func(s *Signer, a Assertion) string {
		t.Helper()
		text, err := s.Sign(a, now)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	custom := func(method jwt.SigningMethod, key any, header map[string]any, c jwt.MapClaims) string {
		t.Helper()
		tok := jwt.NewWithClaims(method, c)
		for k, val := range header {
			tok.Header[k] = val
		}
		text, err := tok.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	signer := NewSigner("sluice", "k1", key)
	valid := sign(signer, good)
	got, err := v.Verify(valid, "app", host, now)
	if err != nil {
		t.Fatal(err)
	}
	if got.ClientID != idA || got.Hostname != host || got.ApplicationID != "app" || !got.Expires.Equal(now.Add(AssertionLifetime)) {
		t.Errorf("got %+v", got)
	}
	kid := map[string]any{"kid": "k1"}
	full := func() jwt.MapClaims {
		return jwt.MapClaims{"iss": "sluice", "aud": "app", "sub": idA, "hostname": host, "exp": now.Add(time.Minute).Unix()}
	}
	without := func(name string) jwt.MapClaims { c := full(); delete(c, name); return c }
	with := func(name string, val any) jwt.MapClaims { c := full(); c[name] = val; return c }
	tests := []struct {
		name, token, app, host string
		at                     time.Time
		ok                     bool
	}{
		{"behaviour 44: clock behind within the leeway", valid, "app", host, now.Add(-Leeway), true},
		{"behaviour 44: clock ahead within the leeway", valid, "app", host, now.Add(AssertionLifetime + Leeway - time.Second), true},
		{"clock behind", valid, "app", host, now.Add(-Leeway - 2*time.Second), false},
		{"expired", valid, "app", host, now.Add(AssertionLifetime + Leeway + time.Second), false},
		{"other application", valid, "app2", host, now, false},
		{"no application", valid, "", host, now, false},
		{"other hostname", valid, "app", "else.example", now, false},
		{"other issuer", sign(NewSigner("other", "k1", key), good), "app", host, now, false},
		{"unknown key id", sign(NewSigner("sluice", "k2", key), good), "app", host, now, false},
		{"other key", sign(NewSigner("sluice", "k1", stranger), good), "app", host, now, false},
		{"no key id", custom(jwt.SigningMethodEdDSA, key, nil, full()), "app", host, now, false},
		{"algorithm none", custom(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, kid, full()), "app", host, now, false},
		{"HMAC with the public key", custom(jwt.SigningMethodHS256, []byte(pub), kid, full()), "app", host, now, false},
		{"no expiry", custom(jwt.SigningMethodEdDSA, key, kid, without("exp")), "app", host, now, false},
		{"no issuer", custom(jwt.SigningMethodEdDSA, key, kid, without("iss")), "app", host, now, false},
		{"no audience", custom(jwt.SigningMethodEdDSA, key, kid, without("aud")), "app", host, now, false},
		{"no hostname", custom(jwt.SigningMethodEdDSA, key, kid, without("hostname")), "app", host, now, false},
		{"two audiences", custom(jwt.SigningMethodEdDSA, key, kid, with("aud", []string{"app", "b"})), "app", host, now, false},
		{"expires in a year", custom(jwt.SigningMethodEdDSA, key, kid, with("exp", now.AddDate(1, 0, 0).Unix())), "app", host, now, false},
		{"empty", "", "app", host, now, false},
		{"garbage", "a.b.c", "app", host, now, false},
		{"too long", strings.Repeat("a", maxAssertion+1), "app", host, now, false},
		{"cut", valid[:len(valid)-2], "app", host, now, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := v.Verify(tt.token, tt.app, tt.host, tt.at)
			if (err == nil) != tt.ok {
				t.Fatalf("got %v, want ok %v", err, tt.ok)
			}
			if err != nil && !errors.Is(err, ErrAssertion) {
				t.Errorf("%v does not wrap ErrAssertion", err)
			}
		})
	}
}
