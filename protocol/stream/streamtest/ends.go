package streamtest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
)

// halfClose ends one direction, and then uses the other for longer than it was open.
func halfClose(t *testing.T, pair Pair) {
	for _, dir := range []string{"opener", "acceptor"} {
		t.Run(dir, func(t *testing.T) {
			a, b := ends(t, pair)
			if dir == "acceptor" {
				a, b = b, a
			}
			write(t, a, []byte("question"))
			if err := a.CloseWrite(); err != nil {
				t.Fatalf("CloseWrite: %v", err)
			}
			expect(t, b, []byte("question"))
			expectEOF(t, b)

			for range 3 {
				answer := content(300 << 10)
				var wg sync.WaitGroup
				wg.Go(func() { _, _ = b.Write(answer) })
				expect(t, a, answer)
				wg.Wait()
			}
			if _, err := a.Write([]byte("x")); err == nil {
				t.Error("Write after CloseWrite succeeded")
			}
			if err := b.CloseWrite(); err != nil {
				t.Fatalf("CloseWrite of the other side: %v", err)
			}
			expectEOF(t, a)
			for _, c := range []stream.Conn{a, b} {
				if err := c.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}
		})
	}
}

// resetSeen resets while the peer waits in Read, and checks both sides' errors.
func resetSeen(t *testing.T, pair Pair) {
	a, b := ends(t, pair)
	write(t, a, []byte("x"))
	expect(t, b, []byte("x"))
	read := make(chan error, 1)
	go func() {
		_, err := b.Read(make([]byte, 1))
		read <- err
	}()
	start := time.Now()
	if err := a.Reset(stream.CodeRevoked); err != nil {
		t.Fatalf("Reset: %v", err)
	}
	isReset(t, b, <-read, stream.CodeRevoked, true)
	if took := time.Since(start); took > prompt {
		t.Errorf("the reset took %v to be seen, want %v at most", took, prompt)
	}
	// TCP reports a reset once, and then that the socket is unusable: what counts is that no call succeeds.
	if _, err := b.Write([]byte("x")); err == nil {
		t.Error("the peer's Write after the reset succeeded")
	}
	_, err := a.Read(make([]byte, 1))
	isReset(t, a, err, stream.CodeRevoked, false)
	_, err = a.Write([]byte("x"))
	isReset(t, a, err, stream.CodeRevoked, false)
	if err := a.Reset(stream.CodeInternal); err != nil {
		t.Errorf("second Reset: %v", err)
	}
	if err := a.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close after Reset: %v", err)
	}
}

// resetUnblocks resets while both sides' writers and readers wait, at either end.
func resetUnblocks(t *testing.T, pair Pair) {
	for _, who := range []string{"own side", "peer"} {
		t.Run(who, func(t *testing.T) {
			a, b := ends(t, pair)
			results := make(chan error, 2)
			full := make(chan struct{})
			go func() {
				fill(a)
				_ = a.SetWriteDeadline(time.Now().Add(patience))
				close(full)
				_, err := a.Write(make([]byte, 64<<20))
				results <- err
			}()
			go func() { results <- a.WaitRead() }()
			<-full
			resetter := a
			if who == "peer" {
				resetter = b
			}
			if err := resetter.Reset(stream.CodeDraining); err != nil {
				t.Fatalf("Reset: %v", err)
			}
			start := time.Now()
			for range 2 {
				if err := <-results; err != nil {
					isReset(t, a, err, stream.CodeDraining, who == "peer")
				} else if _, err := a.Read(make([]byte, 1)); err == nil || err == io.EOF {
					t.Errorf("after the reset: Read = %v", err)
				}
			}
			if took := time.Since(start); took > prompt {
				t.Errorf("it took %v to unblock, want %v at most", took, prompt)
			}
		})
	}
}

// fill writes until nothing more is taken.
func fill(c stream.Conn) {
	chunk := make([]byte, 32<<10)
	for {
		_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := c.Write(chunk); err != nil {
			return
		}
	}
}

// abortIsNoEOF aborts after data, in every interleaving that many tries give. The reader must never see a clean end.
func abortIsNoEOF(t *testing.T, pair Pair) {
	const tries = 400
	var wg sync.WaitGroup
	work := make(chan int)
	for range 4 {
		wg.Go(func() {
			for i := range work {
				a, b := pair(t)
				abortOnce(t, a, b, i)
			}
		})
	}
	for i := range tries {
		work <- i
	}
	close(work)
	wg.Wait()
}

func abortOnce(t *testing.T, a, b stream.Conn, i int) {
	if i%2 == 1 {
		a, b = b, a
	}
	defer b.Reset(stream.CodeCancelled)
	_ = b.SetDeadline(time.Now().Add(patience))
	_, _ = a.Write(content(i * 97 % 5000))
	if i%4 >= 2 {
		// Data in the other direction as well: some carriers clean up differently then.
		_, _ = b.Write(content(1 + i%300))
	}
	go a.Reset(stream.CodeAborted)
	_, err := io.Copy(io.Discard, struct{ io.Reader }{b})
	var reset *stream.ResetError
	if !errors.As(err, &reset) {
		t.Errorf("try %d: the reader of an aborted stream saw %v, want a reset", i, err)
	}
}

// closeDelivers writes and closes at once.
func closeDelivers(t *testing.T, pair Pair) {
	a, b := ends(t, pair)
	data := content(40 << 10)
	write(t, a, data)
	if err := a.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	expect(t, b, data)
	expectEOF(t, b)
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close: %v, want net.ErrClosed", err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close: %v, want net.ErrClosed", err)
	}
}

// closeStopsSender closes while the peer sends without end.
func closeStopsSender(t *testing.T, pair Pair) {
	a, b := ends(t, pair)
	write(t, a, []byte("x"))
	expect(t, b, []byte("x"))
	if err := a.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	expectEOF(t, b)
	chunk := make([]byte, 32<<10)
	for {
		if _, err := b.Write(chunk); err != nil {
			isReset(t, b, err, stream.CodeClosed, true)
			return
		}
	}
}
