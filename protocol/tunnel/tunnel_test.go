package tunnel

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/stream/streamtest"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// patience bounds every wait of these tests.
const patience = 3 * time.Minute

// carriers are what most tests run on.
var carriers = []Carrier{CarrierQUIC, CarrierWebSocket}

// testTLS makes a certificate for localhost and the configuration that trusts it.
func testTLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "relay.test"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{"relay.test"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: roots}
}

// relay is a Server on a free port, for both carriers.
type relay struct {
	server   *Server
	addr     map[Carrier]string
	tls      *tls.Config // for dialling it
	sessions chan *Session
	stop     func() // ends both servers and waits
}

// startRelay serves until the test ends. configure changes the Server before it starts.
func startRelay(t testing.TB, configure func(*Server)) *relay {
	t.Helper()
	serverTLS, clientTLS := testTLS(t)
	r := &relay{tls: clientTLS, addr: map[Carrier]string{}, sessions: make(chan *Session, 16)}
	r.server = &Server{
		TLS: serverTLS,
		Authenticate: func(context.Context, Peer, *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
			return &tunnelpb.Welcome{RelayId: "r1"}, nil
		},
		Handle: func(ctx context.Context, s *Session) {
			r.sessions <- s
			<-ctx.Done()
		},
	}
	if configure != nil {
		configure(r.server)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr[CarrierQUIC] = pc.LocalAddr().String()
	serving.Go(func() {
		if err := r.server.ServeQUIC(ctx, pc); err != nil {
			t.Errorf("ServeQUIC: %v", err)
		}
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr[CarrierWebSocket] = ln.Addr().String()
	var handlers sync.WaitGroup
	hs := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			handlers.Add(1)
			defer handlers.Done()
			r.server.ServeWebSocket(w, req)
		}),
		TLSConfig:   serverTLS.Clone(),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	hs.TLSConfig.NextProtos = []string{"http/1.1"}
	serving.Go(func() { _ = hs.ServeTLS(ln, "", "") })
	r.stop = func() {
		cancel()
		_ = hs.Close()
		serving.Wait()
		handlers.Wait()
	}
	t.Cleanup(r.stop)
	return r
}

// dialer returns a Dialer for the relay.
func (r *relay) dialer(c Carrier) *Dialer {
	return &Dialer{Addr: r.addr[c], Carrier: c, TLS: r.tls, Hello: &tunnelpb.Hello{Role: tunnelpb.Role_CONNECTOR, TunnelId: "t1"}}
}

// dial returns both ends of a new session.
func (r *relay) dial(t testing.TB, c Carrier) (dialled, served *Session) {
	t.Helper()
	return r.dialWith(t, r.dialer(c))
}

func (r *relay) dialWith(t testing.TB, d *Dialer) (dialled, served *Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dialled, err := d.Dial(ctx)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() {
		dialled.Close(stream.CodeClosed, "the test is over")
		dialled.wait()
	})
	select {
	case served = <-r.sessions:
	case <-ctx.Done():
		t.Fatal("the relay has no session")
	}
	return dialled, served
}

// acceptAll accepts every Open of s and gives the stream to the one who waits for its hostname.
type acceptor struct {
	mu      sync.Mutex
	waiting map[string]chan *Stream
}

func acceptAll(s *Session) *acceptor {
	a := &acceptor{waiting: map[string]chan *Stream{}}
	go a.run(s)
	return a
}

func (a *acceptor) run(s *Session) {
	for {
		in, err := s.Accept(context.Background())
		if err != nil {
			return
		}
		st, err := in.Accept()
		if err != nil {
			continue
		}
		a.get(in.Request.GetHostname()) <- st
	}
}

func (a *acceptor) get(hostname string) chan *Stream {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.waiting[hostname]
	if c == nil {
		c = make(chan *Stream, 1)
		a.waiting[hostname] = c
	}
	return c
}

func (a *acceptor) take(hostname string) *Stream {
	st := <-a.get(hostname)
	a.mu.Lock()
	delete(a.waiting, hostname)
	a.mu.Unlock()
	return st
}

// streamPair opens a stream from one session and returns both ends.
func streamPair(t testing.TB, from *Session, acc *acceptor, hostname string) (opened, accepted *Stream) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	opened, err := from.Open(ctx, &tunnelpb.Open{Hostname: hostname})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return opened, acc.take(hostname)
}

// TestConformance covers TestTunnel15, 16, 17, 18 and 37 on both carriers, with the relay opening.
func TestConformance(t *testing.T) {
	for _, c := range carriers {
		t.Run(c.String(), func(t *testing.T) {
			r := startRelay(t, nil)
			dialled, served := r.dial(t, c)
			acc := acceptAll(dialled)
			var names counter
			streamtest.Run(t, func(t *testing.T) (a, b stream.Conn) {
				return streamPair(t, served, acc, names.next())
			})
			waitFor(t, "streams to be gone", func() bool { return dialled.Streams() == 0 && served.Streams() == 0 })
		})
	}
}

// waitFor polls, with a deadline, what other goroutines and the network bring about.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
		<-tick.C
	}
}
