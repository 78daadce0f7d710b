package postgres

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/protocol/stream/bufconn"
	"github.com/sluicedb/sluice/proxy/cache"
	"github.com/sluicedb/sluice/proxy/pool"
	"github.com/sluicedb/sluice/proxy/query"
)

// maxHeld is how many bytes of an unfinished batch are kept back, so that a
// batch that comes in two packets is still one write to the origin.
const maxHeld = pgwire.BufferSize / 2

// keptUnnamed is the largest body of an unnamed statement in bytes whose memory
// a client keeps for the next one.
const keptUnnamed = 2 << 10

var errTerminated = errors.New("driver said goodbye")

// A client is one driver's connection, logged in.
type client struct {
	s      *Server
	db     *Database
	user   string
	id     uint64
	pid    uint32
	inner  bool // it asks on behalf of others: see runner
	secret []byte

	welcomed time.Time // when it was logged in

	socket  net.Conn // below conn
	conn    *pgwire.Conn
	waiter  *pool.Waiter[*origin]
	pumping bool          // a goroutine passes replies on
	pumped  chan struct{} // closed when it has ended
	runner  *runner       // for its next flight; nil: there is none yet

	unstored *cache.Flight // has ended, and is to be stored when the driver has its answer; nil: none
	recycles bool          // nobody else of this package knows unstored

	mail mailbox // has its own lock

	mu   sync.Mutex
	talk // of the goroutine that serves, and of the pump while there is one

	tidying  atomic.Int64 // unix nanoseconds: since when a tidy is under way; 0: none is
	dead     atomic.Bool  // writes to the driver are pointless
	since    atomic.Int64 // unix nanoseconds: when what is running began; 0: nothing is
	canceled atomic.Int64 // unix nanoseconds: when the watch cancelled it; 0: it did not
	paused   atomic.Int64 // unix nanoseconds: since when the driver is silent in a transaction; 0: it is not
	expelled atomic.Int64 // unix nanoseconds: since when the client is no longer welcome; 0: it is
	silent   atomic.Bool  // it was silent in a transaction for too long
	forced   atomic.Bool  // it has had the time to go by itself

	leaseMu sync.Mutex // guards what follows towards cancel requests and the watch
	origin  *origin

	flight     chan struct{} // closed to make it wait no longer for one, and kept for the next if it was not
	leading    *client       // the inner client that runs on its goroutine, nil for none
	inFlight   bool          // it waits for a flight
	flightLeft bool          // and was told not to any longer

	// Of an inner client: see lead.
	led         bool // it runs on the goroutine of the one that asked
	interrupted bool // and is to leave that
}

// A talk is what goes on between a client and the origin connections that it gets: what was
// asked for, what is owed, and what both have been told so far.
type talk struct {
	requests feed // to the origin
	replies  feed // to the driver
	ledger   ledger
	status   byte   // of the transaction, as the driver knows it
	unsynced bool   // a message of the extended protocol was sent since the last Sync
	skipping bool   // an error was reported: what comes before Sync is dropped
	copying  bool   // the origin takes CopyData
	group    uint64 // number of the Syncs sent
	taking   partial
	giving   partial
	again    bool  // there is more to take of what was read
	lastWord bool  // it is served once more though it is to go
	began    int64 // unix nanoseconds: when the origin was asked for what runs; 0: nothing does
	late     bool  // a cancel of what ran before may still be on its way
	worked   bool  // something was asked for in this lease beside BEGIN
	groups   int   // replies with ReadyForQuery asked for in this lease
	spare    int   // Syncs sent ahead of a COPY, which ignores them if it does not fail before
	writing  bool  // the serving goroutine is about to write to the origin
	closing  bool  // the pump ends when the ledger is empty
	leaving  bool  // the pump ends at once
	farewell bool  // the origin said FATAL, and the driver was told
	left     leftovers
	refused  *pgwire.Error // why there was no origin connection for the group that is skipped
	opening  bool          // the group under way may begin a transaction block
	ended    error         // why the pump ended the client
	session  session

	statements  map[string]*named // by the driver's names
	namedBytes  int               // of their bodies
	closed      map[string]uint64 // names whose Close is not answered, with its group
	freeing     bool              // any name may go with what is owed
	unnamed     []byte            // body of the unnamed one
	unnamedOK   bool
	unnamedGen  uint64
	unnamedTold shape  // what the driver knows of its columns
	doubts      int    // messages not answered that make or forget the unnamed statement
	doubtGroup  uint64 // of the last of them
	unnamedHas  judgement
	bound       bound // by the last Bind of this lease
	settings    cacheSettings
	parted      bool           // it has said goodbye
	writes      writes         // not yet known to be committed
	altered     bool           // a command that changes the catalog was told of in this transaction
	missed      int            // why what comes now was not looked up
	verdict     *query.Verdict // on what was looked up last, if it is short
	scratch     *query.Scratch // of verdict; nil: there is none yet
}

// A partial is a message that is longer than what has been read of it.
type partial struct {
	left int  // bytes still to come
	drop bool // they are not passed on
}

// serve runs until the driver leaves or must, or, with bufconn.ErrRest, until it is to be called again in a new goroutine. It takes no
// deferred leave: what panics may hold the lock, and should end the process.
func (c *client) serve() error {
	err := c.steps()
	if errors.Is(err, bufconn.ErrRest) {
		c.runner = nil // which costs as much memory as the client
		return err
	}
	c.parted = errors.Is(err, errTerminated)
	c.end()
	return err
}

func (c *client) steps() error {
	for {
		if !c.again {
			err := error(errIdle)
			if !c.unwelcome() || c.attached() {
				var read bool
				if read, err = c.fill(); !read && err == nil {
					continue
				}
			}
			switch {
			case err == nil:
			case errors.Is(err, bufconn.ErrRest):
				return err
			case !c.spared(err):
				return c.lost(err)
			default:
				continue
			}
		}
		err := c.step()
		if c.store(); err != nil {
			return err
		}
		if c.taking.left == 0 { // Fill looks for a header where there is no buffer
			c.conn.Release()
		}
	}
}

// settleIn is how long a client stays welcome that logs in while the proxy stops:
// long enough for the one thing that a driver connects for, where it uses a
// connection for one thing.
const settleIn = time.Second

// unwelcome reports whether the client is to go as soon as it is idle.
func (c *client) unwelcome() bool {
	return c.s.stopping.Load() && time.Since(c.welcomed) > settleIn || c.expelled.Load() != 0
}

// errIdle stands for reading from a driver that is to go and may.
var errIdle = errors.New("idle")

// spared reports whether reading failed only because the client looked idle when
// it was to go: it has begun a transaction since, and may finish that.
func (c *client) spared(err error) bool {
	if !c.silent.Load() && !c.unwelcome() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if isTimeout(err) && c.silent.Load() && !c.tooSilent(time.Now()) && !c.forced.Load() && c.ended == nil { // it spoke at the last moment
		c.silent.Store(false)
		return c.conn.SetReadDeadline(time.Time{}) == nil
	}
	if !isTimeout(err) || !c.unwelcome() || c.forced.Load() || c.ended != nil {
		return false
	}
	return (c.origin != nil || c.hasSpoken()) && c.conn.SetReadDeadline(time.Time{}) == nil
}

// hasSpoken reports whether there is something to be read from the driver. It is
// let through, once: what it asks for has not been heard when it is told to go.
func (c *client) hasSpoken() bool {
	if c.lastWord || c.conn.Quiet() || c.conn.Gone() {
		return false
	}
	c.lastWord = true
	return true
}

// lost says why reading from the driver ended.
func (c *client) lost(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return c.ended
	}
	if c.inner { // nobody is told
		return err
	}
	if c.unwelcome() && (c.origin == nil || c.forced.Load()) {
		return c.fail(errStopping)
	}
	if c.silent.Load() {
		return c.fail(errSilent)
	}
	if errors.Is(err, bufconn.ErrBufferFull) {
		return c.fail(pgwire.Fatalf(pgwire.CodeLimitExceeded, "message header exceeds %d bytes", pgwire.BufferSize))
	}
	return fmt.Errorf("read from driver: %w", err)
}

// step takes what was read and moves it on.
func (c *client) step() error {
	c.mu.Lock()
	answers, boundary, err := c.takeRequests()
	if err != nil {
		if c.origin == nil {
			_ = c.replies.flush(c.conn)
		}
		err = c.fail(err)
		c.mu.Unlock()
		return err
	}
	switch {
	case c.ended != nil:
		c.mu.Unlock()
		return c.ended
	case c.origin == nil:
		defer c.mu.Unlock()
		if err := c.requests.flush(nil); err != nil {
			return err
		}
		return c.replies.flush(c.conn)
	case boundary && !c.pumping:
		c.begin()
		// What was answered locally so far goes out with the replies.
		err := c.requests.flush(c.origin)
		c.mu.Unlock()
		return c.hear(c.pump(err))
	case answers, c.pumping, c.copying, c.taking.left > 0, c.requests.pending() > maxHeld:
		return c.stepDuplex(answers, boundary)
	}
	c.requests.hold()
	c.mu.Unlock()
	return nil
}

// stepDuplex writes while the pump reads, and waits for the pump at a boundary.
// The lock is held, and released.
func (c *client) stepDuplex(answers, boundary bool) error {
	c.startPump()
	if answers || boundary {
		c.begin()
	}
	o := c.origin
	c.writing = true
	var w feed
	w, c.requests = c.requests, feed{src: c.conn}
	c.mu.Unlock()
	err := w.flush(o) // the read buffer is this goroutine's alone
	c.mu.Lock()
	c.writing = false
	settled := err != nil || boundary || c.settled()
	if err != nil { // the origin may still have said why
		_ = o.SetReadDeadline(time.Now().Add(time.Second))
	}
	c.mu.Unlock()
	if !settled {
		return nil
	}
	if joined := c.joinPump(); joined != nil || err == nil {
		return c.hear(joined)
	}
	return c.originLost(err)
}

// startPump starts the pump where it is not running. The lock is held.
func (c *client) startPump() {
	if !c.pumping {
		c.pumping, c.pumped = true, make(chan struct{})
		go c.runPump(c.pumped)
	}
}

// hear sees to it, unless it failed, that the origin is heard while it takes
// CopyData: it may refuse more at any time. And so it is after that, where nobody
// knows how many Syncs it has ignored, and while it is asked what the client has
// left.
func (c *client) hear(err error) error {
	if err == nil && (c.copying || c.spare > 0 || c.ledger.n > 0) && c.origin != nil { // without the lock: there is no pump
		c.mu.Lock()
		c.startPump()
		c.mu.Unlock()
	}
	return err
}

// fail tells the driver why its connection ends, if err is meant for it. The lock
// is held, so that no reply is half written.
func (c *client) fail(err error) error {
	var pe *pgwire.Error
	if !errors.As(err, &pe) || c.dead.Load() || c.giving.left > 0 {
		return err
	}
	e := *pe
	e.Fatal = true
	_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.conn.Write(e.Append(nil))
	goodbye(c.conn.Conn)
	return err
}

// goodbye says in TLS that nothing follows: libpq takes an end without that for a
// fault of the network, and says so beside the error.
func goodbye(nc net.Conn) {
	if secure, ok := nc.(interface {
		NetConn() net.Conn
		CloseWrite() error
	}); ok {
		_ = secure.CloseWrite()
	}
}

// end leaves nothing of the client behind.
func (c *client) end() {
	c.dead.Store(true)
	_ = c.conn.SetDeadline(time.Unix(1, 0)) // the pump may be writing
	c.abandon()
	c.replies.drop()
	c.requests.drop()
	c.conn.Drop()
	c.forgetStatements()
	c.unlisten(func(string, bool) bool { return true })
	for c.ledger.n > 0 {
		if e := c.ledger.pop(); e.kind == pgwire.MsgClose && e.named != nil {
			c.release(e.named)
		}
	}
}
