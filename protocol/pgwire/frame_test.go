package pgwire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// What is appended here reads the same in pgx.
func TestAppend(t *testing.T) {
	var b []byte
	b = AppendReadyForQuery(b, TxActive)
	b = AppendCommandComplete(b, "DISCARD ALL")
	b = AppendParameterStatus(b, "TimeZone", "Asia/Tokyo")
	b = AppendMessage(b, MsgParseComplete)
	b = Errorf(CodeSystemError, "no %s", "way").Append(b)
	e := Fatalf(CodeAdminShutdown, "bye")
	e.Hint = "come again"
	b = e.Append(b)
	fe := pgproto3.NewFrontend(bytes.NewReader(b), nil)
	next := func() pgproto3.BackendMessage {
		m, err := fe.Receive()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := next().(*pgproto3.ReadyForQuery); m.TxStatus != 'T' {
		t.Errorf("%+v", m)
	}
	if m := next().(*pgproto3.CommandComplete); string(m.CommandTag) != "DISCARD ALL" {
		t.Errorf("%+v", m)
	}
	if m := next().(*pgproto3.ParameterStatus); m.Name != "TimeZone" || m.Value != "Asia/Tokyo" {
		t.Errorf("%+v", m)
	}
	_ = next().(*pgproto3.ParseComplete)
	if m := next().(*pgproto3.ErrorResponse); m.Severity != "ERROR" || m.Code != "58000" || m.Message != "no way" {
		t.Errorf("%+v", m)
	}
	if m := next().(*pgproto3.ErrorResponse); m.Severity != "FATAL" || m.SeverityUnlocalized != "FATAL" || m.Hint != "come again" {
		t.Errorf("%+v", m)
	}
	typ, n, err := Header(AppendQuery(nil, "select"))
	if typ != MsgQuery || n != 7 || err != nil {
		t.Errorf("%c, %d, %v", typ, n, err)
	}
}

func TestHeader(t *testing.T) {
	for _, tt := range []struct {
		length uint32
		body   int // -1: a protocol violation
	}{{0, -1}, {3, -1}, {4, 0}, {5, 1}, {MaxMessage + 4, MaxMessage}, {MaxMessage + 5, -1}, {0x7fffffff, -1}, {0xffffffff, -1}} {
		typ, body, err := Header(binary.BigEndian.AppendUint32([]byte{'Q'}, tt.length))
		if tt.body < 0 {
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("%d: %v", tt.length, err)
			}
		} else if err != nil || typ != 'Q' || body != tt.body {
			t.Errorf("%d: %c, %d, %v", tt.length, typ, body, err)
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte("Q\x00\x00\x00\x05\x00"))
	f.Add([]byte("Z\xff\xff\xff\xff"))
	f.Add([]byte("\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderSize {
			return
		}
		typ, body, err := Header(b)
		if err == nil && (typ != b[0] || body < 0 || body > MaxMessage || !bytes.Equal(AppendHeader(nil, typ, body), b[:HeaderSize])) {
			t.Errorf("%c, %d", typ, body)
		}
	})
}

func TestParseErrorFields(t *testing.T) {
	m := pgproto3.ErrorResponse{Severity: "FEHLER", SeverityUnlocalized: "ERROR", Code: "0A000", Message: "cached plan must not change result type",
		Routine: "RevalidateCachedQuery"}
	b, err := m.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	body := b[HeaderSize:]
	want := ErrorFields{"ERROR", "0A000", "cached plan must not change result type", "RevalidateCachedQuery"}
	if got := ParseErrorFields(body); got != want {
		t.Errorf("%+v", got)
	}
	for i := range body { // cut short: as far as it goes
		got := ParseErrorFields(body[:i])
		for have, full := range map[string]string{got.Severity: want.Severity, got.Code: want.Code, got.Message: want.Message, got.Routine: want.Routine} {
			if have != "" && have != full {
				t.Errorf("%d bytes: %q", i, have)
			}
		}
	}
	if got := ParseErrorFields([]byte{0}); got != (ErrorFields{}) { // no SQLSTATE at all
		t.Errorf("%+v", got)
	}
}

func FuzzParseErrorFields(f *testing.F) {
	f.Add([]byte("SERROR\x00VERROR\x00C42601\x00Msyntax error\x00Rscanner_yyerror\x00\x00"))
	f.Add([]byte("\x00"))
	f.Add([]byte("C"))
	f.Add([]byte("C\x00C\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := ParseErrorFields(b)
		for _, s := range []string{got.Severity, got.Code, got.Message, got.Routine} {
			if !bytes.Contains(b, []byte(s)) {
				t.Errorf("%q is not of the message", s)
			}
		}
	})
}
