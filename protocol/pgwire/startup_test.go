package pgwire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

func startup(code uint32, rest string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(rest)))
	return append(binary.BigEndian.AppendUint32(b, code), rest...)
}

func TestReadStartup(t *testing.T) {
	secret := strings.Repeat("k", 256)
	for _, tt := range []struct {
		name string
		in   []byte
		want *Startup // nil: a protocol violation
	}{
		{"startup", startup(3<<16, "user\x00u\x00database\x00d\x00\x00"),
			&Startup{Major: 3, Params: []Param{{"user", "u"}, {"database", "d"}}}},
		{"no parameters", startup(3<<16, "\x00"), &Startup{Major: 3}},
		{"empty value", startup(3<<16, "application_name\x00\x00\x00"), &Startup{Major: 3, Params: []Param{{"application_name", ""}}}},
		{"newer minor", startup(3<<16|9999, "user\x00u\x00\x00"), &Startup{Major: 3, Minor: 9999, Params: []Param{{"user", "u"}}}},
		{"version 2", startup(2<<16, "anything"), &Startup{Major: 2}},
		{"TLS", startup(codeSSL, ""), &Startup{Kind: KindSSL}},
		{"GSSENC", startup(codeGSSENC, ""), &Startup{Kind: KindGSSENC}},
		{"cancel", startup(codeCancel, "\x00\x00\x00\x07abcd"), &Startup{Kind: KindCancel, PID: 7, Secret: []byte("abcd")}},
		{"cancel of 3.2", startup(codeCancel, "\x00\x00\x00\x07"+secret), &Startup{Kind: KindCancel, PID: 7, Secret: []byte(secret)}},
		{"cancel too short", startup(codeCancel, "\x00\x00\x00\x07abc"), nil},
		{"cancel too long", startup(codeCancel, "\x00\x00\x00\x07"+secret+"k"), nil},
		{"TLS and more", startup(codeSSL, "x"), nil},
		{"no terminator", startup(3<<16, "user\x00u\x00"), nil},
		{"nothing", startup(3<<16, ""), nil},
		{"name alone", startup(3<<16, "user\x00"), nil},
		{"behind the terminator", startup(3<<16, "user\x00u\x00\x00x"), nil},
		{"too short", []byte{0, 0, 0, 7, 0, 3, 0}, nil},
		{"too long", binary.BigEndian.AppendUint32(nil, MaxStartup+1), nil},
		{"a gigabyte", []byte{0x40, 0, 0, 0, 0, 3, 0, 0}, nil},
		{"direct TLS", []byte{0x16, 3, 1, 2, 0, 1}, &Startup{Kind: KindTLS, Head: []byte{0x16, 3, 1, 2}}},
		{"HTTP", []byte("GET / HTTP/1.1\r\n"), nil},
	} {
		got, err := ReadStartup(bytes.NewReader(tt.in))
		if tt.want == nil {
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("%s: %+v, %v; want a protocol violation", tt.name, got, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
		}
	}
	if _, err := ReadStartup(strings.NewReader("\x00\x00")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a packet: %v", err)
	}
	for minor, want := range map[uint16]int{0: 4, 1: 4, 2: 32, 9999: 32} {
		if s := (Startup{Major: 3, Minor: minor}); s.SecretSize() != want {
			t.Errorf("3.%d: a secret of %d bytes, want %d", minor, s.SecretSize(), want)
		}
	}
	s := Startup{Params: []Param{{"a", "1"}, {"a", "2"}}}
	if s.Param("a") != "2" || s.Param("b") != "" {
		t.Error("Param is not the last of the name")
	}
}

// Nothing is allocated for what a peer only declares, and nothing is read beyond it.
func TestPooling47(t *testing.T) {
	allocated := testing.AllocsPerRun(100, func() {
		if _, err := ReadStartup(bytes.NewReader([]byte{0x40, 0, 0, 0, 0, 3, 0, 0})); err == nil {
			t.Fatal("accepted")
		}
	})
	if allocated > 10 { // the reader and the error
		t.Errorf("%v allocations", allocated)
	}
	r := bytes.NewReader(append(startup(codeSSL, ""), "plaintext"...))
	if _, err := ReadStartup(r); err != nil || r.Len() != len("plaintext") {
		t.Errorf("%v, %d bytes are left", err, r.Len())
	}
}

func TestCancelRequest(t *testing.T) {
	b := AppendCancelRequest(nil, 42, []byte("secret"))
	s, err := ReadStartup(bytes.NewReader(b))
	if err != nil || s.Kind != KindCancel || s.PID != 42 || string(s.Secret) != "secret" {
		t.Errorf("%+v, %v", s, err)
	}
}

type pair struct {
	io.Reader
	io.Writer
}

func TestRequestTLS(t *testing.T) {
	for answer, want := range map[string]bool{"S": true, "N": false, "E...": false, "Sx": true} {
		in := strings.NewReader(answer)
		var out bytes.Buffer
		ok, err := RequestTLS(pair{in, &out})
		if err != nil || ok != want || in.Len() != len(answer)-1 {
			t.Errorf("%q: %v, %v, %d bytes left", answer, ok, err, in.Len())
		}
		if s, err := ReadStartup(&out); err != nil || s.Kind != KindSSL {
			t.Errorf("request: %+v, %v", s, err)
		}
	}
	if _, err := RequestTLS(pair{strings.NewReader(""), io.Discard}); err == nil {
		t.Error("no answer is taken for one")
	}
}

func FuzzReadStartup(f *testing.F) {
	for _, b := range [][]byte{startup(3<<16, "user\x00u\x00database\x00d\x00\x00"), startup(3<<16|2, "user\x00u\x00_pq_.x\x001\x00\x00"),
		startup(codeSSL, ""), startup(codeGSSENC, ""), startup(codeCancel, "\x00\x00\x00\x07abcd"), startup(2<<16, "x"), {0, 0, 0, 8, 0, 3, 0, 0}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		s, err := ReadStartup(r)
		if err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(b))
		if s.Kind == KindTLS {
			n = len(s.Head)
		}
		if read := len(b) - r.Len(); read != n || n > MaxStartup {
			t.Errorf("read %d of %d bytes", read, n)
		}
		size := 0
		for _, p := range s.Params {
			if p.Name == "" || strings.ContainsRune(p.Name+p.Value, 0) {
				t.Errorf("parameter %q", p)
			}
			size += len(p.Name) + len(p.Value) + 2
		}
		if size > n || s.Kind == KindCancel && (len(s.Secret) < 4 || len(s.Secret) > 256) {
			t.Errorf("%+v of %d bytes", s, n)
		}
	})
}
