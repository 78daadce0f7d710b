package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/protocol/tunnel/tunneltest"
	"github.com/sluicedb/sluice/proxy/mysql"
	"github.com/sluicedb/sluice/proxy/postgres"
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

// late is a connection whose login is sent after its peer has ended it.
type late struct {
	net.Conn
	ended <-chan struct{}
}

func (c late) Write(p []byte) (int, error) {
	if p[0] == 23 { // a TLS record of data: the handshake is over for this side
		<-c.ended
	}
	return c.Conn.Write(p)
}

// TestOriginEndsHandshake: an origin wants a client certificate, says so with an alert, and
// resets the connection. In TLS 1.3 this comes when a client thinks that all is well; a
// login that is written behind the reset fails and must not hide the alert.
func TestOriginEndsHandshake(t *testing.T) {
	origin := tunneltest.NewCertificate(t)
	strict := origin.TLS.Clone()
	strict.ClientAuth = tls.RequireAndVerifyClientCert
	trusting := &tls.Config{RootCAs: origin.Pool, ServerName: "relay.example"}
	for _, test := range []struct {
		name  string
		greet func(net.Conn) error // and the failing handshake
		login func(ctx context.Context, dial func(context.Context) (net.Conn, error)) error
	}{
		{"PostgreSQL", func(c net.Conn) error {
			if _, err := io.ReadFull(c, make([]byte, 8)); err != nil { // SSLRequest
				return err
			}
			if _, err := c.Write([]byte{'S'}); err != nil {
				return err
			}
			return tls.Server(c, strict).Handshake()
		}, func(ctx context.Context, dial func(context.Context) (net.Conn, error)) error {
			return postgres.Test(ctx, postgres.Config{Dial: dial, Host: "relay.example", Database: "d", User: "u", Password: "p", TLS: trusting})
		}},
		{"MySQL", func(c net.Conn) error {
			a := mywire.Acceptor{Version: "9.1.0", Capabilities: mywire.CapProtocol41 | mywire.CapSecureConnection | mywire.CapPluginAuth, TLS: func(c net.Conn) (net.Conn, error) {
				t := tls.Server(c, strict)
				return t, t.Handshake()
			}}
			_, err := a.Accept(c, 1, nil)
			return err
		}, func(ctx context.Context, dial func(context.Context) (net.Conn, error)) error {
			return mysql.Test(ctx, mysql.Config{Dial: dial, Database: "d", User: "u", Password: "p", TLS: trusting})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				c, err := ln.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				if err := test.greet(c); err == nil {
					t.Error("the origin lets in who has no certificate")
				}
				_ = c.(*net.TCPConn).SetLinger(0) // Close resets
			}()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err = test.login(ctx, func(ctx context.Context) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
				return late{c, ended}, err
			})
			if alert := new(net.OpError); !errors.As(err, &alert) || alert.Op != "remote error" {
				t.Errorf("got %v, want the alert", err)
			}
		})
	}
}
