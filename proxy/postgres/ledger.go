package postgres

import "github.com/sluicedb/sluice/protocol/pgwire"

// maxOwed is how many replies a client may be owed before the proxy stops
// reading requests; a pipeline of 100 groups of five messages, Postgres.js's
// largest, stays far below.
const maxOwed = 16384

// flags of an entry.
const (
	own       uint8 = 1 << iota // the proxy's own message: its replies are swallowed
	local                       // not sent to the origin: answered by the proxy when its turn comes
	silent                      // own: the driver is not told of parameters that it changes, either
	restoring                   // own: puts settings of the start-up packet in force again
	tidying                     // own: asks what the client has left
	unseen                      // its text was too long to be looked at
	forgets                     // Query, Close: the unnamed statement gen, which there was, goes with it
	opens                       // Query, Sync: what it ends may have begun a transaction block
)

// An entry is one message whose reply is owed, in the order sent.
type entry struct {
	kind  byte // type of the message; MsgClose only where a statement is closed
	flags uint8
	name  string        // Parse, Close: the client's name of the statement. Local Query, Execute: the tag
	named *named        // Parse, Close: what the name stood for; nil for the unnamed one. Describe: who is told
	stmt  *statement    // Parse, Bind, Describe: the statement; nil for the unnamed one
	on    *prepared     // Parse, own Close, Describe: the statement on the origin connection
	told  shape         // Describe: what the driver knew before. Local Execute: shapeNone where that is to be told
	gen   uint64        // Parse and Describe of the unnamed statement, and what forgets it: which one it was
	patch *patch        // Query: how its text differs from the driver's; nil where it does not
	err   *pgwire.Error // what replaces the origin's error, which is provoked
}

// endsGroup reports whether ReadyForQuery answers the driver's message.
func (e *entry) endsGroup() bool {
	return e.flags&(own|local) == 0 && (e.kind == pgwire.MsgQuery || e.kind == pgwire.MsgSync || e.kind == pgwire.MsgFunctionCall)
}

// A ledger is the queue of entries. The origin answers strictly in order, so the
// head says what the next reply belongs to.
type ledger struct {
	ring    []entry // length a power of two
	head, n int
	ready   int // entries of the driver's that ReadyForQuery answers
	opening int // entries that may begin a transaction block
	owed    int // entries whose answer somebody waits for: all but tidies, with what goes before them
}

func (l *ledger) push(e entry) {
	if l.n == len(l.ring) {
		l.grow()
	}
	l.count(&e, 1)
	l.ring[(l.head+l.n)&(len(l.ring)-1)] = e
	l.n++
}

func (l *ledger) grow() {
	ring := make([]entry, max(8, 2*len(l.ring)))
	for i := range l.n {
		ring[i] = *l.at(i)
	}
	l.ring, l.head = ring, 0
}

// at is the entry i behind the head.
func (l *ledger) at(i int) *entry { return &l.ring[(l.head+i)&(len(l.ring)-1)] }

func (l *ledger) pop() entry {
	p := l.at(0)
	e := *p
	*p = entry{}
	l.head = (l.head + 1) & (len(l.ring) - 1)
	l.n--
	l.count(&e, -1)
	return e
}

func (l *ledger) count(e *entry, d int) {
	if e.endsGroup() {
		l.ready += d
	}
	if e.flags&(tidying|restoring) == 0 {
		l.owed += d
	}
	if e.flags&opens != 0 {
		l.opening += d
	}
}

// begins reports whether something is owed that may begin a transaction block, with
// more behind it. What cancels the one would let each statement of the other be a
// transaction of its own, and be committed, though nobody has said COMMIT. A cancel
// hits what runs when it comes, which may be anything that is owed when it is sent.
func (l *ledger) begins() bool {
	return l.opening > 1 || l.opening == 1 && l.at(l.n-1).flags&opens == 0
}

// drop takes the entries from i up to but without j for which is says so out, and
// returns how many.
func (l *ledger) drop(i, j int, is func(*entry) bool) int {
	kept := i
	for ; i < l.n; i++ {
		e := *l.at(i)
		if i < j && is(&e) {
			l.count(&e, -1)
			continue
		}
		*l.at(kept) = e
		kept++
	}
	dropped := l.n - kept
	for i := kept; i < l.n; i++ {
		*l.at(i) = entry{}
	}
	l.n = kept
	return dropped
}

// shrink gives a ring back that a large pipeline made, once it is empty.
func (l *ledger) shrink() {
	if l.n == 0 && len(l.ring) > 64 {
		l.ring, l.head = nil, 0
	}
}
