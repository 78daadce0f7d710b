package postgres

import (
	"encoding/binary"
	"testing"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

// FuzzGroup: whatever a driver sends, a group is read within its bytes, is what its
// messages say, and its parameters are read the same way each time.
func FuzzGroup(f *testing.F) {
	bind := func(name string, rest ...byte) []byte {
		return pgwire.AppendMessage(nil, pgwire.MsgBind, append(append([]byte{0}, append([]byte(name), 0)...), rest...)...)
	}
	tail := pgwire.AppendMessage(pgwire.AppendMessage(pgwire.AppendMessage(nil, 'D', 'P', 0), 'E', 0, 0, 0, 0, 0), 'S')
	f.Add(pgwire.AppendQuery(nil, "select 1"))
	f.Add(append(bind("s", 0, 0, 0, 1, 0, 0, 0, 1, 'x', 0, 0), tail...))
	f.Add(append(append(pgwire.AppendMessage(nil, 'P', 0, 'q', 0, 0, 1, 0, 0, 0, 23), bind("", 0, 1, 0, 1, 0, 1, 255, 255, 255, 255, 0, 1, 0, 0)...), tail...))
	f.Add(append(append(pgwire.AppendMessage(pgwire.AppendMessage(nil, 'P', 0, 'q', 0, 0, 0), 'D', 'S', 0), bind("", 0, 0, 0, 0, 0, 0)...), tail[7:]...))
	f.Add(append(bind("s", 0, 2, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), tail...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		g, r := readGroup(b)
		if r != oneGroup {
			return
		}
		if g.size < pgwire.HeaderSize || g.size > len(b) {
			t.Fatalf("a group of %d bytes in %d", g.size, len(b))
		}
		if _, again := readGroup(b[:g.size]); again != oneGroup {
			t.Fatal("a group is not one by itself")
		}
		part := partGroup
		if g.simple {
			part = noGroup // for which takeQuery waits
		}
		for _, n := range []int{g.size - 1, g.size - 6, g.size / 2, 1} {
			if _, r := readGroup(b[:max(n, 1)]); r != part {
				t.Fatalf("%d bytes of a group are %d", n, r)
			}
		}
		if g.simple {
			return
		}
		n, size := 0, 0
		results, ok := g.parameters(func(i int, _ uint16, value []byte) {
			if i != n {
				t.Fatalf("parameter %d as number %d", n, i)
			}
			n++
			size += len(value)
		})
		if !ok {
			return
		}
		if len(results)%2 != 0 || size+len(results) > len(g.bind) {
			t.Fatalf("%d bytes of parameters and %d of formats in %d", size, len(results), len(g.bind))
		}
		if count := codesOf(g.bind); n != count {
			t.Fatalf("%d parameters, the message says %d", n, count)
		}
	})
}

// codesOf is how many parameters a Bind says it has.
func codesOf(b []byte) int {
	skip := 2 + 2*int(binary.BigEndian.Uint16(b))
	return int(binary.BigEndian.Uint16(b[skip:]))
}

// FuzzFlightReplies: whatever an origin sends, in whatever pieces, the inner
// client's driver passes on only whole messages of a result, and never panics.
func FuzzFlightReplies(f *testing.F) {
	whole := pgwire.AppendMessage(nil, '1')
	whole = pgwire.AppendMessage(whole, '2')
	whole = append(whole, 'T', 0, 0, 0, 25, 0, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23, 0, 4, 255, 255, 255, 255, 0, 0)
	whole = pgwire.AppendMessage(whole, 'D', 0, 1, 0, 0, 0, 1, '1')
	whole = pgwire.AppendReadyForQuery(pgwire.AppendCommandComplete(whole, "SELECT 1"), 'I')
	f.Add(whole, 3)
	f.Add(append(pgwire.Errorf("22012", "division by zero").Append(nil), pgwire.AppendReadyForQuery(nil, 'I')...), 1)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		if piece < 1 || len(b) > 1<<16 {
			return
		}
		for rest := b; len(rest) > 0; { // the client has checked the lengths
			if len(rest) < pgwire.HeaderSize {
				break
			}
			_, n, err := pgwire.Header(rest)
			if err != nil {
				return
			}
			rest = rest[min(len(rest), pgwire.HeaderSize+n):]
		}
		side, reader := newTestFlight()
		for rest := b; len(rest) > 0; {
			n := min(piece, len(rest))
			if _, err := side.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		ended := side.ended()
		side.flight.End(ended)
		var tr track
		for {
			got, err := reader.Next(nil)
			if err != nil || got == nil {
				break
			}
			tr.advance(got)
		}
		if side.done && tr.inside() {
			t.Fatal("a result ends within a message")
		}
		if stored, _ := side.flight.Stored(); stored && (ended != nil || !side.begun) {
			t.Fatal("something that is no result was stored")
		}
	})
}
