package tunnel

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// countedConn counts writes.
type countedConn struct {
	net.Conn
	writes int
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.writes++
	return c.Conn.Write(p)
}

// TestGatherer writes with and without holding: bytes keep their order, and what is held goes in one write, or in two when it is more than
// a message.
func TestGatherer(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	below := &countedConn{Conn: near}
	g := &gatherer{Conn: below}
	got := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(far)
		got <- b
	}()
	var want []byte
	write := func(size int) {
		record := bytes.Repeat([]byte{byte(len(want))}, size)
		want = append(want, record...)
		if n, err := g.Write(record); n != size || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	for _, tt := range []struct {
		name    string
		records []int
		held    bool
		writes  int
	}{
		{"not held", []int{10, 20}, false, 2},
		{"held", []int{4122, 4122, 4122, 50}, true, 1},
		{"nothing held", nil, true, 0},
		{"more than is held", []int{32 << 10, 32 << 10, 16 << 10}, true, 2},
		{"more than ever is held", []int{1, maxGathered + 1, 1}, true, 3},
		{"not held any more", []int{10}, false, 1},
	} {
		below.writes = 0
		if tt.held {
			g.hold()
		}
		for _, size := range tt.records {
			write(size)
		}
		if tt.held {
			if err := g.release(); err != nil {
				t.Fatal(err)
			}
		}
		if below.writes != tt.writes {
			t.Errorf("%s: %d writes, want %d", tt.name, below.writes, tt.writes)
		}
	}
	_ = near.Close()
	if b := <-got; !bytes.Equal(b, want) {
		t.Errorf("%d bytes arrived, want %d in their order", len(b), len(want))
	}
}

// TestGathererDrop drops a connection whose writer is stuck.
func TestGathererDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		g := &gatherer{Conn: near}
		g.hold()
		if _, err := g.Write([]byte("nobody reads this")); err != nil {
			t.Fatal(err)
		}
		released := make(chan error)
		go func() { released <- g.release() }()
		synctest.Wait()
		g.drop()
		if err := <-released; err == nil {
			t.Error("a dropped connection took what was held")
		}
	})
}

func TestYamuxWindow(t *testing.T) {
	for rtt, want := range map[time.Duration]uint32{
		0:                     minYamuxWindow,
		time.Millisecond:      minYamuxWindow,
		16 * time.Millisecond: 2 << 20,
		time.Second:           maxYamuxWindow,
	} {
		if got := yamuxWindow(rtt); got != want {
			t.Errorf("yamuxWindow(%v) = %d, want %d", rtt, got, want)
		}
	}
}
