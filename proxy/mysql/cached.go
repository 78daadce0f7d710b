package mysql

import (
	"encoding/binary"
	"strings"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/mysql/verdict"
	"github.com/sluicedb/sluice/proxy/query"
)

// maxKey is the longest key in bytes, of text and parameters
// (query.StatusOversizedQuery beyond).
const maxKey = query.MaxText + mywire.BufferSize

// pinnedReply is the size in bytes of a stored result from which its memory is counted
// while it is being written.
const pinnedReply = mywire.BufferSize

// Why a statement that may be cached was not looked up, in words of missedWords.
const (
	missedBusy = iota
	missedCatalog
	missedSession
	missedWrite
	missedTransaction
	missedForm
	missedShared
)

var missedWords = []string{
	missedBusy:        "its client kept an origin connection (user variables, temporary tables, locks, PREPARE, an open cursor)",
	missedCatalog:     "the origin's catalog is not known at the moment",
	missedSession:     "the client's settings keep it from the cache (sql_mode, character_set_client, sql_auto_is_null, time_zone, a system schema)",
	missedWrite:       "a write to its tables is under way, or other proxies cannot be heard",
	missedTransaction: "inside a transaction, or with autocommit off",
	missedForm:        "sent in a form that is not looked up: in pieces, with query attributes, by a cursor, or with parameters sent ahead",
	missedShared:      "another client was asking the same at the moment",
}

// keptText is the longest text in bytes whose verdict a client remembers, also when the
// rest of the proxy has forgotten it.
const keptText = 2 << 10

var keys = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// An asked is a statement that was looked up.
type asked struct {
	verdict *query.Verdict
	key     []byte // the pool's: to be copied by who keeps it
	day     string // its date, where the verdict says Day
}

// An execution is what the result of a prepared statement depends on beside its text.
type execution struct {
	context              string // what decided what the text means when it was prepared
	types, nulls, values []byte // of the parameters
	columns              int    // as the driver was told
}

// answerCached tries to answer a statement, whose command is whole in the read buffer, from the
// cache. values are those of an execution, nil of a query in text. Where there is no
// answer the client's recording, if it is not nil, is to be told what the origin says.
func (c *client) answerCached(text []byte, values *execution) (done bool, err error) {
	r := c.db.results
	if !r.Answers() {
		return false, nil
	}
	scope := r.Space.Scope() // before the verdict: see results.Results.Keep
	ask := asked{verdict: r.Statements.Again(c.verdict, text)}
	v := ask.verdict
	if len(text) <= keptText {
		c.verdict = v
	}
	if v.Status != query.StatusMiss {
		return false, nil // which lookAt counts
	}
	if c.missed = c.mayLookUp(); c.missed >= 0 {
		return false, nil
	}
	if c.missed = missedCatalog; !r.Ready() {
		return false, nil
	}
	if c.missed = missedSession; v.Day {
		var ok bool
		if ask.day, ok = c.today(); !ok {
			return false, nil
		}
	}
	buf := keys.Get().(*[]byte)
	defer keys.Put(buf)
	*buf = c.appendKey((*buf)[:0], scope, &ask, values)
	if ask.key = *buf; len(ask.key) > maxKey {
		c.missed = missedForm
		return false, nil
	}
	e, state, age := r.Space.Get(ask.key)
	if state == cache.Absent || values != nil && tag(e.Tag).columns() != values.columns {
		c.record(&ask, nil)
		return false, nil
	}
	if state == cache.Stale && r.Space.Refresh(e) { // it is this client's turn to fetch a new one
		if c.record(&ask, e); c.recording != nil {
			return false, nil
		}
		r.Space.Refreshed(e, true)
	}
	if e.Size > pinnedReply {
		if !r.Space.Pin(e) {
			c.missed = missedShared
			return false, nil
		}
		defer r.Space.Unpin(e)
	}
	r.Hit(uint64(c.id), e.Size, age)
	v.Use().Hit()
	c.db.counts.queries.Add(1)
	return true, c.replyStored(e)
}

// mayLookUp is why the client's statement is not looked up; -1: it is.
func (c *client) mayLookUp() int {
	switch {
	case c.status.Has(mywire.StatusInTrans), !c.autocommit():
		return missedTransaction
	case c.origin != nil:
		return missedBusy
	case !c.plain():
		return missedSession
	}
	return -1
}

// A fitting is whether a session's settings let the texts of its statements be read as
// the judge reads them.
type fitting struct {
	state  *state
	source query.Source
	plain  bool
}

// plain reports whether the client's do.
func (c *client) plain() bool {
	s, source := c.session.state, c.db.results.Statements.Source()
	if c.fits.state != s || c.fits.source != source {
		c.fits = fitting{s, source, isPlain(s, verdict.SourceCatalog(source))}
	}
	return c.fits.plain
}

func isPlain(s *state, catalog *verdict.Catalog) bool {
	if catalog == nil || verdict.IsSystem(s.schema) { // names without a schema are of those the catalog has
		return false
	}
	mode := catalog.SQLMode
	for _, v := range s.settings {
		switch v.name {
		case "sql_auto_is_null":
			if v.value != "OFF" && v.value != "0" {
				return false
			}
		case "sql_mode":
			if v.value != ignoreSpace {
				mode = v.value
			}
		case "character_set_client":
			if !plainCharsets[v.value] {
				return false
			}
		}
	}
	return !oddMode(mode)
}

// oddMode reports whether a sql_mode makes a server read texts otherwise than the judge:
// quotes, backslashes, or another language.
func oddMode(mode string) bool {
	mode = strings.ToUpper(mode)
	for _, odd := range []string{"ANSI", "NO_BACKSLASH_ESCAPES", "ORACLE", "MSSQL", "DB2", "MAXDB", "POSTGRESQL"} {
		if strings.Contains(mode, odd) {
			return true
		}
	}
	return false
}

// plainCharsets are character sets of texts, by name and by the collations that drivers
// log in with, of which no byte of a character beyond ASCII is one of ASCII, and none is
// a blank.
var plainCharsets = map[string]bool{
	"utf8mb4": true, "utf8mb3": true, "utf8": true, "45": true, "46": true, "33": true, "83": true, "192": true, "224": true, "246": true, "255": true,
}

// appendKey appends everything that can change the bytes of a result, each part with its
// length before it.
func (c *client) appendKey(b []byte, scope uint64, a *asked, x *execution) []byte {
	s := c.session.state
	b = binary.BigEndian.AppendUint64(b, scope)
	b = appendPart(appendPart(b, s.id), s.schema)
	b = appendPart(appendPart(b, a.verdict.Text), a.day)
	if x == nil {
		return append(b, 0)
	}
	b = appendPart(appendPart(append(b, 1), x.context), x.types)
	return appendPart(appendPart(b, x.nulls), x.values)
}

func appendPart[T string | []byte](b []byte, p T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...)
}

// nearMidnight is how close to the end of a day in a session's zone, and to its
// beginning, results that depend on the date are neither stored nor returned: more than
// clocks of proxy and origin are apart.
const nearMidnight = 2 * time.Second

// today is the date in the session's time zone; it reports false where that is not known
// for certain.
func (c *client) today() (string, bool) {
	catalog := verdict.SourceCatalog(c.db.results.Statements.Source())
	if catalog == nil {
		return "", false
	}
	zone, set := c.session.state.get("time_zone")
	if !set {
		zone = catalog.TimeZone
	}
	if strings.EqualFold(zone, "SYSTEM") {
		zone = catalog.SystemTimeZone
	}
	loc := location(zone)
	if loc == nil {
		return "", false
	}
	now := c.db.results.Now().In(loc)
	day := now.Format(time.DateOnly)
	return day, now.Add(nearMidnight).Format(time.DateOnly) == day && now.Add(-nearMidnight).Format(time.DateOnly) == day
}

// location is the zone of an offset, or of UTC; nil for others, whose rules the origin
// may know otherwise.
func location(zone string) *time.Location {
	if strings.EqualFold(zone, "UTC") {
		return time.UTC
	}
	t, err := time.Parse("-07:00", zone)
	if err != nil {
		return nil
	}
	_, offset := t.Zone()
	return time.FixedZone(zone, offset)
}

// replyStored answers with a stored result: the driver's command is dropped.
func (c *client) replyStored(e *cache.Entry) error {
	if err := c.drop(); err != nil {
		return err
	}
	t := tag(e.Tag)
	c.affected, c.found, c.warned = -1, t.rows(), nil
	p := player{c: c, seq: c.lastSeq, columns: t.columns()}
	p.play(e.Body())
	for _, part := range e.More() {
		if err := c.writeReplies(); err != nil {
			return err
		}
		p.play(part)
	}
	p.end()
	end := mywire.OK{EOF: true, Status: c.status}
	c.put(p.seq+1, func(b []byte) []byte { return c.appendEnd(b, &end) })
	return c.writeReplies()
}

// A player passes the packets of a stored result on with numbers of its own, and with
// the EOF behind the columns where the driver expects one.
type player struct {
	c       *client
	seq     byte // of the last packet
	columns int
	passed  int // packets that have begun, the EOF among them
	left    int // bytes of a packet still to come
	head    [mywire.HeaderSize]byte
	heads   int // bytes of head
}

// play passes a part of the result on, which may end inside a packet.
func (p *player) play(body []byte) {
	p.c.replies.gather()
	o := p.c.replies.buffer()
	b := *o
	for len(body) > 0 {
		if p.left > 0 {
			n := min(p.left, len(body))
			b = append(b, body[:n]...)
			p.left -= n
			body = body[n:]
			continue
		}
		n := copy(p.head[p.heads:], body)
		body = body[n:]
		if p.heads += n; p.heads < mywire.HeaderSize {
			break
		}
		p.heads = 0
		b = p.endColumns(b)
		p.passed++
		p.seq++
		p.left, _ = mywire.Header(p.head[:])
		b = mywire.AppendHeader(b, p.left, p.seq)
	}
	*o = b
}

// end passes on what follows the last packet.
func (p *player) end() {
	p.c.replies.gather()
	o := p.c.replies.buffer()
	*o = p.endColumns(*o)
}

// endColumns appends the EOF behind the columns, where that is due.
func (p *player) endColumns(b []byte) []byte {
	if p.passed != 1+p.columns || p.c.caps.Has(mywire.CapDeprecateEOF) {
		return b
	}
	p.passed++
	p.seq++
	b, start := mywire.BeginPacket(b, p.seq)
	return mywire.EndPacket(mywire.EOF{Status: p.c.status}.Append(b), start)
}
