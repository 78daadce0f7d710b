package streamtest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
)

// patience bounds every wait of the suite: far above what any step takes, on a machine that does other things as well.
const patience = 60 * time.Second

// prompt is within what a reset is seen: 1 s is promised, the rest is for a machine with other work.
const prompt = 5 * time.Second

// A Pair makes two ends of one new stream. It may be called concurrently, from any goroutine of the test, tens of thousands of
// times: it must hold nothing for a pair once both ends are closed or reset. Pairs of a multiplexed carrier share its session.
type Pair func(t *testing.T) (a, b stream.Conn)

// Run proves that the pair's ends keep the contract of stream.Conn.
func Run(t *testing.T, pair func(t *testing.T) (a, b stream.Conn)) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Pair)
	}{
		{"TestTunnel15HalfClose", halfClose},
		{"TestTunnel16Reset", resetSeen},
		{"TestTunnel16ResetUnblocks", resetUnblocks},
		{"TestTunnel16Cycles", cycles},
		{"TestTunnel17ByteExact", byteExact},
		{"TestTunnel17OneByteWrites", oneByteWrites},
		{"TestTunnel17Hash", hashed},
		{"TestTunnel18Stalled", stalled},
		{"TestTunnel37AbortIsNoEOF", abortIsNoEOF},
		{"Close", closeDelivers},
		{"CloseStopsSender", closeStopsSender},
		{"Deadlines", deadlines},
		{"WaitRead", waitRead},
		{"Pipe", pipeHalfClose},
		{"PipeReset", pipeReset},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, pair) })
	}
}

// ends makes a pair that is reset when the test ends, in case it failed, and whose operations cannot wait for ever.
func ends(t *testing.T, pair Pair) (a, b stream.Conn) {
	t.Helper()
	a, b = pair(t)
	t.Cleanup(func() {
		_ = a.Reset(stream.CodeCancelled)
		_ = b.Reset(stream.CodeCancelled)
	})
	bound(t, a, b)
	return a, b
}

func bound(t *testing.T, conns ...stream.Conn) {
	t.Helper()
	for _, c := range conns {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatalf("SetDeadline: %v", err)
		}
	}
}

// content is n bytes that no shift or repetition leaves the same.
func content(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(b)
	return b
}

func write(t *testing.T, c stream.Conn, p []byte) {
	t.Helper()
	if n, err := c.Write(p); err != nil || n != len(p) {
		t.Fatalf("Write of %d bytes = %d, %v", len(p), n, err)
	}
}

// expect reads exactly want.
func expect(t *testing.T, c stream.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("read %d of %d bytes: %v", n, len(want), err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes differ from what was sent", len(want))
	}
}

// expectEOF reads until EOF, and nothing before it.
func expectEOF(t *testing.T, c stream.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("Read = %d, %v, want EOF", n, err)
	}
}

// isReset checks that err is a reset, with this code where the carrier has codes.
func isReset(t *testing.T, c stream.Conn, err error, code stream.Code, remote bool) {
	t.Helper()
	var reset *stream.ResetError
	if !errors.As(err, &reset) {
		t.Fatalf("error = %v (%T), want a reset", err, err)
	}
	if reset.Remote != remote {
		t.Errorf("reset.Remote = %v, want %v", reset.Remote, remote)
	}
	if _, socket := c.RemoteAddr().(*net.TCPAddr); remote && reset.Code == stream.CodeAborted && socket {
		return // TCP has no codes
	}
	if reset.Code != code {
		t.Errorf("code = %v, want %v", reset.Code, code)
	}
}

func isTimeout(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%s after the deadline: %v, want os.ErrDeadlineExceeded", what, err)
	}
}
