//go:build unix

package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// A Conn is a TCP or unix socket. Its methods may be called concurrently, as net.Conn has it.
type Conn struct {
	net.Conn
	raw      syscall.RawConn
	in       half
	out      half
	patience *patience // nil where none is needed: see NewPatient
}

// half is one direction of a Conn.
type half struct {
	mu  sync.Mutex // held by the call that is under way
	try func(fd uintptr) bool
	p   []byte // what is to be read into, or written
	n   int    // how much of it was
	err error
}

// New returns c with the calls of this package, and owns it. What is neither a TCP nor a unix socket is returned as it is.
func New(c net.Conn) net.Conn {
	var raw syscall.RawConn
	var err error
	switch c := c.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	default:
		return c
	}
	if err != nil {
		return c
	}
	s := &Conn{Conn: c, raw: raw}
	s.in.try, s.out.try = s.in.read, s.out.write
	return s
}

// SyscallConn implements syscall.Conn.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

// NetConn returns the connection of package net, which shares the socket.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// CloseWrite sends EOF.
func (c *Conn) CloseWrite() error { return c.Conn.(interface{ CloseWrite() error }).CloseWrite() }

// Close implements net.Conn.
func (c *Conn) Close() error {
	if c.patience != nil {
		c.patience.stop()
	}
	return c.Conn.Close()
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	h := &c.in
	h.mu.Lock()
	defer h.mu.Unlock()
	h.p, h.n, h.err = p, 0, nil
	err := c.raw.Read(h.try)
	h.p = nil
	switch {
	case err != nil:
		return 0, explain(c, "read", c.RemoteAddr(), err)
	case h.err != nil:
		return 0, explain(c, "read", c.RemoteAddr(), os.NewSyscallError("read", h.err))
	case h.n == 0:
		return 0, io.EOF
	}
	return h.n, nil
}

// read reports whether there is nothing more to wait for.
func (h *half) read(fd uintptr) bool {
	h.n, h.err = Read(fd, h.p)
	return h.err != syscall.EAGAIN
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.patience != nil {
		c.patience.written()
	}
	h := &c.out
	h.mu.Lock()
	defer h.mu.Unlock()
	h.p, h.n, h.err = p, 0, nil
	err := c.raw.Write(h.try)
	h.p = nil
	switch {
	case err != nil:
		return h.n, explain(c, "write", c.RemoteAddr(), err)
	case h.err != nil:
		return h.n, explain(c, "write", c.RemoteAddr(), os.NewSyscallError("write", h.err))
	}
	return h.n, nil
}

// write reports whether everything is written, or nothing more will be.
func (h *half) write(fd uintptr) bool {
	for h.n < len(h.p) {
		var n int
		if n, h.err = write(fd, h.p[h.n:]); h.err != nil {
			return h.err != syscall.EAGAIN
		}
		h.n += n
	}
	return true
}

// explain says of an error what package net does; of one of the poller's, that is a deadline, or that the socket is closed.
func explain(c interface{ LocalAddr() net.Addr }, op string, remote net.Addr, err error) error {
	if o, ok := errors.AsType[*net.OpError](err); ok {
		err = o.Err
	}
	local := c.LocalAddr()
	return &net.OpError{Op: op, Net: local.Network(), Source: local, Addr: remote, Err: err}
}
