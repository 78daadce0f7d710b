package postgres

import (
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

var keys = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// answer tries to answer what the driver has sent from the cache, or from a query
// that is under way for another client, or from one of its own whose result is
// stored. It returns how many bytes of b it has answered, 0 where they are to be
// taken message by message. It blocks until the answer is there. The client has no
// origin connection and owes and is owed nothing: so it is in no transaction, and
// nothing of its session is anywhere but in its settings. The lock is held.
func (c *client) answer(b []byte) (int, error) {
	r := c.db.results
	if r == nil || !r.on.Load() || c.inner || b[0] != pgwire.MsgQuery && b[0] != pgwire.MsgParse && b[0] != pgwire.MsgBind {
		return 0, nil
	}
	g, ok := readGroup(b)
	if !ok || !c.findStatement(&g) || !r.ready() {
		return 0, nil
	}
	session, settings := c.cacheSession()
	if settings == nil {
		return 0, nil
	}
	buf := keys.Get().(*[]byte)
	defer keys.Put(buf)
	ask := asked{group: g, session: session, settings: settings, scope: r.space.Scope()} // before the verdict: see results.load
	ask.verdict = r.statements.Judge(g.text)
	if ask.verdict.Status != query.StatusMiss {
		return 0, nil // which the message's own way counts
	}
	if *buf, ok = c.appendKey((*buf)[:0], &ask); !ok {
		return 0, nil
	}
	ask.key = *buf
	e, state := r.space.Get(ask.key)
	if state == cache.Absent || e.Size > inlineReply && !r.space.Pin(e) {
		return c.ask(&ask)
	}
	n, err := c.reply(&ask, e)
	if e.Size > inlineReply {
		r.space.Unpin(e)
	}
	if n > 0 && err == nil {
		r.count(query.StatusHit)
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
	named    *named // the statement, where it was prepared before under a name
}

// findStatement fills in the text of a group that has no Parse. It reports false
// where the names are for the long way to sort out.
func (c *client) findStatement(g *group) bool {
	switch {
	case g.simple:
		return true
	case g.parse && len(g.name) > 0:
		return c.statements[string(g.name)] == nil && len(c.statements) < maxNamed && c.namedBytes+len(g.body) <= maxNamedBytes
	case g.parse:
		return true
	case len(g.name) == 0:
		return c.unnamedOK && g.describe && g.setBody(c.unnamed)
	}
	n := c.statements[string(g.name)]
	if n == nil || !n.sure || !g.describe && !n.told.comparable() {
		return false
	}
	return g.setBody(stringBytes(n.stmt.body))
}

// appendKey appends the key of a group: everything that can change the bytes of its
// result, each part with its length before it. It reports false where it cannot be
// cached after all.
func (c *client) appendKey(b []byte, a *asked) ([]byte, bool) {
	part := func(p []byte) { b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...) }
	b = binary.BigEndian.AppendUint64(b, a.scope)
	part(stringBytes(a.session))
	part(stringBytes(a.verdict.Text))
	if a.verdict.Day {
		var ok bool
		if a.day, ok = a.settings.today(c.db.results.now()); !ok {
			return b, false
		}
		part(stringBytes(a.day))
	}
	if a.simple {
		return append(b, 0), len(b) <= maxKey // no types, no parameters, all results in text
	}
	n := 0
	results, ok := a.parameters(func(i int, format uint16, value []byte) {
		n++
		if format == 0 && query.TimeWord(value) {
			a.check = append(a.check, i)
		}
	})
	switch {
	case !ok:
		return b, false
	case n == 0 && len(a.types) == 0 && allText(results): // as by a simple query
		return append(b, 0), len(b) <= maxKey
	}
	b = append(b, 1)
	part(a.types)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	_, _ = a.parameters(func(_ int, format uint16, value []byte) {
		b = binary.BigEndian.AppendUint16(b, format)
		if value == nil {
			b = append(b, 0)
			return
		}
		b = append(b, 1)
		part(value)
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
	skip, ok := c.begins(a, e.Body[0], shape(e.Tag))
	if !ok {
		return 0, nil
	}
	c.adopt(a, shape(e.Tag))
	c.replies.gather()
	o := c.replies.buffer()
	*o = c.appendHead(*o, a)
	if e.Size <= inlineReply {
		for i, part := range e.Body {
			if i == 0 {
				part = part[skip:]
			}
			*o = append(*o, part...)
		}
		*o = pgwire.AppendReadyForQuery(*o, pgwire.TxIdle)
		return a.size, nil
	}
	for i, part := range e.Body {
		if i == 0 {
			part = part[skip:]
		}
		if err := c.writeReplies(); err != nil {
			return 0, err
		}
		if _, err := c.conn.Write(part); err != nil {
			c.dead.Store(true)
			return 0, err
		}
	}
	c.replies.put(pgwire.AppendReadyForQuery(nil, pgwire.TxIdle))
	return a.size, nil
}

// begins says how many bytes at the start of a result are not for the driver: the
// RowDescription where it asked for none. Then it must be what the driver was told
// of the statement before.
func (c *client) begins(a *asked, first []byte, columns shape) (skip int, ok bool) {
	if a.describe {
		return 0, true
	}
	if a.named = c.statements[string(a.name)]; a.named == nil || a.named.told != columns || !columns.comparable() {
		return 0, false
	}
	_, n, err := pgwire.Header(first)
	if err != nil || first[0] != pgwire.MsgRowDescription || pgwire.HeaderSize+n > len(first) {
		return 0, false
	}
	return pgwire.HeaderSize + n, true
}

// appendHead appends what comes before the rows of a group.
func (c *client) appendHead(b []byte, a *asked) []byte {
	if a.parse {
		b = append(b, pgwire.MsgParseComplete, 0, 0, 0, 4)
	}
	if !a.simple {
		b = append(b, pgwire.MsgBindComplete, 0, 0, 0, 4)
	}
	return b
}

// adopt brings the client's statements to where the group brings them.
func (c *client) adopt(a *asked, told shape) {
	switch {
	case a.simple:
		c.unnamedOK = false // PostgreSQL forgets it at every simple Query
	case a.parse && len(a.name) == 0:
		if !c.unnamedOK || string(c.unnamed) != string(a.body) {
			c.setUnnamed(a.body)
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
