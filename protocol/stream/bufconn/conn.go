package bufconn

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sluicedb/sluice/protocol/stream/socket"

	"golang.org/x/sys/unix"
)

// BufferSize is the size in bytes of a read buffer: two of the 8 KiB chunks in
// which PostgreSQL writes (PQ_SEND_BUFFER_SIZE, src/backend/libpq/pqcomm.c),
// and one full TLS record.
const BufferSize = 16 << 10

// ErrBufferFull is returned by Fill when the buffer holds BufferSize bytes that
// the caller has not yet discarded.
var ErrBufferFull = errors.New("read buffer is full")

var (
	buffers    = sync.Pool{New: func() any { return new([BufferSize]byte) }}
	buffersOut atomic.Int64
)

// BuffersInUse is how many read buffers are held at the moment, by all Conns.
func BuffersInUse() int64 { return buffersOut.Load() }

// A Framing is what a thrifty Conn knows of the messages it reads: how many bytes
// a header has, at most MaxHeader, and no message is shorter; and whether more of
// the message follows the header. More is called with that many bytes.
type Framing struct {
	Header int
	More   func(header []byte) bool
}

// MaxHeader is the most that Framing.Header can be in bytes: PostgreSQL's is five.
const MaxHeader = 5

// A Conn reads one side of a database connection. Its buffer exists only
// while bytes are in flight: a Conn that waits for the peer's next message
// holds none. Fill, Await, Bytes, Discard, Truncate and Release belong to one
// goroutine at a time; Write, Close, Rouse and the deadlines may be called from any.
type Conn struct {
	net.Conn
	raw    syscall.RawConn // nil where Conn is not a plain socket
	socket syscall.RawConn // the plain socket below, TLS or not; nil if there is none
	onRead func(fd uintptr) bool
	onPeek func(fd uintptr)
	silent bool // what onPeek found
	thrift *Framing
	rest   rest

	buf  *[BufferSize]byte // nil while idle
	r, w int

	resting chan error // the result of the watch that Rest started

	head  [MaxHeader]byte
	readN int
	readE error
}

// New wraps nc, which it does not close by itself. With thrift not nil it is a
// thrifty Conn, which holds no buffer while it waits for the first byte of a
// message, also where nc is no plain socket (TLS); this costs such a connection a
// second read per burst, and its Release must be called between messages only.
func New(nc net.Conn, thrift *Framing) *Conn {
	c := &Conn{Conn: nc, thrift: thrift}
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw, c.onRead = raw, c.readSocket
			c.rest.pace.Store(resting) // a reader begins in a new goroutine
		}
	}
	if c.socket = c.raw; c.socket == nil {
		if sc, ok := below(nc).(syscall.Conn); ok {
			if raw, err := sc.SyscallConn(); err == nil {
				c.socket = raw
			}
		}
	}
	c.onPeek = c.peek
	return c
}

// Bytes are the bytes read and not yet discarded; valid until the next Fill,
// Discard, Truncate or Release.
func (c *Conn) Bytes() []byte {
	if c.buf == nil {
		return nil
	}
	return c.buf[c.r:c.w]
}

// Discard drops the first n of Bytes. To drop none is nothing, which who does not own
// the buffer may do too.
func (c *Conn) Discard(n int) {
	if n == 0 {
		return
	}
	c.r += n
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
}

// Truncate drops the last n of Bytes.
func (c *Conn) Truncate(n int) { c.w -= n }

// Release gives the buffer back if it is empty; the next Fill takes a new one.
func (c *Conn) Release() {
	if c.buf != nil && c.r == c.w {
		buffers.Put(c.buf)
		buffersOut.Add(-1)
		c.buf, c.r, c.w = nil, 0, 0
	}
}

// Drop gives the buffer back, with whatever it holds. For the end of a Conn.
func (c *Conn) Drop() {
	c.r, c.w = 0, 0
	c.Release()
}

// Fill reads at least one more byte behind Bytes. It blocks until the peer
// sends, the read deadline passes or the connection ends (io.EOF).
func (c *Conn) Fill() error {
	for {
		err := c.fill()
		if err == nil {
			c.moves()
			return nil
		}
		if !c.lifts(err) {
			return err
		}
	}
}

func (c *Conn) fill() error {
	if c.buf == nil && c.thrift != nil {
		if c.raw == nil {
			return c.fillHead()
		}
	} else if err := c.room(); err != nil {
		return err
	}
	if c.raw == nil {
		n, err := c.Conn.Read(c.buf[c.w:])
		c.w += n
		if n > 0 {
			return nil
		}
		return err
	}
	c.readN, c.readE = 0, nil
	if err := c.raw.Read(c.onRead); err != nil {
		c.Release()
		return &net.OpError{Op: "read", Net: "tcp", Err: err}
	}
	if c.readE != nil {
		return &net.OpError{Op: "read", Net: "tcp", Err: c.readE}
	}
	if c.readN == 0 {
		return io.EOF
	}
	c.w += c.readN
	return nil
}

// room makes sure that there is a buffer with space behind w.
func (c *Conn) room() error {
	if c.buf == nil {
		c.take()
	}
	if c.w == len(c.buf) {
		if c.r == 0 {
			return ErrBufferFull
		}
		c.w = copy(c.buf[:], c.buf[c.r:c.w])
		c.r = 0
	}
	return nil
}

func (c *Conn) take() {
	c.buf = buffers.Get().(*[BufferSize]byte)
	buffersOut.Add(1)
	c.r, c.w = 0, 0
}

// readSocket is one attempt of raw.Read: the buffer is taken for the length of
// the system call and given back when the socket had nothing.
func (c *Conn) readSocket(fd uintptr) bool {
	held := c.buf != nil
	if !held {
		c.take()
	}
	n, err := socket.Read(fd, c.buf[c.w:])
	if err == syscall.EAGAIN {
		if !held {
			c.Release()
		}
		return false
	}
	c.readN, c.readE = n, err
	return true
}

// fillHead waits with no more than a header's worth of memory. A TLS connection
// keeps what did not fit of a record, so the next read returns at once where the
// header says that there is more to come; no message is shorter than a header, so
// nothing complete is missed where there is not.
func (c *Conn) fillHead() error {
	head := c.head[:c.thrift.Header]
	n, err := c.Conn.Read(head)
	if n == 0 {
		return err
	}
	c.take()
	c.w = copy(c.buf[:], head[:n])
	if n < len(head) || !c.thrift.More(head) {
		return nil
	}
	n, err = c.Conn.Read(c.buf[c.w:])
	c.w += n
	if n == 0 {
		return err
	}
	return nil
}

// Rest says that nothing will be read for a while: until Quiet is asked, which
// must come before the next Fill. A plain socket needs nothing for that; of a
// stream it is watched whether something comes to be read, because there is no
// other way to find out without waiting.
func (c *Conn) Rest() {
	if c.socket != nil {
		return
	}
	if s, ok := below(c.Conn).(interface{ WaitRead() error }); ok {
		c.resting = make(chan error, 1)
		go waitRead(s, c.resting)
	}
}

func waitRead(s interface{ WaitRead() error }, result chan<- error) { result <- s.WaitRead() }

// Quiet reports whether the connection is alive with nothing to read, which is
// what a pooled origin connection must be before it is used again: end of file,
// an error and a message that nobody waited for (a FATAL, say) all say no. It
// does not wait for the peer. What is neither a socket nor a stream that Rest was
// called for is taken to be quiet.
func (c *Conn) Quiet() bool {
	if c.w > c.r {
		return false
	}
	if c.socket != nil {
		c.silent = false
		return c.socket.Control(c.onPeek) == nil && c.silent
	}
	if c.resting == nil {
		return true
	}
	// A deadline in the past wakes the watch at once. A short one in the future
	// would cost a millisecond: the runtime's timers are no finer when idle.
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return false
	}
	err := <-c.resting
	c.resting = nil
	var ne net.Error
	quiet := errors.As(err, &ne) && ne.Timeout()
	return c.SetReadDeadline(time.Time{}) == nil && quiet
}

// peek looks whether the socket has nothing to read.
func (c *Conn) peek(fd uintptr) {
	got, err := socket.Poll(fd, unix.POLLIN|unix.POLLRDHUP)
	c.silent = got == 0 && err == nil
}

// Gone reports, without blocking, whether the peer has closed or reset its side
// of a socket, also where bytes that it sent before are still unread. A
// connection that is no socket is never gone by this account.
func (c *Conn) Gone() bool {
	if c.socket == nil {
		return false
	}
	gone := false
	err := c.socket.Control(func(fd uintptr) {
		got, err := socket.Poll(fd, unix.POLLRDHUP)
		gone = err == nil && got&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return err != nil || gone
}

// below is what a TLS connection runs over in the end, and any other connection itself.
func below(nc net.Conn) net.Conn {
	for {
		t, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nc
		}
		nc = t.NetConn()
	}
}
