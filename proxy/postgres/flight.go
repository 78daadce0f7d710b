package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/query"
)

// A query whose result may be stored is asked by a client of the proxy's own: an
// inner client, with the settings of the one that asked first, whose driver is the
// flight that all who want the result read from. So a slow or vanished driver holds
// nobody up, and everything that makes an origin connection fit for a client, and
// fit for the next, is done in one place.
//
// It runs on the goroutine of the client that asked first, which would only wait for it,
// until there are two things to do at once: see lead.

// ask joins the flight for a group, or makes one, and passes the result on. It
// returns 0 where the group is to be taken message by message after all.
func (c *client) ask(a *asked) (int, error) {
	r := c.db.results
	st, ok := r.Space.Stamp(a.verdict.Tables)
	if c.missed = missedWrite; !ok { // a write to one of its tables is under way
		return 0, nil
	}
	c.missed = missedPieces
	if c.runner == nil {
		c.runner = newRunner()
	}
	began := time.Now()
	reader, lead := r.Space.Join(a.key, st, c.runner.canceled)
	defer reader.Leave()
	stop := c.wait(began)
	defer c.waited()
	if lead {
		c.lead(a, reader.Flight())
	}
	n, err := c.follow(a, reader, lead, stop)
	if n > 0 && err == nil {
		f := reader.Flight()
		switch _, oversized := f.Stored(); {
		case oversized:
			r.Count(query.StatusOversizedResult)
		case reader.Late():
			r.Hit(c.id, uint32(f.Size()), f.Age())
			a.verdict.Use().Hit()
		default:
			r.Count(query.StatusMiss)
		}
		if took := time.Since(began); lead {
			a.verdict.Use().Miss(took)
			r.Took.Observe(took)
		}
	}
	return n, err
}

// refresh fetches a new result in place of a stale one, in the background, where
// that takes nothing from clients that wait for an origin connection.
func (c *client) refresh(a *asked, e *cache.Entry) {
	r := c.db.results
	if !r.Space.Refresh(e) {
		return
	}
	if s := c.db.pool.Stats(); s.Waiting > 0 || s.Idle == 0 && s.Live >= c.db.cfg.Load().MaxConns {
		r.Space.Refreshed(e, true)
		return
	}
	st, ok := r.Space.Stamp(a.verdict.Tables)
	if !ok {
		r.Space.Refreshed(e, true)
		return
	}
	f := r.Space.Lead(a.key, st)
	if f == nil {
		r.Space.Refreshed(e, true)
		return
	}
	newRunner().start(c, a, f, e)
}

// A runner runs a flight's query, and where that came to a good end on the goroutine of
// who asked, it runs that client's next.
type runner struct {
	canceled func() // cancel

	mu     sync.Mutex
	client *client // nil until it first runs
	left   bool    // nobody wants the result any more

	side *flightConn // of client
}

func newRunner() *runner {
	r := new(runner)
	r.canceled = r.cancel
	return r
}

// prepare makes the inner client that asks for a group's result, for a flight which may
// be to refresh an entry.
func (r *runner) prepare(c *client, a *asked, f *cache.Flight, refreshed *cache.Entry) *client {
	in := r.client
	if in == nil {
		r.side = new(flightConn)
		in = &client{s: c.s, db: c.db, user: c.user, inner: true, welcomed: time.Now()}
		in.waiter, in.conn = c.db.pool.Waiter(c.user), pgwire.NewConn(r.side, false)
		if a.simple { // one message, and one answer
			in.ledger.ring = make([]entry, 1)
		}
	}
	r.side.begin(c.db, a, f, refreshed)
	in.beginFor(c)
	r.mu.Lock()
	r.client = in
	left := r.left
	r.mu.Unlock()
	if left {
		r.cancel()
	}
	c.s.addInner(in)
	return in
}

// beginFor makes an inner client one that has not asked anything yet, in the session of the
// one that it asks for.
func (c *client) beginFor(of *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ring := c.ledger.ring
	c.talk = talk{requests: feed{src: c.conn}, status: pgwire.TxIdle, session: session{base: of.session.base, state: of.session.state}}
	c.ledger.ring, c.led = ring, false
	c.dead.Store(false)
	c.canceled.Store(0)
}

// start runs the query of a group into a flight, beside the caller.
func (r *runner) start(c *client, a *asked, f *cache.Flight, refreshed *cache.Entry) {
	in := r.prepare(c, a, f, refreshed)
	c.s.work.Go(func() {
		_ = in.serve()
		r.leave()
	})
}

// leave ends the flight of an inner client that has ended.
func (r *runner) leave() {
	r.side.finish()
	r.client.s.removeInner(r.client)
}

// cancel ends a query that nobody waits for any more.
func (r *runner) cancel() {
	r.mu.Lock()
	r.left = true
	in := r.client
	r.mu.Unlock()
	if in == nil || in.db.pool.Cancel(in.waiter) {
		return
	}
	if o := in.busyOrigin(in.since.Load()); o != nil {
		in.s.work.Go(func() { o.cancel(context.Background()) }) // bounded by cancelTimeout
	}
}

// groupHeads is what appendGroup adds to a text and its parameters at most, in bytes: seven headers, two names, a portal's, and
// the fixed parts of Describe and Execute.
const groupHeads = 7*pgwire.HeaderSize + 16

// innerName is the name of the statement of an inner client.
const innerName = "s"

// appendGroup appends the messages that ask the origin for a group's result. They
// always ask for a description of the rows, by which the result can be compared
// with what a driver was told. Where a parameter may be a time of the clock they ask
// for the parameters' types too.
func appendGroup(b []byte, a *asked) []byte {
	if a.simple {
		return append(append(pgwire.AppendHeader(b, pgwire.MsgQuery, len(a.text)+1), a.text...), 0)
	}
	b = pgwire.AppendHeader(b, pgwire.MsgParse, len(innerName)+1+len(a.body))
	b = append(append(append(b, innerName...), 0), a.body...)
	if len(a.check) > 0 {
		b = pgwire.AppendMessage(b, pgwire.MsgDescribe, 'S', innerName[0], 0)
	}
	b = pgwire.AppendHeader(b, pgwire.MsgBind, len(innerName)+2+len(a.bind))
	b = append(append(append(append(b, 0), innerName...), 0), a.bind...)
	b = pgwire.AppendMessage(b, pgwire.MsgDescribe, 'P', 0)
	b = pgwire.AppendMessage(b, pgwire.MsgExecute, 0, 0, 0, 0, 0)
	return pgwire.AppendMessage(b, pgwire.MsgSync)
}

// An originError is an ErrorResponse that ended a flight.
type originError struct {
	msg    []byte // the whole message
	parsed bool   // the statement had been prepared
}

func (*originError) Error() string { return "the origin reported an error" }

// errFlightLost ends a flight whose client ended before its answer had.
var errFlightLost = errors.New("origin connection was lost")

// follow passes a flight's result on to the driver. It returns 0 where there is
// none for this client: an error is told to the one alone who asked first, unless
// rows were passed on before it.
func (c *client) follow(a *asked, r *cache.Reader, lead bool, stop <-chan struct{}) (int, error) {
	var t track
	first, err := c.firstOf(r, stop)
	var skip int
	ok := true
	if len(first) > 0 && (err == nil || lead && isOriginError(err)) {
		columns := c.columnsOf(first)
		if skip, ok = c.begins(a, first, columns); ok {
			c.adopt(a, columns)
			c.replies.gather()
			o := c.replies.buffer()
			*o = append(c.appendHead(*o, a, first[:skip]), first[skip:]...)
			t.advance(first)
		}
	}
	switch {
	case !ok, errors.Is(err, cache.ErrAlone), errors.Is(err, errFlightLost), err == nil && len(first) == 0:
		return 0, nil
	case err != nil && !lead && !errors.Is(err, cache.ErrStopped):
		return 0, nil
	case err != nil:
		return c.failFlight(a, err, len(first) > 0 && isOriginError(err))
	}
	for {
		if !r.Ready() || c.replies.pending() > 2*pgwire.BufferSize {
			if err := c.writeReplies(); err != nil {
				return 0, err
			}
		}
		b, err := r.Next(stop)
		switch {
		case errors.Is(err, cache.ErrStopped) && t.inside(): // a message must be whole first
			stop = nil
			continue
		case err != nil && t.inside():
			return 0, pgwire.Fatalf(pgwire.CodeConnectionFailure, "origin connection was lost")
		case err != nil:
			return c.failFlight(a, err, true)
		case b == nil:
			c.replies.put(pgwire.AppendReadyForQuery(nil, pgwire.TxIdle))
			return a.size, nil
		}
		t.advance(b)
		c.replies.put(b)
		if stop == nil && !t.inside() && c.leftFlight() {
			return c.failFlight(a, cache.ErrStopped, true)
		}
	}
}

// isOriginError reports whether a flight was ended by an ErrorResponse.
func isOriginError(err error) bool {
	_, is := errors.AsType[*originError](err)
	return is
}

// firstOf reads a flight up to what follows its first message: a description alone
// may yet be followed by an error. What came before that is returned with it.
func (c *client) firstOf(r *cache.Reader, stop <-chan struct{}) ([]byte, error) {
	var first []byte
	for {
		b, err := r.Next(stop)
		if err != nil {
			return first, err
		}
		if b == nil {
			return nil, nil
		}
		if first == nil {
			first = b
		} else {
			first = append(slices.Clip(first), b...)
		}
		if _, _, rest, ok := next(first); ok && len(rest) > 0 {
			return first, nil
		}
	}
}

// columnsOf is the shape of the description that a result starts with.
func (c *client) columnsOf(first []byte) shape {
	typ, body, _, ok := next(first)
	if !ok || typ != pgwire.MsgRowDescription {
		return shapeUnknown
	}
	columns, err := shapeOf(body)
	if err != nil {
		return shapeUnknown
	}
	return columns
}

// failFlight tells the driver why there is no result, or no more of it.
func (c *client) failFlight(a *asked, err error, headed bool) (int, error) {
	var oe *originError
	var msg []byte
	parsed := true
	switch {
	case errors.As(err, &oe):
		msg, parsed = oe.msg, oe.parsed
	case errors.Is(err, cache.ErrStopped):
		c.canceled.Store(0)
		msg = pgwire.Errorf(pgwire.CodeQueryCanceled, "canceling statement due to user request").Append(nil)
	default:
		return 0, pgwire.Fatalf(pgwire.CodeConnectionFailure, "origin connection was lost")
	}
	switch {
	case headed:
	case parsed:
		c.adopt(a, shapeUnknown)
		if a.parse {
			c.replies.put([]byte{pgwire.MsgParseComplete, 0, 0, 0, 4})
		}
	case a.parse && len(a.name) == 0:
		c.unnamedOK = false
	}
	c.replies.put(msg)
	c.replies.put(pgwire.AppendReadyForQuery(nil, pgwire.TxIdle))
	return a.size, nil
}

// wait notes that the client waits for a flight, since now. What it returns is closed when the
// client is to wait no longer.
func (c *client) wait(now time.Time) <-chan struct{} {
	c.since.Store(now.UnixNano())
	c.leaseMu.Lock()
	defer c.leaseMu.Unlock()
	if c.flight == nil || c.flightLeft {
		c.flight, c.flightLeft = make(chan struct{}), false
	}
	c.inFlight = true
	return c.flight
}

// waited ends what wait began.
func (c *client) waited() {
	c.leaseMu.Lock()
	c.inFlight = false
	c.leaseMu.Unlock()
	c.rest()
}

// leaveFlight makes a client that waits for a flight do so no longer, and reports
// whether it waited for one.
func (c *client) leaveFlight() bool {
	c.leaseMu.Lock()
	defer c.leaseMu.Unlock()
	if c.inFlight && !c.flightLeft {
		c.flightLeft = true
		close(c.flight)
		if c.leading != nil { // with the lock held: without, it may be at the next query by now
			c.leading.interrupt()
		}
	}
	return c.inFlight
}

// leftFlight reports whether the client was told not to wait any longer.
func (c *client) leftFlight() bool {
	c.leaseMu.Lock()
	defer c.leaseMu.Unlock()
	return c.flightLeft
}

// A track follows the messages in a stream of bytes.
type track struct {
	head [pgwire.HeaderSize]byte // of a header that is not whole
	has  int                     // bytes of it
	left int                     // bytes to come of the message
}

// inside reports whether a message is not whole yet.
func (t *track) inside() bool { return t.left > 0 || t.has > 0 }

func (t *track) advance(b []byte) {
	for len(b) > 0 {
		if t.left > 0 {
			n := min(t.left, len(b))
			t.left -= n
			b = b[n:]
			continue
		}
		n := copy(t.head[t.has:], b)
		t.has += n
		if b = b[n:]; t.has == pgwire.HeaderSize {
			t.left = int(binary.BigEndian.Uint32(t.head[1:])) - 4
			t.has = 0
		}
	}
}
