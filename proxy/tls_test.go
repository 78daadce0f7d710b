package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
)

// TestOriginTLS shakes hands with an origin, whose certificate is for relay.example, in every mode.
func TestOriginTLS(t *testing.T) {
	origin, other := tunneltest.NewCertificate(t), tunneltest.NewCertificate(t)
	for _, test := range []struct {
		name, host string
		mtls       control.MTLS
		ca         string
		fails      any // what the error is, a pointer for errors.As; nil: there is none
	}{
		{"require", "elsewhere.example", control.MTLS{SSLMode: control.SSLRequire}, origin.PEM, nil},
		{"require, system's roots", "relay.example", control.MTLS{SSLMode: control.SSLRequire}, "", new(*tls.CertificateVerificationError)},
		{"require, another CA", "relay.example", control.MTLS{SSLMode: control.SSLRequire}, other.PEM, new(*tls.CertificateVerificationError)},
		{"verify-ca", "elsewhere.example", control.MTLS{SSLMode: control.SSLVerifyCA}, origin.PEM, nil},
		{"verify-ca, another CA", "relay.example", control.MTLS{SSLMode: control.SSLVerifyCA}, other.PEM, new(*tls.CertificateVerificationError)},
		{"verify-full", "relay.example", control.MTLS{SSLMode: control.SSLVerifyFull}, origin.PEM, nil},
		{"verify-full, another name", "elsewhere.example", control.MTLS{SSLMode: control.SSLVerifyFull}, origin.PEM, new(*tls.CertificateVerificationError)},
		{"verify-full, given name", "10.0.0.7", control.MTLS{SSLMode: control.SSLVerifyFull, ServerName: "relay.example"}, origin.PEM, nil},
		{"verify-full, another CA", "relay.example", control.MTLS{SSLMode: control.SSLVerifyFull}, other.PEM, new(*tls.CertificateVerificationError)},
		{"verify-full, system's roots", "relay.example", control.MTLS{SSLMode: control.SSLVerifyFull}, "", new(*tls.CertificateVerificationError)},
		{"no-verify", "elsewhere.example", control.MTLS{SSLMode: control.SSLNoVerify}, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg, err := originTLS(&control.Database{Origin: control.Origin{Host: test.host}, MTLS: test.mtls}, test.ca)
			if err != nil {
				t.Fatal(err)
			}
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				if c, err := ln.Accept(); err == nil {
					defer c.Close()
					_ = tls.Server(c, origin.TLS).Handshake() // what it thinks of the end is not asked
				}
			}()
			c, err := net.DialTimeout("tcp", ln.Addr().String(), time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			err = tls.Client(c, cfg).Handshake()
			switch {
			case test.fails == nil && err != nil:
				t.Error(err)
			case test.fails != nil && !errors.As(err, test.fails):
				t.Errorf("got %v, want a certificate that does not verify", err)
			}
		})
	}
	for _, m := range []control.MTLS{{SSLMode: control.SSLVerifyCA}, {SSLMode: control.SSLDisable}, {SSLMode: "prefer"}} {
		if cfg, err := originTLS(&control.Database{MTLS: m}, ""); err == nil {
			t.Errorf("%s without what it needs is taken: %v", m.SSLMode, cfg)
		}
	}
}
