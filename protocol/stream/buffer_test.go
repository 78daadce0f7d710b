package stream

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// TestPipeHoldsNothingWhileIdle counts the buffers in use: none while both directions wait.
func TestPipeHoldsNothingWhileIdle(t *testing.T) {
	client, near := loopback(t)
	far, origin := loopback(t)
	piped := make(chan error, 1)
	go func() {
		_, err := Pipe(context.Background(), near, far)
		piped <- err
	}()
	one := make([]byte, 1)
	for range 100 {
		if _, err := client.Write(one); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(origin, one); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for buffers.out.Load() != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("an idle pipe holds %d buffers", buffers.out.Load())
		}
		<-tick.C
	}
	client.Close()
	origin.Close()
	if err := <-piped; err != nil {
		t.Errorf("Pipe: %v", err)
	}
}

// TestPipeAllocations checks that a chunk that passes a pipe costs no allocation.
func TestPipeAllocations(t *testing.T) {
	client, near := loopback(t)
	far, origin := loopback(t)
	go func() { _, _ = Pipe(context.Background(), near, far) }()
	msg := make([]byte, 100)
	pass := func() {
		_, _ = client.Write(msg)
		_, _ = io.ReadFull(origin, msg)
		_, _ = origin.Write(msg)
		_, _ = io.ReadFull(client, msg)
	}
	pass()
	// A collection may empty the pool in between, which costs a buffer; nothing may cost one each time.
	if got := testing.AllocsPerRun(1000, pass); got >= 1 {
		t.Errorf("a round trip through a pipe allocates %v times, want 0", got)
	}
	client.Close()
	origin.Close()
}

func loopback(t testing.TB) (a, b Conn) {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	x, err := net.DialTCP("tcp", nil, ln.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	y, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	return TCP(x), TCP(y)
}

// BenchmarkPipe measures a pipe between two TCP connections on loopback.
func BenchmarkPipe(b *testing.B) {
	join := func(b *testing.B) (client, origin Conn) {
		client, near := loopback(b)
		far, origin := loopback(b)
		go func() { _, _ = Pipe(context.Background(), near, far) }()
		b.Cleanup(func() { client.Close(); origin.Close() })
		return client, origin
	}
	b.Run("throughput", func(b *testing.B) {
		client, origin := join(b)
		chunk := make([]byte, MaxWrite)
		b.SetBytes(MaxWrite)
		b.ReportAllocs()
		b.ResetTimer()
		go func() {
			for range b.N {
				_, _ = client.Write(chunk)
			}
		}()
		in := make([]byte, MaxWrite)
		for range b.N {
			if _, err := io.ReadFull(origin, in); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("pingpong", func(b *testing.B) {
		client, origin := join(b)
		msg := make([]byte, 100)
		b.ReportAllocs()
		go func() {
			echo := make([]byte, 100)
			for {
				if _, err := io.ReadFull(origin, echo); err != nil {
					return
				}
				_, _ = origin.Write(echo)
			}
		}()
		for b.Loop() {
			_, _ = client.Write(msg)
			if _, err := io.ReadFull(client, msg); err != nil {
				b.Fatal(err)
			}
		}
	})
}
