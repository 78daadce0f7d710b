package postgres

import (
	"bytes"
	"encoding/binary"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/query"
)

// maxKey is the longest key in bytes, of text and parameters
// (query.StatusOversizedQuery beyond): a group is whole in a read buffer, which
// bounds all but the text of a statement that was prepared before.
const maxKey = query.MaxText + pgwire.BufferSize

// inlineReply is the largest stored result in bytes that is copied to what else is
// to be written, for one write in all. Larger ones are written as they are stored.
const inlineReply = pgwire.BufferSize

// Why a statement that may be cached was not looked up, in words of missedWords.
const (
	missedPieces = iota
	missedBusy
	missedCatalog
	missedSession
	missedWrite
	missedTransaction
	missedTime
)

var missedWords = []string{
	missedPieces:      "sent for less than all rows, or with other messages between: only a simple query, or Bind, Execute and Sync, is looked up",
	missedBusy:        "its client still had an origin connection, which it keeps, or what came before was not answered yet",
	missedCatalog:     "the origin's catalog is not known at the moment",
	missedSession:     "the client's settings keep it from the cache (standard_conforming_strings, client_encoding, search_path)",
	missedWrite:       "a write to its tables is under way, or other proxies cannot be heard",
	missedTransaction: "inside a transaction, or behind another statement of one batch",
	missedTime:        "a parameter has the word now, today, tomorrow or yesterday, and the statement casts one to a time",
}

// keptText is the longest text in bytes whose verdict a client remembers, also when the
// rest of the proxy has forgotten it.
const keptText = 2 << 10

var keys = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// answer tries to answer what the driver has sent from the cache, or from a query
// that is under way for another client, or from one of its own whose result is
// stored. It returns how many bytes of b it has answered, 0 where they are to be
// taken message by message, or wait for more. It blocks until the answer is there.
// The client has no origin connection and owes and is owed nothing: so it is in no
// transaction, and nothing of its session is anywhere but in its settings. The lock
// is held.
func (c *client) answer(b []byte, full int) (n int, more bool, err error) {
	g, r := c.lookedUp(b)
	switch {
	case r == partGroup:
		return 0, c.promising(&g, len(b), full), nil
	case r == oneGroup && c.findStatement(&g):
		n, err = c.lookUp(g)
	}
	return n, false, err
}

// lookedUp reads the group that b starts with, where groups are looked up.
func (c *client) lookedUp(b []byte) (group, reading) {
	if !c.db.results.Answers() || c.inner || b[0] != pgwire.MsgQuery && b[0] != pgwire.MsgParse && b[0] != pgwire.MsgBind {
		return group{}, noGroup
	}
	c.missed = missedPieces
	return readGroup(b)
}

// promising reports whether what has come of a group, in so many bytes, is worth
// waiting for the rest: it fits the read buffer so far, and the statement may be
// answered from the cache. full is the size of its first message. PostgreSQL answers nothing of it before a Sync or Flush
// either, and neither is part of it.
func (c *client) promising(g *group, size, full int) bool {
	if size >= pgwire.BufferSize {
		return false
	}
	if len(g.text) == 0 && !g.bound { // not even the first message
		return full <= pgwire.BufferSize
	}
	described := g.describe
	g.describe = true // it may come
	found := c.findStatement(g)
	g.describe = described
	return found && c.judged(g)
}

// judged reports whether a group's statement may be answered from the cache.
func (c *client) judged(g *group) bool {
	r := c.db.results
	return r.Ready() && r.Statements.Judge(g.text).Status == query.StatusMiss
}

// tidies reports whether what the driver has sent, b, is to wait for the tidy that is
// under way: it is to be looked up, and what keys it is known then. The lock is held.
func (c *client) tidies(b []byte, full int) bool {
	if !c.pumping || c.tidying.Load() == 0 || !c.quiet() || c.status != pgwire.TxIdle || c.unsynced || c.copying ||
		c.session.pins != 0 || c.requests.pending() > 0 {
		return false
	}
	g, r := c.lookedUp(b)
	switch r {
	case partGroup:
		return c.promising(&g, len(b), full)
	case oneGroup:
		return c.findStatement(&g) && c.judged(&g)
	}
	return false
}

// awaitTidy waits until the pump has ended, which it does with the tidy. The watch
// ends a tidy that takes too long. The lock is held, and is not meanwhile.
func (c *client) awaitTidy() error {
	pumped := c.pumped
	c.mu.Unlock()
	<-pumped
	c.mu.Lock()
	return c.ended
}

// lookUp is answer for a group whose statement is known.
func (c *client) lookUp(g group) (int, error) {
	c.store() // of what came before, which may be the same
	r := c.db.results
	c.missed = missedCatalog
	if !r.Ready() {
		return 0, nil
	}
	c.missed = missedSession
	session, settings := c.cacheSession()
	if settings == nil {
		return 0, nil
	}
	buf := keys.Get().(*[]byte)
	defer keys.Put(buf)
	ask := asked{group: g, session: session, settings: settings, scope: r.Space.Scope()} // before the verdict: see results.Results.Keep
	if len(g.text) <= keptText {
		if c.scratch == nil {
			c.scratch = new(query.Scratch)
		}
		c.verdict = r.Statements.AgainIn(c.scratch, c.verdict, g.text)
		ask.verdict = c.verdict
	} else {
		ask.verdict = r.Statements.Again(c.verdict, g.text)
	}
	if ask.verdict.Status != query.StatusMiss {
		return 0, nil // which the message's own way counts
	}
	var ok bool
	if *buf, ok = c.appendKey((*buf)[:0], &ask); !ok {
		return 0, nil
	}
	ask.key = *buf
	e, state, age := r.Space.Get(ask.key)
	if state == cache.Absent || e.Size > inlineReply && !r.Space.Pin(e) {
		return c.ask(&ask)
	}
	n, err := c.reply(&ask, e)
	if e.Size > inlineReply {
		r.Space.Unpin(e)
	}
	if n > 0 && err == nil {
		r.Hit(c.id, e.Size, age)
		ask.verdict.Use().Hit()
		if state == cache.Stale {
			c.refresh(&ask, e)
		}
	}
	return n, err
}

// asked is a group whose result may be stored.
type asked struct {
	group
	verdict  *query.Verdict
	session  string // the key of the client's settings
	settings *cacheSettings
	scope    uint64
	key      []byte // the pool's: to be copied by who keeps it
	day      string // its date, where the verdict says Day
	check    []int  // parameters that have a word of time, in text
}

// findStatement fills in the text of a group that has no Parse. It reports false
// where the names are for the long way to sort out.
func (c *client) findStatement(g *group) bool {
	switch {
	case g.simple:
		return true
	case g.about && g.bound && !g.plain(): // the description of a statement tells the types of its parameters
		return false
	case g.parse && len(g.name) > 0:
		return c.statements[string(g.name)] == nil && len(c.statements) < maxNamed && c.namedBytes+len(g.body) <= maxNamedBytes
	case g.parse:
		return true
	case len(g.name) == 0:
		return c.unnamedOK && (g.describe || c.unnamedTold.comparable()) && g.setBody(c.unnamed)
	}
	n := c.statements[string(g.name)]
	if n == nil || !n.sure || !g.describe && !n.told.comparable() {
		return false
	}
	return g.setBody(stringBytes(n.stmt.body))
}

// appendKey appends the key of a group: everything that can change the bytes of its
// result, each part with its length before it, in as few bytes as that takes: where there
// are many entries their keys are what they cost most. It reports false where it cannot be
// cached after all.
func (c *client) appendKey(b []byte, a *asked) ([]byte, bool) {
	part := func(p []byte) { b = append(binary.AppendUvarint(b, uint64(len(p))), p...) }
	b = binary.AppendUvarint(b, a.scope)
	part(stringBytes(a.session))
	part(stringBytes(a.verdict.Text))
	if a.verdict.Day {
		var ok bool
		if a.day, ok = a.settings.today(c.db.results.Now()); !ok {
			return b, false
		}
		part(stringBytes(a.day))
	}
	if a.simple {
		return append(b, 0), len(b) <= maxKey // no types, no parameters, all results in text
	}
	var blind byte // of a key that says so
	if a.blind() {
		blind = 2
	}
	n, times := 0, false
	results, ok := a.parameters(func(i int, format uint16, value []byte) {
		n++
		if times = times || a.verdict.Timed && query.TimeWord(value); format == 0 && query.TimeWord(value) {
			a.check = append(a.check, i)
		}
	})
	switch {
	case times: // which a cast of text would take from the clock
		c.missed = missedTime
		return b, false
	case !ok:
		return b, false
	case n == 0 && len(a.types) == 0 && allText(results): // as by a simple query
		return append(b, blind), len(b) <= maxKey
	}
	b = append(b, blind+1)
	part(a.types)
	b = binary.AppendUvarint(b, uint64(n))
	_, _ = a.parameters(func(_ int, format uint16, value []byte) {
		b = binary.AppendUvarint(b, uint64(format))
		if value == nil {
			b = append(b, 0)
			return
		}
		b = append(binary.AppendUvarint(b, uint64(len(value))+1), value...)
	})
	part(sameFormats(results))
	return b, len(b) <= maxKey
}

// allText reports whether formats of results are those of a simple query.
func allText(formats []byte) bool {
	for _, c := range formats {
		if c != 0 {
			return false
		}
	}
	return true
}

// sameFormats is one spelling of formats that mean the same: none for all in text,
// one where all are that one.
func sameFormats(f []byte) []byte {
	if allText(f) {
		return nil
	}
	for i := 2; i < len(f); i += 2 {
		if f[i] != f[0] || f[i+1] != f[1] {
			return f
		}
	}
	return f[:2]
}

// reply answers a group with a stored result. It returns 0 where the driver would
// misread it.
func (c *client) reply(a *asked, e *cache.Entry) (int, error) {
	skip, ok := c.begins(a, e.Body(), shape(e.Tag))
	if !ok {
		return 0, nil
	}
	c.adopt(a, shape(e.Tag))
	c.replies.gather()
	o := c.replies.buffer()
	*o = c.appendHead(*o, a, e.Body()[:skip])
	if e.Size <= inlineReply {
		*o = append(*o, e.Body()[skip:]...)
		*o = pgwire.AppendReadyForQuery(*o, pgwire.TxIdle)
		return a.size, nil
	}
	err := c.writeReplies()
	if err == nil {
		_, err = c.conn.Write(e.Body()[skip:])
	}
	for _, part := range e.More() {
		if err == nil {
			_, err = c.conn.Write(part)
		}
	}
	if err != nil {
		c.dead.Store(true)
		return 0, err
	}
	c.replies.put(pgwire.AppendReadyForQuery(nil, pgwire.TxIdle))
	return a.size, nil
}

// begins says how many bytes at the start of a result are not for the driver, or not to
// come right before the rows: the RowDescription where it asked for none of the portal.
// What the driver was told of the statement before must be the same then.
func (c *client) begins(a *asked, first []byte, columns shape) (skip int, ok bool) {
	if a.describe {
		return 0, true
	}
	told := c.unnamedTold
	switch {
	case a.about, a.blind() && (len(a.name) > 0 || !c.unnamedOK || !told.comparable() || !bytes.Equal(c.unnamed, a.body)):
		told = columns // it is told now, or nothing that it would go by
	case len(a.name) > 0:
		told = shapeUnknown
		if n := c.statements[string(a.name)]; n != nil {
			told = n.told
		}
	}
	if told != columns || !columns.comparable() {
		return 0, false
	}
	_, n, err := pgwire.Header(first)
	if err != nil || first[0] != pgwire.MsgRowDescription || pgwire.HeaderSize+n > len(first) {
		return 0, false
	}
	return pgwire.HeaderSize + n, true
}

// appendHead appends what comes before the rows of a group, of which columns may be a
// description.
func (c *client) appendHead(b []byte, a *asked, columns []byte) []byte {
	if a.parse {
		b = append(b, pgwire.MsgParseComplete, 0, 0, 0, 4)
	}
	if a.about {
		b = append(b, pgwire.MsgParameterDescription, 0, 0, 0, 6, 0, 0) // none
		b = append(b, columns...)
	}
	if !a.simple {
		b = append(b, pgwire.MsgBindComplete, 0, 0, 0, 4)
	}
	return b
}

// adopt brings the client's statements to where the group brings them.
func (c *client) adopt(a *asked, told shape) {
	if a.blind() {
		told = shapeUnknown
	}
	switch {
	case a.simple:
		c.unnamedOK = false // PostgreSQL forgets it at every simple Query
	case a.parse && len(a.name) == 0:
		if !c.unnamedOK || string(c.unnamed) != string(a.body) {
			c.setUnnamed(a.body, judge(textOf(a.body), c.standard()))
		}
		if a.about {
			c.unnamedTold = told
		}
	case a.parse:
		n := &named{stmt: c.intern(a.body), group: c.group, sure: true, told: told}
		c.namedBytes += len(n.stmt.body)
		if c.statements == nil {
			c.statements = make(map[string]*named)
		}
		c.statements[string(a.name)] = n
	case len(a.name) > 0 && a.describe:
		if n := c.statements[string(a.name)]; n != nil {
			n.told = told
		}
	}
}

// nearMidnight is how close to the end of a day in a session's zone, and to its
// beginning, results that depend on the date are neither stored nor returned: more
// than clocks of proxy and origin are apart.
const nearMidnight = 2 * time.Second
