package tunnel

import (
	"context"
	"io"
	"testing"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// onCarriersB runs a benchmark on each carrier, on loopback, with the relay opening.
func onCarriersB(b *testing.B, bench func(b *testing.B, served *Session, acc *acceptor)) {
	for _, c := range carriers {
		b.Run(c.String(), func(b *testing.B) {
			r := startRelay(b, nil)
			dialled, served := r.dial(b, c)
			bench(b, served, acceptAll(dialled))
		})
	}
}

// BenchmarkThroughput writes on one stream and reads at the other end.
func BenchmarkThroughput(b *testing.B) {
	onCarriersB(b, func(b *testing.B, served *Session, acc *acceptor) {
		in, out := streamPair(b, served, acc, "x")
		defer in.Close()
		defer out.Close()
		b.SetBytes(stream.MaxWrite)
		b.ReportAllocs()
		b.ResetTimer()
		go func() {
			chunk := make([]byte, stream.MaxWrite)
			for range b.N {
				_, _ = in.Write(chunk)
			}
		}()
		if _, err := io.CopyN(io.Discard, struct{ io.Reader }{out}, int64(b.N)*stream.MaxWrite); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkPingPong sends 100 bytes there and back.
func BenchmarkPingPong(b *testing.B) {
	onCarriersB(b, func(b *testing.B, served *Session, acc *acceptor) {
		near, far := streamPair(b, served, acc, "x")
		defer near.Close()
		go echo(far)
		pingPong(b, near)
	})
}

// BenchmarkPipe is BenchmarkPingPong through a pipe that joins two streams, as a relay does.
func BenchmarkPipe(b *testing.B) {
	onCarriersB(b, func(b *testing.B, served *Session, acc *acceptor) {
		near, a := streamPair(b, served, acc, "x")
		z, far := streamPair(b, served, acc, "y")
		go func() { _, _ = stream.Pipe(context.Background(), a, z) }()
		defer near.Close()
		go echo(far)
		pingPong(b, near)
	})
}

// BenchmarkOpen opens a stream and closes it.
func BenchmarkOpen(b *testing.B) {
	onCarriersB(b, func(b *testing.B, served *Session, acc *acceptor) {
		b.ReportAllocs()
		for b.Loop() {
			st, err := served.Open(context.Background(), &tunnelpb.Open{Hostname: "x"})
			if err != nil {
				b.Fatal(err)
			}
			_ = acc.take("x").Close()
			_ = st.Close()
		}
	})
}

func echo(c stream.Conn) {
	defer c.Close()
	buf := make([]byte, 100)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

func pingPong(b *testing.B, c stream.Conn) {
	b.Helper()
	msg := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(msg); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, msg); err != nil {
			b.Fatal(err)
		}
	}
}
