package stream

import (
	"context"
	"io"
	"testing"
	"time"
)

// TestJoinRests lets a pair rest that has moved bytes, again and again: its directions go on in new goroutines, and nothing is lost, be it
// moved while they are told to rest.
func TestJoinRests(t *testing.T) {
	client, near := loopback(t)
	far, origin := loopback(t)
	ended := make(chan error, 1)
	var stats Stats
	p := newPipe(near, far, func(s Stats, err error) {
		stats = s
		ended <- err
	})
	p.join(context.Background())
	trip := func(from, to Conn) {
		t.Helper()
		if _, err := from.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(to, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	const rounds = 200
	for i := range rounds {
		trip(client, origin)
		trip(origin, client)
		p.rest()
		if i%2 == 0 {
			trip(client, origin) // one of them has moved since
		}
		p.rest()
		if i%3 == 0 {
			trip(origin, client) // it may be about to rest
		}
		for deadline := time.Now().Add(time.Minute); p.ab.pace.Load() != fresh || p.ba.pace.Load() != fresh; p.rest() {
			if time.Now().After(deadline) {
				t.Fatalf("round %d: the directions do not rest: %d, %d", i, p.ab.pace.Load(), p.ba.pace.Load())
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	trip(client, origin)
	trip(origin, client)
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := origin.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the origin reads %v, want EOF", err)
	}
	trip(origin, client)
	if err := origin.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the pipe ended with %v", err)
	}
	if want := (Stats{AToB: rounds + rounds/2 + 1, BToA: rounds + (rounds+2)/3 + 2}); stats != want {
		t.Errorf("Stats = %+v, want %+v", stats, want)
	}
	_ = client.Close()
	_ = origin.Close()
}

// TestPipeKeepsItsCaller: of a Pipe the direction that runs in the caller's goroutine does not rest, and its source is set no deadline.
func TestPipeKeepsItsCaller(t *testing.T) {
	client, near := loopback(t)
	far, origin := loopback(t)
	p := newPipe(near, far, func(Stats, error) {})
	p.ab.fixed = true
	p.ab.pace.Store(moved)
	p.ba.pace.Store(moved)
	for range 3 {
		p.rest()
	}
	if ab, ba := p.ab.pace.Load(), p.ba.pace.Load(); ab != moved || ba != roused {
		t.Errorf("paces are %d and %d after three looks, want %d and %d", ab, ba, moved, roused)
	}
	for _, c := range []Conn{client, near, far, origin} {
		_ = c.Close()
	}
}

// A pair that rests keeps no timer, and has one again when it moves.
func TestJoinRestsWithoutTimer(t *testing.T) {
	client, near := loopback(t)
	far, origin := loopback(t)
	ended := make(chan error, 1)
	p := newPipe(near, far, func(_ Stats, err error) { ended <- err })
	p.join(context.Background())
	timer := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.look != nil
	}
	for range 3 {
		for _, way := range [][2]Conn{{client, origin}, {origin, client}} {
			if _, err := way[0].Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(way[1], make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if !timer() {
			t.Error("nobody looks whether a pair that has moved rests")
		}
		for deadline := time.Now().Add(time.Minute); timer(); p.rest() {
			if time.Now().After(deadline) {
				t.Fatal("a pair that rests keeps its timer")
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	_ = client.Reset(CodeCancelled)
	<-ended
}
