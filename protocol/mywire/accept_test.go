package mywire

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

const testPassword = "a password, with ' and $"

// serverTLS is a server's side of TLS with a certificate for 'sluice', and what a client trusts.
func serverTLS(t *testing.T) (func(net.Conn) (net.Conn, error), *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"sluice"}, NotAfter: time.Now().Add(time.Hour)}
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
	server := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return func(nc net.Conn) (net.Conn, error) {
		c := tls.Server(nc, server)
		return c, c.Handshake()
	}, &tls.Config{RootCAs: roots, ServerName: "sluice"}
}

// legacy knows the password in no form that a proof could be checked with.
func legacy() *Verifier {
	return &Verifier{Check: func(p []byte) bool { return string(p) == testPassword }}
}

const testCaps = CapLongPassword | CapFoundRows | CapConnectWithDB | CapProtocol41 | CapTransactions | CapSecureConnection | CapPluginAuth |
	CapPluginAuthLenenc | CapConnectAttrs | CapDeprecateEOF | CapSessionTrack

// acceptOne serves one login on ln, and says OK to a ping and COM_CHANGE_USER behind it.
func acceptOne(ln net.Listener, a *Acceptor, v *Verifier) (*Accepted, error) {
	nc, err := ln.Accept()
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	lookup := func(user, schema string) (*Verifier, error) {
		if schema == "full" {
			return nil, Errorf(CodeConCount, "Too many connections")
		}
		if user != "u" {
			return nil, nil
		}
		return v, nil
	}
	d, err := a.Accept(nc, 7, lookup)
	if err != nil {
		return nil, err
	}
	if err := d.Welcome(&OK{Status: StatusAutocommit}); err != nil {
		return d, err
	}
	c := NewConn(d.Conn, false)
	defer c.Drop()
	for {
		payload, seq, err := ReadPacket(buffered{c}, 1024)
		if errors.Is(err, io.EOF) {
			return d, nil
		}
		if err != nil || Command(payload[0]) == ComQuit {
			return d, err
		}
		seq++
		out := (&OK{Status: StatusAutocommit}).Append(nil, d.Login.Capabilities)
		if Command(payload[0]) == ComChangeUser {
			cu, err := ParseChangeUser(payload, d.Login.Capabilities)
			if err != nil {
				return d, err
			}
			if seq, err = a.ChangeUser(c, d.TLS, cu, seq-1, d.Salt, d.Login.Capabilities, lookup); err != nil {
				var e *Error
				if !errors.As(err, &e) {
					return d, err
				}
				out = e.Append(nil)
			}
		}
		b, _ := AppendPacket(nil, seq, out)
		if _, err := c.Write(b); err != nil {
			return d, err
		}
	}
}

// go-sql-driver is the driver, with either plugin, over TLS and without, with its
// password known in either form, right and wrong.
func TestAccept(t *testing.T) {
	serve, trust := serverTLS(t)
	known := NewVerifier(testPassword)
	for _, tt := range []struct {
		name     string
		verifier *Verifier
		plugin   string
		tls      bool
		plain    bool
		user     string
		schema   string
		password string
		want     uint16 // error code; 0: none
	}{
		{"fast over TLS", known, "", true, false, "u", "d", testPassword, 0},
		{"fast", known, "", false, true, "u", "d", testPassword, 0},
		{"native", known, PluginNative, false, true, "u", "d", testPassword, 0},
		{"native over TLS", known, PluginNative, true, false, "u", "", testPassword, 0},
		{"full over TLS", legacy(), "", true, false, "u", "d", testPassword, 0},
		{"full by RSA", legacy(), "", false, true, "u", "d", testPassword, 0},
		{"switched from native to full", legacy(), PluginNative, true, false, "u", "d", testPassword, 0},
		{"wrong, fast", known, "", true, false, "u", "d", "wrong", CodeAccessDenied},
		{"wrong, native", known, PluginNative, true, false, "u", "d", "wrong", CodeAccessDenied},
		{"wrong, full over TLS", legacy(), "", true, false, "u", "d", "wrong", CodeAccessDenied},
		{"wrong, full by RSA", legacy(), "", false, true, "u", "d", "wrong", CodeAccessDenied},
		{"none", known, "", true, false, "u", "d", "", CodeAccessDenied},
		{"none, full", legacy(), "", true, false, "u", "d", "", CodeAccessDenied},
		{"nobody", known, "", true, false, "nobody", "d", testPassword, CodeAccessDenied},
		{"no TLS", known, "", false, false, "u", "d", testPassword, CodeSecureTransport},
		{"refused before the password", known, "", true, false, "u", "full", testPassword, CodeConCount},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			a := &Acceptor{Version: "8.4.0", Capabilities: testCaps, Collation: 255, Status: StatusAutocommit, Plugin: tt.plugin, TLS: serve, AllowPlaintext: tt.plain}
			accepted := make(chan *Accepted, 1)
			failed := make(chan error, 1)
			go func() {
				d, err := acceptOne(ln, a, tt.verifier)
				accepted <- d
				failed <- err
			}()
			cfg := mysql.NewConfig()
			cfg.Net, cfg.Addr, cfg.User, cfg.Passwd, cfg.DBName = "tcp", ln.Addr().String(), tt.user, tt.password, tt.schema
			cfg.Logger = &mysql.NopLogger{}
			if tt.tls {
				cfg.TLS = trust
			}
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			connector, err := mysql.NewConnector(cfg)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := connector.Connect(ctx)
			if err == nil {
				err = conn.(driver.Pinger).Ping(ctx)
				conn.Close()
			}
			var e *mysql.MySQLError
			if errors.As(err, &e) && e.Number == tt.want {
				err = nil
			} else if tt.want != 0 {
				t.Errorf("got %v, want error %d", err, tt.want)
			}
			if err != nil {
				t.Error(err)
			}
			d, err := <-accepted, <-failed
			if tt.want == 0 && (err != nil || d.Login.Schema != tt.schema || d.TLS != tt.tls || d.Login.Attribute("_client_name") != "Go-MySQL-Driver") {
				t.Errorf("%v, %+v", err, d)
			}
		})
	}
}

// Connect is the driver of Accept, which changes its user behind that.
func TestConnect(t *testing.T) {
	serve, trust := serverTLS(t)
	known := NewVerifier(testPassword)
	for _, tt := range []struct {
		name     string
		verifier *Verifier
		plugin   string
		tls      *tls.Config
		password string
		ok       bool
	}{
		{"fast", known, "", trust, testPassword, true},
		{"native", known, PluginNative, nil, testPassword, true},
		{"full over TLS", legacy(), "", trust, testPassword, true},
		{"full by RSA", legacy(), "", nil, testPassword, true},
		{"wrong", known, "", trust, "wrong", false},
		{"wrong, full by RSA", legacy(), "", nil, "wrong", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			a := &Acceptor{Version: "8.4.0", Capabilities: testCaps, Plugin: tt.plugin, TLS: serve, AllowPlaintext: true}
			failed := make(chan error, 1)
			go func() {
				_, err := acceptOne(ln, a, tt.verifier)
				failed <- err
			}()
			nc, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			c, err := Connect(ctx, nc, &ConnectConfig{
				User: "u", Password: tt.password, Schema: "d", TLS: tt.tls, Capabilities: CapSessionTrack, Attributes: []Attribute{{"program_name", "Sluice"}},
			})
			if (err == nil) != tt.ok {
				t.Fatal(err)
			}
			if err == nil {
				if c.OK.Status != StatusAutocommit || !c.Capabilities.Has(CapSessionTrack) || c.Greeting.ID != 7 {
					t.Errorf("%+v", c)
				}
				// The answer is to no salt at all, so another is asked for.
				testChangeUser(t, c, tt.password, HeaderOK)
				testChangeUser(t, c, "wrong", HeaderErr)
				c.Conn.Close()
			}
			var e *Error
			if err := <-failed; tt.ok && err != nil || !tt.ok && (!errors.As(err, &e) || e.Code != CodeAccessDenied) {
				t.Error(err)
			}
		})
	}
}

func testChangeUser(t *testing.T, c *Connected, password string, want byte) {
	t.Helper()
	l := login{cfg: &ConnectConfig{Password: password}, conn: c.Conn}
	cu := ChangeUser{User: "u", Schema: "e", Auth: make([]byte, 32), Plugin: PluginSHA2}
	l.send(cu.Append(nil, c.Capabilities))
	_, err := l.authenticate(c.Capabilities)
	var e *Error
	if want == HeaderOK && err != nil || want == HeaderErr && !errors.As(err, &e) {
		t.Errorf("change of user: %v", err)
	}
}

// What is no handshake is told so and costs nothing.
func TestAcceptRefuses(t *testing.T) {
	l := Login{Capabilities: testCaps, User: "u"}
	ask := l
	ask.Capabilities |= CapSSL
	long := append(l.Append(nil), make([]byte, maxLogin)...)
	for _, tt := range []struct {
		name string
		in   []byte
	}{
		{"a client of MySQL 4.0", []byte{5, 0, 0, 0, 0, 'u', 0}},
		{"too long", long},
		{"cut short", l.Append(nil)[:20]},
		{"TLS that was not offered", ask.AppendTLSRequest(nil)},
	} {
		near, far := net.Pipe()
		go func() {
			defer near.Close()
			_ = near.SetDeadline(time.Now().Add(time.Minute))
			if _, _, err := ReadPacket(near, maxGreeting); err != nil {
				return
			}
			b, _ := AppendPacket(nil, 1, tt.in)
			go near.Write(b)
			if payload, _, err := ReadPacket(near, 1024); err != nil || payload[0] != HeaderErr {
				t.Errorf("%s: answer %x, %v", tt.name, payload, err)
			}
		}()
		_, err := (&Acceptor{Capabilities: testCaps, AllowPlaintext: true}).Accept(far, 1, func(string, string) (*Verifier, error) { return nil, nil })
		if !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", tt.name, err)
		}
		far.Close()
	}
}

func TestVerifier(t *testing.T) {
	v := NewVerifier(testPassword)
	again, err := ParseVerifier(v.String())
	if err != nil || again.Native != v.Native || again.SHA2 != v.SHA2 {
		t.Errorf("%v, %v", again, err)
	}
	// What SELECT PASSWORD('secret') gives in MariaDB, less its asterisk.
	if got := fmt.Sprintf("%X", NewVerifier("secret").Native); got != "14E65567ABDB5135D0CFD9A70B3032C179A49EE7" {
		t.Errorf("the native form of 'secret' is %s", got)
	}
	for _, bad := range []string{"", "MYSQL$", "MYSQL$$", "MYSQL$YQ==$YQ==", "SCRAM-SHA-256$4096:YQ==$YQ==:YQ==", v.String() + "=", v.String()[1:]} {
		if _, err := ParseVerifier(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
