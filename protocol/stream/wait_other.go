//go:build !unix

package stream

import "net"

// waiter cannot wait here: a reader's buffer is held while it waits.
type waiter struct{}

func (w *waiter) init(net.Conn) {}

func (w *waiter) read() error { return nil }

func (w *waiter) connected() bool { return true }

// abort makes the close of c an RST.
func (w *waiter) abort(c *net.TCPConn) error { return c.SetLinger(0) }
