package mysql

import (
	"bytes"
	"net"
	"testing"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// TestFeedSwap: what is put in the place of bytes goes out in their place, whatever its
// length and whatever comes behind; without a copy of what is before it where it can.
func TestFeedSwap(t *testing.T) {
	for _, test := range []struct {
		name, read, with, want string
		inPlace                bool
	}{
		{"shorter", "rows-END", "e", "rows-e", true},
		{"as long", "rows-END", "end", "rows-end", true},
		{"longer", "rows-END", "the end", "rows-the end", false},
		{"more behind", "rows-ENDmore", "e", "rows-emore", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			near, far := net.Pipe()
			defer near.Close()
			defer far.Close()
			go func() { _, _ = far.Write([]byte(test.read)) }()
			f := feed{src: mywire.NewConn(near, false)}
			defer f.src.Drop()
			for len(f.src.Bytes()) < len(test.read) {
				if err := f.src.Fill(); err != nil {
					t.Fatal(err)
				}
			}
			f.keep(len("rows-"))
			f.swap(len("END"), []byte(test.with))
			if inPlace := f.out == nil; inPlace != test.inPlace {
				t.Errorf("in place %t, want %t", inPlace, test.inPlace)
			}
			f.keep(len(f.rest()))
			var got bytes.Buffer
			if err := f.flush(&got); err != nil || got.String() != test.want {
				t.Errorf("got %q, %v; want %q", got.String(), err, test.want)
			}
			if n := len(f.src.Bytes()); n > 0 {
				t.Errorf("%d bytes are left", n)
			}
		})
	}
}
