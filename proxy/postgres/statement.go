package postgres

import (
	"bytes"
	"container/list"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/sluicedb/sluice/protocol/pgwire"
)

// namePrefix begins the names of prepared statements on origin connections.
const namePrefix = "sluice_"

// A registry remembers this many statements, of this many bytes in all, that no
// client has prepared at the moment, for the next client with the same text.
const (
	maxIdleStatements = 2000
	maxIdleBytes      = 32 << 20
)

// maxParse is the largest Parse in bytes: it is held in memory until its
// statement is closed. PostgreSQL's own bound is 1 GiB.
const maxParse = 16 << 20

// A client may have this many statements prepared, of this many bytes in all. The
// largest cache of a driver that we know holds 1000 (Rails' statement_limit).
const (
	maxNamed      = 5000
	maxNamedBytes = 64 << 20
)

// A statement is a text with its parameter types, prepared by at least one
// client or remembered from one. It is immutable.
type statement struct {
	id     uint64 // never reused
	name   string // on origin connections
	key    string // see registry.intern
	body   string // text, zero byte, count and OIDs of parameter types: a Parse from the second string on
	leaves judgement
	shared bool        // known to the registry under its key
	since  uint64      // changes of the catalog seen before it was made
	stale  atomic.Bool // columns have changed: what names it is to name a new one

	refs int           // clients' names for it; of the registry's lock
	idle *list.Element // in the registry's list of those with no refs
}

// A named is what one Parse made of a client's name. It counts as one reference
// to the statement, held by the client's map of names, or by the ledger's entry of
// the Close that took it from there.
type named struct {
	stmt  *statement
	group uint64 // of the Parse
	sure  bool   // the Parse has succeeded
	told  shape  // what the driver knows of its columns
}

// A registry interns the statements of a database, so that clients with the same
// text share what is prepared on an origin connection.
type registry struct {
	changes atomic.Uint64 // of the catalog that were seen

	mu        sync.Mutex
	lastID    uint64
	byKey     map[string]*statement
	idle      list.List // *statement, oldest first
	idleBytes int
}

func newRegistry() *registry { return &registry{byKey: make(map[string]*statement)} }

// intern returns the statement of a body and counts one more name for it. Clients
// with another context (state.key) do not share it: under another search_path
// the same text may mean another table.
func (r *registry) intern(context string, body []byte, standard bool) *statement {
	key := make([]byte, 0, len(context)+1+len(body))
	key = append(append(append(key, context...), 0), body...)
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.byKey[string(key)]
	if ok && s.since != r.changes.Load() { // another table's by now, or with other columns
		r.forget(s)
		ok = false
	}
	if !ok {
		s = r.add(string(key), len(context)+1, standard)
	}
	if s.refs++; s.idle != nil {
		r.unlist(s)
	}
	return s
}

// add makes the statement of a key, whose body starts at the given byte.
func (r *registry) add(key string, at int, standard bool) *statement {
	r.lastID++
	s := &statement{id: r.lastID, name: namePrefix + strconv.FormatUint(r.lastID, 10), key: key, body: key[at:], shared: true, since: r.changes.Load()}
	text := []byte(s.body)
	if i := bytes.IndexByte(text, 0); i >= 0 {
		text = text[:i]
	}
	s.leaves = judge(text, standard)
	r.byKey[key] = s
	return s
}

// release takes one name of s back.
func (r *registry) release(s *statement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.refs--; s.refs > 0 || !s.shared {
		return
	}
	s.idle = r.idle.PushBack(s)
	r.idleBytes += len(s.key)
	for r.idle.Len() > maxIdleStatements || r.idleBytes > maxIdleBytes {
		r.forget(r.idle.Front().Value.(*statement))
	}
}

// retire makes the next Parse of the same text a new statement: s's plan is stale.
func (r *registry) retire(s *statement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.stale.Store(true)
	if s.shared {
		r.forget(s)
	}
}

func (r *registry) forget(s *statement) {
	if s.idle != nil {
		r.unlist(s)
	}
	s.shared = false
	delete(r.byKey, s.key)
}

func (r *registry) unlist(s *statement) {
	r.idle.Remove(s.idle)
	r.idleBytes -= len(s.key)
	s.idle = nil
}

// maxPrepared is how many statements an origin connection keeps prepared: before
// one more the one unused for longest is closed. As many as PgBouncer's default of
// max_prepared_statements.
const maxPrepared = 200

// A prepared is a statement on one origin connection.
type prepared struct {
	id   uint64 // of the statement
	name string

	exists  bool   // by the replies that have come
	pending int    // Parses and Closes that are not answered yet
	parsed  bool   // the last of them is a Parse
	group   uint64 // the client's group that sent it
	shape   shape  // of its columns, once that was asked for

	lru *list.Element // of *prepared; nil if it is on its way out
}

// A preparedSet is the prepared statements of one origin connection.
type preparedSet struct {
	byID map[uint64]*prepared
	lru  list.List // *prepared, unused for longest first
}

// get returns what is known of s, or nil, and marks it as just used.
func (p *preparedSet) get(s *statement) *prepared {
	e := p.byID[s.id]
	if e != nil && e.lru != nil {
		p.lru.MoveToBack(e.lru)
	}
	return e
}

// parse notes that a Parse of s is on its way.
func (p *preparedSet) parse(s *statement, group uint64) *prepared {
	e := p.byID[s.id]
	if e == nil {
		if p.byID == nil {
			p.byID = make(map[uint64]*prepared)
		}
		e = &prepared{id: s.id, name: s.name}
		p.byID[s.id] = e
	}
	if e.lru == nil {
		e.lru = p.lru.PushBack(e)
	}
	e.pending++
	e.parsed, e.group, e.shape = true, group, shapeUnknown
	return e
}

// close notes that a Close of e is on its way.
func (p *preparedSet) close(e *prepared) {
	e.pending++
	e.parsed = false
	p.unlist(e)
}

// answered notes that a Parse or a Close of e has succeeded.
func (p *preparedSet) answered(e *prepared, exists bool) {
	e.exists = exists
	p.skipped(e)
}

// skipped notes that a Parse or a Close of e has failed or was skipped.
func (p *preparedSet) skipped(e *prepared) {
	switch e.pending--; {
	case e.pending > 0 || p.byID[e.id] != e:
	case !e.exists:
		p.unlist(e)
		delete(p.byID, e.id)
	case e.lru == nil:
		e.lru = p.lru.PushBack(e)
	}
}

func (p *preparedSet) unlist(e *prepared) {
	if e.lru != nil {
		p.lru.Remove(e.lru)
		e.lru = nil
	}
}

// surplus is the one unused for longest, or nil while there is room for one more.
func (p *preparedSet) surplus() *prepared {
	if p.lru.Len() < maxPrepared {
		return nil
	}
	return p.lru.Front().Value.(*prepared)
}

// surprised reports whether an error with the code, in answer to a message about s,
// contradicts what is known: a client may well bind what it has just deallocated.
func (p *preparedSet) surprised(s *statement, code string) bool {
	e := p.byID[s.id]
	return code == pgwire.CodeUnknownStatement && e != nil && e.exists || code == pgwire.CodeDuplicateStatement
}

// deallocated notes that all statements are gone, but for those whose Parse is still
// to be answered.
func (p *preparedSet) deallocated() {
	for _, e := range p.byID {
		if e.exists = false; e.pending == 0 {
			p.unlist(e)
			delete(p.byID, e.id)
		}
	}
}

func (p *preparedSet) clear() {
	p.byID = nil
	p.lru.Init()
}
