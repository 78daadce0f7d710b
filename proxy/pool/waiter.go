package pool

import (
	"maps"
	"slices"
	"time"
	"weak"
)

type result[C Conn] struct {
	c   C
	err error
}

// A Waiter is one client's place in line. A client that has one Get at a time
// makes its Waiter once and uses it for every Get.
//
// Exactly one result is delivered to a Waiter in line, by whoever takes it out
// of the line under the pool's lock. So there is nothing to race with: a
// connection that is handed over at the instant of a timeout is never lost.
type Waiter[C Conn] struct {
	tenant     *tenant[C]
	ready      chan result[C] // holds one, so that delivery never blocks
	since      time.Time
	prev, next *Waiter[C]
	queued     bool
}

// Waiter makes a Waiter for a client of a tenant. Tenants that wait get equal
// shares of the connections; clients of one are served in the order of asking.
func (p *Pool[C]) Waiter(name string) *Waiter[C] {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &Waiter[C]{tenant: p.line.tenant(name), ready: make(chan result[C], 1)}
}

// Cancel makes a Get that is waiting with w return ErrCanceled. It reports
// whether there was one.
func (p *Pool[C]) Cancel(w *Waiter[C]) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !w.queued {
		return false
	}
	p.line.remove(w)
	w.ready <- result[C]{err: ErrCanceled}
	return true
}

// A tenant is those clients that share one part of the pool: the users of one
// credential, of which a database has no more than a hundred at a time.
type tenant[C Conn] struct {
	list[C]
	held int // connections lent to its clients
}

// A line is where clients wait, each behind the others of its tenant.
type line[C Conn] struct {
	tenants map[string]weak.Pointer[tenant[C]] // by name: their waiters keep them, and who has a connection
	most    int                                // tenants, before those that are gone are looked for
	waiting []*tenant[C]                       // those with somebody in line
	n       int                                // clients in line
}

// fewTenants is how many tenants a line has before it looks for those that are gone: as
// many as a database has at a time, twice.
const fewTenants = 200

// tenant returns the tenant of a name.
func (l *line[C]) tenant(name string) *tenant[C] {
	if t := l.tenants[name].Value(); t != nil {
		return t
	}
	if len(l.tenants) >= l.most { // names come and go
		maps.DeleteFunc(l.tenants, func(_ string, t weak.Pointer[tenant[C]]) bool { return t.Value() == nil })
		l.most = max(fewTenants, 2*len(l.tenants))
	}
	t := new(tenant[C])
	l.tenants[name] = weak.Make(t)
	return t
}

func (l *line[C]) push(w *Waiter[C]) {
	if w.tenant.head == nil {
		l.waiting = append(l.waiting, w.tenant)
	}
	w.tenant.push(w)
	l.n++
}

// pop takes out whose turn it is: of the tenants that wait the one that has the
// fewest connections, of equals the one that has waited longest.
func (l *line[C]) pop() *Waiter[C] {
	var next *tenant[C]
	for _, t := range l.waiting {
		if next == nil || t.held < next.held || t.held == next.held && t.head.since.Before(next.head.since) {
			next = t
		}
	}
	if next == nil {
		return nil
	}
	w := next.head
	l.remove(w)
	return w
}

func (l *line[C]) remove(w *Waiter[C]) {
	w.tenant.remove(w)
	l.n--
	if w.tenant.head == nil {
		i := slices.Index(l.waiting, w.tenant)
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
}

// A list is a queue with removal from the middle.
type list[C Conn] struct {
	head, tail *Waiter[C]
}

func (l *list[C]) push(w *Waiter[C]) {
	w.prev, w.next, w.queued = l.tail, nil, true
	if l.tail != nil {
		l.tail.next = w
	} else {
		l.head = w
	}
	l.tail = w
}

func (l *list[C]) remove(w *Waiter[C]) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		l.tail = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
}
