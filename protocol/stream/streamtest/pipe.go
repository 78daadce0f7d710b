package streamtest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/sluicedb/sluice/protocol/stream"
)

// pipeHalfClose joins two pairs, and ends the directions one after the other through the join.
func pipeHalfClose(t *testing.T, pair Pair) {
	client, near := ends(t, pair)
	far, origin := ends(t, pair)
	var stats stream.Stats
	piped := make(chan error, 1)
	go func() {
		var err error
		stats, err = stream.Pipe(context.Background(), near, far)
		piped <- err
	}()

	question, answer := content(70_000), content(1<<20+1)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := client.Write(question); err != nil {
			t.Errorf("client's Write: %v", err)
		}
		if err := client.CloseWrite(); err != nil {
			t.Errorf("client's CloseWrite: %v", err)
		}
	})
	expect(t, origin, question)
	expectEOF(t, origin)
	wg.Go(func() {
		if _, err := origin.Write(answer); err != nil {
			t.Errorf("origin's Write: %v", err)
		}
		if err := origin.CloseWrite(); err != nil {
			t.Errorf("origin's CloseWrite: %v", err)
		}
	})
	expect(t, client, answer)
	expectEOF(t, client)
	wg.Wait()
	if err := <-piped; err != nil {
		t.Fatalf("Pipe: %v", err)
	}
	if want := (stream.Stats{AToB: int64(len(question)), BToA: int64(len(answer))}); stats != want {
		t.Errorf("Stats = %+v, want %+v", stats, want)
	}
}

// pipeReset resets at one end of a join, and sees it at the other; then it ends a join by its context.
func pipeReset(t *testing.T, pair Pair) {
	client, near := ends(t, pair)
	far, origin := ends(t, pair)
	piped := make(chan error, 1)
	go func() {
		_, err := stream.Pipe(context.Background(), near, far)
		piped <- err
	}()
	write(t, client, []byte("x"))
	expect(t, origin, []byte("x"))
	if err := origin.Reset(stream.CodeAborted); err != nil {
		t.Fatal(err)
	}
	_, err := client.Read(make([]byte, 1))
	isReset(t, client, err, stream.CodeAborted, true)
	err = <-piped
	var pe *stream.PipeError
	if !errors.As(err, &pe) || pe.Side != "b" || pe.Op != "read" {
		t.Errorf("Pipe = %v, want an error of reading b", err)
	}

	client, near = ends(t, pair)
	far, origin = ends(t, pair)
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		_, err := stream.Pipe(ctx, near, far)
		piped <- err
	}()
	write(t, client, []byte("x"))
	expect(t, origin, []byte("x"))
	cancel(&stream.ResetError{Code: stream.CodeRevoked})
	for _, c := range []stream.Conn{client, origin} {
		_, err := c.Read(make([]byte, 1))
		isReset(t, c, err, stream.CodeRevoked, true)
	}
	isReset(t, client, <-piped, stream.CodeRevoked, false)
}
