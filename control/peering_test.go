package control

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"testing"
	"time"
)

// TestTunnel35RelaysKnowEachOtherByTheirCertificates: both sides of a connection between relays prove that they are of the
// installation, and nobody else can.
func TestTunnel35RelaysKnowEachOtherByTheirCertificates(t *testing.T) {
	a, other := open(t, t.TempDir()), open(t, t.TempDir())
	for name, c := range map[string]struct {
		dialler *Control
		want    bool
	}{"own": {a, true}, "another installation's": {other, false}} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			conf := a.ServerTLS()
			conf.ClientAuth = tls.RequestClientCert
			server := tls.Server(far, conf)
			verdict := make(chan error, 1)
			go func() {
				defer far.Close()
				if err := server.Handshake(); err != nil {
					verdict <- err
					return
				}
				verdict <- a.VerifyRelay(server.ConnectionState().PeerCertificates)
				io.Copy(io.Discard, server)
			}()
			client := tls.Client(near, c.dialler.RelayTLS())
			err := client.Handshake()
			near.Close()
			if seen := <-verdict; (err == nil && seen == nil) != c.want {
				t.Errorf("the dialler says %v, the server %v; want good: %v", err, seen, c.want)
			}
		})
	}
	if err := a.VerifyRelay(nil); err == nil {
		t.Error("a peer without a certificate is a relay")
	}
	leaf, err := a.authority.certificate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := other.VerifyRelay([]*x509.Certificate{leaf.Leaf}); err == nil {
		t.Error("a certificate of another installation is a relay's")
	}
}
