package stream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/stream/streamtest"
)

func tcpPair(t testing.TB, ln net.Listener) (a, b stream.Conn) {
	x, y := connect(t, ln)
	return stream.TCP(x.(*net.TCPConn)), stream.TCP(y.(*net.TCPConn))
}

// TestPipeDescriptors moves data through many pipes. A splice would hold a pipe, two descriptors, for each direction.
func TestPipeDescriptors(t *testing.T) {
	if streamtest.Descriptors() == 0 {
		t.Log("this system does not list descriptors")
		return
	}
	ln := listen(t, "tcp", "127.0.0.1:0")
	const pairs = 20
	before := streamtest.Descriptors()
	var piped sync.WaitGroup
	var outer []stream.Conn
	for range pairs {
		client, near := tcpPair(t, ln)
		far, origin := tcpPair(t, ln)
		outer = append(outer, client, origin)
		piped.Go(func() {
			if _, err := stream.Pipe(context.Background(), near, far); err != nil {
				t.Errorf("Pipe: %v", err)
			}
		})
		data := make([]byte, 1<<20)
		var echo sync.WaitGroup
		echo.Go(func() { _, _ = client.Write(data) })
		if _, err := io.ReadFull(origin, make([]byte, len(data))); err != nil {
			t.Fatal(err)
		}
		echo.Wait()
	}
	// Four sockets for each: the two of the pipe and the two of the test.
	if got, limit := streamtest.Descriptors()-before, 4*pairs; got > limit {
		t.Errorf("%d pipes hold %d descriptors with the test's own, want %d at most", pairs, got, limit)
	}
	for _, c := range outer {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	piped.Wait()
}

// TestPipeErrors checks that an error names its side, and that both sides are ended.
func TestPipeErrors(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		name       string
		a, b       *fake
		side, op   string
		code       stream.Code
		wantUnwrap error
	}{
		{"read a", &fake{readErr: broken}, &fake{idle: true}, "a", "read", stream.CodeAborted, broken},
		{"read b", &fake{idle: true}, &fake{readErr: broken}, "b", "read", stream.CodeAborted, broken},
		{"write b", &fake{data: "x"}, &fake{idle: true, writeErr: broken}, "b", "write", stream.CodeAborted, broken},
		{"write a", &fake{idle: true, writeErr: broken}, &fake{data: "x"}, "a", "write", stream.CodeAborted, broken},
		{"deadline", &fake{readErr: os.ErrDeadlineExceeded}, &fake{idle: true}, "a", "read", stream.CodeTimeout, os.ErrDeadlineExceeded},
		{"reset", &fake{readErr: &stream.ResetError{Code: stream.CodeRevoked}}, &fake{idle: true}, "a", "read", stream.CodeRevoked, nil},
		{"close write b", &fake{}, &fake{idle: true, closeErr: broken}, "b", "write", stream.CodeAborted, broken},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := test.a.start(), test.b.start()
			_, err := stream.Pipe(context.Background(), a, b)
			var pe *stream.PipeError
			if !errors.As(err, &pe) {
				t.Fatalf("Pipe = %v, want a PipeError", err)
			}
			if pe.Side != test.side || pe.Op != test.op {
				t.Errorf("error is of %s %s, want %s %s", pe.Op, pe.Side, test.op, test.side)
			}
			if test.wantUnwrap != nil && !errors.Is(err, test.wantUnwrap) {
				t.Errorf("error = %v, want it to wrap %v", err, test.wantUnwrap)
			}
			for name, c := range map[string]*fake{"a": a, "b": b} {
				if c.code != test.code {
					t.Errorf("%s was reset with %v, want %v", name, c.code, test.code)
				}
			}
		})
	}
}

// fake is a Conn that fails as it is told.
type fake struct {
	net.Conn
	data                        string
	readErr, writeErr, closeErr error
	idle                        bool // reads wait for the reset

	once sync.Once
	code stream.Code
	down chan struct{}
}

func (f *fake) start() *fake {
	f.down = make(chan struct{})
	return f
}

func (f *fake) WaitRead() error {
	if f.idle || (f.data == "" && f.readErr == nil) {
		select {
		case <-f.down:
			return &stream.ResetError{Code: f.code}
		default:
		}
	}
	if f.idle {
		<-f.down
		return &stream.ResetError{Code: f.code}
	}
	return nil
}

func (f *fake) Read(p []byte) (int, error) {
	if f.data != "" {
		n := copy(p, f.data)
		f.data = f.data[n:]
		return n, nil
	}
	if f.readErr != nil {
		return 0, f.readErr
	}
	return 0, io.EOF
}

func (f *fake) Write(p []byte) (int, error) {
	if f.writeErr != nil {
		return 0, f.writeErr
	}
	return len(p), nil
}

func (f *fake) CloseWrite() error { return f.closeErr }
func (f *fake) Close() error      { return nil }

func (f *fake) Reset(code stream.Code) error {
	f.once.Do(func() {
		f.code = code
		close(f.down)
	})
	return nil
}

// TestUnix checks what unix sockets share with TCP: half-close, and that an abort ends the peer's writes.
func TestUnix(t *testing.T) {
	a, b := unixPair(t)
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitRead(); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("Read = %d, %v, want EOF", n, err)
	}
	if _, err := b.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 6)
	if _, err := io.ReadFull(a, got); err != nil || string(got) != "answer" {
		t.Fatalf("read %q, %v", got, err)
	}
	if err := a.Reset(stream.CodeAborted); err != nil {
		t.Fatal(err)
	}
	var reset *stream.ResetError
	_ = b.SetDeadline(time.Now().Add(time.Minute))
	if _, err := b.Write([]byte("x")); !errors.As(err, &reset) || !reset.Remote {
		t.Errorf("Write to an aborted socket: %v, want a reset by the peer", err)
	}
	b.Close()
}

// TestTunnel37ResetSeenByWriter has the writer of a socket learn of the peer's reset. The system then gives EOF to its reader.
func TestTunnel37ResetSeenByWriter(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	for range 200 {
		a, b := tcpPair(t, ln)
		if err := b.Reset(stream.CodeAborted); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := a.Write([]byte("x")); err != nil {
				break
			}
		}
		var reset *stream.ResetError
		if _, err := a.Read(make([]byte, 1)); !errors.As(err, &reset) || !reset.Remote {
			t.Fatalf("Read = %v, want a reset by the peer", err)
		}
		a.Close()
	}
}

// TestTunnel37EndsTogether has both sides of a socket end at once. Each EOF is one, however the two cross.
func TestTunnel37EndsTogether(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	for range 2000 {
		a, b := tcpPair(t, ln)
		var ends sync.WaitGroup
		for _, c := range []stream.Conn{a, b} {
			ends.Go(func() {
				if err := c.CloseWrite(); err != nil {
					t.Errorf("CloseWrite: %v", err)
				}
			})
			ends.Go(func() {
				if _, err := c.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("Read = %v, want EOF", err)
				}
			})
		}
		ends.Wait()
		a.Close()
		b.Close()
	}
}
