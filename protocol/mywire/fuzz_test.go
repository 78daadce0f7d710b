package mywire

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// recorded adds to f what servers sent, or were sent, in the transcripts.
func recorded(f *testing.F, line string, add func(payload []byte)) {
	f.Helper()
	for _, r := range recordings {
		file, err := os.Open(filepath.Join("testdata", r.name+".transcript"))
		if err != nil {
			f.Fatal(err)
		}
		defer file.Close()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if text, ok := strings.CutPrefix(lines.Text(), line); ok {
				payload, err := hex.DecodeString(text)
				if err != nil {
					f.Fatal(err)
				}
				add(payload)
			}
		}
	}
}

// sameAgain checks that what was parsed is parsed again from its own encoding.
func sameAgain[T any](t *testing.T, v T, encoded []byte, parse func([]byte) (T, error)) {
	t.Helper()
	again, err := parse(encoded)
	if err != nil || !reflect.DeepEqual(again, v) {
		t.Errorf("%+v becomes %x, which becomes %+v, %v", v, encoded, again, err)
	}
}

// wellFormed checks the error of a decoder.
func wellFormed(t *testing.T, err error) bool {
	t.Helper()
	if err != nil && !errors.Is(err, ErrProtocol) {
		t.Errorf("%v is no protocol violation", err)
	}
	return err == nil
}

func FuzzOK(f *testing.F) {
	recorded(f, lineGot, func(p []byte) {
		if p[0] == HeaderOK || p[0] == HeaderEOF {
			f.Add(p, true)
			f.Add(p, false)
		}
	})
	f.Fuzz(func(t *testing.T, payload []byte, track bool) {
		var caps Capabilities
		if track {
			caps = CapSessionTrack
		}
		ok, err := ParseOK(payload, caps)
		if !wellFormed(t, err) {
			return
		}
		encoded := ok.Append(nil, caps)
		if _, err := ParseOK(encoded, caps); err != nil {
			t.Errorf("%x becomes %x: %v", payload, encoded, err)
		}
		var state []byte
		for c, err := range Changes(ok.State) {
			if !wellFormed(t, err) {
				return
			}
			state = AppendChange(state, c)
		}
		var before, after []Change
		for c := range Changes(ok.State) {
			before = append(before, c)
		}
		for c, err := range Changes(state) {
			if err != nil {
				t.Error(err)
			}
			after = append(after, c)
		}
		if len(before) != len(after) {
			t.Errorf("%d changes become %d", len(before), len(after))
		}
	})
}

func FuzzReply(f *testing.F) {
	recorded(f, lineGot, func(p []byte) {
		b, _ := AppendPacket(nil, 0, p)
		for _, cmd := range []Command{ComQuery, ComStmtPrepare, ComStmtFetch, ComFieldList} {
			f.Add(byte(cmd), true, b)
			f.Add(byte(cmd), false, b)
		}
	})
	f.Fuzz(func(t *testing.T, cmd byte, eof bool, stream []byte) {
		caps := CapDeprecateEOF
		if eof {
			caps = 0
		}
		var r Reply
		r.Begin(Command(cmd), caps)
		for packets := 0; len(stream) >= HeaderSize && !r.Done(); packets++ {
			n, _ := Header(stream)
			stream = stream[HeaderSize:]
			part, err := r.Next(stream[:min(n, len(stream), ReplyPeek)], n)
			if !wellFormed(t, err) {
				return
			}
			if part == PartNone {
				t.Fatal("a packet that is nothing")
			}
			if part == PartError && n != MaxPayload && !r.Done() {
				t.Error("something is expected behind an error")
			}
			if r.Infile() {
				r.InfileSent()
			}
			stream = stream[min(n, len(stream)):]
		}
	})
}

func FuzzColumn(f *testing.F) {
	recorded(f, lineGot, func(p []byte) { f.Add(p) })
	f.Fuzz(func(t *testing.T, payload []byte) {
		if c, err := ParseColumn(payload); wellFormed(t, err) {
			sameAgain(t, c, c.Append(nil), ParseColumn)
		}
		if p, err := ParsePrepared(payload); wellFormed(t, err) {
			sameAgain(t, p, p.Append(nil), ParsePrepared)
		}
		if e, err := ParseEOF(payload); wellFormed(t, err) {
			sameAgain(t, e, e.Append(nil), ParseEOF)
		}
		if e, err := ParseError(payload); wellFormed(t, err) && len(e.Message) <= maxMessage {
			again, err := ParseError(e.Append(nil))
			if err != nil || again.Code != e.Code {
				t.Errorf("%+v becomes %+v, %v", e, again, err)
			}
		}
	})
}

func FuzzGreeting(f *testing.F) {
	recorded(f, lineGreeting, func(p []byte) { f.Add(p) })
	f.Add(append([]byte{HeaderEOF}, "caching_sha2_password\x00aaaaaaaaaaaaaaaaaaaa\x00"...))
	f.Add(Errorf(CodeConCount, "Too many connections").Append(nil))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if a, err := ParseAuthSwitch(payload); wellFormed(t, err) && a.Plugin != "" {
			if again, err := ParseAuthSwitch(a.Append(nil)); err != nil || again.Plugin != a.Plugin {
				t.Errorf("%+v becomes %+v, %v", a, again, err)
			}
		}
		g, err := ParseGreeting(payload)
		if e := (*Error)(nil); errors.As(err, &e) {
			return
		}
		if wellFormed(t, err) {
			sameAgain(t, g, g.Append(nil), ParseGreeting)
		}
	})
}

func FuzzLogin(f *testing.F) {
	for _, caps := range []Capabilities{CapProtocol41, testCaps, testCaps | CapSSL, testCaps &^ CapPluginAuthLenenc, CapProtocol41 | CapSecureConnection | CapConnectWithDB} {
		l := Login{Capabilities: caps, Collation: 45, User: "u", Auth: []byte("answer"), Schema: "d", Plugin: PluginNative, Attributes: []Attribute{{"program_name", "p"}}}
		f.Add(l.Append(nil))
		f.Add(l.AppendTLSRequest(nil))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		l, wantsTLS, err := ParseLogin(payload)
		if !wellFormed(t, err) || wantsTLS || len(l.Auth) > 255 || !l.Capabilities.Has(CapSecureConnection) {
			return
		}
		if l.Capabilities.Has(CapPluginAuthLenenc) && len(l.Auth) > 250 { // Append does not use what is longer
			return
		}
		again, _, err := ParseLogin(l.Append(nil))
		if err != nil || again.User != l.User || again.Schema != l.Schema || again.Plugin != l.Plugin || !bytes.Equal(again.Auth, l.Auth) ||
			len(again.Attributes) != len(l.Attributes) {
			t.Errorf("%+v becomes %+v, %v", l, again, err)
		}
	})
}

func FuzzCommand(f *testing.F) {
	recorded(f, lineSent, func(p []byte) {
		f.Add(p, 1, true)
		f.Add(p, 0, false)
	})
	cu := ChangeUser{User: "u", Schema: "d", Auth: []byte("answer"), Collation: 45, Plugin: PluginSHA2, Attributes: []Attribute{{"a", "b"}}}
	f.Add(cu.Append(nil, testCaps), 0, false)
	f.Add([]byte("\x03\x02\x01\x00\x01\xfe\x00\x01a\x08\x00\x01b\x03abc\x01\x00\x00\x00\x00\x00\x00\x00SELECT 1"), 0, true)
	named := Execute{Flags: ParamsCounted, Params: 2, Nulls: []byte{0}, Bound: true, Types: []byte("\x08\x00\x00\xfe\x00\x01n")}
	f.Add(append(named.Append(nil, true, CapQueryAttributes), "\x01\x00\x00\x00\x00\x00\x00\x00\x03abc"...), 1, true)
	f.Fuzz(func(t *testing.T, payload []byte, params int, attributes bool) {
		caps := testCaps
		if attributes {
			caps |= CapQueryAttributes
		}
		if c, err := ParseChangeUser(payload, caps); wellFormed(t, err) {
			again, err := ParseChangeUser(c.Append(nil, caps), caps)
			if err != nil || again.User != c.User || again.Schema != c.Schema || len(again.Attributes) != len(c.Attributes) {
				t.Errorf("%+v becomes %+v, %v", c, again, err)
			}
		}
		if sql, prefix, err := ParseQuery(payload, caps); wellFormed(t, err) && 1+len(prefix)+len(sql) != len(payload) {
			t.Errorf("%x is %x and %x", payload, prefix, sql)
		}
		if params >= 0 && params <= maxParams {
			fuzzExecute(t, payload, params, caps)
		}
		for _, err := range []error{
			second(ParseFieldList(payload)), first(ParseProcessKill(payload)), first(ParseSetOption(payload)),
			first(StatementID(payload)), second(ParseFetch(payload)), second(ParseLongData(payload)),
		} {
			wellFormed(t, err)
		}
	})
}

func first[T any](_ T, err error) error          { return err }
func second[T, U any](_ T, _ U, err error) error { return err }

// fuzzExecute takes a COM_STMT_EXECUTE through every change that there is for it.
func fuzzExecute(t *testing.T, payload []byte, params int, caps Capabilities) {
	e, err := ParseExecute(payload, params, caps)
	if !wellFormed(t, err) {
		return
	}
	named := caps.Has(CapQueryAttributes)
	for _, to := range []Capabilities{0, CapQueryAttributes} {
		if to == 0 && e.Params != params {
			continue
		}
		again, err := ParseExecute(e.Append(nil, named, to), params, to)
		if err != nil || again.Params != e.Params || again.Bound != e.Bound || again.ID != e.ID || !bytes.Equal(again.Nulls, e.Nulls) {
			t.Errorf("%+v becomes %+v, %v", e, again, err)
		}
	}
	if named && e.Bound {
		values, err := e.WithoutAttributes(payload, params, func(int) bool { return false })
		if wellFormed(t, err) && len(values) > len(payload) {
			t.Error("values from nowhere")
		}
	}
}

func FuzzVerifier(f *testing.F) {
	f.Add(NewVerifier("secret").String())
	f.Add("MYSQL$$")
	f.Add("MYSQL$000000000000000000000000000=$000000\r0000000000000000000000000000000000000=") // base64 passes over the end of a line
	f.Add("SCRAM-SHA-256$1:YQ==$:")
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := ParseVerifier(s); err == nil && v.String() != s {
			t.Errorf("%q becomes %q", s, v)
		}
	})
}

// script is a connection on which a stranger says what it says, whatever it hears.
type script struct{ io.Reader }

func (script) Write(p []byte) (int, error)      { return len(p), nil }
func (script) Close() error                     { return nil }
func (script) LocalAddr() net.Addr              { return nil }
func (script) RemoteAddr() net.Addr             { return nil }
func (script) SetDeadline(time.Time) error      { return nil }
func (script) SetReadDeadline(time.Time) error  { return nil }
func (script) SetWriteDeadline(time.Time) error { return nil }

// Nobody guesses a password, whatever a driver says.
func FuzzAccept(f *testing.F) {
	for _, plugin := range []string{"", PluginNative, PluginSHA2, "dialog"} {
		l := Login{Capabilities: testCaps, User: "u", Auth: make([]byte, 20), Plugin: plugin}
		b, _ := AppendPacket(nil, 1, l.Append(nil))
		b, _ = AppendPacket(b, 3, make([]byte, 32))
		b, _ = AppendPacket(b, 5, []byte("wrong\x00"))
		f.Add(b, true, true)
		f.Add(b, false, true)
		f.Add(b, true, false)
	}
	known := NewVerifier(testPassword)
	a := &Acceptor{Capabilities: testCaps, AllowPlaintext: true}
	f.Fuzz(func(t *testing.T, said []byte, old, secure bool) {
		v := known
		if old {
			v = legacy()
		}
		lookup := func(string, string) (*Verifier, error) { return v, nil }
		if _, err := a.Accept(script{bytes.NewReader(said)}, 1, lookup); err == nil {
			t.Error("a driver is let in")
		}
		c := NewConn(script{bytes.NewReader(said)}, false)
		defer c.Drop()
		cu := &ChangeUser{User: "u", Auth: said[:min(len(said), 32)], Plugin: PluginSHA2}
		if _, err := a.ChangeUser(c, secure, cu, 0, NewSalt(), testCaps, lookup); err == nil {
			t.Error("a driver becomes somebody")
		}
	})
}

// A server can say what it wants: a login ends, and without TLS the password is not told.
func FuzzConnect(f *testing.F) {
	recorded(f, lineGreeting, func(p []byte) {
		greeting, _ := AppendPacket(nil, 0, p)
		b, _ := AppendPacket(greeting, 2, []byte{headerMoreData, sha2Fast})
		b, _ = AppendPacket(b, 3, okIdle)
		f.Add(b)
		b, _ = AppendPacket(greeting, 2, (&AuthSwitch{Plugin: PluginNative, Salt: NewSalt()}).Append(nil))
		b, _ = AppendPacket(b, 4, errPkt)
		f.Add(b)
		b, _ = AppendPacket(greeting, 2, []byte{headerMoreData, sha2Full})
		b, _ = AppendPacket(b, 4, []byte("\x01-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----\n"))
		f.Add(b)
	})
	f.Fuzz(func(t *testing.T, said []byte) {
		told := &listener{script: script{bytes.NewReader(said)}}
		_, _ = Connect(t.Context(), told, &ConnectConfig{User: "u", Password: testPassword, Schema: "d"})
		if bytes.Contains(told.heard, []byte(testPassword)) {
			t.Error("the password is told in the clear")
		}
	})
}

type listener struct {
	script
	heard []byte
}

func (l *listener) Write(p []byte) (int, error) {
	l.heard = append(l.heard, p...)
	return len(p), nil
}
