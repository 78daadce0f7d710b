package mysql

import (
	"errors"
	"slices"
	"time"

	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/query"
)

// recordAt is from how many bytes a recording is handed on, so that not each packet is.
const recordAt = 16 << 10

// errUnfit ends a flight whose result is not one to store.
var errUnfit = errors.New("result is not stored")

// A recording copies a result, as it is passed on to the driver, into a flight: packets
// as without EOF, numbered by nobody. It belongs to one command.
type recording struct {
	flight    *cache.Flight
	verdict   *query.Verdict
	refreshed *cache.Entry // in whose place it is to be; nil: none
	state     *state       // the session's, which is part of the key
	day       string
	began     time.Time

	buf     []byte
	columns int
	rows    uint64
	whole   bool // it has come to a good end
	unfit   bool
}

// A tag is what is kept of a result beside its packets: columns in the upper 16 bits,
// rows below.
type tag uint64

func (t tag) columns() int { return int(t >> 48) }

func (t tag) rows() uint64 { return uint64(t) & (1<<48 - 1) }

// record begins a recording of what the client is about to ask the origin, unless
// another client is asking the same, or what it reads is being written to.
func (c *client) record(a *asked, refreshed *cache.Entry) {
	r := c.db.results
	st, ok := r.Space.Stamp(a.verdict.Tables)
	if c.missed = missedWrite; !ok {
		return
	}
	f := r.Space.Lead(a.key, st)
	if c.missed = missedShared; f == nil {
		return
	}
	c.recording = &recording{flight: f, verdict: a.verdict, refreshed: refreshed, state: c.session.state, day: a.day, began: time.Now()}
}

// packet takes the beginning of a packet of the result, with its header.
func (rec *recording) packet(part mywire.Part, b []byte) {
	switch part {
	case mywire.PartColumnCount:
		rec.unfit = rec.unfit || rec.columns > 0 // a second result
	case mywire.PartColumn:
		rec.columns++
	case mywire.PartRow:
		rec.rows++
	case mywire.PartMore:
	default:
		rec.unfit = true
	}
	rec.write(b)
}

// write takes more of a packet.
func (rec *recording) write(b []byte) {
	if rec.unfit {
		return
	}
	if rec.buf = append(rec.buf, b...); len(rec.buf) >= recordAt {
		rec.handOn()
	}
}

func (rec *recording) handOn() {
	if rec.flight.Write(rec.buf) != nil {
		rec.unfit = true
	}
	rec.buf = rec.buf[:0]
}

// end takes the packet that ends the result.
func (rec *recording) end(ok *mywire.OK) {
	const moves = mywire.StatusInTrans | mywire.StatusMoreResults | mywire.StatusCursorExists | mywire.StatusStateChanged
	rec.whole = ok.EOF && ok.Status&moves == 0 && ok.Warnings == 0 && len(ok.State) == 0 && rec.columns > 0 && rec.columns < 1<<16
}

// endRecording ends what record began, when the command has.
func (c *client) endRecording(err error) {
	rec, r := c.recording, c.db.results
	if c.recording = nil; rec == nil {
		return
	}
	fit := err == nil && rec.whole && !rec.unfit && c.session.state == rec.state
	if fit && rec.day != "" {
		day, ok := c.today()
		fit = ok && day == rec.day
	}
	if fit && len(rec.buf) > 0 {
		rec.handOn()
		fit = !rec.unfit
	}
	rec.flight.Tag(uint64(rec.columns)<<48 | min(rec.rows, 1<<48-1))
	if fit {
		rec.flight.End(nil)
	} else {
		rec.flight.End(errUnfit)
	}
	stored, oversized := rec.flight.Stored()
	switch {
	case stored:
		r.Stored.Add(uint64(rec.flight.Size()))
		r.Count(query.StatusMiss)
	case oversized:
		r.Count(query.StatusOversizedResult)
	default:
		r.Count(query.StatusMiss)
	}
	took := time.Since(rec.began)
	rec.verdict.Use().Miss(took)
	r.Took.Observe(took)
	if rec.refreshed != nil {
		r.Space.Refreshed(rec.refreshed, stored)
	}
}

// lookAt looks at a statement that is about to be sent to the origin, for what it may
// change and why it was not answered from the cache.
func (c *client) lookAt(text []byte, whole bool) {
	r := c.db.results
	if !r.Watches() {
		return
	}
	if !whole {
		ddl := c.running.traits&(changesTables|several) != 0 || c.session.multi // of what has been seen of it
		c.writes.Change(r, query.Effect{All: true, DDL: ddl})
		r.Count(query.StatusOversizedQuery)
		return
	}
	v := c.writes.Look(r, c.verdict, text)
	if !c.plain() && slices.ContainsFunc(text, func(b byte) bool { return b >= 0x80 || b == '"' || b == '\\' }) {
		c.writes.Change(r, query.Effect{All: true}) // it may be read otherwise
	}
	switch {
	case v.Status != query.StatusMiss:
		r.Count(v.Status)
		v.Use().Refuse(v.Reason)
	case c.recording != nil: // counted when it ends
	case c.missed == missedTransaction:
		r.Count(query.StatusTransaction)
		r.Miss(c.missed)
	default:
		r.Count(query.StatusUncacheable)
		r.Miss(c.missed)
	}
}

// committed notes that no transaction is open.
func (c *client) committed() {
	if r := c.db.results; r != nil && !c.status.Has(mywire.StatusInTrans) && c.lease.holds == 0 {
		c.writes.Committed(r, false)
	}
}

// settleWrites ends what a client was writing when it gives its origin connection back.
// One that was lost may commit yet.
func (c *client) settleWrites(lost bool) {
	r := c.db.results
	if r == nil {
		return
	}
	if c.unseen && r.Watches() {
		r.Missed()
	}
	if c.unseen = false; lost {
		c.writes.Lost(r)
	} else {
		c.writes.End(r)
	}
}
