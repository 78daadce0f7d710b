package cache

import "sync/atomic"

// An epoch changes with each write to a table, or to anything of a space.
type epoch struct {
	n     atomic.Uint64
	dirty atomic.Int64          // writes under way
	last  atomic.Pointer[Stamp] // that was taken of tables of which this was the first
}

// A Stamp is the state of the tables that a query reads, as of before it was sent. It is
// immutable, and one for all queries of the same tables between two writes.
type Stamp struct {
	owner *Space
	space uint64 // all.n of the space and forgotten of the cache: neither ever falls
	of    []dependency
}

type dependency struct {
	epoch *epoch
	n     uint64
}

// Stamp takes the state of tables. It reports false where a write to one of them is
// under way: what a query reads then is not to be stored.
func (s *Space) Stamp(tables []uint32) (*Stamp, bool) {
	space := s.all.n.Load() + s.cache.forgotten.Load()
	of := &s.all
	if len(tables) > 0 {
		of = s.table(tables[0])
	}
	st := of.last.Load()
	if st == nil || st.space != space || !s.same(st, tables) {
		st = &Stamp{owner: s, space: space, of: make([]dependency, 0, len(tables))}
		for _, id := range tables {
			e := s.table(id)
			st.of = append(st.of, dependency{e, e.n.Load()})
		}
		of.last.Store(st)
	}
	return st, s.current(st)
}

// same reports whether st is of these tables as they are now.
func (s *Space) same(st *Stamp, tables []uint32) bool {
	if len(st.of) != len(tables) {
		return false
	}
	for i, id := range tables {
		if e := s.table(id); st.of[i] != (dependency{e, e.n.Load()}) {
			return false
		}
	}
	return true
}

// current reports whether nothing was written since st was taken, nor is being.
func (s *Space) current(st *Stamp) bool {
	if s.all.n.Load()+s.cache.forgotten.Load() != st.space || s.all.dirty.Load() != 0 || s.cache.suspended.Load() {
		return false
	}
	for i := range st.of {
		d := &st.of[i]
		if d.epoch.n.Load() != d.n || d.epoch.dirty.Load() != 0 {
			return false
		}
	}
	return true
}

// maxEpochs bounds the epochs of a space, some 100 bytes each: tables that are made and
// dropped again and again get ever new numbers. Tables whose numbers are the same modulo
// maxEpochs share one, and a write to one of them counts as one to all.
const maxEpochs = 1 << 16

func (s *Space) table(id uint32) *epoch {
	id %= maxEpochs
	if e, ok := s.tables.Load(id); ok {
		return e.(*epoch)
	}
	e, _ := s.tables.LoadOrStore(id, new(epoch))
	return e.(*epoch)
}

// Forget makes everything that is stored or under way in all spaces stale at once.
func (c *Cache) Forget() { c.forgotten.Add(1) }

// Suspend makes the cache return, store and share nothing until Resume: writes may
// not be heard of. It reports whether it was not suspended before.
func (c *Cache) Suspend() bool { return !c.suspended.Swap(true) }

// Resume ends what Suspend began. What is from before is forgotten.
func (c *Cache) Resume() {
	c.Forget()
	c.suspended.Store(false)
}

// A Write is a set of tables, or all of a space. Tables have numbers that mean the
// same to all proxies of the origin.
type Write struct {
	All    bool
	Tables []uint32
}

func (s *Space) each(w Write, do func(*epoch)) {
	if w.All {
		do(&s.all)
	}
	for _, id := range w.Tables {
		do(s.table(id))
	}
}

// Begin says that a write is about to be sent: until End nothing that was made from
// its tables is returned, stored or joined.
func (s *Space) Begin(w Write) { s.each(w, func(e *epoch) { e.dirty.Add(1) }) }

// Bump says that a write may have been committed.
func (s *Space) Bump(w Write) { s.each(w, func(e *epoch) { e.n.Add(1) }) }

// End says that a write that began is committed or will never be.
func (s *Space) End(w Write) {
	s.each(w, func(e *epoch) {
		e.n.Add(1) // first, so that there is no moment without either
		e.dirty.Add(-1)
	})
}
