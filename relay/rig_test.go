package relay

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

const testWait = time.Minute

// memory is a state in memory.
type memory struct {
	mu       sync.Mutex
	tokens   map[string]*access.ServiceToken
	apps     map[string]*access.Application    // by hostname
	policies map[string]*access.ReusablePolicy // by ID
	tunnels  map[string]*control.Tunnel        // by ID
	changed  chan struct{}
	audits   []control.AuditRecord
	signer   *access.Signer
	verifier *access.Verifier

	present     control.Relay // what the relay said last
	connections map[string][]control.Connection
	disconnect  func(tunnelID, connector string)
	others      everywhere
}

// everywhere is what all relays of a memory said last.
type everywhere struct {
	relays      map[string]control.Relay
	connections map[string]map[string][]control.Connection // by relay and tunnel
}

func (e everywhere) Relays() []control.Relay { return slices.Collect(maps.Values(e.relays)) }

func (e everywhere) Relay(id string) (control.Relay, bool) {
	r, ok := e.relays[id]
	return r, ok
}

func (e everywhere) Connections(tunnelID string) (all []control.Connection) {
	for id, tunnels := range e.connections {
		for _, c := range tunnels[tunnelID] {
			c.Relay = id
			all = append(all, c)
		}
	}
	return all
}

func (m *memory) Presence() presence {
	m.mu.Lock()
	defer m.mu.Unlock()
	return everywhere{maps.Clone(m.others.relays), maps.Clone(m.others.connections)}
}

// view is one moment of a memory.
type view struct {
	tokens   map[string]*access.ServiceToken
	apps     map[string]*access.Application
	policies map[string]*access.ReusablePolicy
	tunnels  map[string]*control.Tunnel
}

func newMemory() *memory {
	return &memory{
		tokens: map[string]*access.ServiceToken{}, apps: map[string]*access.Application{}, tunnels: map[string]*control.Tunnel{},
		others:  everywhere{map[string]control.Relay{}, map[string]map[string][]control.Connection{}},
		changed: make(chan struct{}), signer: access.NewSigner("sluice", "k1", ed25519.NewKeyFromSeed(make([]byte, 32))),
	}
}

func (m *memory) Now() snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return view{maps.Clone(m.tokens), maps.Clone(m.apps), maps.Clone(m.policies), maps.Clone(m.tunnels)}
}

func (m *memory) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

func (m *memory) Audit(r control.AuditRecord) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.audits = append(m.audits, r)
}

func (m *memory) Seen(string, time.Time) {}

func (m *memory) Present(self control.Relay, connections map[string][]control.Connection) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.present, m.connections = self, connections
	m.others.relays[self.ID], m.others.connections[self.ID] = self, connections
}

func (m *memory) OnDisconnect(end func(tunnelID, connector string)) (func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disconnect = end
	return func() {}, nil
}

func (m *memory) Verifier() *access.Verifier {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.verifier
}

func (m *memory) Sign(a access.Assertion, now time.Time) (string, error) {
	return m.signer.Sign(a, now)
}

// change changes the state as control does: nouns are replaced, never changed in place.
func (m *memory) change(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	close(m.changed)
	m.changed = make(chan struct{})
}

// audited returns the records of an action.
func (m *memory) audited(action string) []control.AuditRecord {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []control.AuditRecord
	for _, r := range m.audits {
		if r.Action == action {
			found = append(found, r)
		}
	}
	return found
}

func (v view) ServiceToken(clientID string) (*access.ServiceToken, bool) {
	t, ok := v.tokens[clientID]
	return t, ok
}

func (v view) Application(hostname string) (*access.Application, bool) {
	a, ok := v.apps[hostname]
	return a, ok
}

func (v view) Policy(id string) (*access.ReusablePolicy, bool) {
	p, ok := v.policies[id]
	return p, ok
}

func (v view) ApplicationByID(id string) (*access.Application, bool) {
	for _, a := range v.apps {
		if a.ID == id {
			return a, true
		}
	}
	return nil, false
}

func (v view) Tunnel(id string) (*control.Tunnel, bool) {
	t, ok := v.tunnels[id]
	return t, ok
}

func (v view) TunnelByHostname(hostname string) (*control.Tunnel, control.Ingress, bool) {
	for _, t := range v.tunnels {
		for _, in := range t.Ingress {
			if in.Hostname == hostname {
				return t, in, true
			}
		}
	}
	return nil, control.Ingress{}, false
}

// rig is a relay on the loopback interface with one tunnel, one hostname, and one token that a policy admits to it.
type rig struct {
	*Relay
	t      *testing.T
	state  *memory
	cert   tunneltest.Certificate
	addr   string
	token  access.ServiceToken
	secret string
	gate   *tunneltest.Gate // before the UDP socket, if there is one
	tcp    net.Listener
	killed atomic.Bool
	stop   context.CancelFunc
	ended  func() // waits for Serve to return
}

const (
	account      = "acc"
	host         = "db.example"
	tunnelID     = "11111111-1111-1111-1111-111111111111"
	tunnelSecret = "tunnel-secret"
)

// newRig starts a relay. With shared it has the state, the certificate and the rest that shared gives it.
func newRig(t *testing.T, change func(*Config), shared ...func(*rig)) *rig {
	t.Helper()
	g := &rig{t: t}
	for _, share := range shared {
		share(g)
	}
	if g.state == nil {
		g.fill()
	}
	cfg := Config{ID: "relay-1", TLS: g.cert.TLS, Logger: slog.New(slog.DiscardHandler), Grace: 10 * time.Second}
	if change != nil {
		change(&cfg)
	}
	udp, tcp := tunneltest.Listen(t)
	if cfg.Peering.TLS != nil {
		cfg.Peering.Address = tcp.Addr().String()
	}
	if g.gate != nil {
		g.gate.PacketConn = udp
		udp = g.gate
	}
	g.Relay = newRelay(g.state, cfg)
	g.tcp, g.addr = tcp, tcp.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx, udp, tcp) }()
	g.stop = cancel
	g.ended = sync.OnceFunc(func() {
		select {
		case err := <-done:
			if err != nil && !g.killed.Load() {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(testWait):
			t.Error("Serve does not return")
		}
	})
	t.Cleanup(func() { cancel(); g.ended() })
	return g
}

// fill makes a state of its own.
func (g *rig) fill() {
	g.state = newMemory()
	if g.cert.TLS == nil {
		g.cert = tunneltest.NewCertificate(g.t)
	}
	g.token, g.secret = g.addToken(nil)
	g.state.apps[host] = application(host, account, access.Rule{Selector: access.SelectServiceToken, Value: g.token.ID})
	g.state.tunnels[tunnelID] = &control.Tunnel{
		ID: tunnelID, AccountID: account, SecretHash: access.HashSecret(tunnelSecret), ConfigVersion: 1,
		Ingress: []control.Ingress{{Hostname: host, Service: "tcp://10.0.0.5:5432"}},
	}
}

// kill drops a relay with a gate without a word, as kill -9 and a lost machine do: its peers hear nothing.
func (g *rig) kill() {
	g.killed.Store(true)
	g.gate.Shut(true)
	g.tcp.Close()
}

func application(hostname, accountID string, include ...access.Rule) *access.Application {
	return &access.Application{ID: "app-" + hostname, AccountID: accountID, Hostname: hostname, Policies: []access.Policy{
		{ID: "policy-" + hostname, Decision: access.NonIdentity, Include: include},
	}}
}

// addToken adds a token to the state.
func (g *rig) addToken(change func(*access.ServiceToken)) (access.ServiceToken, string) {
	g.t.Helper()
	token, secret, err := access.NewServiceToken("app", 0, time.Now())
	if err != nil {
		g.t.Fatal(err)
	}
	token.AccountID, token.ID = account, "token-"+token.ClientID
	if change != nil {
		change(&token)
	}
	g.state.change(func() { g.state.tokens[token.ClientID] = &token })
	return token, secret
}

// session dials the relay and fails the test when it is refused.
func (g *rig) session(carrier tunnel.Carrier, d tunnel.Dialer) *tunnel.Session {
	g.t.Helper()
	s, err := g.dial(carrier, d)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { s.Close(stream.CodeClosed, "end of test") })
	return s
}

func (g *rig) dial(carrier tunnel.Carrier, d tunnel.Dialer) (*tunnel.Session, error) {
	d.Addr, d.Carrier, d.TLS = g.addr, carrier, &tls.Config{RootCAs: g.cert.Pool}
	return d.Dial(g.t.Context())
}

// answerAll has answer called for each open of a session until that ends.
func answerAll(s *tunnel.Session, answer func(*tunnel.Incoming)) {
	for {
		in, err := s.Accept(context.Background())
		if err != nil {
			return
		}
		go answer(in)
	}
}

// connector registers a connector that answers opens with answer, and waits until it is chosen.
func (g *rig) connector(peer string, slot uint32, answer func(*tunnel.Incoming)) *tunnel.Session {
	g.t.Helper()
	configured := make(chan *tunnelpb.Configure, 16)
	s := g.session(tunnel.CarrierQUIC, tunnel.Dialer{
		Hello: &tunnelpb.Hello{Role: tunnelpb.Role_CONNECTOR, TunnelId: tunnelID, Secret: tunnelSecret, PeerId: peer, Slot: slot},
		Configure: func(_ context.Context, c *tunnelpb.Configure) *tunnelpb.Configured {
			configured <- c
			return &tunnelpb.Configured{Version: c.GetVersion()}
		},
	})
	go answerAll(s, answer)
	receive(g.t, "Configure", configured)
	eventually(g.t, "registration", func() bool {
		for _, b := range g.registry.candidates(tunnelID, nil) {
			if b.peer == peer && b.slot == slot && b.version.Load() > 0 {
				return true
			}
		}
		return false
	})
	return s
}

// client dials the relay as the rig's token.
func (g *rig) client(carrier tunnel.Carrier) *tunnel.Session {
	g.t.Helper()
	return g.session(carrier, tunnel.Dialer{Hello: &tunnelpb.Hello{
		Role: tunnelpb.Role_CLIENT, ClientId: g.token.ClientID, ClientSecret: g.secret, PeerId: "proxy",
	}})
}

func (g *rig) request() OpenRequest {
	return OpenRequest{Hostname: host, ClientID: g.token.ClientID, ClientSecret: g.secret, Remote: netip.MustParseAddr("192.0.2.1")}
}

// echo accepts and sends everything back.
func echo(in *tunnel.Incoming) {
	s, err := in.Accept()
	if err != nil {
		return
	}
	s.Write(in.Request.GetEarlyData())
	if _, err := io.Copy(s, s); err != nil {
		s.Reset(stream.CodeAborted)
		return
	}
	s.CloseWrite()
	s.Close()
}

// silent never answers.
func silent(*tunnel.Incoming) {}

func refusing(code tunnelpb.Code) func(*tunnel.Incoming) {
	return func(in *tunnel.Incoming) { in.Refuse(&tunnel.Refusal{Code: code, Message: "by the test"}) }
}

// exchange sends text and wants it back.
func exchange(t *testing.T, c stream.Conn, text string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(testWait))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("read %q, %v, want %q", got, err, text)
	}
}

// wantReset reads until c ends, which must be by a reset with code.
func wantReset(t *testing.T, c stream.Conn, code stream.Code) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(testWait))
	_, err := io.Copy(io.Discard, c)
	var reset *stream.ResetError
	if !errors.As(err, &reset) || reset.Code != code {
		t.Errorf("the stream ended with %v, want a reset: %v", err, code)
	}
}

func wantRefusal(t *testing.T, err error, want tunnelpb.Code) {
	t.Helper()
	var refusal *tunnel.Refusal
	if !errors.As(err, &refusal) || refusal.Code != want {
		t.Errorf("got %v, want a refusal with %v", err, want)
	}
}

func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(testWait):
		t.Fatalf("no %s within %v", what, testWait)
		panic("unreachable")
	}
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(testWait); !ok(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v", what, testWait)
		}
	}
}
