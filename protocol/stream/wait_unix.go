//go:build unix

package stream

import (
	"net"
	"syscall"

	"github.com/sluicedb/sluice/protocol/stream/socket"

	"golang.org/x/sys/unix"
)

// waiter waits until a socket is readable. It is used by one reader at a time, and allocates nothing after init.
type waiter struct {
	raw   syscall.RawConn
	ready func(fd uintptr) bool
	asked bool // ready has parked once: the poller's word is enough the second time
}

// init keeps raw nil for connections that are no sockets, which are then always taken as readable.
func (w *waiter) init(c net.Conn) {
	if sc, ok := c.(syscall.Conn); ok {
		w.raw, _ = sc.SyscallConn()
	}
	w.ready = w.check
}

func (w *waiter) check(fd uintptr) bool {
	if w.asked {
		return true
	}
	w.asked = true
	got, err := socket.Poll(fd, unix.POLLIN)
	// An error counts as readable: the Read that follows knows better.
	return got != 0 || err != nil
}

func (w *waiter) read() error {
	if w.raw == nil {
		return nil
	}
	w.asked = false
	return w.raw.Read(w.ready)
}

// connected reports whether the socket has a peer, which it has not after a reset.
func (w *waiter) connected() bool {
	if w.raw == nil {
		return true
	}
	var err error
	if cerr := w.raw.Control(func(fd uintptr) { _, err = unix.Getpeername(int(fd)) }); cerr != nil {
		return true // closed on this side: nobody is misled
	}
	return err != unix.ENOTCONN
}

// abort makes the close of c, which this waits for, an RST.
func (w *waiter) abort(c *net.TCPConn) error {
	if w.raw == nil {
		return c.SetLinger(0)
	}
	var err error
	if cerr := w.raw.Control(func(fd uintptr) { err = socket.Abort(fd) }); cerr != nil {
		return cerr
	}
	return err
}
