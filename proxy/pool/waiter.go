package pool

import "time"

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
	ready      chan result[C] // holds one, so that delivery never blocks
	since      time.Time
	prev, next *Waiter[C]
	queued     bool
}

// NewWaiter makes a Waiter.
func NewWaiter[C Conn]() *Waiter[C] { return &Waiter[C]{ready: make(chan result[C], 1)} }

// Cancel makes a Get that is waiting with w return ErrCanceled. It reports
// whether there was one.
func (p *Pool[C]) Cancel(w *Waiter[C]) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !w.queued {
		return false
	}
	p.waiters.remove(w)
	w.ready <- result[C]{err: ErrCanceled}
	return true
}

// A list is a queue with removal from the middle.
type list[C Conn] struct {
	head, tail *Waiter[C]
	n          int
}

func (l *list[C]) push(w *Waiter[C]) {
	w.prev, w.next, w.queued = l.tail, nil, true
	if l.tail != nil {
		l.tail.next = w
	} else {
		l.head = w
	}
	l.tail = w
	l.n++
}

func (l *list[C]) pop() *Waiter[C] {
	w := l.head
	if w != nil {
		l.remove(w)
	}
	return w
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
	l.n--
}
