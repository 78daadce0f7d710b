package tunneltest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/tunnel"
)

// Certificate is a certificate for localhost, relay.example and the loopback addresses, and the authority that signed it: itself.
type Certificate struct {
	TLS  *tls.Config    // for a server
	PEM  string         // the authority
	Pool *x509.CertPool // the authority
}

// NewCertificate makes a certificate that is valid for an hour.
func NewCertificate(t testing.TB) Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "sluice test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost", "relay.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(text))
	return Certificate{
		TLS: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12},
		PEM: text, Pool: pool,
	}
}

// Listen opens a TCP and a UDP socket on one port of the loopback interface. The caller closes them.
func Listen(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return udp, tcp
		}
		tcp.Close() // another socket has the UDP port
	}
	t.Fatal("no port is free for both TCP and UDP")
	return nil, nil
}

// UDP is what becomes of a relay's datagrams.
type UDP int

// The zero UDP passes.
const (
	Passes  UDP = iota
	Dropped     // as by a firewall: nothing answers
	Refused     // as by a host without a socket: ICMP says so
)

// A Gate is a socket that drops datagrams in both directions while it is shut.
type Gate struct {
	net.PacketConn
	shut atomic.Bool
}

// Shut starts or ends dropping.
func (g *Gate) Shut(shut bool) { g.shut.Store(shut) }

// ReadFrom implements net.PacketConn.
func (g *Gate) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := g.PacketConn.ReadFrom(p)
		if err != nil || !g.shut.Load() {
			return n, from, err
		}
	}
}

// WriteTo implements net.PacketConn.
func (g *Gate) WriteTo(p []byte, to net.Addr) (int, error) {
	if g.shut.Load() {
		return len(p), nil
	}
	return g.PacketConn.WriteTo(p, to)
}

// StartGated is Start with a Gate before its UDP socket.
func StartGated(t testing.TB, s *tunnel.Server, cert Certificate) (addr string, gate *Gate) {
	datagrams, tcp := Listen(t)
	gate = &Gate{PacketConn: datagrams}
	addr, _ = serve(t, s, cert, gate, tcp, Passes)
	return addr, gate
}

// Start serves s on the loopback interface until the test ends or stop is called, which waits for it. It returns host:port. It
// sets s.TLS.
func Start(t testing.TB, s *tunnel.Server, cert Certificate, udp UDP) (addr string, stop func()) {
	t.Helper()
	datagrams, tcp := Listen(t)
	return serve(t, s, cert, datagrams, tcp, udp)
}

// StartAt is Start on another address of the loopback interface, and the port of addr.
func StartAt(t testing.TB, s *tunnel.Server, cert Certificate, ip net.IP, addr string) {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	at := net.JoinHostPort(ip.String(), port)
	tcp, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	datagrams, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, cert, datagrams, tcp, Passes)
}

func serve(t testing.TB, s *tunnel.Server, cert Certificate, datagrams net.PacketConn, tcp net.Listener, udp UDP) (addr string, stop func()) {
	t.Helper()
	s.TLS = cert.TLS
	conf := cert.TLS.Clone()
	conf.NextProtos = []string{"http/1.1"}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	h := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			serving.Add(1)
			defer serving.Done()
			s.ServeWebSocket(w, r)
		}),
		TLSConfig: conf, ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    log.New(io.Discard, "", 0),
	}
	serving.Go(func() {
		if err := h.ServeTLS(tcp, "", ""); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve WebSocket: %v", err)
		}
	})
	switch udp {
	case Passes:
		serving.Go(func() {
			if err := s.ServeQUIC(ctx, datagrams); err != nil {
				t.Errorf("serve QUIC: %v", err)
			}
		})
	case Refused:
		datagrams.Close()
	}
	stop = sync.OnceFunc(func() {
		cancel()
		h.Close()
		serving.Wait()
		datagrams.Close()
	})
	t.Cleanup(stop)
	return tcp.Addr().String(), stop
}
