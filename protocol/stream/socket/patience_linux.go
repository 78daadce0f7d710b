package socket

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// NewPatient is New for a TCP connection that has TCP_USER_TIMEOUT set to timeout. Linux then also ends one whose peer is alive and has no
// room for what is sent, as a database has not that waits for a lock: its probes of the window are answered, and do not count
// (tcp_probe_timer of net/ipv4/tcp_timer.c). While that is so, the option is off.
func NewPatient(c net.Conn, timeout time.Duration) net.Conn {
	n := New(c)
	if s, ok := n.(*Conn); ok && c.LocalAddr().Network() == "tcp" {
		s.patience = &patience{raw: s.raw, timeout: timeout}
	}
	return n
}

// deadProbes of the window in a row without an answer say that the peer is gone: one may be on its way.
const deadProbes = 2

// patience looks at a connection that is written to, twice in each timeout, until everything that was written has been sent. One that
// rests has no timer.
type patience struct {
	raw     syscall.RawConn
	timeout time.Duration
	wrote   atomic.Bool // since the last look

	mu     sync.Mutex
	timer  *time.Timer // calls look; nil before the first write
	armed  bool        // it will
	off    bool        // the option is
	closed bool
}

// written says that something is about to be written.
func (p *patience) written() {
	if p.wrote.Load() {
		return
	}
	p.wrote.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.armed && !p.closed {
		p.arm()
	}
}

// arm is called with mu held. What is written right after a look is looked at twice before the system would give it up.
func (p *patience) arm() {
	p.armed = true
	if every := p.timeout * 2 / 5; p.timer == nil {
		p.timer = time.AfterFunc(every, p.look)
	} else {
		p.timer.Reset(every)
	}
}

// look turns the option off or on, and has itself called again while there is a reason to.
func (p *patience) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = false
	if p.closed {
		return
	}
	var info *unix.TCPInfo
	var failed error
	err := p.raw.Control(func(fd uintptr) {
		if info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); failed != nil {
			return
		}
		full := info.Notsent_bytes > 0 && info.Unacked == 0 && info.Probes < deadProbes
		if full == p.off {
			return
		}
		timeout := int(p.timeout / time.Millisecond)
		if full {
			timeout = 0
		}
		if failed = SetInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, timeout); failed == nil {
			p.off = full
		}
	})
	if err != nil || failed != nil {
		return // it has ended
	}
	if p.wrote.Swap(false) || info.Notsent_bytes > 0 || p.off {
		p.arm()
	}
}

// stop is called when the connection is closed.
func (p *patience) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
}
