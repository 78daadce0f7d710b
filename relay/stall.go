package relay

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

const (
	// defaultWindowMemory bounds what stalled readers hold in all sessions together: as much as two QUIC sessions that use up
	// their own bound, tunnel.Limits.Memory.
	defaultWindowMemory = 1 << 30
	// stallEvery is how long a write may take before its reader counts as stalled. At 1 Gbit/s windows grow by 125 MB meanwhile, an
	// eighth of the bound.
	stallEvery = time.Second
)

// stalls knows the pipes of this relay in which a side does not read: what comes for it waits here, a window in each stream. When
// all windows hold more than budget, streams of whoever holds the most are cut, and opens of theirs refused, until the next look.
// The methods may be called concurrently.
type stalls struct {
	budget int64 // bytes

	mu     sync.Mutex
	pipes  map[*pipeEnd]struct{}
	held   int64           // bytes, at the last look
	greedy map[string]bool // by ask.payer: those whose streams were cut at the last look
}

// pipeEnd is a liveStream that stream.Pipe copies to and from a peer.
type pipeEnd struct {
	*liveStream
	in, out flow
}

// flow is one direction: in a write of what has come, or waiting for more.
type flow struct {
	window int           // bytes that the side it comes from may have sent ahead
	step   atomic.Uint64 // odd in a write; changed by the direction's goroutine only

	seen uint64 // step at the last look; owned by stalls.look
	age  int    // looks at which this write was under way
}

// windowOf is how much of c's may wait here. A socket's waits in the kernel.
func windowOf(c stream.Conn) int {
	if s, ok := c.(*tunnel.Stream); ok {
		return s.Window()
	}
	return 0
}

func (f *flow) writing(now bool) {
	if step := f.step.Load(); step%2 == 1 != now {
		f.step.Store(step + 1)
	}
}

// look reports how many bytes wait, because a write takes longer than from one look to the next.
func (f *flow) look() int64 {
	step := f.step.Load()
	if step%2 == 0 || step != f.seen {
		f.seen, f.age = step, 0
		return 0
	}
	f.age++
	return int64(f.window)
}

// WaitRead implements stream.Conn.
func (p *pipeEnd) WaitRead() error {
	p.in.writing(false)
	return p.liveStream.WaitRead()
}

// Read implements stream.Conn. What it returns is then written to the peer, until it is called again.
func (p *pipeEnd) Read(b []byte) (int, error) {
	p.in.writing(false)
	n, err := p.liveStream.Read(b)
	p.in.writing(n > 0)
	return n, err
}

// Write implements stream.Conn.
func (p *pipeEnd) Write(b []byte) (int, error) {
	p.out.writing(true)
	n, err := p.liveStream.Write(b)
	p.out.writing(false)
	return n, err
}

// add makes l the end of a pipe with peer, until remove.
func (s *stalls) add(peer stream.Conn, l *liveStream) *pipeEnd {
	p := &pipeEnd{liveStream: l}
	p.in.window, p.out.window = windowOf(l.Conn), windowOf(peer)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pipes == nil {
		s.pipes = make(map[*pipeEnd]struct{})
	}
	s.pipes[p] = struct{}{}
	return p
}

func (s *stalls) remove(p *pipeEnd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pipes, p)
}

// refuse returns a refusal for who has just held too much.
func (s *stalls) refuse(payer string) *tunnel.Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.greedy[payer] {
		return nil
	}
	return &tunnel.Refusal{
		Code: tunnelpb.Code_LIMITED, Message: "readers of the service token's streams stall, and what waits for them fills the relay's memory",
		RetryAfter: stallEvery,
	}
}

func (s *stalls) bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// stalled is a pipe at a look.
type stalled struct {
	pipe *pipeEnd
	held int64
	age  int
}

// look finds out what waits, and returns the streams to cut: of who holds the most, those that have stalled for longest.
func (s *stalls) look() (cut []*liveStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.greedy = 0, make(map[string]bool)
	of, by := make(map[string][]stalled), make(map[string]int64)
	for p := range s.pipes {
		held := p.in.look() + p.out.look()
		if held > 0 {
			payer := p.ask.payer()
			of[payer] = append(of[payer], stalled{p, held, max(p.in.age, p.out.age)})
			by[payer] += held
			s.held += held
		}
	}
	for s.held > s.budget {
		most := ""
		for payer, held := range by {
			if most == "" || held > by[most] {
				most = payer
			}
		}
		theirs := of[most]
		if !s.greedy[most] {
			s.greedy[most] = true
			slices.SortFunc(theirs, func(a, b stalled) int { return cmp.Compare(a.age, b.age) })
		}
		last := theirs[len(theirs)-1]
		of[most] = theirs[:len(theirs)-1]
		by[most] -= last.held
		s.held -= last.held
		cut = append(cut, last.pipe.liveStream)
	}
	return cut
}

// watchStalls looks every second, until ctx ends.
func (r *Relay) watchStalls(ctx context.Context) error {
	tick := time.NewTicker(stallEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, l := range r.stalls.look() {
			r.log.Warn("stream is cut: its reader stalls, and too much waits in this relay", "hostname", l.ask.hostname, "client", l.ask.clientID, "tunnel", l.ask.tunnel)
			r.tasks.Go(func() { r.cut(l, stream.CodeLimited) })
		}
	}
}
