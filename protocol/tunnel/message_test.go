package tunnel

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"runtime"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// TestTunnel45DeclaredLength declares lengths that are not sent, and counts what is allocated for them.
func TestTunnel45DeclaredLength(t *testing.T) {
	for _, test := range []struct {
		name  string
		size  uint64
		limit int
	}{
		{"within the limit", maxHello, maxHello},
		{"above the limit", maxHello + 1, maxHello},
		{"64 bits", 1<<64 - 1, maxHello},
		{"header", 1 << 30, maxHeader + MaxEarlyData},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := protowire.AppendVarint(nil, test.size)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := readMessage(bytes.NewReader(in), new(tunnelpb.Frame), test.limit)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Error("a message that was never sent was read")
			}
			if test.size > uint64(test.limit) && !errors.Is(err, errTooLarge) {
				t.Errorf("error = %v, want too large", err)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 64<<10 {
				t.Errorf("%d bytes allocated", got)
			}
		})
	}
}

// TestReadMessageTakesNoMore checks that the bytes after a message stay: they are the stream's.
func TestReadMessageTakesNoMore(t *testing.T) {
	var buf bytes.Buffer
	if err := writeMessage(&buf, &tunnelpb.Answer{Kind: &tunnelpb.Answer_Opened{Opened: &tunnelpb.Opened{}}}); err != nil {
		t.Fatal(err)
	}
	buf.WriteString("raw")
	var a tunnelpb.Answer
	// A reader with a ReadByte of its own is used as it is, one without is not read ahead of.
	if err := readMessage(struct{ io.Reader }{&buf}, &a, maxHeader); err != nil {
		t.Fatal(err)
	}
	if a.GetOpened() == nil || buf.String() != "raw" {
		t.Errorf("answer %v, rest %q", &a, buf.String())
	}
}

// TestTunnel43RecordedHello reads the Hello of a connector of the first version, and one of a version to come: it has fields and
// frames that this one does not know.
func TestTunnel43RecordedHello(t *testing.T) {
	for _, file := range []string{"testdata/hello-1.hex", "testdata/hello-next.hex"} {
		t.Run(file, func(t *testing.T) {
			h, err := hearHello(bytes.NewReader(readHex(t, file)))
			if err != nil {
				t.Fatal(err)
			}
			if h.GetRole() != tunnelpb.Role_CONNECTOR || h.GetTunnelId() != "0af1c2d4-5b6e-4f70-8a91-b2c3d4e5f607" ||
				h.GetSecret() != "recorded" || h.GetPeerId() != "peer-1" || h.GetSlot() != 2 || h.GetVersion() != "v0.1.0" {
				t.Errorf("hello = %v", h)
			}
		})
	}
}

// TestTunnel43NewerFrames has a control stream with a frame of an unknown kind between two known ones.
func TestTunnel43NewerFrames(t *testing.T) {
	unknown := protowire.AppendTag(nil, 1000, protowire.BytesType)
	unknown = protowire.AppendBytes(unknown, []byte("from the future"))
	f := &tunnelpb.Frame{}
	if err := proto.Unmarshal(unknown, f); err != nil {
		t.Fatal(err)
	}
	onCarriers(t, func(t *testing.T, c Carrier) {
		r := startRelay(t, nil)
		d := r.dialer(c)
		away := make(chan *tunnelpb.GoAway, 1)
		d.GoAway = func(g *tunnelpb.GoAway) { away <- g }
		_, served := r.dialWith(t, d)
		served.out.put(outgoing{frame: f})
		if err := served.SendGoAway(testContext(t), &tunnelpb.GoAway{Message: "after"}); err != nil {
			t.Fatal(err)
		}
		if g := <-away; g.GetMessage() != "after" {
			t.Errorf("GoAway = %v", g)
		}
	})
}

func readHex(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(string(bytes.Join(bytes.Fields(text), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzFrame reads control streams. The first frames are read as before the Welcome.
func FuzzFrame(f *testing.F) {
	for _, file := range []string{"testdata/hello-1.hex", "testdata/hello-next.hex"} {
		f.Add(readHex(f, file))
	}
	for _, frame := range []*tunnelpb.Frame{
		{},
		{Kind: &tunnelpb.Frame_Welcome{Welcome: &tunnelpb.Welcome{RelayId: "r", Relays: []string{"a:1"}}}},
		{Kind: &tunnelpb.Frame_Refused{Refused: &tunnelpb.Refused{Code: 99, RetryAfterMs: 1<<64 - 1}}},
		{Id: 1, Kind: &tunnelpb.Frame_Configure{Configure: &tunnelpb.Configure{Version: 1, Ingress: []*tunnelpb.IngressRule{{Hostname: "h"}}}}},
		{Kind: &tunnelpb.Frame_ResetStream{ResetStream: &tunnelpb.Reset{Stream: 3, Code: 1, Kind: 7}}},
	} {
		b, err := encode(frame)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if h, err := hearHello(bytes.NewReader(in)); err == nil && h == nil {
			t.Error("neither a hello nor an error")
		}
		rw := struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(in), io.Discard}
		w, err := sayHello(rw, &tunnelpb.Hello{})
		var refusal *Refusal
		if errors.As(err, &refusal) && (refusal.RetryAfter < 0 || tunnelpb.Code_name[int32(refusal.Code)] == "") {
			t.Errorf("refusal = %+v", refusal)
		}
		if err == nil && w == nil {
			t.Error("neither a welcome nor an error")
		}
		fuzzMessage(t, in, func() proto.Message { return new(tunnelpb.Frame) }, maxHello)
	})
}

// FuzzHeader reads the first message of a stream.
func FuzzHeader(f *testing.F) {
	for _, h := range []*tunnelpb.Header{
		{},
		{Kind: &tunnelpb.Header_Probe{Probe: &tunnelpb.Probe{}}},
		{Kind: &tunnelpb.Header_Open{Open: &tunnelpb.Open{Hostname: "db.internal", DeadlineMs: 1, EarlyData: []byte("x")}}},
	} {
		b, err := encode(h)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		fuzzMessage(t, in, func() proto.Message { return new(tunnelpb.Header) }, maxHeader+MaxEarlyData)
	})
}

// FuzzAnswer reads the first message of a stream from its acceptor.
func FuzzAnswer(f *testing.F) {
	for _, a := range []*tunnelpb.Answer{
		{},
		{Kind: &tunnelpb.Answer_Opened{Opened: &tunnelpb.Opened{}}},
		{Kind: &tunnelpb.Answer_Refused{Refused: &tunnelpb.Refused{Code: tunnelpb.Code_LIMITED, Message: "m", RetryAfterMs: 5}}},
	} {
		b, err := encode(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		fuzzMessage(t, in, func() proto.Message { return new(tunnelpb.Answer) }, maxHeader)
	})
}

// fuzzMessage reads in as a message, and reads what that writes again: it must be the same.
func fuzzMessage(t *testing.T, in []byte, empty func() proto.Message, limit int) {
	m := empty()
	if err := readMessage(struct{ io.Reader }{bytes.NewReader(in)}, m, limit); err != nil {
		return
	}
	b, err := encode(m)
	if err != nil {
		t.Fatalf("encode what was decoded: %v", err)
	}
	again := empty()
	if err := readMessage(bytes.NewReader(b), again, 2*limit); err != nil {
		t.Fatalf("decode what was encoded: %v", err)
	}
	if !proto.Equal(m, again) {
		t.Errorf("%v became %v", m, again)
	}
}
