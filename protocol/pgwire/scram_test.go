package pgwire

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

func TestVerifier(t *testing.T) {
	v, err := NewVerifier("secret")
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseVerifier(v.String())
	if err != nil || again.String() != v.String() {
		t.Errorf("%v, %v", again, err)
	}
	// The password "pencil" as PostgreSQL 16 stores it: the salt and the keys of
	// RFC 7677's example.
	const rfc = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	if v, err := ParseVerifier(rfc); err != nil || v.String() != rfc {
		t.Errorf("%v, %v", v, err)
	}
	for _, bad := range []string{"", "md5abc", "SCRAM-SHA-256$", "SCRAM-SHA-256$4096:$x:y", "SCRAM-SHA-256$0:W22ZaJ0SNY7soEsUEjb6gQ==$a:b",
		"SCRAM-SHA-1$" + rfc[14:], rfc[:len(rfc)-1], rfc + "=", strings.Replace(rfc, "4096", "-1", 1), strings.Replace(rfc, "4096", "99999999999", 1)} {
		if _, err := ParseVerifier(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// The exchange of RFC 7677, section 3, with its nonces.
func TestRFC7677(t *testing.T) {
	v, err := ParseVerifier("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")
	if err != nil {
		t.Fatal(err)
	}
	s := NewSCRAMServer(v)
	if _, err := s.First([]byte("n,,n=user,r=rOprNGfwEbeRWgbNEkqO")); err != nil {
		t.Fatal(err)
	}
	s.nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	s.serverFirst = "r=" + s.nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	final, err := s.Final([]byte("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
	if err != nil || string(final) != "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Errorf("%q, %v", final, err)
	}
}

func TestSCRAMRefuses(t *testing.T) {
	v, err := NewVerifier("secret")
	if err != nil {
		t.Fatal(err)
	}
	for _, first := range []string{"", "n", "n,", "n,,", "n,,n=", "n,,r=x", "n,,n=,r=", "p=tls-server-end-point,,n=,r=x", "n,a=me,n=,r=x", "n,,m=ext,n=,r=x",
		"n,,m=x,r=x", "z,,n=,r=x", "n,,n=,x=y", "n,,n=,r=" + strings.Repeat("x", 2000)} {
		if _, err := NewSCRAMServer(v).First([]byte(first)); !errors.Is(err, ErrProtocol) {
			t.Errorf("first %.40q: %v", first, err)
		}
	}
	proof := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, tt := range []struct {
		final string
		want  error
	}{
		{"c=biws,r=NONCE,p=" + proof, ErrPassword},
		{"c=biws,r=NONCE", ErrProtocol},
		{"c=biws,r=other,p=" + proof, ErrProtocol},
		{"c=eSws,r=NONCE,p=" + proof, ErrProtocol}, // another gs2 header than at first
		{"r=NONCE,c=biws,p=" + proof, ErrProtocol},
		{"c=biws,r=NONCE,p=" + proof[4:], ErrProtocol},
		{"c=biws,r=NONCE,p=!", ErrProtocol},
		{"", ErrProtocol},
		{"c=biws,r=NONCE,x=" + strings.Repeat("x", 2000) + ",p=" + proof, ErrProtocol},
	} {
		s := NewSCRAMServer(v)
		if _, err := s.First([]byte("n,,n=,r=abc")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Final([]byte(strings.Replace(tt.final, "NONCE", s.nonce, 1))); !errors.Is(err, tt.want) {
			t.Errorf("final %.40q: %v", tt.final, err)
		}
	}
}

func TestMockVerifier(t *testing.T) {
	a, b := MockVerifier([]byte("k"), "nobody"), MockVerifier([]byte("k"), "nobody")
	if !bytes.Equal(a.Salt, b.Salt) || a.Iterations != scramIterations || a.StoredKey == b.StoredKey {
		t.Error("asking twice tells a user that does not exist")
	}
	if c := MockVerifier([]byte("k"), "other"); bytes.Equal(a.Salt, c.Salt) {
		t.Error("two users have one salt")
	}
}

func TestSCRAMBinding(t *testing.T) {
	v, err := NewVerifier("secret")
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	proof := b64(make([]byte, 32))
	for _, tt := range []struct {
		what         string
		binding      string
		chosen       bool
		first, final string
		want         error
	}{
		{"the proof alone is wrong", "hash", true, "p=tls-server-end-point,,", "p=tls-server-end-point,,hash", ErrPassword},
		{"another certificate", "hash", true, "p=tls-server-end-point,,", "p=tls-server-end-point,,mash", ErrProtocol},
		{"no certificate", "hash", true, "p=tls-server-end-point,,", "p=tls-server-end-point,,", ErrProtocol},
		{"another kind", "hash", true, "p=tls-unique,,", "", ErrProtocol},
		{"chosen and not done", "hash", true, "n,,", "", ErrProtocol},
		{"done and not chosen", "hash", false, "p=tls-server-end-point,,", "", ErrProtocol},
		{"the offer was taken away", "hash", false, "y,,", "", ErrProtocol},
		{"not chosen", "hash", false, "n,,", "n,,", ErrPassword},
		{"not offered", "", false, "y,,", "y,,", ErrPassword},
	} {
		s := NewSCRAMServer(v)
		if tt.binding != "" {
			s.Bind([]byte(tt.binding), tt.chosen)
		}
		_, err := s.First([]byte(tt.first + "n=,r=x"))
		if err == nil {
			_, err = s.Final([]byte("c=" + b64([]byte(tt.final)) + ",r=" + s.nonce + ",p=" + proof))
		}
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, err, tt.want)
		}
	}
}

// pgx is the client, on both sides of a wrong password.
func TestSCRAMWithPGX(t *testing.T) {
	for _, tt := range []struct {
		password string
		ok       bool
	}{{"a password, with = and ,", true}, {"wrong", false}} {
		v, err := NewVerifier("a password, with = and ,")
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := pgconn.ParseConfig("host=test user=u dbname=d sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Password = tt.password
		cfg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"test"}, nil }
		served := make(chan error, 1)
		var dialled atomic.Bool
		cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
			if dialled.Swap(true) { // for a cancel request, when it gives up
				return nil, net.ErrClosed
			}
			client, server := net.Pipe()
			go func() { served <- serveSCRAM(server, v) }()
			return client, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		conn, err := pgconn.ConnectConfig(ctx, cfg)
		if (err == nil) != tt.ok {
			t.Errorf("%q: %v", tt.password, err)
		}
		if conn != nil {
			go conn.Close(ctx)
		}
		if err := <-served; tt.ok && err != nil || !tt.ok && !errors.Is(err, ErrPassword) {
			t.Errorf("%q: %v", tt.password, err)
		}
	}
}

func serveSCRAM(conn net.Conn, v *Verifier) error {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	be := pgproto3.NewBackend(conn, conn)
	if _, err := be.ReceiveStartupMessage(); err != nil {
		return err
	}
	be.Send(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{SCRAMMechanism}})
	if err := be.SetAuthType(pgproto3.AuthTypeSASL); err != nil {
		return err
	}
	if err := be.Flush(); err != nil {
		return err
	}
	m, err := be.Receive()
	if err != nil {
		return err
	}
	s := NewSCRAMServer(v)
	first, err := s.First(m.(*pgproto3.SASLInitialResponse).Data)
	if err != nil {
		return err
	}
	be.Send(&pgproto3.AuthenticationSASLContinue{Data: first})
	if err := be.SetAuthType(pgproto3.AuthTypeSASLContinue); err != nil {
		return err
	}
	if err := be.Flush(); err != nil {
		return err
	}
	if m, err = be.Receive(); err != nil {
		return err
	}
	final, err := s.Final(m.(*pgproto3.SASLResponse).Data)
	if err != nil {
		return err
	}
	be.Send(&pgproto3.AuthenticationSASLFinal{Data: final})
	be.Send(&pgproto3.AuthenticationOk{})
	be.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return be.Flush()
}

func FuzzSCRAM(f *testing.F) {
	f.Add([]byte("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), []byte("c=biws,r=NONCE,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
	f.Add([]byte("y,,n=,r=x"), []byte("c=eSws,r=NONCE,p="))
	f.Add([]byte("p=tls-unique,,n=,r=x"), []byte(",p="))
	v := &Verifier{Iterations: 1, Salt: []byte("salt")}
	f.Fuzz(func(t *testing.T, first, final []byte) {
		s := NewSCRAMServer(v)
		answer, err := s.First(first)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(answer, []byte("r="+s.nonce)) || bytes.ContainsRune(answer, 0) && !bytes.ContainsRune(first, 0) {
			t.Errorf("answer %q", answer)
		}
		if _, err := s.Final(bytes.Replace(final, []byte("NONCE"), []byte(s.nonce), 1)); err == nil {
			t.Errorf("a proof was guessed")
		}
	})
}

func FuzzParseVerifier(f *testing.F) {
	f.Add("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")
	f.Add("SCRAM-SHA-256$1:YQ==$:")
	f.Add("md5")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVerifier(s)
		if err != nil {
			return
		}
		if again, err := ParseVerifier(v.String()); err != nil || again.String() != v.String() {
			t.Errorf("%q becomes %q", s, v)
		}
	})
}
