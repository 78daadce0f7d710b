package postgres

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/cache"
)

// maxError bounds what is kept of an ErrorResponse, in bytes.
const maxError = 64 << 10

// A flightConn is an inner client's driver: it asks one thing, and writes of the
// answer what belongs to the result into a flight. One goroutine uses it at a time.
type flightConn struct {
	db        *Database
	flight    *cache.Flight
	refreshed *cache.Entry // in whose place the result is to be; nil: none
	finished  bool         // the flight has ended
	later     bool         // a small result is stored by who asked first, behind the answer to its driver

	asks     []byte // what is asked
	in       []byte // what is still to be
	check    []int  // parameters that must be text: they have a word of time
	settings cacheSettings
	day      string // see asked
	zone     string // the own zone of the origin connection that answered

	head   []byte // of a message whose header is not whole
	typ    byte
	left   int    // bytes to come of the message
	pass   bool   // it is part of the result
	keep   bool   // it is looked at when it is whole
	whole  []byte // what is kept of it, without its header
	parsed bool
	inner  bool // the next description is of the statement, not of the portal
	begun  bool // rows were described
	told   bool // all rows have come: CommandComplete of a SELECT
	done   bool // ReadyForQuery has come
	err    []byte
	fatal  bool
}

// begin makes f ask for a group's result.
func (f *flightConn) begin(d *Database, a *asked, to *cache.Flight, refreshed *cache.Entry) {
	asks, head, whole := emptied(f.asks), f.head[:0], emptied(f.whole)
	*f = flightConn{db: d, flight: to, refreshed: refreshed, check: a.check, settings: *a.settings, day: a.day, head: head, whole: whole}
	f.asks = appendGroup(slices.Grow(asks, max(len(a.text), len(a.body))+len(a.bind)+groupHeads), a)
	f.in = f.asks
}

// emptied is an empty buffer, b unless that has grown large.
func emptied(b []byte) []byte {
	if cap(b) > keptText {
		return nil
	}
	return b[:0]
}

// finish ends the flight, once: who waits for it need not wait for what comes after the
// answer.
func (f *flightConn) finish() {
	if f.finished {
		return
	}
	f.finished = true
	if f.day != "" {
		now, ok := f.settings.today(f.db.results.Now())
		if !ok || now != f.day || f.settings.origins != "" && f.zone != f.settings.origins {
			f.flight.Unstored()
		}
	}
	f.flight.Finish(f.ended())
	if f.later = f.later && f.flight.Size() <= inlineReply; f.later {
		return
	}
	stored := f.db.store(f.flight)
	if f.refreshed != nil {
		f.db.results.Space.Refreshed(f.refreshed, stored)
	}
}

// store stores the result of a flight that has ended.
func (d *Database) store(f *cache.Flight) bool {
	stored := f.Store()
	if stored {
		d.results.Stored.Add(uint64(f.Size()))
	}
	return stored
}

// Read implements net.Conn.
func (f *flightConn) Read(p []byte) (int, error) {
	if len(f.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.in)
	f.in = f.in[n:]
	return n, nil
}

// Write implements net.Conn. It blocks where the flight's readers are far behind.
func (f *flightConn) Write(p []byte) (int, error) {
	if err := f.take(p); err != nil {
		return 0, err
	}
	if f.done {
		f.finish()
	} else {
		f.flight.Wake()
	}
	return len(p), nil
}

// take takes p apart, and adds what belongs to the result to the flight.
func (f *flightConn) take(p []byte) error {
	for len(p) > 0 && !f.done {
		if f.left == 0 && len(f.head) == 0 {
			n, err := f.takeWhole(p)
			if err != nil {
				return err
			}
			if p = p[n:]; f.done {
				break
			}
		}
		if f.left == 0 && len(f.head) < pgwire.HeaderSize {
			n := min(pgwire.HeaderSize-len(f.head), len(p))
			f.head = append(f.head, p[:n]...)
			if p = p[n:]; len(f.head) < pgwire.HeaderSize {
				break
			}
			f.typ, f.left = f.head[0], int(binary.BigEndian.Uint32(f.head[1:]))-4
			f.beginMessage()
			if f.pass {
				if err := f.flight.Add(f.head); err != nil {
					return err
				}
			}
			if f.left == 0 {
				f.endMessage()
				continue
			}
		}
		n := min(f.left, len(p))
		if f.pass && n > 0 {
			if err := f.flight.Add(p[:n]); err != nil {
				return err
			}
		}
		f.look(p[:n])
		p = p[n:]
		if f.left -= n; f.left == 0 {
			f.endMessage()
		}
	}
	return nil
}

// takeWhole takes the whole messages that p starts with, and returns how many bytes those
// are. What belongs to the result and follows each other is added in one piece.
func (f *flightConn) takeWhole(p []byte) (int, error) {
	from, at := 0, 0 // p[from:at] is yet to be added
	for len(p)-at >= pgwire.HeaderSize && !f.done {
		body := int(binary.BigEndian.Uint32(p[at+1:])) - 4
		if body > len(p)-at-pgwire.HeaderSize {
			break
		}
		f.typ = p[at]
		f.beginMessage()
		if !f.pass && at > from {
			if err := f.flight.Add(p[from:at]); err != nil {
				return 0, err
			}
		}
		f.look(p[at+pgwire.HeaderSize:][:body])
		f.endMessage()
		if at += pgwire.HeaderSize + body; !f.pass {
			from = at
		}
	}
	if at == from {
		return at, nil
	}
	return at, f.flight.Add(p[from:at])
}

// look keeps a part of a message that is looked at when it is whole.
func (f *flightConn) look(p []byte) {
	if f.keep {
		f.whole = append(f.whole, p[:min(len(p), maxError-len(f.whole))]...)
	}
}

// beginMessage decides what becomes of a message whose header is whole.
func (f *flightConn) beginMessage() {
	f.pass, f.keep = false, false
	f.whole = f.whole[:0]
	switch f.typ {
	case pgwire.MsgParseComplete:
		f.parsed = true
		f.inner = len(f.check) > 0
	case pgwire.MsgBindComplete, pgwire.MsgNoData:
	case pgwire.MsgParameterDescription, pgwire.MsgErrorResponse, pgwire.MsgReadyForQuery:
		f.keep = true
	case pgwire.MsgRowDescription:
		if f.inner {
			f.inner = false
			return
		}
		f.pass, f.keep, f.begun = true, true, true
	case pgwire.MsgDataRow:
		f.pass = true
	case pgwire.MsgCommandComplete:
		f.pass, f.keep = true, true
	case pgwire.MsgParameterStatus: // before the rows: of the settings being put in force
		if f.begun {
			f.flight.Unstored()
		}
	case pgwire.MsgNoticeResponse:
		f.pass = true
		f.flight.Unstored()
	default: // a NotificationResponse is nobody's here
		f.flight.Unstored()
	}
}

// endMessage looks at a message that is whole.
func (f *flightConn) endMessage() {
	f.head = f.head[:0]
	if !f.keep {
		return
	}
	switch f.typ {
	case pgwire.MsgParameterDescription:
		if !textual(f.whole, f.check) {
			f.flight.Unstored()
		}
	case pgwire.MsgRowDescription:
		if columns, err := shapeOf(f.whole); err == nil && len(f.whole) < maxError {
			f.flight.Tag(uint64(columns))
		}
	case pgwire.MsgCommandComplete:
		if f.told = f.begun && bytes.HasPrefix(f.whole, []byte("SELECT ")); !f.told {
			f.flight.Unstored()
		}
	case pgwire.MsgErrorResponse:
		severity := pgwire.ParseErrorFields(f.whole).Severity
		f.fatal = severity == "FATAL" || severity == "PANIC"
		f.err = append(pgwire.AppendHeader(nil, pgwire.MsgErrorResponse, len(f.whole)), f.whole...)
		f.flight.Unstored()
	case pgwire.MsgReadyForQuery:
		f.done = true
		if len(f.whole) != 1 || f.whole[0] != pgwire.TxIdle || !f.told {
			f.flight.Unstored()
		}
	}
}

// ended is how the flight is to end.
func (f *flightConn) ended() error {
	switch {
	case !f.done || f.fatal || len(f.err) >= maxError:
		return errFlightLost
	case f.err != nil:
		return &originError{msg: f.err, parsed: f.parsed}
	}
	return nil
}

// textOIDs are types whose input takes no word for a time: text, varchar, bpchar,
// name, json, jsonb (src/include/catalog/pg_type.dat).
var textOIDs = map[uint32]bool{25: true, 1043: true, 1042: true, 19: true, 114: true, 3802: true}

// textual reports whether the parameters of these numbers are text, by the body of
// a ParameterDescription.
func textual(body []byte, check []int) bool {
	if len(body) < 2 {
		return false
	}
	types := body[2:]
	for _, i := range check {
		if 4*i+4 > len(types) || !textOIDs[binary.BigEndian.Uint32(types[4*i:])] {
			return false
		}
	}
	return true
}

// Close implements net.Conn.
func (*flightConn) Close() error { return nil }

// LocalAddr implements net.Conn.
func (*flightConn) LocalAddr() net.Addr { return nil }

// RemoteAddr implements net.Conn.
func (*flightConn) RemoteAddr() net.Addr { return nil }

// SetDeadline implements net.Conn. Nothing here waits for a peer.
func (*flightConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (*flightConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (*flightConn) SetWriteDeadline(time.Time) error { return nil }
