package tunnel

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
)

var errMuxReset = errors.New("yamux: stream reset by the peer")

// muxStream is a stream of a mux. One goroutine at a time reads, and one writes.
type muxStream struct {
	m  *mux
	id uint32

	mu         sync.Mutex
	wake       sync.Cond     // of mu: what Read or Write may wait for has come
	buf        *bytes.Buffer // what has come and is not read; nil when it was shrunk
	recvWindow uint32        // bytes that the peer may send
	sendWindow uint32        // bytes that this side may send
	finished   bool          // this side's FIN is queued
	eof        bool          // the peer's FIN has come
	reset      bool          // the peer's RST has come
	deadline   [2]time.Time  // of Read and of Write
}

// Indices of muxStream.deadline.
const (
	reading = iota
	writing
)

func newMuxStream(m *mux, id uint32) *muxStream {
	s := &muxStream{m: m, id: id, recvWindow: m.window, sendWindow: muxInitial}
	s.wake.L = &s.mu
	return s
}

// wait waits until something has changed, or the deadline has passed. Called with mu held.
func (s *muxStream) wait(which int) error {
	d := s.deadline[which]
	if d.IsZero() {
		s.wake.Wait()
		return nil
	}
	left := time.Until(d)
	if left <= 0 {
		return os.ErrDeadlineExceeded
	}
	t := time.AfterFunc(left, s.wakeAll)
	s.wake.Wait()
	t.Stop()
	return nil
}

func (s *muxStream) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake.Broadcast()
}

// read reads what has come, and waits for it. A read into nothing waits only. What had come is read even after the end.
func (s *muxStream) read(p []byte) (int, error) {
	s.mu.Lock()
	for s.buf == nil || s.buf.Len() == 0 {
		var err error
		switch {
		case s.reset:
			err = errMuxReset
		case s.eof:
			err = io.EOF
		case s.m.closed():
			err = net.ErrClosed
		default:
			err = s.wait(reading)
		}
		if err != nil {
			s.mu.Unlock()
			return 0, err
		}
	}
	n, _ := s.buf.Read(p)
	// The peer hears of room for half a window at once: not of each byte.
	credit := s.m.window - uint32(s.buf.Len()) - s.recvWindow
	if credit < s.m.window/2 || s.eof {
		s.mu.Unlock()
		return n, nil
	}
	s.recvWindow += credit
	s.mu.Unlock()
	// It fails when the session ends, which the next read learns.
	_ = s.m.out.put(frame{kind: muxWindow, id: s.id, size: credit})
	s.m.out.flush()
	return n, nil
}

// write sends p in frames, and waits for the window. With quiet they are only queued.
func (s *muxStream) write(p []byte, quiet bool) (total int, err error) {
	for total < len(p) {
		n, err := s.reserve(len(p) - total)
		if err != nil {
			return total, err
		}
		f := frame{kind: muxData, id: s.id, size: uint32(n), body: p[total : total+n]}
		if quiet {
			err = s.m.out.put(f)
		} else {
			err = s.m.out.send(f)
		}
		if err != nil {
			return total, err
		}
		total += n
	}
	return total, nil
}

// reserve takes of the window what a frame with up to n bytes needs.
func (s *muxStream) reserve(n int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.reset:
			return 0, errMuxReset
		case s.finished, s.m.closed():
			return 0, net.ErrClosed
		case s.sendWindow > 0:
			n = min(n, stream.MaxWrite, int(s.sendWindow))
			s.sendWindow -= uint32(n)
			return n, nil
		}
		if err := s.wait(writing); err != nil {
			return 0, err
		}
	}
}

// fits reports whether the window has room for n bytes.
func (s *muxStream) fits(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.sendWindow) >= int64(n)
}

// finish queues the FIN, once, and frees the stream if the peer has sent its own. The FIN goes with what follows, or with flush.
func (s *muxStream) finish() {
	s.mu.Lock()
	first, both := !s.finished && !s.reset, s.eof
	s.finished = true
	s.wake.Broadcast()
	s.mu.Unlock()
	if !first {
		return
	}
	// It fails when the session has ended, which the reader learns.
	_ = s.m.out.put(frame{kind: muxWindow, flags: muxFIN, id: s.id})
	if both {
		s.m.forget(s.id)
	}
}

// receive takes a frame's body. After the peer's FIN it is of a stream that is failing: two of the peer's goroutines have crossed.
// The rest of the body may be long in coming: nobody else waits for it.
func (s *muxStream) receive(r *bufio.Reader, n uint32) error {
	if int64(n) <= int64(r.Buffered()) {
		body, err := r.Peek(int(n))
		if err == nil {
			err = s.take(body)
		}
		_, _ = r.Discard(len(body)) // it was peeked at
		return err
	}
	piece := outBuffers.Get().(*[maxMessage]byte)
	defer outBuffers.Put(piece)
	for n > 0 {
		body := piece[:min(n, maxMessage)]
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		if err := s.take(body); err != nil {
			return err
		}
		n -= uint32(len(body))
	}
	return nil
}

// take lets the reader have data.
func (s *muxStream) take(body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(body) > int(s.recvWindow):
		return errors.New("yamux: more data than the window")
	case s.eof:
		return nil
	case s.buf == nil:
		s.buf = new(bytes.Buffer)
	}
	s.recvWindow -= uint32(len(body))
	s.buf.Write(body)
	s.wake.Broadcast()
	return nil
}

// told takes what a frame says besides data.
func (s *muxStream) told(credit uint32, flags uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if credit > math.MaxUint32-s.sendWindow {
		return errors.New("yamux: window without bounds")
	}
	s.sendWindow += credit
	switch {
	case flags&muxRST != 0:
		s.reset = true
		s.m.forget(s.id)
	case flags&muxFIN != 0 && s.eof:
		return errors.New("yamux: two FINs on one stream")
	case flags&muxFIN != 0:
		s.eof = true
		if s.finished {
			s.m.forget(s.id)
		}
	case credit == 0:
		return nil
	}
	s.wake.Broadcast()
	return nil
}

// shrink frees the buffer if it is empty.
func (s *muxStream) shrink() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buf != nil && s.buf.Len() == 0 {
		s.buf = nil
	}
}

func (s *muxStream) setDeadline(which int, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline[which] = t
	s.wake.Broadcast()
}
