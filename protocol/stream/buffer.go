package stream

import (
	"sync"
	"sync/atomic"
)

// MaxWrite is the largest write that Pipe and the tunnel's streams pass down, in bytes. A yamux frame occupies the session's one
// connection until it is written, so that this bounds what a neighbour waits for: 2.6 ms at 100 Mbit/s. 16 to 64 KiB is where
// larger buffers stop to gain throughput (BenchmarkPipe).
const MaxWrite = 32 << 10

// buffers is where every Pipe takes its buffer from, for as long as bytes are in flight.
var buffers bufferPool

type bufferPool struct {
	pool sync.Pool
	out  atomic.Int64 // buffers in use
}

func (p *bufferPool) get() *[MaxWrite]byte {
	p.out.Add(1)
	if b, ok := p.pool.Get().(*[MaxWrite]byte); ok {
		return b
	}
	return new([MaxWrite]byte)
}

func (p *bufferPool) put(b *[MaxWrite]byte) {
	p.out.Add(-1)
	p.pool.Put(b)
}
