package streamtest

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
)

// sizes are 2^k-1, 2^k and 2^k+1 up to 2^top.
func sizes(top int) []int {
	s := []int{1}
	for k := 1; k <= top; k++ {
		s = append(s, 1<<k-1, 1<<k, 1<<k+1)
	}
	return s
}

// byteExact sends messages of awkward sizes, each in one write, in both directions at once.
func byteExact(t *testing.T, pair Pair) {
	a, b := ends(t, pair)
	var wg sync.WaitGroup
	defer wg.Wait()
	send := func(c stream.Conn) {
		for _, n := range sizes(20) {
			if _, err := c.Write(content(n)); err != nil {
				t.Errorf("Write of %d bytes: %v", n, err)
				return
			}
		}
	}
	receive := func(c stream.Conn) {
		for _, n := range sizes(20) {
			expect(t, c, content(n))
		}
	}
	wg.Go(func() { send(a) })
	wg.Go(func() { send(b) })
	wg.Go(func() { receive(a) })
	receive(b)
}

// hashTotal is how many bytes hashed sends: SLUICE_BULK in MiB, or what takes no second on any carrier. 1024 is what Tunnel17 means.
func hashTotal(t *testing.T) int {
	text := os.Getenv("SLUICE_BULK")
	if text == "" {
		return 32 << 20
	}
	mib, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		t.Fatalf("SLUICE_BULK: %v", err)
	}
	return int(mib) << 20
}

// hashed sends much, in writes of every length, and compares hashes.
func hashed(t *testing.T, pair Pair) {
	a, b := pair(t) // ends bounds it by a time that has nothing to do with the size
	total := hashTotal(t)
	sent := make(chan []byte, 1)
	go func() {
		hash, source, lengths := sha256.New(), rand.NewChaCha8([32]byte{1}), rand.New(rand.NewPCG(1, 2))
		buf := make([]byte, 128<<10)
		for left := total; left > 0; {
			part := buf[:min(left, 1+lengths.IntN(len(buf)))]
			source.Read(part)
			hash.Write(part)
			if _, err := a.Write(part); err != nil {
				t.Errorf("Write: %v", err)
				_ = b.Reset(stream.CodeCancelled)
				break
			}
			left -= len(part)
		}
		_ = a.CloseWrite()
		sent <- hash.Sum(nil)
	}()
	hash := sha256.New()
	n, err := io.Copy(hash, onlyReader{b})
	if err != nil {
		_ = a.Reset(stream.CodeCancelled)
	}
	if want := <-sent; err != nil || int(n) != total || !bytes.Equal(hash.Sum(nil), want) {
		t.Errorf("%d of %d bytes came, %v; or others than were sent", n, total, err)
	}
	_ = a.Close()
	_ = b.Close()
}

// onlyReader hides what io.Copy would use instead of Read.
type onlyReader struct{ io.Reader }

// oneByteWrites sends oneByteTotal bytes, byte by byte.
func oneByteWrites(t *testing.T, pair Pair) {
	a, b := ends(t, pair)
	data := content(oneByteTotal)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for i := range data {
			if _, err := a.Write(data[i : i+1]); err != nil {
				t.Errorf("Write of byte %d: %v", i, err)
				return
			}
		}
	})
	expect(t, b, data)
}

// stalled has 20 streams whose readers do not read, each as full as it gets. Their neighbour must not notice.
func stalled(t *testing.T, pair Pair) {
	var wg sync.WaitGroup
	for range 20 {
		a, b := pair(t)
		t.Cleanup(func() {
			_ = a.Reset(stream.CodeCancelled)
			_ = b.Reset(stream.CodeCancelled)
		})
		wg.Go(func() { fill(a) })
	}
	wg.Wait()

	a, b := ends(t, pair)
	data := content(8 << 20)
	wg.Go(func() {
		if _, err := a.Write(data); err != nil {
			t.Errorf("neighbour's Write: %v", err)
		}
	})
	expect(t, b, data)
	wg.Wait()
}

// deadlines checks that each operation that waits obeys its deadline, and that the stream is usable afterwards.
func deadlines(t *testing.T, pair Pair) {
	a, b := ends(t, pair)
	soon := func() time.Time { return time.Now().Add(20 * time.Millisecond) }
	_ = a.SetReadDeadline(soon())
	_, err := a.Read(make([]byte, 1))
	isTimeout(t, "Read", err)
	_ = a.SetReadDeadline(soon())
	isTimeout(t, "WaitRead", a.WaitRead())

	// A deadline that is set while Read waits counts too.
	_ = a.SetReadDeadline(time.Time{})
	read := make(chan error, 1)
	go func() {
		_, err := a.Read(make([]byte, 1))
		read <- err
	}()
	_ = a.SetReadDeadline(soon())
	isTimeout(t, "Read", <-read)

	bound(t, a)
	write(t, b, []byte("x"))
	expect(t, a, []byte("x"))

	fill(a)
	_ = a.SetWriteDeadline(soon())
	_, err = a.Write(make([]byte, 64<<20))
	isTimeout(t, "Write", err)
}

// waitRead checks that waiting takes nothing away.
func waitRead(t *testing.T, pair Pair) {
	a, b := ends(t, pair)
	waited := make(chan error, 1)
	go func() { waited <- b.WaitRead() }()
	write(t, a, []byte("abc"))
	if err := <-waited; err != nil {
		t.Fatalf("WaitRead: %v", err)
	}
	if err := b.WaitRead(); err != nil {
		t.Fatalf("WaitRead with data at hand: %v", err)
	}
	expect(t, b, []byte("abc"))
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitRead(); err != nil {
		t.Fatalf("WaitRead before EOF: %v", err)
	}
	expectEOF(t, b)
}
