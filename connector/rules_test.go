package connector

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

const goodRules = `ingress:
  - hostname: db.example
    service: tcp://10.0.0.5:5432
    connect_timeout: 2s
    keepalive: 1m
    proxy_protocol: v2
  - hostname: "*.pg.example"
    service: unix:/run/pg.sock
    access: required
    audiences: [app-1]
  - service: refuse
`

func TestParseRules(t *testing.T) {
	r, err := ParseRules([]byte(goodRules))
	if err != nil {
		t.Fatal(err)
	}
	s, ok := r.in.lookup("DB.example.")
	if !ok || s.network != "tcp" || s.address != "10.0.0.5:5432" || s.connectTimeout != 2*time.Second || s.keepAlive != time.Minute || !s.proxyHeader {
		t.Errorf("the first rule leads to %+v, %v", s, ok)
	}
	s, ok = r.in.lookup("a.pg.example")
	if !ok || s.network != "unix" || s.connectTimeout != connectTimeout || len(s.access) != 1 {
		t.Errorf("the second rule leads to %+v, %v", s, ok)
	}
	if s, ok := r.in.lookup("other.example"); ok {
		t.Errorf("the last rule leads to %+v", s)
	}
	r, err = ParseRules([]byte("ingress:\n  - service: tcp://10.0.0.9:1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := r.in.lookup("any.thing"); !ok || s.address != "10.0.0.9:1" {
		t.Errorf("a last rule with a service leads to %+v, %v", s, ok)
	}
}

// TestTunnel39RulesAreValidatedWithRuleAndLine: each fault is an error that says where.
func TestTunnel39RulesAreValidatedWithRuleAndLine(t *testing.T) {
	last := "  - service: refuse\n"
	tests := map[string]struct{ file, want string }{
		"no catch-all":         {"ingress:\n  - hostname: a.example\n    service: tcp://h:1\n", "rule 1, line 2: the last rule must be one without a hostname"},
		"catch-all not last":   {"ingress:\n  - service: refuse\n  - hostname: a.example\n    service: tcp://h:1\n" + last, "rule 1, line 2: a rule without a hostname"},
		"wildcard not leading": {"ingress:\n  - hostname: a.*.example\n    service: tcp://h:1\n" + last, "rule 1, line 2: hostname"},
		"port in hostname":     {"ingress:\n  - hostname: a.example:5432\n    service: tcp://h:1\n" + last, "rule 1, line 2: hostname"},
		"path in service":      {"ingress:\n  - hostname: a.example\n    service: tcp://h:1/x\n" + last, "rule 1, line 2: service"},
		"duplicate":            {"ingress:\n  - hostname: a.example\n    service: tcp://h:1\n  - hostname: A.example\n    service: tcp://h:2\n" + last, "rule 2, line 4: hostname \"A.example\" is named twice"},
		"covered":              {"ingress:\n  - hostname: '*.example'\n    service: tcp://h:1\n  - hostname: a.b.example\n    service: tcp://h:2\n" + last, "rule 2, line 4: hostname \"a.b.example\" is never served"},
		"covered wildcard":     {"ingress:\n  - hostname: '*.example'\n    service: tcp://h:1\n  - hostname: '*.b.example'\n    service: tcp://h:2\n" + last, "rule 2, line 4"},
		"unknown field":        {"ingress:\n  - hostname: a.example\n    servise: tcp://h:1\n" + last, `line 3: a rule has no field "servise"`},
		"unknown section":      {"ingres: []\n", "ingres"},
		"no rules":             {"{}\n", "no ingress rules"},
		"empty":                {"", "no ingress rules"},
		"no YAML":              {"ingress: [\n", "line"},
		"timeout":              {"ingress:\n  - hostname: a.example\n    service: tcp://h:1\n    connect_timeout: soon\n" + last, "connect_timeout"},
		"timeout too long":     {"ingress:\n  - hostname: a.example\n    service: tcp://h:1\n    connect_timeout: 1h\n" + last, "rule 1, line 2: connect timeout"},
		"proxy protocol":       {"ingress:\n  - hostname: a.example\n    service: tcp://h:1\n    proxy_protocol: v1\n" + last, "want v2"},
		"access":               {"ingress:\n  - hostname: a.example\n    service: tcp://h:1\n    access: optional\n" + last, "want required"},
		"no audience":          {"ingress:\n  - hostname: a.example\n    service: tcp://h:1\n    access: required\n" + last, "no audience"},
		"audience alone":       {"ingress:\n  - hostname: a.example\n    service: tcp://h:1\n    audiences: [x]\n" + last, "audiences without"},
		"key":                  {"access: {issuer: i, keys: {k: AAAA}}\ningress:\n" + last, "32 bytes"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseRules([]byte(tt.file))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := ParseRules(make([]byte, maxRulesFile+1)); err == nil {
		t.Error("a file without bounds is taken")
	}
}

func FuzzParseRules(f *testing.F) {
	f.Add([]byte(goodRules))
	f.Add([]byte("access: {issuer: i}\ningress: [{service: refuse}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRules(data)
		if (r == nil) == (err == nil) {
			t.Fatalf("rules %v, error %v", r, err)
		}
		if err == nil {
			r.in.lookup("a.b.example")
		}
	})
}

// TestTunnel33AssertionsAreChecked pins issuer, key, audience, hostname and expiry.
func TestTunnel33AssertionsAreChecked(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	key, other := ed25519.NewKeyFromSeed(seed), ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	v, err := newVerifier("sluice", []*tunnelpb.Key{{Id: "k1", Ed25519: key.Public().(ed25519.PublicKey)}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	good := access.Assertion{ApplicationID: "app-1", ClientID: "c", Hostname: "db.example"}
	for name, tt := range map[string]struct {
		signer *access.Signer
		a      access.Assertion
		at     time.Time
		want   string // part of the error
	}{
		"good":           {access.NewSigner("sluice", "k1", key), good, now, ""},
		"skewed clock":   {access.NewSigner("sluice", "k1", key), good, now.Add(100 * time.Second), ""},
		"expired":        {access.NewSigner("sluice", "k1", key), good, now.Add(3 * time.Minute), "expired"},
		"future":         {access.NewSigner("sluice", "k1", key), good, now.Add(-3 * time.Minute), "not yet"},
		"other issuer":   {access.NewSigner("evil", "k1", key), good, now, "issuer"},
		"other key":      {access.NewSigner("sluice", "k1", other), good, now, "signature"},
		"unknown key":    {access.NewSigner("sluice", "k2", key), good, now, "unknown key"},
		"other audience": {access.NewSigner("sluice", "k1", key), access.Assertion{ApplicationID: "app-2", Hostname: "db.example"}, now, "another application"},
		"other hostname": {access.NewSigner("sluice", "k1", key), access.Assertion{ApplicationID: "app-1", Hostname: "x.example"}, now, "another hostname"},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := tt.signer.Sign(tt.a, now)
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range []time.Time{tt.at, now, tt.at} { // what is remembered of a token excuses nothing
				err := v.check(token, "db.example", []string{"app-0", "app-1"}, at)
				if at.Equal(tt.at) && ((err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), token))) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
			}
		})
	}
	if n := len(v.verified.claims); n != 3 {
		t.Errorf("%d tokens are remembered, want the 3 that the key has signed for the issuer", n)
	}
	for _, token := range []string{"", "x", strings.Repeat("a", maxAssertion+1), "eyJhbGciOiJub25lIiwia2lkIjoiazEifQ.e30."} {
		if err := v.check(token, "db.example", []string{"app-1"}, now); err == nil {
			t.Errorf("%.20q is taken", token)
		}
	}
}

// TestTunnel33RuleThatRequiresAccess: TCP streams without an assertion are refused before the origin is dialled; keys come from
// the relay, or from the file alone.
func TestTunnel33RuleThatRequiresAccess(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	service, conns := origin(t)
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	relay := &fakeRelay{}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	c, _, _ := start(t, testConfig(cert, &logBuffer{}, addr))
	rules, err := ParseRules(fmt.Appendf(nil, "access: {issuer: sluice, keys: {k1: %s}}\ningress:\n  - hostname: db.example\n    service: %s\n    access: required\n    audiences: [app-1]\n  - service: refuse\n",
		base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)), service))
	if err != nil {
		t.Fatal(err)
	}
	c.SetRules(rules)
	s := relay.session(t)
	// What the relay says it signs with does not count beside the file's.
	evil := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	for _, says := range []ed25519.PrivateKey{key, evil} { // also after it has said what the file does
		if _, err := s.Configure(t.Context(), &tunnelpb.Configure{Version: 9, Issuer: "sluice", Keys: []*tunnelpb.Key{{Id: "k1", Ed25519: says.Public().(ed25519.PublicKey)}}}); err != nil {
			t.Fatal(err)
		}
	}
	for name, signer := range map[string]*access.Signer{"none": nil, "another key": access.NewSigner("sluice", "k1", evil)} {
		open := &tunnelpb.Open{Hostname: "db.example"}
		if signer != nil {
			open.Assertion, err = signer.Sign(access.Assertion{ApplicationID: "app-1", Hostname: "db.example"}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.Open(t.Context(), open)
		t.Run(name, func(t *testing.T) { wantRefusal(t, err, tunnelpb.Code_DENIED) })
	}
	token, err := access.NewSigner("sluice", "k1", key).Sign(access.Assertion{ApplicationID: "app-1", Hostname: "db.example"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Open(t.Context(), &tunnelpb.Open{Hostname: "db.example", Assertion: token})
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, st, receive(t, "origin connection", conns))
	st.Reset(stream.CodeCancelled)
	if len(conns) != 0 {
		t.Error("the origin was dialled for a stream that was refused")
	}
}

// TestProxyHeader compares with headers written by hand after the specification.
func TestProxyHeader(t *testing.T) {
	sig := "\r\n\r\n\x00\r\nQUIT\n"
	for name, tt := range map[string]struct{ remote, origin, want string }{
		"IPv4":    {"192.0.2.7:5000", "10.0.0.5:5432", sig + "\x21\x11\x00\x0c\xc0\x00\x02\x07\x0a\x00\x00\x05\x13\x88\x15\x38"},
		"IPv6":    {"[2001:db8::7]:5000", "[fd00::5]:5432", sig + "\x21\x21\x00\x24\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x07\xfd" + strings.Repeat("\x00", 14) + "\x05\x13\x88\x15\x38"},
		"mixed":   {"192.0.2.7:5000", "[fd00::5]:5432", sig + "\x21\x21\x00\x24" + strings.Repeat("\x00", 10) + "\xff\xff\xc0\x00\x02\x07\xfd" + strings.Repeat("\x00", 14) + "\x05\x13\x88\x15\x38"},
		"unknown": {"", "10.0.0.5:5432", sig + "\x20\x00\x00\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			got := proxyHeader(tt.remote, addressed{addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(tt.origin))})
			if string(got) != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// addressed is a connection of which only the address is asked for.
type addressed struct {
	stream.Conn
	addr net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.addr }

// TestServiceOfAUnixSocketWithAProxyHeader: the header goes before what travelled with the open.
func TestServiceOfAUnixSocketWithAProxyHeader(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	path := filepath.Join(t.TempDir(), "db.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	relay := &fakeRelay{ingress: []*tunnelpb.IngressRule{{Hostname: "db.example", Service: "unix:" + path, ProxyProtocol: 2}}}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	start(t, testConfig(cert, &logBuffer{}, addr))
	st, err := relay.session(t).Open(t.Context(), &tunnelpb.Open{Hostname: "db.example", EarlyData: []byte("first"), Remote: "192.0.2.7:5000"})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	st.CloseWrite()
	got, err := io.ReadAll(conn)
	if want := proxySignature + "\x20\x00\x00\x00first"; err != nil || string(got) != want {
		t.Errorf("the origin read %q, %v, want %q", got, err, want)
	}
	st.Close()
}

// TestTunnel38RulesOfAFile: they count instead of the relay's, and changing them cuts nothing.
func TestTunnel38RulesOfAFile(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	service, conns := origin(t)
	relay := &fakeRelay{ingress: rule("remote.example", service)}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	c, err := New(testConfig(cert, &logBuffer{}, addr))
	if err != nil {
		t.Fatal(err)
	}
	set := func(hostname string) {
		rules, err := ParseRules([]byte("ingress:\n  - hostname: " + hostname + "\n    service: " + service + "\n  - service: refuse\n"))
		if err != nil {
			t.Fatal(err)
		}
		c.SetRules(rules)
	}
	set("local.example")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	defer func() { cancel(); <-done }()
	s := relay.session(t)
	_, err = s.Open(t.Context(), &tunnelpb.Open{Hostname: "remote.example"})
	wantRefusal(t, err, tunnelpb.Code_UNKNOWN_HOST)
	st, err := s.Open(t.Context(), &tunnelpb.Open{Hostname: "local.example"})
	if err != nil {
		t.Fatal(err)
	}
	conn := receive(t, "origin connection", conns)
	before := c.ingress.Load().version
	set("other.example")
	if after := c.ingress.Load().version; after <= before {
		t.Errorf("the version went from %d to %d", before, after)
	}
	_, err = s.Open(t.Context(), &tunnelpb.Open{Hostname: "local.example"})
	wantRefusal(t, err, tunnelpb.Code_UNKNOWN_HOST)
	exchange(t, st, conn)
	st.Reset(stream.CodeCancelled)
	if v, err := s.Configure(t.Context(), &tunnelpb.Configure{Version: 50, Ingress: rule("remote.example", service)}); err != nil || v.GetError() != "" {
		t.Errorf("the relay's rules are answered with %v, %v", v, err)
	}
	_, err = s.Open(t.Context(), &tunnelpb.Open{Hostname: "remote.example"})
	wantRefusal(t, err, tunnelpb.Code_UNKNOWN_HOST)
}

// TestTokenIsChanged: the next registration has the new secret; another tunnel's token is refused.
func TestTokenIsChanged(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	relay := &fakeRelay{}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	cfg := testConfig(cert, &logBuffer{}, addr)
	c, _, _ := start(t, cfg)
	s := relay.session(t)
	next := cfg.Token
	next.Secret = "the-next-secret"
	if err := c.SetToken(next); err != nil {
		t.Fatal(err)
	}
	if s.Err() != nil {
		t.Errorf("the session ended with %v", s.Err())
	}
	s.Close(stream.CodeInternal, "by the test")
	if again := relay.session(t); again.Hello().GetSecret() != next.Secret {
		t.Error("the slot registered with the old secret")
	}
	next.Tunnel = "another"
	if err := c.SetToken(next); err == nil || strings.Contains(err.Error(), next.Secret) {
		t.Errorf("another tunnel's token: %v", err)
	}
	if err := c.SetToken(tunnel.Token{Tunnel: cfg.Token.Tunnel, Secret: "x", CA: "no PEM"}); err == nil {
		t.Error("a token with a bad authority is taken")
	}
}
