package tunnel

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"slices"
	"sync"
)

// yamux's wire (spec.md of hashicorp/yamux, "Framing").
const (
	muxHeader  = 12 // bytes: version 1, type 1, flags 2, stream 4, length 4
	muxVersion = 0

	muxData   = 0 // types
	muxWindow = 1
	muxPing   = 2
	muxGoAway = 3

	muxSYN = 1 // flags
	muxACK = 2
	muxFIN = 4
	muxRST = 8

	// muxInitial is a stream's window before anything is said about it.
	muxInitial = 256 << 10
)

// mux speaks yamux on a WebSocket: streams with windows, FIN and no reset that has a code. What the program has of it is yamuxLink. Its
// methods may be called concurrently.
type mux struct {
	ws      *wsConn
	out     *muxOut
	window  uint32 // of each stream of the peer's
	backlog int    // streams that may wait to be accepted

	mu       sync.Mutex
	streams  map[uint32]*muxStream
	next     uint32           // id of this side's next stream
	taker    func(*muxStream) // takes the peer's streams; nil until serve
	accepted []*muxStream     // those that came before
	arrived  chan struct{}    // holds a token while accepted may have something
	over     bool

	done chan struct{} // closed with over
	work sync.WaitGroup
}

// newMux starts a mux; dialled is the side that has the odd ids. A token is put in overflow when the peer does not read what it asks for.
func newMux(ws *wsConn, dialled bool, window uint32, backlog int, overflow chan struct{}) *mux {
	m := &mux{
		ws: ws, out: newMuxOut(ws, overflow), window: window, backlog: backlog,
		streams: make(map[uint32]*muxStream), next: 2, arrived: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if dialled {
		m.next = 1
	}
	m.work.Go(m.receive)
	m.work.Go(m.flush)
	return m
}

// closed reports whether the session has ended.
func (m *mux) closed() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

// close ends the session, and returns when nothing of it runs any more.
func (m *mux) close() {
	m.end()
	m.work.Wait()
}

// end ends the session, and the streams with it.
func (m *mux) end() {
	m.mu.Lock()
	first := !m.over
	m.over = true
	if first {
		close(m.done)
	}
	streams := slices.Collect(maps.Values(m.streams))
	m.mu.Unlock()
	if !first {
		return
	}
	m.out.fail(net.ErrClosed)
	_ = m.ws.Close()
	for _, s := range streams {
		s.wakeAll()
	}
}

// len returns how many streams are not ended by both sides.
func (m *mux) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.streams)
}

// open makes a stream whose first bytes are header, and hands it to register before the peer can know of it.
func (m *mux) open(ctx context.Context, header []byte, register func(*muxStream)) error {
	failed := error(nil)
	err := m.out.begin(ctx, func() []frame {
		m.mu.Lock()
		if m.over || m.next > math.MaxUint32-2 {
			failed = net.ErrClosed
			m.mu.Unlock()
			return nil
		}
		s := newMuxStream(m, m.next)
		s.sendWindow -= uint32(len(header))
		m.next += 2
		m.streams[s.id] = s
		m.mu.Unlock()
		register(s)
		return []frame{
			{kind: muxWindow, flags: muxSYN, id: s.id, size: m.window - muxInitial},
			{kind: muxData, id: s.id, size: uint32(len(header)), body: header},
		}
	})
	if err == nil {
		err = failed
	}
	return err
}

// accept waits for the peer's next stream.
func (m *mux) accept(ctx context.Context) (*muxStream, error) {
	for {
		m.mu.Lock()
		var s *muxStream
		if len(m.accepted) > 0 {
			s = m.accepted[0]
			m.accepted[0] = nil
			m.accepted = m.accepted[1:]
		}
		more := len(m.accepted) > 0
		m.mu.Unlock()
		if more {
			signal(m.arrived)
		}
		if s != nil {
			return s, m.acknowledge(s)
		}
		select {
		case <-m.arrived:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-m.done:
			return nil, net.ErrClosed
		}
	}
}

// acknowledge queues the ACK of a stream of the peer's. It goes with the answer that follows.
func (m *mux) acknowledge(s *muxStream) error {
	return m.out.put(frame{kind: muxWindow, flags: muxACK, id: s.id, size: m.window - muxInitial})
}

// serve has the peer's streams taken by take, which is called by the goroutine that reads, and before that for those that wait to be
// accepted: who reads wakes nobody to accept. take does not block.
func (m *mux) serve(take func(*muxStream)) {
	for {
		m.mu.Lock()
		waiting := m.accepted
		m.accepted = nil
		if len(waiting) == 0 {
			m.taker = take // from here on: streams are taken in their order
		}
		m.mu.Unlock()
		if len(waiting) == 0 {
			return
		}
		for _, s := range waiting {
			m.give(s, take)
		}
	}
}

func (m *mux) give(s *muxStream, take func(*muxStream)) {
	if m.acknowledge(s) == nil { // the session has not ended
		take(s)
	}
}

// forget frees a stream that both sides have ended.
func (m *mux) forget(id uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.streams, id)
}

// flush writes what others hand over, and ends the session when that fails.
func (m *mux) flush() {
	if err := m.out.flushes(m.done); err != nil {
		m.ws.fail(err)
		m.end()
	}
}

// receive owns reading, and ends the session when it ends.
func (m *mux) receive() {
	defer m.end()
	r := bufio.NewReader(m.ws)
	for {
		if err := m.handle(r); err != nil {
			m.ws.fail(err)
			return
		}
	}
}

// handle reads a frame.
func (m *mux) handle(r *bufio.Reader) error {
	h, err := r.Peek(muxHeader)
	if err != nil {
		return err
	}
	f := frame{
		kind: h[1], flags: binary.BigEndian.Uint16(h[2:]), id: binary.BigEndian.Uint32(h[4:]), size: binary.BigEndian.Uint32(h[8:]),
	}
	version := h[0]
	_, _ = r.Discard(muxHeader) // what was peeked at is there
	switch {
	case version != muxVersion:
		return fmt.Errorf("yamux: version %d", version)
	case f.kind == muxData || f.kind == muxWindow:
		return m.ofStream(r, f)
	case f.kind == muxPing:
		if f.flags&muxSYN == 0 {
			return nil
		}
		err := m.out.put(frame{kind: muxPing, flags: muxACK, size: f.size})
		m.out.flush()
		return err
	case f.kind == muxGoAway && f.size == 0:
		return nil
	}
	return fmt.Errorf("yamux: frame of type %d, value %d", f.kind, f.size)
}

// ofStream handles a frame of a stream. One that is not known any more is skipped: its end and the frame have crossed.
func (m *mux) ofStream(r *bufio.Reader, f frame) error {
	if f.flags&muxSYN != 0 {
		if err := m.incoming(f.id); err != nil {
			return err
		}
	}
	m.mu.Lock()
	s := m.streams[f.id]
	m.mu.Unlock()
	if f.kind == muxData && f.size > 0 {
		if s == nil {
			_, err := io.CopyN(io.Discard, r, int64(f.size))
			return err
		}
		if err := s.receive(r, f.size); err != nil {
			return err
		}
	}
	if s == nil {
		return nil
	}
	credit := uint32(0)
	if f.kind == muxWindow {
		credit = f.size
	}
	return s.told(credit, f.flags)
}

// incoming begins a stream of the peer's.
func (m *mux) incoming(id uint32) error {
	m.mu.Lock()
	fresh := m.streams[id] == nil && id%2 != m.next%2
	full := len(m.accepted) >= m.backlog
	taker := m.taker
	var s *muxStream
	if fresh && !full {
		s = newMuxStream(m, id)
		m.streams[id] = s
		if taker == nil {
			m.accepted = append(m.accepted, s)
		}
	}
	m.mu.Unlock()
	switch {
	case !fresh:
		return fmt.Errorf("yamux: stream %d begins twice", id)
	case full:
		err := m.out.put(frame{kind: muxWindow, flags: muxRST, id: id})
		m.out.flush()
		return err
	case taker != nil:
		m.give(s, taker)
	default:
		signal(m.arrived)
	}
	return nil
}
