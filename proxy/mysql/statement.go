package mysql

import (
	"container/list"
	"sync"
	"sync/atomic"
)

// A registry remembers this many statements, of this many bytes in all, that no
// client has prepared at the moment, for the next client with the same text.
const (
	maxIdleStatements = 2000
	maxIdleBytes      = 32 << 20
)

// A client may have this many statements prepared, of this many bytes in all. The
// largest cache of a driver that we know holds 16,000 (mysql2's maxPreparedStatements).
const (
	maxStatements     = 16000
	maxStatementBytes = 64 << 20
)

// A statement is a text that at least one client has prepared, or did before. It
// is immutable but for what it is asked for under the registry's lock.
type statement struct {
	id     uint64 // never reused
	key    string // of the registry: context, zero byte, text
	text   string
	own    int // a function of the session's, which no origin is asked for; 0: it is none
	leaves judgement
	state  *state // of the client that prepared it: what decides what the text means
	meta   metadata
	shared bool        // known to the registry under its key
	stale  atomic.Bool // its columns have changed: the next PREPARE is a real one

	refs int           // clients' names for it; of the registry's lock
	idle *list.Element // in the registry's list of those with no refs
}

// Metadata is what the origin answered a PREPARE with.
type metadata struct {
	params, columns int
	warnings        uint16
	packets         []byte // definitions of parameters, then of columns, with headers
}

// A registry interns the statements of a database, so that clients with the same
// text share what is prepared on an origin connection.
type registry struct {
	mu        sync.Mutex
	lastID    uint64
	byKey     map[string]*statement
	idle      list.List // *statement, oldest first
	idleBytes int
}

func newRegistry() *registry { return &registry{byKey: make(map[string]*statement)} }

// find returns the statement of a key, if it is known and good, and counts one
// more name for it.
func (r *registry) find(key []byte) *statement {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.byKey[string(key)]
	if s == nil || s.stale.Load() {
		return nil
	}
	if s.refs++; s.idle != nil {
		r.unlist(s)
	}
	return s
}

// add makes the statement of a key that has just been prepared, with one name.
// The text starts at the given byte of the key.
func (r *registry) add(key string, at int, st *state, leaves judgement, meta metadata, shared bool) *statement {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastID++
	s := &statement{id: r.lastID, key: key, text: key[at:], state: st, leaves: leaves, meta: meta, shared: shared, refs: 1}
	if shared {
		if old := r.byKey[key]; old != nil {
			r.forget(old)
		}
		r.byKey[key] = s
	}
	return s
}

// split makes a statement like s for one name of it alone.
func (r *registry) split(s *statement) *statement {
	alone := r.add(s.key, len(s.key)-len(s.text), s.state, s.leaves, s.meta, false)
	r.release(s)
	return alone
}

// release takes one name of s back.
func (r *registry) release(s *statement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.refs--; s.refs > 0 || !s.shared {
		return
	}
	s.idle = r.idle.PushBack(s)
	r.idleBytes += s.size()
	for r.idle.Len() > maxIdleStatements || r.idleBytes > maxIdleBytes {
		r.forget(r.idle.Front().Value.(*statement))
	}
}

// retire makes the next PREPARE of the same text a real one.
func (r *registry) retire(s *statement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.stale.Store(true)
	if s.shared {
		r.forget(s)
	}
}

// retireAll does so for every text: tables have changed.
func (r *registry) retireAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.byKey {
		s.stale.Store(true)
		s.shared, s.idle = false, nil
	}
	clear(r.byKey)
	r.idle.Init()
	r.idleBytes = 0
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
	r.idleBytes -= s.size()
	s.idle = nil
}

func (s *statement) size() int { return len(s.key) + len(s.meta.packets) }

// maxPrepared is how many statements an origin connection keeps prepared: before
// one more the one unused for longest is closed. Fewer where the server has room
// for fewer (perConn).
const maxPrepared = 200

// A prepared is a statement on one origin connection.
type prepared struct {
	id     uint64 // of the statement
	server uint32 // what the origin calls it
	types  []byte // of the parameters, as the origin has them
	lru    *list.Element
}

// A preparedSet is the prepared statements of one origin connection.
type preparedSet struct {
	byID map[uint64]*prepared
	lru  list.List // *prepared, unused for longest first
}

// get returns what is known of s, or nil, and marks it as just used.
func (p *preparedSet) get(s *statement) *prepared {
	e := p.byID[s.id]
	if e != nil {
		p.lru.MoveToBack(e.lru)
	}
	return e
}

func (p *preparedSet) insert(e *prepared) {
	if p.byID == nil {
		p.byID = make(map[uint64]*prepared)
	}
	e.lru = p.lru.PushBack(e)
	p.byID[e.id] = e
}

func (p *preparedSet) remove(e *prepared) {
	p.lru.Remove(e.lru)
	delete(p.byID, e.id)
}

// surplus is the one unused for longest, or nil while there is room for one more.
func (p *preparedSet) surplus(most int) *prepared {
	if p.lru.Len() < most {
		return nil
	}
	return p.lru.Front().Value.(*prepared)
}

func (p *preparedSet) clear() {
	p.byID = nil
	p.lru.Init()
}
