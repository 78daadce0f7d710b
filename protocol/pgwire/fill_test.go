package pgwire

import (
	"bytes"
	"net"
	"testing"
)

// TestThriftyFillReadsWholeBursts: a Conn that waits with a header's worth of memory reads on
// behind the header, or a COPY is passed on in pieces of five bytes.
func TestThriftyFillReadsWholeBursts(t *testing.T) {
	for _, test := range []struct {
		name  string
		sent  []byte
		fills int // until everything is there
	}{
		{"a message with a body", AppendMessage(nil, 'd', bytes.Repeat([]byte("x"), 8000)...), 1},
		{"a message without one", AppendMessage(nil, 'S'), 1},
		{"a burst", append(AppendMessage(nil, 'P', 1, 2, 3), AppendMessage(nil, 'S')...), 1},
		{"less than a header", []byte("d\x00"), 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			near, far := net.Pipe() // no socket, and it keeps what a read leaves, as TLS does
			defer near.Close()
			go func() {
				defer far.Close()
				far.Write(test.sent)
			}()
			c := NewConn(near, true)
			defer c.Drop()
			for range test.fills {
				if err := c.Fill(); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(c.Bytes(), test.sent) {
				t.Errorf("%d of %d bytes after %d reads", len(c.Bytes()), len(test.sent), test.fills)
			}
		})
	}
}
