package postgres

import (
	"container/list"
	"strconv"
	"sync"

	"github.com/sluicedb/sluice/proxy/query"
)

// namePrefix begins the names of prepared statements on origin connections.
const namePrefix = "sluice_"

// maxIdleStatements is how many statements a registry remembers that no client
// has prepared at the moment, for the next client with the same text.
const maxIdleStatements = 2000

// maxParse is the largest Parse in bytes: it is held in memory until its
// statement is closed. PostgreSQL's own bound is 1 GiB.
const maxParse = 16 << 20

// A statement is a text with its parameter types, prepared by at least one
// client or remembered from one. It is immutable.
type statement struct {
	id      uint64 // never reused
	name    string // on origin connections
	body    string // text, zero byte, count and OIDs of parameter types: a Parse from the second string on
	session query.Session
	shared  bool // known to the registry under its body

	refs int           // clients' names for it; of the registry's lock
	idle *list.Element // in the registry's list of those with no refs
}

// A registry interns the statements of a database, so that clients with the same
// text share what is prepared on an origin connection.
type registry struct {
	mu     sync.Mutex
	lastID uint64
	byBody map[string]*statement
	idle   list.List // *statement, oldest first
}

func newRegistry() *registry { return &registry{byBody: make(map[string]*statement)} }

// intern returns the statement of a body and counts one more name for it.
func (r *registry) intern(body []byte) *statement {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.byBody[string(body)]
	if !ok {
		s = r.add(string(body))
		s.shared = true
		r.byBody[s.body] = s
	}
	if s.refs++; s.idle != nil {
		r.idle.Remove(s.idle)
		s.idle = nil
	}
	return s
}

// fresh returns a statement of a body that nobody shares.
func (r *registry) fresh(body []byte) *statement {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.add(string(body))
	s.refs++
	return s
}

func (r *registry) add(body string) *statement {
	r.lastID++
	text := body
	for i := range len(body) {
		if body[i] == 0 {
			text = body[:i]
			break
		}
	}
	return &statement{
		id: r.lastID, name: namePrefix + strconv.FormatUint(r.lastID, 10),
		body: body, session: query.Scan([]byte(text)),
	}
}

// release takes one name of s back.
func (r *registry) release(s *statement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.refs--; s.refs > 0 || !s.shared {
		return
	}
	s.idle = r.idle.PushBack(s)
	for r.idle.Len() > maxIdleStatements {
		r.forget(r.idle.Remove(r.idle.Front()).(*statement))
	}
}

// retire makes the next Parse of the same text a new statement: s's plan is stale.
func (r *registry) retire(s *statement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !s.shared {
		return
	}
	if s.idle != nil {
		r.idle.Remove(s.idle)
	}
	r.forget(s)
}

func (r *registry) forget(s *statement) {
	s.idle, s.shared = nil, false
	delete(r.byBody, s.body)
}

// maxPrepared is how many statements an origin connection keeps prepared before
// the one unused for longest is closed: as many as PgBouncer's default of
// max_prepared_statements.
const maxPrepared = 200

// A prepared is what is known of a statement on one origin connection.
type prepared struct {
	stmt  *statement
	ready bool          // ParseComplete has come
	group uint64        // the client's group that sent the Parse, while not ready
	lru   *list.Element // of *prepared
}

// A preparedSet is the prepared statements of one origin connection.
type preparedSet struct {
	byID map[uint64]*prepared
	lru  list.List // *prepared, unused for longest first
}

// get returns what is known of s and marks it as just used.
func (p *preparedSet) get(s *statement) *prepared {
	e := p.byID[s.id]
	if e != nil {
		p.lru.MoveToBack(e.lru)
	}
	return e
}

// add notes that a Parse of s is on its way, in a group.
func (p *preparedSet) add(s *statement, group uint64) {
	if p.byID == nil {
		p.byID = make(map[uint64]*prepared)
	}
	e := &prepared{stmt: s, group: group}
	e.lru = p.lru.PushBack(e)
	p.byID[s.id] = e
}

// restore notes that s is prepared after all: its Close was skipped.
func (p *preparedSet) restore(s *statement) {
	if p.byID[s.id] == nil {
		p.add(s, 0)
		p.byID[s.id].ready = true
	}
}

func (p *preparedSet) remove(s *statement) {
	if e := p.byID[s.id]; e != nil {
		p.lru.Remove(e.lru)
		delete(p.byID, s.id)
	}
}

// surplus is a statement to close, or nil while there is room for one more.
func (p *preparedSet) surplus() *statement {
	if len(p.byID) < maxPrepared {
		return nil
	}
	for e := p.lru.Front(); e != nil; e = e.Next() {
		if p := e.Value.(*prepared); p.ready {
			return p.stmt
		}
	}
	return nil
}

func (p *preparedSet) clear() {
	p.byID = nil
	p.lru.Init()
}
