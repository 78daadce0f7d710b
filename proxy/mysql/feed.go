package mysql

import (
	"io"
	"sync"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// keptOut is the largest output buffer in bytes that goes back to the pool; what
// grew larger is left to the collector.
const keptOut = 64 << 10

var outs = sync.Pool{New: func() any { b := make([]byte, 0, mywire.BufferSize); return &b }}

// A feed passes the bytes of one side on to the other: as they stand in the read
// buffer where nothing is changed, by way of an output buffer around what is cut
// out or put in. What goes out is out, then src.Bytes()[from:off].
type feed struct {
	src       *mywire.Conn
	out       *[]byte // nil while empty
	from, off int
}

// rest is what has been read and not yet looked at.
func (f *feed) rest() []byte { return f.src.Bytes()[f.off:] }

// keep passes the next n bytes on.
func (f *feed) keep(n int) { f.off += n }

// cut leaves the next n bytes out.
func (f *feed) cut(n int) {
	f.gather()
	f.off += n
	f.from = f.off
}

// swap puts b in the place of the next n bytes: where they are, if nothing has been
// read behind them and there is room, so that what is kept before them stays there too.
func (f *feed) swap(n int, b []byte) {
	rest := f.rest()
	if len(rest) > n || len(b) > n {
		f.cut(n)
		f.put(b)
		return
	}
	f.src.Truncate(n - copy(rest, b))
	f.keep(len(b))
}

// gather moves what is kept so far behind out, so that more can be put behind it.
func (f *feed) gather() {
	if f.off > f.from {
		b := f.buffer()
		*b = append(*b, f.src.Bytes()[f.from:f.off]...)
	}
	f.from = f.off
}

// buffer is the output buffer, for appending to after gather.
func (f *feed) buffer() *[]byte {
	if f.out == nil {
		f.out = outs.Get().(*[]byte)
	}
	return f.out
}

// pending is how many bytes would go out.
func (f *feed) pending() int {
	n := f.off - f.from
	if f.out != nil {
		n += len(*f.out)
	}
	return n
}

// hold takes what is looked at out of the read buffer and keeps it in out.
func (f *feed) hold() {
	if f.src == nil {
		return
	}
	f.gather()
	f.src.Discard(f.off)
	f.from, f.off = 0, 0
}

// flush writes what is pending, in one write, and takes what is looked at out of
// the read buffer.
func (f *feed) flush(w io.Writer) error {
	var err error
	switch {
	case f.pending() == 0:
	case f.out == nil:
		_, err = w.Write(f.src.Bytes()[f.from:f.off])
	default:
		f.gather()
		_, err = w.Write(*f.out)
	}
	if f.src != nil {
		f.src.Discard(f.off)
	}
	f.from, f.off = 0, 0
	f.drop()
	return err
}

// drop gives the output buffer back with what is in it.
func (f *feed) drop() {
	if f.out == nil {
		return
	}
	if cap(*f.out) <= keptOut {
		*f.out = (*f.out)[:0]
		outs.Put(f.out)
	}
	f.out = nil
}

// put puts b behind what is kept so far.
func (f *feed) put(b []byte) {
	f.gather()
	o := f.buffer()
	*o = append(*o, b...)
}
