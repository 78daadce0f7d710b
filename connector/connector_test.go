package connector

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/client"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

func TestTunnel01ServesOverWebSocketWhenUDPIsDropped(t *testing.T) {
	testFallback(t, tunneltest.Dropped)
}

func TestTunnel01ServesOverWebSocketWhenUDPIsRefused(t *testing.T) {
	testFallback(t, tunneltest.Refused)
}

// testFallback has a connector's slots come by WebSocket. How soon they do is the race's, and tested with it.
func testFallback(t *testing.T, udp tunneltest.UDP) {
	cert := tunneltest.NewCertificate(t)
	service, conns := origin(t)
	relay := &fakeRelay{ingress: rule("db.example", service)}
	addr, _ := tunneltest.Start(t, relay.server(), cert, udp)
	cfg := testConfig(cert, &logBuffer{}, addr)
	cfg.Slots = 4
	start(t, cfg)
	for range cfg.Slots {
		s := relay.session(t)
		if s.Carrier() != tunnel.CarrierWebSocket {
			t.Errorf("a slot registered over %v", s.Carrier())
		}
		st, err := s.Open(t.Context(), &tunnelpb.Open{Hostname: "db.example"})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		receive(t, "origin connection", conns).Close()
	}
	if n := relay.hellos.Load(); n != 4 {
		t.Errorf("%d Hellos for 4 slots", n)
	}
}

func TestTunnel07PermanentRefusalIsReportedOnceAndNeverEndsTheConnector(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	relay := &fakeRelay{}
	relay.refuse.Store(&tunnel.Refusal{Code: tunnelpb.Code_UNAUTHENTICATED, Message: "the credential is not valid"})
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	log := &logBuffer{}
	cfg := testConfig(cert, log, addr)
	cfg.Slots = 4
	_, stop, done := start(t, cfg)
	eventually(t, "a Hello from each slot", func() bool { return relay.hellos.Load() >= 4 })
	eventually(t, "a report", func() bool { return strings.Contains(log.String(), "does not accept") })
	// What was refused waits at least 15 s, so nothing more comes now.
	select {
	case <-done:
		t.Fatal("the connector gave up")
	case <-time.After(300 * time.Millisecond):
	}
	if n := relay.hellos.Load(); n != 4 {
		t.Errorf("%d Hellos, want one for each of 4 slots", n)
	}
	if n := strings.Count(log.String(), "does not accept this tunnel token"); n != 1 {
		t.Errorf("the refusal was reported %d times, want once:\n%s", n, log)
	}
	if strings.Contains(log.String(), "the-secret") {
		t.Errorf("the log has the tunnel's secret:\n%s", log)
	}
	stop()
	receive(t, "end of Run", done)
}

func TestTunnel07RetryAfterIsHonoured(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	relay := &fakeRelay{}
	relay.refuse.Store(&tunnel.Refusal{Code: tunnelpb.Code_LIMITED, RetryAfter: 400 * time.Millisecond})
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	began := time.Now()
	start(t, testConfig(cert, &logBuffer{}, addr))
	eventually(t, "a Hello", func() bool { return relay.hellos.Load() > 0 })
	relay.refuse.Store(nil)
	relay.session(t)
	if waited := time.Since(began); waited < 400*time.Millisecond {
		t.Errorf("the slot came back after %v, told to wait 400 ms", waited)
	}
}

func TestTunnel08UnresolvableRelayIsReportedWithAMend(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	log := &logBuffer{}
	start(t, testConfig(cert, log, "relay.invalid:7844")) // RFC 6761: never resolves
	eventually(t, "report of the name", func() bool { return strings.Contains(log.String(), "does not resolve") })
	if !strings.Contains(log.String(), "--relay host:port") {
		t.Errorf("the log names no mend:\n%s", log)
	}
}

// An origin that reads nothing holds up neither the end of its stream, when the session has ended, nor that of the connector.
func TestTunnel16StuckOriginIsFreed(t *testing.T) {
	for _, carrier := range []client.Protocol{client.QUIC, client.WebSocket} {
		t.Run(string(carrier), func(t *testing.T) {
			cert := tunneltest.NewCertificate(t)
			service, conns := origin(t)
			relay := &fakeRelay{ingress: rule("db.example", service)}
			addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
			cfg := testConfig(cert, &logBuffer{}, addr)
			cfg.Protocol, cfg.Grace = carrier, time.Millisecond
			_, stop, done := start(t, cfg)
			st, err := relay.session(t).Open(t.Context(), &tunnelpb.Open{Hostname: "db.example"})
			if err != nil {
				t.Fatal(err)
			}
			defer receive(t, "origin connection", conns).Close()
			// More than all windows and buffers on the way hold.
			st.SetWriteDeadline(time.Now().Add(patience))
			wrote := make(chan error, 1)
			go func() {
				_, err := st.Write(make([]byte, 64<<20))
				wrote <- err
			}()
			last := relayBytes(st)
			for stuck := 0; stuck < 50; time.Sleep(10 * time.Millisecond) {
				if now := relayBytes(st); now != last {
					last, stuck = now, 0
				} else if now > 0 {
					stuck++
				}
			}
			stop()
			receive(t, "end of Run", done)
			if err := receive(t, "end of the write", wrote); err == nil {
				t.Error("the origin read everything")
			}
		})
	}
}

// relayBytes is how much a stream's session has sent.
func relayBytes(st *tunnel.Stream) uint64 { return st.Session().Stats().Sent }

func TestTunnel13StopLetsStreamsFinishAndTakesNoMore(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	service, conns := origin(t)
	relay := &fakeRelay{ingress: rule("db.example", service)}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	cfg := testConfig(cert, &logBuffer{}, addr)
	cfg.Grace = 2 * patience
	_, stop, done := start(t, cfg)
	session := relay.session(t)
	st, err := session.Open(t.Context(), &tunnelpb.Open{Hostname: "db.example"})
	if err != nil {
		t.Fatal(err)
	}
	conn := receive(t, "origin connection", conns)
	stop()
	receive(t, "GoAway", session.GoneAway())
	_, err = session.Open(t.Context(), &tunnelpb.Open{Hostname: "db.example"})
	wantRefusal(t, err, tunnelpb.Code_DRAINING)

	exchange(t, st, conn)
	select {
	case <-done:
		t.Error("Run returned with a stream open")
	default:
	}
	st.Close()
	conn.Close()
	receive(t, "end of Run", done) // long before the grace is over
}

func TestTunnel13StopOfAnIdleConnectorIsAtOnce(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	relay := &fakeRelay{}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	cfg := testConfig(cert, &logBuffer{}, addr)
	cfg.Slots, cfg.Grace = 4, 2*patience
	_, stop, done := start(t, cfg)
	for range cfg.Slots {
		relay.session(t)
	}
	stop()
	receive(t, "end of Run", done) // long before the grace is over
}

func TestTunnel13GraceEndsStreams(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	service, conns := origin(t)
	relay := &fakeRelay{ingress: rule("db.example", service)}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	cfg := testConfig(cert, &logBuffer{}, addr)
	cfg.Grace = 200 * time.Millisecond
	_, stop, done := start(t, cfg)
	st, err := relay.session(t).Open(t.Context(), &tunnelpb.Open{Hostname: "db.example"})
	if err != nil {
		t.Fatal(err)
	}
	conn := receive(t, "origin connection", conns)
	defer conn.Close()
	stop()
	receive(t, "end of Run", done)
	if _, err := st.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v, want an error", err)
	}
}

func TestTunnel12SlotMovesWhenItsRelayDrains(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	service, conns := origin(t)
	first, second := &fakeRelay{ingress: rule("db.example", service)}, &fakeRelay{ingress: rule("db.example", service)}
	addr1, _ := tunneltest.Start(t, first.server(), cert, tunneltest.Passes)
	addr2, _ := tunneltest.Start(t, second.server(), cert, tunneltest.Passes)
	c, _, _ := start(t, testConfig(cert, &logBuffer{}, addr1, addr2))
	old := first.session(t)
	st, err := old.Open(t.Context(), &tunnelpb.Open{Hostname: "db.example"})
	if err != nil {
		t.Fatal(err)
	}
	conn := receive(t, "origin connection", conns)
	if err := old.SendGoAway(t.Context(), &tunnelpb.GoAway{}); err != nil {
		t.Fatal(err)
	}
	second.session(t)
	eventually(t, "readiness after the move", c.Ready)
	exchange(t, st, conn)
	st.Close()
	conn.Close()
	receive(t, "end of the drained session", old.Done())
}

// exchange sends a line each way.
func exchange(t *testing.T, st *tunnel.Stream, conn *net.TCPConn) {
	t.Helper()
	for _, way := range []struct {
		from io.Writer
		to   io.Reader
	}{{st, conn}, {conn, st}} {
		if _, err := io.WriteString(way.from, "still here\n"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 11)
		if _, err := io.ReadFull(way.to, got); err != nil || string(got) != "still here\n" {
			t.Fatalf("read %q, %v", got, err)
		}
	}
}

func TestTunnel24OriginErrorsAreDistinct(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	relay := &fakeRelay{ingress: []*tunnelpb.IngressRule{
		{Hostname: "refused.example", Service: "tcp://" + closed.Addr().String()},
		{Hostname: "nowhere.example", Service: "tcp://origin.invalid:5432"},
		{Hostname: "socket.example", Service: "unix:" + filepath.Join(t.TempDir(), "none.sock")},
	}}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	start(t, testConfig(cert, &logBuffer{}, addr))
	s := relay.session(t)
	for hostname, want := range map[string]tunnelpb.Code{
		"refused.example": tunnelpb.Code_ORIGIN_REFUSED,
		"nowhere.example": tunnelpb.Code_ORIGIN_UNREACHABLE,
		"socket.example":  tunnelpb.Code_ORIGIN_UNREACHABLE,
		"unnamed.example": tunnelpb.Code_UNKNOWN_HOST,
	} {
		_, err := s.Open(t.Context(), &tunnelpb.Open{Hostname: hostname})
		wantRefusal(t, err, want)
	}
}

func TestTunnel24ConnectTimeout(t *testing.T) {
	if connectTimeout != 10*time.Second {
		t.Errorf("origins have %v to accept, want 10 s", connectTimeout)
	}
	for _, err := range []error{context.DeadlineExceeded, &net.OpError{Op: "dial", Err: timeoutError{}}} {
		if got := refusalOf(err); got.Code != tunnelpb.Code_ORIGIN_TIMEOUT {
			t.Errorf("%v is answered with %v", err, got)
		}
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

func TestTunnel33OnlyTheIngressIsDialled(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	service, conns := origin(t)
	relay := &fakeRelay{ingress: rule("db.example", service)}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	start(t, testConfig(cert, &logBuffer{}, addr))
	s := relay.session(t)
	for _, hostname := range []string{"", "other.example", strings.TrimPrefix(service, "tcp://"), service, "127.0.0.1"} {
		_, err := s.Open(t.Context(), &tunnelpb.Open{Hostname: hostname})
		wantRefusal(t, err, tunnelpb.Code_UNKNOWN_HOST)
	}
	select {
	case <-conns:
		t.Error("the origin saw a connection")
	default:
	}
}

func TestTunnel38StaleAndInvalidConfigurationsAreNotTaken(t *testing.T) {
	c, err := New(testConfig(tunneltest.NewCertificate(t), &logBuffer{}, "127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name    string
		msg     *tunnelpb.Configure
		version uint64
		fault   bool
		host    string // leads somewhere afterwards
	}{
		{"first", &tunnelpb.Configure{Version: 5, Ingress: rule("a.example", "tcp://h:1")}, 5, false, "a.example"},
		{"stale", &tunnelpb.Configure{Version: 4, Ingress: rule("b.example", "tcp://h:1")}, 5, false, "a.example"},
		{"the same", &tunnelpb.Configure{Version: 5, Ingress: rule("b.example", "tcp://h:1")}, 5, false, "a.example"},
		{"invalid", &tunnelpb.Configure{Version: 6, Ingress: rule("b.example", "ftp://h")}, 5, true, "a.example"},
		{"newer", &tunnelpb.Configure{Version: 6, Ingress: rule("b.example", "tcp://h:1")}, 6, false, "b.example"},
	}
	for _, s := range steps {
		got := c.configure(t.Context(), s.msg)
		if got.GetVersion() != s.version || (got.GetError() != "") != s.fault {
			t.Errorf("%s: answered version %d, error %q", s.name, got.GetVersion(), got.GetError())
		}
		if _, ok := c.ingress.Load().lookup(s.host); !ok {
			t.Errorf("%s: %s leads nowhere", s.name, s.host)
		}
	}
}

func TestEarlyDataIsWrittenFirstAndHalfCloseIsKept(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	service, conns := origin(t)
	relay := &fakeRelay{ingress: rule("db.example", service)}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	start(t, testConfig(cert, &logBuffer{}, addr))
	st, err := relay.session(t).Open(t.Context(), &tunnelpb.Open{Hostname: "db.example", EarlyData: []byte("early ")})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	io.WriteString(st, "late")
	if err := st.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	conn := receive(t, "origin connection", conns)
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "early late" {
		t.Errorf("the origin read %q, %v", got, err)
	}
	io.WriteString(conn, "answer")
	conn.CloseWrite()
	if got, err := io.ReadAll(st); err != nil || string(got) != "answer" {
		t.Errorf("the client read %q, %v", got, err)
	}
}

func TestTunnel16LostSessionResetsTheOrigin(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	service, conns := origin(t)
	relay := &fakeRelay{ingress: rule("db.example", service)}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	start(t, testConfig(cert, &logBuffer{}, addr))
	s := relay.session(t)
	if _, err := s.Open(t.Context(), &tunnelpb.Open{Hostname: "db.example"}); err != nil {
		t.Fatal(err)
	}
	conn := receive(t, "origin connection", conns)
	defer conn.Close()
	s.Close(stream.CodeInternal, "killed by the test")
	conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the origin saw %v, want a reset", err)
	}
	relay.session(t) // the slot is back
}

func TestAdminPages(t *testing.T) {
	cert := tunneltest.NewCertificate(t)
	relay := &fakeRelay{}
	addr, _ := tunneltest.Start(t, relay.server(), cert, tunneltest.Passes)
	c, err := New(testConfig(cert, &logBuffer{}, addr))
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) int {
		w := httptest.NewRecorder()
		c.Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code
	}
	if got := [2]int{get("/healthz"), get("/ready")}; got != [2]int{200, 503} {
		t.Errorf("before registration /healthz and /ready answer %v", got)
	}
	c2, _, _ := start(t, testConfig(cert, &logBuffer{}, addr))
	relay.session(t)
	c = c2
	eventually(t, "readiness after registration", func() bool { return get("/ready") == 200 })
}

func TestNewReportsEveryFault(t *testing.T) {
	_, err := New(Config{Relays: []string{"no-port", ":7844"}, Slots: 17, Grace: -1, Protocol: client.Auto, Token: tunnel.Token{CA: "x"}})
	if err == nil {
		t.Fatal("it is taken")
	}
	for _, want := range []string{"token is empty", `"no-port"`, `":7844"`, "17 slots", "grace", "PEM"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named in:\n%v", want, err)
		}
	}
}
