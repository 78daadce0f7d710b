package mysql

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicedb/sluice/protocol/mywire"
	"github.com/sluicedb/sluice/protocol/stream/bufconn"
	"github.com/sluicedb/sluice/proxy/pool"
	"github.com/sluicedb/sluice/proxy/query"
	"github.com/sluicedb/sluice/proxy/results"
)

var (
	errTerminated = errors.New("driver said goodbye")
	errIdle       = errors.New("idle") // stands for reading from a driver that is to go and may
)

// A client is one driver's connection, logged in.
type client struct {
	s        *Server
	db       *Database
	pool     *pool.Pool[*origin] // of the class that it belongs to
	user     string
	id       uint32              // that it is told
	caps     mywire.Capabilities // agreed on with the driver
	salt     mywire.Salt         // of its greeting
	secure   bool                // it came with TLS
	welcomed time.Time           // when it was logged in

	socket net.Conn // below conn
	conn   *mywire.Conn
	waiter *pool.Waiter[*origin]

	mu       sync.Mutex // held while a command is served; what follows is of its holder
	requests feed       // to the origin
	replies  feed       // to the driver
	reply    mywire.Reply
	give     giving
	lastSeq  byte          // number of the driver's last packet
	owed     int           // replies to commands of the proxy's own that come first
	status   mywire.Status // as the driver knows it
	session  session
	lease    lease
	running  judgement // of the command under way
	began    int64     // unix nanoseconds: when the origin was asked for what runs; 0: nothing does
	late     bool      // a cancel of what ran before may still be on its way
	lastWord bool      // it is served once more though it is to go

	current  *named  // that is executed, or fetched from
	again    *[]byte // the execution, for as long as it may be repeated; nil: it cannot be
	repeated bool    // it has been

	statements     map[uint32]*named // by the ids told to the driver
	lastStatement  uint32
	statementBytes int // of their texts

	lastID   uint64    // what LAST_INSERT_ID() was, before idAnswer
	idAnswer *idAnswer // what it is now; nil: as it was
	affected int64     // what ROW_COUNT() is
	found    uint64    // what FOUND_ROWS() is
	warned   []byte    // the rows of SHOW WARNINGS, as packets; nil: none

	recording *recording     // of the command under way; nil: none
	missed    int            // why the statement was not looked up
	verdict   *query.Verdict // on what was looked up last, if it is short
	fits      fitting
	writes    results.Writes // not yet known to be committed
	unseen    bool           // the lease began while nobody looked at what statements change

	dead     atomic.Bool  // writes to the driver are pointless
	since    atomic.Int64 // unix nanoseconds: when what is running began; 0: nothing is
	canceled atomic.Int64 // unix nanoseconds: when the watch cancelled it; 0: it did not
	paused   atomic.Int64 // unix nanoseconds: since when the driver is silent with an origin connection; 0: it is not
	expelled atomic.Int64 // unix nanoseconds: since when the client is no longer welcome; 0: it is
	silent   atomic.Bool  // it was silent in a transaction for too long
	forced   atomic.Bool  // it has had the time to go by itself
	killed   atomic.Bool  // by KILL

	leaseMu sync.Mutex // guards origin towards cancels
	origin  *origin
}

// serve runs until the driver leaves or must, or, with bufconn.ErrRest, until it is to be called again in a new goroutine. It takes no
// deferred leave: what panics may hold the lock, and should end the process.
func (c *client) serve() error {
	err := c.commands()
	if errors.Is(err, bufconn.ErrRest) {
		return err
	}
	c.end()
	return err
}

func (c *client) commands() error {
	for {
		if err := c.await(); errors.Is(err, bufconn.ErrRest) {
			return err
		} else if err != nil {
			return c.lost(err)
		}
		c.mu.Lock()
		err := c.command()
		c.mu.Unlock()
		if err != nil {
			return err
		}
		c.conn.Release()
	}
}

// await reads until a command has begun.
func (c *client) await() error {
	for len(c.conn.Bytes()) <= mywire.HeaderSize {
		err := errIdle
		if !c.unwelcome() || c.attached() {
			err = c.conn.Await()
		}
		if err != nil && !c.spared(err) {
			return err
		}
		if b := c.conn.Bytes(); len(b) == mywire.HeaderSize { // what follows is no part of an empty packet
			if n, _ := mywire.Header(b); n == 0 {
				return mywire.ErrProtocol
			}
		}
	}
	return nil
}

// settleIn is how long a client stays welcome that logs in while the proxy stops:
// long enough for the one thing that a driver connects for, where it uses a
// connection for one thing.
const settleIn = time.Second

// unwelcome reports whether the client is to go as soon as it is idle.
func (c *client) unwelcome() bool {
	return c.s.stopping.Load() && time.Since(c.welcomed) > settleIn || c.expelled.Load() != 0 || c.killed.Load()
}

// attached reports whether the client has an origin connection.
func (c *client) attached() bool {
	c.leaseMu.Lock()
	defer c.leaseMu.Unlock()
	return c.origin != nil
}

// spared reports whether reading failed only because the client looked idle when
// it was to go: it has begun a transaction since, and may finish that.
func (c *client) spared(err error) bool {
	if !isTimeout(err) && !errors.Is(err, errIdle) || c.forced.Load() || c.killed.Load() {
		return false
	}
	if c.silent.Load() {
		if c.tooSilent(time.Now()) {
			return false
		}
		c.silent.Store(false) // it spoke at the last moment
		return c.conn.SetReadDeadline(time.Time{}) == nil
	}
	if !c.unwelcome() {
		return false
	}
	return c.attached() && c.conn.SetReadDeadline(time.Time{}) == nil || c.hasSpoken()
}

// hasSpoken reports whether there is something to be read from the driver. It is
// let through, once: what it asks for has not been heard when it is told to go.
func (c *client) hasSpoken() bool {
	if c.lastWord || c.conn.Quiet() || c.conn.Gone() {
		return false
	}
	c.lastWord = true
	return c.conn.SetReadDeadline(time.Time{}) == nil && c.conn.Fill() == nil
}

// lost says why reading from the driver ended.
func (c *client) lost(err error) error {
	switch {
	case c.killed.Load():
		return c.fail(0, mywire.Errorf(mywire.CodeQueryInterrupted, "Connection was killed"))
	case c.silent.Load():
		return c.fail(0, errSilent)
	case c.unwelcome() && (!c.attached() || c.forced.Load()):
		return c.fail(0, errStopping)
	case errors.Is(err, mywire.ErrProtocol):
		return c.fail(0, mywire.Errorf(mywire.CodeMalformedPacket, "Malformed communication packet."))
	}
	return fmt.Errorf("read from driver: %w", err)
}

// fail tells the driver why its connection ends, with a packet of the given
// number, if err is meant for it.
func (c *client) fail(seq byte, err error) error {
	var e *mywire.Error
	if !errors.As(err, &e) || c.dead.Load() || c.give.left > 0 {
		return err
	}
	c.dead.Store(true)
	_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.conn.Write(e.AppendPacket(nil, seq))
	return err
}

// begin notes when what the origin is asked for now began. A cancel of what ran before must not hit it.
func (c *client) begin() {
	if c.late && c.origin != nil {
		if on := c.origin.cancels.Over(); on != nil {
			<-on // bounded by cancelTimeout
		}
	}
	c.late = false
	c.began = time.Now().UnixNano()
	c.paused.Store(0)
	if c.since.CompareAndSwap(0, c.began) {
		c.canceled.Store(0) // the watch may have come late with one
	}
}

// rest notes that nothing runs.
func (c *client) rest() {
	c.since.Store(0)
	c.late = c.canceled.Swap(0) != 0 || c.late
	now := int64(0)
	if c.began != 0 {
		now = time.Now().UnixNano()
		c.db.counts.took.Observe(time.Duration(now - c.began))
		c.began = 0
	}
	if c.origin == nil || !c.busy() {
		now = 0
	}
	c.paused.Store(now)
}

// attach leases an origin connection, where the client has none, and brings it
// into the client's state.
func (c *client) attach() *mywire.Error {
	if c.origin != nil {
		return c.apply()
	}
	c.since.Store(time.Now().UnixNano())
	if c.replies.pending() > 0 { // answers to what came before need not wait
		_ = c.writeReplies()
	}
	o, err := c.pool.Get(c.waiter)
	if err != nil {
		c.rest()
		return poolError(err)
	}
	c.leaseMu.Lock()
	c.origin = o
	c.leaseMu.Unlock()
	c.unseen = !c.db.results.Watches()
	c.replies.gather()
	c.replies.src = o.Conn
	return c.apply()
}

// detach gives the origin connection back. What of its replies is not written
// yet is kept.
func (c *client) detach() {
	c.replies.hold()
	o, l := c.origin, &c.lease
	c.leaseMu.Lock()
	c.origin = nil
	cut := o.cut
	c.leaseMu.Unlock()
	c.replies.src = nil
	l.pins = 0
	_ = c.settlePins()
	if cut || c.owed > 0 || len(o.Bytes()) > 0 { // deadlines, or packets that nobody waits for
		l.spoilt = true
	}
	c.settleWrites(l.spoilt)
	left := leftovers{id: c.leaveID(), locked: l.locked, dirty: l.dirty || c.busy() || c.db.cfg.Load().Policy == Reset, spoilt: l.spoilt || l.seen}
	c.lease = lease{}
	c.status &^= mywire.StatusInTrans | mywire.StatusInTransReadOnly
	c.give, c.owed = giving{}, 0
	c.rest()
	c.s.giveBack(o, left)
}

// end leaves nothing of the client behind.
func (c *client) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead.Store(true)
	_ = c.conn.SetDeadline(time.Unix(1, 0))
	if c.origin != nil {
		c.abandon()
	}
	c.replies.drop()
	c.requests.drop()
	c.conn.Drop()
	c.forgetStatements()
}

// abandon gives the origin connection of a client that is gone back: what is open
// is rolled back and reset. Where something runs, or half a command was sent, it
// is ended first.
func (c *client) abandon() {
	c.db.counts.clientsGone.Add(1)
	if c.began != 0 {
		c.lease.spoilt = true
		if c.origin.cancels.Over() == nil { // the watch has not asked already
			c.cancelOrigin()
		}
	}
	c.detach()
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
