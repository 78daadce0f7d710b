package connector

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/client"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

// startBetter is start for a connector that looks for something better all the time.
func startBetter(t *testing.T, cfg Config) *Connector {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.better = func() time.Duration { return 50 * time.Millisecond }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return c
}

// TestTunnel02QUICIsTakenWhenUDPIsBack: the slot moves, and a stream on WebSocket ends when its peers end it.
func TestTunnel02QUICIsTakenWhenUDPIsBack(t *testing.T) {
	for range 100 {
		if d := client.BetterAfter(); d < 45*time.Second || d > 75*time.Second {
			t.Fatalf("QUIC is looked for after %v: with a dial it must be within 90 s", d)
		}
	}
	cert := tunneltest.NewCertificate(t)
	service, conns := origin(t)
	relay := &fakeRelay{ingress: rule("db.example", service)}
	addr, gate := tunneltest.StartGated(t, relay.server(), cert)
	gate.Shut(true)
	startBetter(t, testConfig(cert, &logBuffer{}, addr))
	old := relay.session(t)
	if old.Carrier() != tunnel.CarrierWebSocket {
		t.Fatalf("the slot registered over %v while UDP is dropped", old.Carrier())
	}
	st, err := old.Open(t.Context(), &tunnelpb.Open{Hostname: "db.example"})
	if err != nil {
		t.Fatal(err)
	}
	conn := receive(t, "origin connection", conns)
	gate.Shut(false)
	next := relay.session(t)
	if next.Carrier() != tunnel.CarrierQUIC || !next.Hello().GetMoving() || next.Hello().GetSlot() != old.Hello().GetSlot() {
		t.Errorf("the slot moved to %v with %v", next.Carrier(), next.Hello())
	}
	receive(t, "GoAway on WebSocket", old.GoneAway())
	exchange(t, st, conn)
	fresh, err := next.Open(t.Context(), &tunnelpb.Open{Hostname: "db.example"})
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, fresh, receive(t, "origin connection", conns))
	fresh.Reset(stream.CodeCancelled)
	exchange(t, st, conn)
	st.Close()
	conn.Close()
	receive(t, "end of the WebSocket session", old.Done())
}

// TestTunnel03SlotMovesToWebSocketWhenUDPDies: a QUIC session whose datagrams are dropped is replaced within its 10 s and the 3 s
// of a race.
func TestTunnel03SlotMovesToWebSocketWhenUDPDies(t *testing.T) {
	t.Parallel()
	cert := tunneltest.NewCertificate(t)
	relay := &fakeRelay{}
	addr, gate := tunneltest.StartGated(t, relay.server(), cert)
	cfg := testConfig(cert, &logBuffer{}, addr)
	c, _, _ := start(t, cfg)
	if s := relay.session(t); s.Carrier() != tunnel.CarrierQUIC {
		t.Fatalf("the slot registered over %v", s.Carrier())
	}
	gate.Shut(true)
	select {
	case s := <-relay.sessions:
		if s.Carrier() != tunnel.CarrierWebSocket {
			t.Errorf("the slot came back over %v", s.Carrier())
		}
	case <-time.After(2 * patience): // 13 s, on a machine that does nothing else
		t.Fatal("the slot does not come back")
	}
	eventually(t, "readiness", c.Ready)
}

// TestTunnel04SlotsSpreadOverRelays: two of four slots each, and one relay's return is noticed.
func TestTunnel04SlotsSpreadOverRelays(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	first, second := &fakeRelay{id: "r1"}, &fakeRelay{id: "r2"}
	addr1, stop1 := tunneltest.Start(t, first.server(), cert, tunneltest.Passes)
	addr2, _ := tunneltest.Start(t, second.server(), cert, tunneltest.Passes)
	log := &logBuffer{}
	cfg := testConfig(cert, log, addr1, addr2)
	cfg.Slots = 0
	c := startBetter(t, cfg)
	for range 2 {
		first.session(t)
		second.session(t)
	}
	stop1()
	second.session(t)
	second.session(t)
	eventually(t, "a warning", func() bool { return strings.Contains(log.String(), "look whether this machine reaches the others") })
	// The first comes back under another address, which the second announces.
	back := &fakeRelay{id: "r1b"}
	addr3, _ := tunneltest.Start(t, back.server(), cert, tunneltest.Passes)
	second.others.Store(&[]string{addr3})
	if s := back.session(t); s.Hello().GetSlot()%2 != 1 {
		t.Errorf("slot %d moved", s.Hello().GetSlot())
	}
	eventually(t, "slots on both", func() bool { return c.meeting() == "" })
}

// TestTunnel04SlotsSpreadOverTheAddressesOfOneName: the second of a name's two addresses answers after all slots have met behind the
// first.
func TestTunnel04SlotsSpreadOverTheAddressesOfOneName(t *testing.T) {
	resolveTo(t, "relay.example", [4]byte{127, 0, 0, 1}, [4]byte{127, 0, 0, 2})
	cert := tunneltest.NewCertificate(t)
	first, second := &fakeRelay{id: "r1"}, &fakeRelay{id: "r2"}
	addr, _ := tunneltest.Start(t, first.server(), cert, tunneltest.Passes)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	log := &logBuffer{}
	cfg := testConfig(cert, log, net.JoinHostPort("relay.example", port))
	cfg.Slots = 4
	c := startBetter(t, cfg)
	for range cfg.Slots {
		first.session(t)
	}
	eventually(t, "the slots' meeting", func() bool { return c.meeting() == "r1" })
	eventually(t, "advice", func() bool { return strings.Contains(log.String(), "run a second relay, in the same NATS cluster") })
	tunneltest.StartAt(t, second.server(), cert, net.IPv4(127, 0, 0, 2), addr)
	if s := second.session(t); s.Hello().GetSlot()%2 != 1 {
		t.Errorf("slot %d moved", s.Hello().GetSlot())
	}
	eventually(t, "slots on both", func() bool { return c.meeting() == "" })
}

// TestTunnel04SlotThatFindsTheSameRelayLooksSeldom: two addresses may lead to one relay.
func TestTunnel04SlotThatFindsTheSameRelayLooksSeldom(t *testing.T) {
	var k seeker
	looks := 0
	for range 100 {
		if !k.rest() {
			looks++
			k.found(false)
		}
	}
	if looks < 100/maxLooks || looks > 100/maxLooks+4 {
		t.Errorf("%d looks in 100 times, want one in %d once it has found the same relay a few times", looks, maxLooks)
	}
	for k.rest() {
	}
	if k.found(true); k.rest() {
		t.Error("after another relay was found the next look is put off")
	}
}

// TestTunnel40Ready: the page follows the probes, not the sessions.
func TestTunnel40Ready(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	relay := &fakeRelay{}
	addr, stop := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	c, _, _ := start(t, testConfig(cert, &logBuffer{}, addr))
	page := func(path string) (int, string) {
		w := httptest.NewRecorder()
		began := time.Now()
		c.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Logf("%s took %v", path, took) // a busy machine; it waits for nobody
		}
		body, _ := io.ReadAll(w.Body)
		return w.Code, string(body)
	}
	if code, body := page("/ready"); code != http.StatusServiceUnavailable {
		t.Errorf("/ready is %d before a probe: %s", code, body)
	}
	relay.session(t)
	eventually(t, "readiness", func() bool { code, _ := page("/ready"); return code == http.StatusOK })
	if registered, healthy := c.count(time.Now().Add(freshness + time.Second)); registered != 1 || healthy != 0 {
		t.Errorf("16 s after the last probe %d slots are registered and %d healthy, want 1 and 0", registered, healthy)
	}
	stop()
	eventually(t, "unreadiness", func() bool { code, _ := page("/ready"); return code == http.StatusServiceUnavailable })
	if code, _ := page("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz is %d without a relay", code)
	}
}
